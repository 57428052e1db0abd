// What ZeroMQ tells of the connections of a bound socket (its monitor): when one ends, and whether that is because it
// was turned away before any message of it could be seen.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <zmq.hpp>

namespace ballast {

// Why a connection was closed here.
enum class turned_away {
  handshake,   // speaks another protocol: in the clear where keys are needed, with another server's key, not ZeroMQ's
  unfinished,  // had not said who it is in time
  cut_off,     // afterwards: sent a frame over the limit or what is no frame, or fell silent
};
inline constexpr std::size_t turned_away_kinds = 3;

// On the link's thread. Holds a second descriptor of every connection, since only what is left to read in it says who
// closed it, and ZeroMQ has closed its own by the time it tells. A peer of an unlisted key is the zap_handler's to
// count.
class connection_watch {
 public:
  using counts = std::array<std::uint32_t, turned_away_kinds>;
  using news = std::vector<std::pair<std::string, bool>>;

  void start(zmq::context_t& context, zmq::socket_t& watched);  // before it is bound. Throws zmq::error_t
  void stop(zmq::socket_t& watched);                            // idempotent
  bool on() const { return monitor_.handle() != nullptr; }
  zmq::socket_t& monitor() { return monitor_; }  // readable when there is something to look at

  void look();
  void announced(const std::string& peer, int fd);
  // Since the last call. Of announced peers: whose connection began (true) or was closed (false), in order.
  news connection_news() { return std::exchange(news_, {}); }
  counts taken() { return std::exchange(counts_, {}); }

  // Addresses of monitors are never used twice: the last one may still be on its way out.
  static std::string fresh_address();

 private:
  struct happened {
    std::uint16_t what = 0;
    std::int32_t value = 0;
  };
  class descriptor {
   public:
    descriptor() = default;       // none
    explicit descriptor(int of);  // another one of the same connection
    descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    descriptor& operator=(descriptor&&) = delete;
    ~descriptor();
    bool same_as(int other) const;  // the connection that `other` is a descriptor of
    bool peer_has_left() const;     // or nothing is known

   private:
    int fd_ = -1;
  };
  struct connection {
    descriptor held;              // none: it ended before it could be looked at
    std::uint64_t greetings = 0;  // that there had been when it began
    bool seems_gone = false;
  };

  std::optional<happened> next();
  void take_in(const std::vector<happened>& all);
  void accepted(int fd, bool lives);
  void closed(int fd);
  void sweep();
  void count(turned_away why) { ++counts_[static_cast<std::size_t>(why)]; }

  zmq::socket_t monitor_;
  std::map<int, connection> held_;     // by ZeroMQ's descriptor: as many as there are connections
  std::map<int, std::string> peers_;   // the announced ones
  std::optional<turned_away> failed_;  // the handshake of the connection whose end is told next
  bool explained_ = false;             // that end needs no other reason
  std::uint64_t greetings_ = 0;        // handshakes that went well, of whatever connection
  std::chrono::steady_clock::time_point swept_{};
  news news_;
  counts counts_{};
};

}  // namespace ballast
