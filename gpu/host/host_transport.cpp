#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gpu/host/host_transport_impl.hpp"

namespace ballast::gpu::host {

// One pull: its socket lives as long as it does, so that no late reply of an earlier pull can be met.
struct host_transport::session {
  zmq::socket_t socket;
  pull_request request;
  std::string source;
  clock::time_point until;
  clock::time_point may_ask;  // pacing: not before
};

result<std::unique_ptr<host_transport>> host_transport::open(zmq::context_t& context, const address_pattern& pattern,
                                                             model_states& models, std::uint64_t bytes_per_s) {
  std::unique_ptr<host_transport> made(new host_transport(context, models, bytes_per_s));
  auto server = page_server::start(context, pattern, models);
  if (!server) return fail(server.error());
  made->server_ = std::move(*server);
  return made;
}

void host_transport::cancel() noexcept {
  const std::lock_guard lock(mutex_);
  if (!under_way_) return;
  cancelled_ = true;
  cancel_bell_.ring();
}

result<std::uint64_t> host_transport::pull(const std::string& source, model_index model, page_key key, page_index page,
                                           std::chrono::milliseconds deadline) {
  if (model >= models_.size()) return fail(errc::not_found, fmt::format("model {} of {}", model, models_.size()));
  auto& pool = models_[model]->pool;
  pull_request what;
  what.kind = pull_kind::page;
  what.model = model;
  what.layer = key.layer;
  what.expert = key.expert;
  const auto sum = bring(
      source, what, pool.page_bytes(),
      [&](std::size_t offset, std::span<const std::byte> piece) { return pool.write_at(page, offset, piece); },
      deadline);
  if (!sum) return fail(sum.error());
  if (auto ok = pool.seal(page, key, *sum); !ok)
    return fail(ok.error().code, fmt::format("{} (pulled from {})", ok.error().text, source));
  return pool.page_bytes();
}

result<std::vector<std::byte>> host_transport::pull_dense(const std::string& source, model_index model,
                                                          std::chrono::milliseconds deadline) {
  if (model >= models_.size()) return fail(errc::not_found, fmt::format("model {} of {}", model, models_.size()));
  const auto& math = models_[model]->math;
  std::vector<std::byte> dense(math.dense_bytes() * math.shape().layers);
  pull_request what;
  what.kind = pull_kind::dense;
  what.model = model;
  const auto sum = bring(
      source, what, dense.size(),
      [&](std::size_t offset, std::span<const std::byte> piece) -> status {
        std::memcpy(dense.data() + offset, piece.data(), piece.size());
        return {};
      },
      deadline);
  if (!sum) return fail(sum.error());
  if (const auto got = checksum_of(dense); got != *sum)
    return fail(errc::corrupt, fmt::format("dense weights of model {} from {}: checksum {:016x}, expected {:016x}",
                                           model, source, got, *sum));
  return dense;
}

result<std::uint64_t> host_transport::bring(const std::string& source, pull_request what, std::size_t wanted,
                                            const sink& put, std::chrono::milliseconds deadline) {
  {
    const std::lock_guard lock(mutex_);
    under_way_ = true;
    cancelled_ = false;
  }
  auto socket =
      open_connected(context_, zmq::socket_type::dealer, source, {.queue = 64, .frame = 2 * std::int64_t{piece_bytes}});
  result<std::uint64_t> done = fail(errc::unavailable, "");
  if (socket) {
    const auto now = clock::now();
    what.id = next_id_++;
    session s{std::move(*socket), what, source, now + deadline, now};
    done = bring_pieces(s, wanted, put);
  } else {
    done = fail(socket.error());
  }
  const std::lock_guard lock(mutex_);
  under_way_ = false;
  return done;
}

bool host_transport::ask(session& s, std::uint64_t offset, std::uint32_t length) {
  auto request = s.request;
  request.offset = offset;
  request.length = length;
  zmq::message_t message(&request, sizeof request);
  return try_send(s.socket, message) == sent::yes;
}

// The next reply to this pull, checked. A refusal of the source is this function's error.
status host_transport::next_reply(session& s, zmq::message_t& reply) {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) return fail(errc::aborted, fmt::format("pull from {} was cancelled", s.source));
    }
    if (!try_receive(s.socket, reply)) {
      if (clock::now() >= s.until)
        return fail(errc::timed_out, fmt::format("pull from {}: no answer in time", s.source));
      wait(s.socket, ZMQ_POLLIN, cancel_bell_, s.until);
      continue;
    }
    if (reply.size() < sizeof(pull_reply))
      return fail(errc::corrupt, fmt::format("{} is no page server: it sent garbage", s.source));
    const auto head = read_as<pull_reply>(reply.data());
    if (head.magic != pull_reply{}.magic)
      return fail(errc::corrupt, fmt::format("{} is no page server: it sent garbage", s.source));
    if (head.id != s.request.id) continue;
    if (head.refused == 0) return {};
    const auto* text = static_cast<const char*>(reply.data()) + sizeof head;
    const auto known = head.code <= static_cast<std::uint8_t>(errc::io);
    return fail(known ? static_cast<errc>(head.code) : errc::unavailable,
                fmt::format("{}: {}", s.source, std::string(text, reply.size() - sizeof head)));
  }
}

result<std::uint64_t> host_transport::bring_pieces(session& s, std::size_t wanted, const sink& put) {
  zmq::message_t reply;
  if (!ask(s, 0, 0)) return fail(errc::unavailable, fmt::format("{} takes no requests", s.source));
  if (auto ok = next_reply(s, reply); !ok) return fail(std::move(ok.error()));
  const auto head = read_as<pull_reply>(reply.data());
  if (head.total != wanted)
    return fail(errc::corrupt,
                fmt::format("{} holds {} bytes where this rank's model has {}", s.source, head.total, wanted));
  s.request.checksum = head.checksum;

  std::size_t asked = 0, put_down = 0;
  std::vector<std::uint64_t> open;  // offsets asked for and not answered, at most pieces_open
  while (put_down < wanted) {
    while (asked < wanted && open.size() < pieces_open) {
      const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(piece_bytes, wanted - asked));
      if (bytes_per_s_ > 0) {
        if (const auto now = clock::now(); now < s.may_ask) {
          if (!open.empty()) break;
          if (s.may_ask >= s.until)
            return fail(errc::timed_out, fmt::format("pull from {}: the pace does not meet the deadline", s.source));
          wait(s.socket, 0, cancel_bell_, s.may_ask);
          const std::lock_guard lock(mutex_);
          if (cancelled_) return fail(errc::aborted, fmt::format("pull from {} was cancelled", s.source));
          continue;
        }
        s.may_ask =
            std::max(s.may_ask, clock::now()) + std::chrono::nanoseconds(length * 1'000'000'000ull / bytes_per_s_);
      }
      if (!ask(s, asked, length)) return fail(errc::unavailable, fmt::format("{} takes no requests", s.source));
      open.push_back(asked);
      asked += length;
    }
    if (auto ok = next_reply(s, reply); !ok) return fail(std::move(ok.error()));
    const auto piece = read_as<pull_reply>(reply.data());
    const auto at = std::find(open.begin(), open.end(), piece.offset);
    const std::span bytes(static_cast<const std::byte*>(reply.data()) + sizeof piece, reply.size() - sizeof piece);
    if (at == open.end() || bytes.size() != std::min<std::size_t>(piece_bytes, wanted - piece.offset))
      return fail(errc::corrupt,
                  fmt::format("{} sent {} bytes at {} that were not asked for", s.source, bytes.size(), piece.offset));
    open.erase(at);
    if (auto ok = put(piece.offset, bytes); !ok) return fail(std::move(ok.error()));
    put_down += bytes.size();
  }
  return head.checksum;
}

}  // namespace ballast::gpu::host
