// TCP without ZeroMQ: for peers that do not speak as they should.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

namespace ballast {

inline constexpr int patience_ms = 60'000;

inline std::uint16_t port_of(const std::string& address) {  // tcp://127.0.0.1:PORT, with or without a key
  return static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':', address.find('?')) + 1)));
}

class raw_tcp {
 public:
  explicit raw_tcp(int fd) : fd_(fd) {}
  explicit raw_tcp(const std::string& address) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_of(address));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << address;
  }
  ~raw_tcp() { ::close(fd_); }
  raw_tcp(const raw_tcp&) = delete;
  raw_tcp& operator=(const raw_tcp&) = delete;

  int fd() const { return fd_; }
  void send(std::string_view bytes) const { (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // What comes next; empty: closed by the other side.
  std::string receive() const {
    std::array<char, 4096> bytes;
    pollfd one{fd_, POLLIN, 0};
    EXPECT_EQ(::poll(&one, 1, patience_ms), 1) << "nothing came, and it was not closed";
    const auto got = ::recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    return got > 0 ? std::string(bytes.data(), static_cast<std::size_t>(got)) : "";
  }
  void receive_to_end() const {
    while (!receive().empty()) {
    }
  }

 private:
  int fd_;
};

}  // namespace ballast
