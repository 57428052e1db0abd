#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <vector>

#include "messages/curve_impl.hpp"
#include "messages/log.hpp"
#include "messages/zap_impl.hpp"

namespace ballast {
namespace {

constexpr const char* endpoint = "inproc://zeromq.zap.01";  // where ZeroMQ asks
enum part : std::size_t { version, request, domain, address, identity, mechanism, key, parts };

// All parts of one message; they arrive together.
std::vector<std::string> receive(zmq::socket_t& from) {
  std::vector<std::string> all;
  zmq::message_t frame;
  do {
    if (zmq_msg_recv(frame.handle(), from.handle(), ZMQ_DONTWAIT) < 0) break;
    all.push_back(frame.to_string());
  } while (frame.more());
  return all;
}

void send(zmq::socket_t& to, const std::vector<std::string>& all) {
  for (std::size_t i = 0; i < all.size(); ++i)
    zmq_send(to.handle(), all[i].data(), all[i].size(), ZMQ_DONTWAIT | (i + 1 < all.size() ? ZMQ_SNDMORE : 0));
}

std::string hex(const std::string& raw) {
  std::string text;
  for (const char c : raw) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

}  // namespace

result<std::unique_ptr<zap_handler>> zap_handler::start(zmq::context_t& context,
                                                        const std::map<std::string, allowed_peer>& allowed) {
  std::unique_ptr<zap_handler> made(new zap_handler(allowed));
  made->wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (made->wake_ < 0) return fail(errc::io, "no eventfd for checking keys; raise the limit of open files");
  zmq::socket_t requests(context, zmq::socket_type::rep);
  requests.set(zmq::sockopt::linger, 0);
  if (zmq_bind(requests.handle(), endpoint) != 0)
    return fail(errc::conflict, "this process checks keys already; make its context secure once");
  // Signals belong to the main thread; a new thread inherits the mask. The socket is handed over by the thread's start.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  made->thread_ = std::thread(&zap_handler::run, made.get(), std::move(requests));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return made;
}

zap_handler::~zap_handler() {
  if (wake_ >= 0) eventfd_write(wake_, 1);
  if (thread_.joinable()) thread_.join();
  if (wake_ >= 0) close(wake_);
}

void zap_handler::run(zmq::socket_t requests) {
  std::array<zmq_pollitem_t, 2> items{{{nullptr, wake_, ZMQ_POLLIN, 0}, {requests.handle(), 0, ZMQ_POLLIN, 0}}};
  while (true) {
    if (zmq_poll(items.data(), static_cast<int>(items.size()), -1) < 0) {
      if (zmq_errno() == EINTR) continue;
      return;
    }
    if (items[0].revents != 0) return;
    answer(requests);
  }
}

void zap_handler::answer(zmq::socket_t& requests) {
  const auto asked = receive(requests);
  if (asked.empty()) return;
  const std::string id = asked.size() > request ? asked[request] : "";
  const std::string shown = asked.size() == parts ? hex(asked[key]) : "";
  const auto* peer = asked.size() == parts ? find(asked[domain], asked[mechanism], shown) : nullptr;
  if (peer) return send(requests, {"1.0", id, "200", "OK", user_of(peer->role, peer->name), ""});
  turned_away_.fetch_add(1, std::memory_order_relaxed);
  complain(asked.size() > address ? asked[address] : "", shown);
  send(requests, {"1.0", id, "400", "no such key", "", ""});
}

const allowed_peer* zap_handler::find(const std::string& for_what, const std::string& how,
                                      const std::string& shown) const {
  if (how != "CURVE") return nullptr;
  const auto found = allowed_.find(shown);
  if (found == allowed_.end()) return nullptr;
  const bool agents_only = for_what == curve::data_domain;
  return agents_only && found->second.role != peer_role::agent ? nullptr : &found->second;
}

void zap_handler::complain(const std::string& from, const std::string& shown) {
  if (const auto times = complaints_.add(complaints::clock::now()))
    log::warn(
        "turned away {} ({} since the last report): public key {} is not in the list of peers, or not for this socket",
        from, *times, shown.empty() ? "unknown" : shown);
}

}  // namespace ballast
