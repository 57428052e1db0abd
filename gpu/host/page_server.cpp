#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>

#include <cstring>

#include "gpu/host/page_server_impl.hpp"

namespace ballast::gpu::host {
namespace {

zmq::message_t make_reply(const pull_request& request, std::uint64_t total, std::uint64_t checksum, std::size_t bytes) {
  pull_reply head;
  head.id = request.id;
  head.total = total;
  head.checksum = checksum;
  head.offset = request.offset;
  zmq::message_t reply(sizeof head + bytes);
  std::memcpy(reply.data(), &head, sizeof head);
  return reply;
}

zmq::message_t make_refusal(std::uint64_t id, const error& why) {
  pull_reply head;
  head.id = id;
  head.refused = 1;
  head.code = static_cast<std::uint8_t>(why.code);
  zmq::message_t reply(sizeof head + why.text.size());
  std::memcpy(reply.data(), &head, sizeof head);
  std::memcpy(static_cast<char*>(reply.data()) + sizeof head, why.text.data(), why.text.size());
  return reply;
}

std::byte* body(zmq::message_t& reply) { return static_cast<std::byte*>(reply.data()) + sizeof(pull_reply); }

}  // namespace

result<std::unique_ptr<page_server>> page_server::start(zmq::context_t& context, const address_pattern& pattern,
                                                        const model_states& models) {
  auto socket = open_bound(context, zmq::socket_type::router, pattern, "w", {.queue = 64, .frame = 4096});
  if (!socket) return fail(socket.error());
  try {
    socket->socket.set(zmq::sockopt::router_mandatory, true);
    return std::unique_ptr<page_server>(new page_server(std::move(*socket), models));
  } catch (const std::exception& e) {
    return fail(errc::io, fmt::format("cannot start the page server: {}", e.what()));
  }
}

page_server::page_server(bound_socket socket, const model_states& models)
    : socket_(std::move(socket)), address_(socket_.address), models_(models), thread_([this] { serve(); }) {}

page_server::~page_server() {
  stopping_ = true;
  stop_bell_.ring();
  thread_.join();
}

void page_server::serve() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  zmq::message_t peer, request, rest;
  while (!stopping_) {
    while (!stopping_ && try_receive(socket_.socket, peer)) {
      bool whole = peer.more() && try_receive(socket_.socket, request);
      for (bool more = whole && request.more(); more; more = rest.more()) {
        whole = false;
        if (!try_receive(socket_.socket, rest)) break;
      }
      if (!whole) request.rebuild();
      answer(std::move(peer), request);
    }
    if (!stopping_) wait(socket_.socket, ZMQ_POLLIN, stop_bell_, std::nullopt);
  }
}

void page_server::answer(zmq::message_t peer, const zmq::message_t& message) {
  pull_request request;
  zmq::message_t reply;
  if (message.size() == sizeof request) std::memcpy(&request, message.data(), sizeof request);
  if (message.size() != sizeof request || request.magic != pull_request{}.magic) {
    ++malformed_;
    reply = make_refusal(0, {errc::malformed, "not a request for a page or for dense weights"});
  } else if (auto made = reply_to(request); made) {
    reply = std::move(*made);
  } else {
    reply = make_refusal(request.id, made.error());
  }
  // The queue to one puller holds more than its window: a full one means that it has gone or does not keep to the
  // rules.
  if (try_send(socket_.socket, peer, true) != sent::yes || try_send(socket_.socket, reply) != sent::yes) ++undelivered_;
}

result<zmq::message_t> page_server::reply_to(const pull_request& request) const {
  if (request.model >= models_.size())
    return fail(errc::not_found, fmt::format("model {}: this rank serves {} models", request.model, models_.size()));
  if (request.length > piece_bytes)
    return fail(errc::invalid_argument, fmt::format("{} bytes at once; at most {}", request.length, piece_bytes));
  const auto& model = *models_[request.model];
  switch (request.kind) {
    case pull_kind::page:
      return page_piece(model, request);
    case pull_kind::dense:
      return dense_piece(model, request);
  }
  return fail(errc::malformed, fmt::format("request of kind {}", static_cast<int>(request.kind)));
}

result<zmq::message_t> page_server::page_piece(const model_state& model, const pull_request& request) const {
  const page_key key{request.layer, request.expert};
  const auto sum = model.pool.checksum_of_key(key);
  if (!sum)
    return fail(errc::not_found,
                fmt::format("no page here holds model {} layer {} expert {}", request.model, key.layer, key.expert));
  auto reply = make_reply(request, model.pool.page_bytes(), *sum, request.length);
  if (request.length == 0) return reply;
  // Reads under a pin: a page given back between two pieces is refused, never sent with another's bytes.
  if (auto ok = model.pool.read_key(key, request.checksum, request.offset, {body(reply), request.length}); !ok)
    return fail(std::move(ok.error()));
  return reply;
}

result<zmq::message_t> page_server::dense_piece(const model_state& model, const pull_request& request) const {
  const auto blob = model.dense();
  if (blob == nullptr)
    return fail(errc::not_found, fmt::format("no dense weights of model {} here yet", request.model));
  auto reply = make_reply(request, blob->bytes.size(), blob->checksum, request.length);
  if (request.length == 0) return reply;
  if (request.checksum != blob->checksum)
    return fail(errc::not_found, fmt::format("the dense weights of model {} changed meanwhile", request.model));
  if (request.offset > blob->bytes.size() || request.length > blob->bytes.size() - request.offset)
    return fail(errc::invalid_argument, fmt::format("bytes {} to {} of {}", request.offset,
                                                    request.offset + request.length, blob->bytes.size()));
  std::memcpy(body(reply), blob->bytes.data() + request.offset, request.length);
  return reply;
}

}  // namespace ballast::gpu::host
