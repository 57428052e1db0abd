// A real etcd of one or three members for a test, on loopback; its data dies with it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/local/process.hpp"
#include "coordinator/etcd_tls.hpp"

namespace ballast::test {

// One thread.
class etcd_cluster {
 public:
  // Where it cannot be run here: why tests of it are left out. A secured one needs openssl, too.
  static std::optional<std::string> missing(bool secured = false);

  // Throws std::runtime_error where it does not start. `secured`: it speaks TLS, with those who have tls() only.
  explicit etcd_cluster(std::size_t members = 1, bool secured = false);
  ~etcd_cluster();
  etcd_cluster(const etcd_cluster&) = delete;
  etcd_cluster& operator=(const etcd_cluster&) = delete;

  std::string store(const std::string& prefix) const;                            // etcd://…
  const std::vector<std::string>& members() const noexcept { return clients_; }  // host:port
  const etcd_tls& tls() const noexcept { return tls_; }
  std::size_t leader();          // which member leads the cluster; not of a secured one
  void kill(std::size_t which);  // SIGKILL

 private:
  std::string folder_;
  std::vector<std::string> clients_;
  etcd_tls tls_;
  std::vector<child_process> processes_;
};

}  // namespace ballast::test
