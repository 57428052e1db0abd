#include "tests/e2e/page_relay.hpp"

#include <chrono>
#include <map>
#include <thread>
#include <vector>
#include <zmq.hpp>

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

struct page_relay::impl {
  void run();
  void pass_request(zmq::socket_t& front);
  void pass_replies(zmq::socket_t& front);

  zmq::context_t& context;
  const std::string address, server;
  std::atomic<int>& flips;
  std::atomic<bool> stopping{false};
  std::map<std::string, zmq::socket_t> pullers{};  // by routing id: as many as pulls were made
  std::thread thread{};
};

page_relay::page_relay(void* zmq_context, std::string address, std::string server, std::atomic<int>& flips)
    : impl_(new impl{*static_cast<zmq::context_t*>(zmq_context), std::move(address), std::move(server), flips}) {
  impl_->thread = std::thread([this] { impl_->run(); });
}

page_relay::~page_relay() {
  impl_->stopping = true;
  impl_->thread.join();
}

const std::string& page_relay::address() const noexcept { return impl_->address; }

void page_relay::impl::run() {
  zmq::socket_t front(context, zmq::socket_type::router);
  front.set(zmq::sockopt::linger, 0);
  front.bind(address);
  while (!stopping) {
    std::vector<zmq::pollitem_t> items{{front.handle(), 0, ZMQ_POLLIN, 0}};
    for (auto& [peer, socket] : pullers) items.push_back({socket.handle(), 0, ZMQ_POLLIN, 0});
    zmq::poll(items, look_for_the_end);
    pass_request(front);
    pass_replies(front);
  }
  pullers.clear();
}

void page_relay::impl::pass_request(zmq::socket_t& front) {
  zmq::message_t peer, request;
  while (front.recv(peer, zmq::recv_flags::dontwait)) {
    (void)front.recv(request);
    auto [at, fresh] = pullers.try_emplace(peer.to_string());
    if (fresh) {
      at->second = zmq::socket_t(context, zmq::socket_type::dealer);
      at->second.set(zmq::sockopt::linger, 0);
      at->second.connect(server);
    }
    at->second.send(request, zmq::send_flags::none);
  }
}

void page_relay::impl::pass_replies(zmq::socket_t& front) {
  for (auto& [peer, socket] : pullers) {
    zmq::message_t reply;
    while (socket.recv(reply, zmq::recv_flags::dontwait)) {
      if (carries_bytes(reply) && flips.fetch_sub(1) > 0)
        static_cast<std::byte*>(reply.data())[reply.size() / 2 + sizeof(gpu::host::pull_reply) / 2] ^= std::byte{0x10};
      front.send(zmq::buffer(peer), zmq::send_flags::sndmore);
      front.send(reply, zmq::send_flags::none);
    }
  }
}

}  // namespace ballast::test
