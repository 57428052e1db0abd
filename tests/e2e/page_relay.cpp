#include "tests/e2e/page_relay.hpp"

#include <array>
#include <chrono>
#include <vector>

#include "gpu/host/transport_frames.hpp"

namespace ballast::test {
namespace {

constexpr std::chrono::milliseconds look_for_the_end{50};

// A reply that carries bytes, not a refusal or a description.
bool carries_bytes(const zmq::message_t& reply) {
  if (reply.size() <= sizeof(gpu::host::pull_reply)) return false;
  return gpu::host::read_as<gpu::host::pull_reply>(reply.data()).refused == 0;
}

}  // namespace

page_relay::page_relay(zmq::context_t& context, std::string address, std::string server, std::atomic<int>& flips)
    : context_(context), address_(std::move(address)), server_(std::move(server)), flips_(flips) {
  thread_ = std::thread([this] { run(); });
}

page_relay::~page_relay() {
  stopping_ = true;
  thread_.join();
}

void page_relay::run() {
  zmq::socket_t front(context_, zmq::socket_type::router);
  front.set(zmq::sockopt::linger, 0);
  front.bind(address_);
  while (!stopping_) {
    std::vector<zmq::pollitem_t> items{{front.handle(), 0, ZMQ_POLLIN, 0}};
    for (auto& [peer, socket] : pullers_) items.push_back({socket.handle(), 0, ZMQ_POLLIN, 0});
    zmq::poll(items, look_for_the_end);
    pass_request(front);
    pass_replies(front);
  }
  pullers_.clear();
}

void page_relay::pass_request(zmq::socket_t& front) {
  zmq::message_t peer, request;
  while (front.recv(peer, zmq::recv_flags::dontwait)) {
    (void)front.recv(request);
    auto [at, fresh] = pullers_.try_emplace(peer.to_string());
    if (fresh) {
      at->second = zmq::socket_t(context_, zmq::socket_type::dealer);
      at->second.set(zmq::sockopt::linger, 0);
      at->second.connect(server_);
    }
    at->second.send(request, zmq::send_flags::none);
  }
}

void page_relay::pass_replies(zmq::socket_t& front) {
  for (auto& [peer, socket] : pullers_) {
    zmq::message_t reply;
    while (socket.recv(reply, zmq::recv_flags::dontwait)) {
      if (carries_bytes(reply) && flips_.fetch_sub(1) > 0)
        static_cast<std::byte*>(reply.data())[reply.size() / 2 + sizeof(gpu::host::pull_reply) / 2] ^= std::byte{0x10};
      front.send(zmq::buffer(peer), zmq::send_flags::sndmore);
      front.send(reply, zmq::send_flags::none);
    }
  }
}

}  // namespace ballast::test
