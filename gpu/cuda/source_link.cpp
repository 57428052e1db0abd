#include <fmt/core.h>

#include <cstring>

#include "gpu/cuda/source_link_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {

result<std::unique_ptr<source_link>> source_link::open(const host::wire_context& context, const std::string& address, int ordinal,
                                                       bool allow_mappings, host::cancellation& stop) {
  auto socket = host::open_connected(context, zmq::socket_type::dealer, address, {.queue = 64, .frame = 1 << 16});
  if (!socket) return fail(socket.error());
  std::unique_ptr<source_link> made(new source_link(address, ordinal, allow_mappings, stop));
  made->socket_ = std::move(*socket);
  return made;
}

source_link::~source_link() {
  for (const auto& [model, m] : mappings_)
    if (m.opened != nullptr) log_failure(cudaIpcCloseMemHandle(m.opened), "closing another process's pages");
}

bool source_link::send(const map_request& request, std::span<const key_frame> keys) {
  zmq::message_t message(sizeof request + keys.size_bytes());
  std::memcpy(message.data(), &request, sizeof request);
  if (!keys.empty()) std::memcpy(static_cast<char*>(message.data()) + sizeof request, keys.data(), keys.size_bytes());
  return host::try_send(socket_, message) == host::sent::yes;
}

// The reply to request `id`, checked. A refusal is this function's error.
result<map_reply> source_link::next_reply(std::uint64_t id, zmq::message_t& reply, time_point until) {
  for (;;) {
    if (stop_.cancelled()) return fail(errc::aborted, fmt::format("pull from {} was cancelled", address_));
    if (!host::try_receive(socket_, reply)) {
      if (host::clock::now() >= until)
        return fail(errc::timed_out, fmt::format("pull from {}: no answer in time", address_));
      host::wait(socket_, ZMQ_POLLIN, stop_.interrupt(), until);
      continue;
    }
    map_reply head;
    if (reply.size() >= sizeof head) std::memcpy(&head, reply.data(), sizeof head);
    if (reply.size() < sizeof head || head.magic != map_reply{}.magic)
      return fail(errc::unavailable, fmt::format("{} is no page server of this backend", address_));
    asked_alive_.reset();
    if (head.id != id) {  // of a pull that was given up
      if (head.lease != 0) release(head.lease);
      continue;
    }
    if (head.refused == 0) return head;
    const auto* text = static_cast<const char*>(reply.data()) + sizeof head;
    const auto known = head.code <= static_cast<std::uint8_t>(errc::io);
    return fail(known ? static_cast<errc>(head.code) : errc::unavailable,
                fmt::format("{}: {}", address_, std::string(text, reply.size() - sizeof head)));
  }
}

result<zmq::message_t> source_link::ask(const map_request& request, std::span<const key_frame> keys, time_point until) {
  if (!send(request, keys)) return fail(errc::unavailable, fmt::format("{} takes no requests", address_));
  zmq::message_t reply;
  const auto head = next_reply(request.id, reply, until);
  if (!head) return fail(head.error());
  if (source_ == 0) source_ = head->source;
  if (head->source != source_)
    return fail(errc::unavailable, fmt::format("{} was restarted; its pages lie elsewhere now", address_));
  const auto entry = request.kind == map_kind::describe ? sizeof(mapping_frame) : sizeof(located_frame);
  const auto entries = request.kind == map_kind::describe ? 1 : keys.size();
  if (head->count != entries || reply.size() != sizeof *head + entries * entry)
    return fail(errc::corrupt,
                fmt::format("{} sent {} entries in {} bytes for {}", address_, head->count, reply.size(), entries));
  return reply;
}

result<source_link::view> source_link::map(model_index model, std::size_t page_bytes, time_point until) {
  if (const auto known = mappings_.find(model); known != mappings_.end()) return known->second.seen;
  map_request request;
  request.kind = map_kind::describe;
  request.id = next_id_++;
  request.model = model;
  const auto reply = ask(request, {}, until);
  if (!reply) return fail(reply.error());
  const auto frame = host::read_as<mapping_frame>(static_cast<const char*>(reply->data()) + sizeof(map_reply));
  if (frame.page_bytes != page_bytes)
    return fail(errc::corrupt, fmt::format("{} has pages of {} bytes where this rank's model {} has {}", address_,
                                           frame.page_bytes, model, page_bytes));
  return mappings_.emplace(model, reach(frame)).first->second.seen;
}

// Lets this GPU and another of this process read each other's memory.
status source_link::open_peer(int other) const {
  const auto there = cuda::reach(other, ordinal_);
  auto here = cuda::reach(ordinal_, other);
  return there ? here : there;
}

source_link::mapping source_link::reach(const mapping_frame& frame) const {
  mapping made;
  made.seen = {nullptr, frame.stride, frame.pages};
  if (!allow_mappings_) return made;
  const auto self = this_process();
  process_name there;
  std::memcpy(there.host, frame.host, sizeof there.host);
  there.process = frame.process;
  there.pid = frame.pid;
  if (there.same_process(self)) {
    if (frame.ordinal != ordinal_)
      if (auto ok = open_peer(frame.ordinal); !ok) {
        log::warn("{}: pages come as messages: {}", address_, ok.error().text);
        return made;
      }
    made.seen.base = reinterpret_cast<const std::byte*>(frame.base);
  } else if (there.same_host(self) && frame.exported != 0) {
    cudaIpcMemHandle_t handle;
    std::memcpy(&handle, frame.handle, sizeof handle);
    if (auto ok = check(cudaIpcOpenMemHandle(&made.opened, handle, cudaIpcMemLazyEnablePeerAccess),
                        "mapping another process's pages");
        !ok) {
      (void)cudaGetLastError();
      made.opened = nullptr;
      log::warn("{}: pages come as messages: {}", address_, ok.error().text);
    }
    made.seen.base = static_cast<const std::byte*>(made.opened);
  }
  return made;
}

result<source_link::located> source_link::locate(model_index model, std::span<const page_key> keys, time_point until) {
  std::vector<key_frame> asked;
  for (const auto& key : keys) asked.push_back({key.layer, key.expert});
  map_request request;
  request.kind = map_kind::locate;
  request.id = next_id_++;
  request.model = model;
  request.count = static_cast<std::uint32_t>(keys.size());
  const auto sent_at = host::clock::now();
  const auto reply = ask(request, asked, until);
  if (!reply) return fail(reply.error());
  const auto head = host::read_as<map_reply>(reply->data());
  located out;
  out.lease = head.lease;
  out.until = sent_at + std::chrono::milliseconds(head.lease_ms);
  out.pages.resize(keys.size());
  if (!keys.empty())
    std::memcpy(out.pages.data(), static_cast<const char*>(reply->data()) + sizeof head,
                out.pages.size() * sizeof(located_frame));
  return out;
}

void source_link::release(std::uint64_t lease) {
  if (lease == 0) return;
  map_request request;
  request.kind = map_kind::release;
  request.lease = lease;
  (void)send(request, {});  // lost: it runs out
}

bool source_link::alive(time_point now) {
  zmq::message_t reply;
  while (host::try_receive(socket_, reply)) {
    asked_alive_.reset();
    if (reply.size() < sizeof(map_reply)) continue;
    if (const auto head = host::read_as<map_reply>(reply.data()); head.magic == map_reply{}.magic) release(head.lease);
  }
  if (asked_alive_) return now - *asked_alive_ < patience;
  map_request request;
  request.kind = map_kind::probe;
  request.id = next_id_++;
  (void)send(request, {});
  asked_alive_ = now;
  return true;
}

}  // namespace ballast::gpu::cuda
