#include <fmt/core.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>

#include "gpu/cuda/map_answerer_impl.hpp"
#include "gpu/host/page_pool.hpp"

namespace ballast::gpu::cuda {
namespace {

std::uint64_t draw() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

template <class Entry>
zmq::message_t make_reply(map_reply head, std::span<const Entry> entries) {
  head.count = static_cast<std::uint32_t>(entries.size());
  zmq::message_t reply(sizeof head + entries.size_bytes());
  std::memcpy(reply.data(), &head, sizeof head);
  if (!entries.empty())
    std::memcpy(static_cast<char*>(reply.data()) + sizeof head, entries.data(), entries.size_bytes());
  return reply;
}

}  // namespace

status cuda_model_store::set_dense(std::vector<std::byte> weights) {
  if (weights.size() != dense_bytes_)
    return fail(errc::invalid_argument,
                fmt::format("{} bytes of dense weights; the model's take {}", weights.size(), dense_bytes_));
  const auto sum = host::checksum_of(weights);
  dense_.set(std::make_shared<const host::dense_blob>(host::dense_blob{std::move(weights), sum}));
  return {};
}

map_answerer::map_answerer(const cuda_model_stores& stores)
    : piece_answerer(host::served(stores)), stores_(stores), source_(draw()) {}

std::optional<zmq::message_t> map_answerer::answer(const zmq::message_t& message) {
  map_request request;
  if (message.size() < sizeof request) return piece_answerer::answer(message);
  std::memcpy(&request, message.data(), sizeof request);
  if (request.magic != map_request{}.magic) return piece_answerer::answer(message);
  if (request.kind == map_kind::release) {
    leases_.release(request.lease);
    return std::nullopt;
  }
  auto made = reply_to(request, message);
  if (made) return std::move(*made);
  auto head = head_for(request);
  head.refused = 1;
  head.code = static_cast<std::uint8_t>(made.error().code);
  return make_reply(head, std::span<const char>(made.error().text));
}

map_reply map_answerer::head_for(const map_request& request) const {
  map_reply head;
  head.id = request.id;
  head.source = source_;
  return head;
}

result<zmq::message_t> map_answerer::reply_to(const map_request& request, const zmq::message_t& message) {
  const auto entries = request.kind == map_kind::locate ? std::size_t{request.count} : 0;
  if (entries > most_located || message.size() != sizeof request + entries * sizeof(key_frame))
    return fail(errc::malformed, fmt::format("a request of {} bytes for {} keys", message.size(), request.count));
  if (request.kind == map_kind::probe) return make_reply(head_for(request), std::span<const located_frame>());
  if (request.model >= stores_.size())
    return fail(errc::not_found, fmt::format("model {}: this rank serves {} models", request.model, stores_.size()));
  if (request.kind == map_kind::describe) return describe(request);
  if (request.kind == map_kind::locate) return locate(request, message);
  return fail(errc::malformed, fmt::format("request of kind {}", static_cast<int>(request.kind)));
}

zmq::message_t map_answerer::describe(const map_request& request) const {
  const auto& pool = stores_[request.model]->pool();
  mapping_frame frame;
  const auto self = this_process();
  std::memcpy(frame.host, self.host, sizeof frame.host);
  frame.process = self.process;
  frame.pid = self.pid;
  frame.base = reinterpret_cast<std::uint64_t>(pool.at(0));
  frame.stride = pool.stride();
  frame.page_bytes = pool.page_bytes();
  frame.pages = pool.capacity();
  frame.ordinal = pool.ordinal();
  static_assert(sizeof frame.handle == sizeof(cudaIpcMemHandle_t));
  if (pool.handle()) {
    frame.exported = 1;
    std::memcpy(frame.handle, &*pool.handle(), sizeof frame.handle);
  }
  return make_reply(head_for(request), std::span<const mapping_frame>(&frame, 1));
}

result<zmq::message_t> map_answerer::locate(const map_request& request, const zmq::message_t& message) {
  if (winding_up_) return fail(errc::unavailable, "this rank is about to end");
  const auto& pool = stores_[request.model]->pool();
  std::vector<located_frame> found(request.count);
  std::vector<page_book::pin> pins;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    const auto* at = static_cast<const char*>(message.data()) + sizeof request + i * sizeof(key_frame);
    const auto key = host::read_as<key_frame>(at);
    auto held = pool.hold({key.layer, key.expert});
    if (!held) continue;
    found[i] = {held->checksum(), held->page(), 1};
    pins.push_back(std::move(*held));
  }
  auto head = head_for(request);
  if (!pins.empty()) {
    head.lease_ms = lease_ms;
    head.lease = leases_.add(std::move(pins), host::clock::now() + std::chrono::milliseconds(lease_ms));
  }
  return make_reply(head, std::span<const located_frame>(found));
}

}  // namespace ballast::gpu::cuda
