#include "tests/support/etcd_cluster.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "coordinator/etcd_client.hpp"

namespace ballast::test {
namespace {

using namespace std::chrono_literals;

constexpr int attempts = 600;  // 50 ms apart

std::optional<std::string> program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (const auto at = folder + "/" + name; ::access(at.c_str(), X_OK) == 0) return at;
  return std::nullopt;
}

// A certificate that vouches for itself, for both sides.
etcd_tls self_signed(const std::string& folder) {
  etcd_tls made{folder + "/cert.pem", folder + "/cert.pem", folder + "/key.pem"};
  auto openssl = child_process::start(
      program("openssl").value(),
      {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
       "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", made.certificate, "-keyout", made.key},
      folder + "/openssl.log");
  if (!openssl || !openssl->wait(30s) || ::access(made.key.c_str(), R_OK) != 0)
    throw std::runtime_error("no certificate; see " + folder);
  return made;
}

class socket_handle {
 public:
  socket_handle() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~socket_handle() { ::close(fd_); }
  int get() const { return fd_; }
  static sockaddr_in loopback(int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
  }

 private:
  int fd_;
};

// So many, different ones; nobody else is given them while this runs.
std::vector<int> free_ports(std::size_t count) {
  std::vector<socket_handle> held(count);
  std::vector<int> out;
  for (const auto& s : held) {
    auto at = socket_handle::loopback(0);
    socklen_t size = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    if (::bind(s.get(), address, size) != 0 || ::getsockname(s.get(), address, &size) != 0)
      throw std::runtime_error("no free port");
    out.push_back(ntohs(at.sin_port));
  }
  return out;
}

// What a member tells of itself; empty: it does not answer.
std::string metrics(const std::string& member) {
  const socket_handle s;
  const auto at = socket_handle::loopback(std::stoi(member.substr(member.find(':') + 1)));
  if (::connect(s.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return {};
  const std::string question = "GET /metrics HTTP/1.0\r\n\r\n";
  if (::send(s.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0) return {};
  std::string out;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::recv(s.get(), buffer, sizeof buffer, 0)) > 0;)
    out.append(buffer, static_cast<std::size_t>(n));
  return out;
}

}  // namespace

std::optional<std::string> etcd_cluster::missing(bool secured) {
  const char* lacking = !program("etcd") ? "etcd" : secured && !program("openssl") ? "openssl" : nullptr;
  if (lacking == nullptr) return std::nullopt;
  return fmt::format("{} is not installed; deploy/install-deps.sh installs it", lacking);
}

etcd_cluster::etcd_cluster(std::size_t count, bool secured) {
  const std::filesystem::path memory = "/dev/shm";  // no busy disk keeps anybody waiting
  auto place =
      ((std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path()) / "etcd-XXXXXX").string();
  if (::mkdtemp(place.data()) == nullptr) throw std::runtime_error("no folder for etcd");
  folder_ = place;
  if (secured) tls_ = self_signed(folder_);
  const auto ports = free_ports(2 * count);
  std::string peers;
  for (std::size_t i = 0; i < count; ++i) {
    clients_.push_back(fmt::format("127.0.0.1:{}", ports[2 * i]));
    peers += fmt::format("{}m{}=http://127.0.0.1:{}", i == 0 ? "" : ",", i, ports[2 * i + 1]);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto client = (secured ? "https://" : "http://") + clients_[i],
               peer = fmt::format("http://127.0.0.1:{}", ports[2 * i + 1]);
    std::vector<std::string> words{"--name",
                                   fmt::format("m{}", i),
                                   "--data-dir",
                                   fmt::format("{}/m{}", folder_, i),
                                   "--listen-client-urls",
                                   client,
                                   "--advertise-client-urls",
                                   client,
                                   "--listen-peer-urls",
                                   peer,
                                   "--initial-advertise-peer-urls",
                                   peer,
                                   "--initial-cluster",
                                   peers};
    if (secured)
      words.insert(words.end(), {"--cert-file", tls_.certificate, "--key-file", tls_.key, "--client-cert-auth",
                                 "--trusted-ca-file", tls_.ca});
    auto started = child_process::start(program("etcd").value(), words, fmt::format("{}/m{}.log", folder_, i));
    if (!started) throw std::runtime_error(started.error().text);
    processes_.push_back(std::move(*started));
  }
  etcd_client asking(clients_, 500ms, tls_);
  for (int i = 0; !asking.find({"any"}); ++i)
    if (i == attempts || processes_.front().wait(50ms))
      throw std::runtime_error("etcd does not answer; see " + folder_);
}

etcd_cluster::~etcd_cluster() {
  for (auto& p : processes_) p.kill();
  for (auto& p : processes_) (void)p.wait(5s);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string etcd_cluster::store(const std::string& prefix) const {
  return fmt::format("etcd://{}/{}", fmt::join(clients_, ","), prefix);
}

std::size_t etcd_cluster::leader() {
  for (int i = 0; i < attempts; ++i) {
    for (std::size_t m = 0; m < clients_.size(); ++m)
      if (processes_[m].running() && metrics(clients_[m]).find("\netcd_server_is_leader 1") != std::string::npos)
        return m;
    (void)processes_.front().wait(50ms);
  }
  throw std::runtime_error("no member of etcd leads");
}

void etcd_cluster::kill(std::size_t which) {
  processes_[which].kill();
  (void)processes_[which].wait(5s);
}

}  // namespace ballast::test
