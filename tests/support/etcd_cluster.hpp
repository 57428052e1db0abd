// A real etcd of one or three members for a test, on loopback; its data dies with it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/local/process.hpp"

namespace ballast::test {

// One thread.
class etcd_cluster {
 public:
  // Where etcd is not there to be run: why tests of it are left out.
  static std::optional<std::string> missing();

  explicit etcd_cluster(std::size_t members = 1);  // throws std::runtime_error where it does not start
  ~etcd_cluster();
  etcd_cluster(const etcd_cluster&) = delete;
  etcd_cluster& operator=(const etcd_cluster&) = delete;

  std::string store(const std::string& prefix) const;                            // etcd://…
  const std::vector<std::string>& members() const noexcept { return clients_; }  // host:port
  std::size_t leader();                                                          // which member leads the cluster
  void kill(std::size_t which);                                                  // SIGKILL

 private:
  std::string folder_;
  std::vector<std::string> clients_;
  std::vector<child_process> processes_;
};

}  // namespace ballast::test
