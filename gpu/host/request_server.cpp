#include <fmt/core.h>
#include <pthread.h>
#include <signal.h>

#include "gpu/host/request_server_impl.hpp"

namespace ballast::gpu::host {

result<std::unique_ptr<request_server>> request_server::start(const wire_context& context, const address_pattern& pattern,
                                                              answerer& says) {
  auto socket = open_bound(context, zmq::socket_type::router, pattern, "w", {.queue = 64, .frame = 4096});
  if (!socket) return fail(socket.error());
  try {
    socket->socket.set(zmq::sockopt::router_mandatory, true);
    return std::unique_ptr<request_server>(new request_server(std::move(*socket), says));
  } catch (const std::exception& e) {
    return fail(errc::io, fmt::format("cannot start the page server: {}", e.what()));
  }
}

request_server::request_server(bound_socket socket, answerer& says)
    : socket_(std::move(socket)), address_(socket_.address), says_(says), thread_([this] { serve(); }) {}

request_server::~request_server() {
  stopping_ = true;
  stop_bell_.ring();
  thread_.join();
}

void request_server::serve() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  says_.begin();
  while (!stopping_ || !says_.wind_up()) {
    read_all();
    const auto due = says_.tick(clock::now());
    if (!stopping_ || !says_.wind_up()) wait(socket_.socket, ZMQ_POLLIN, stop_bell_, due);
  }
}

void request_server::read_all() {
  zmq::message_t peer, request, rest;
  while (try_receive(socket_.socket, peer)) {
    bool whole = peer.more() && try_receive(socket_.socket, request);
    for (bool more = whole && request.more(); more; more = rest.more()) {
      whole = false;
      if (!try_receive(socket_.socket, rest)) break;
    }
    if (!whole) request.rebuild();
    auto reply = says_.answer(request);
    // The queue to one puller holds more than its window: a full one means that it has gone or does not keep to the
    // rules.
    if (reply && (try_send(socket_.socket, peer, true) != sent::yes || try_send(socket_.socket, *reply) != sent::yes))
      ++undelivered_;
    if (stopping_ && says_.wind_up()) return;
  }
}

}  // namespace ballast::gpu::host
