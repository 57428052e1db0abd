#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "gpu/host/page_pool.hpp"
#include "gpu/host/piece_puller_impl.hpp"

namespace ballast::gpu::host {

// One pull: its socket lives as long as it does, so that no late reply of an earlier pull can be met.
struct piece_puller::session {
  zmq::socket_t socket;
  pull_request request;
  std::string source;
  clock::time_point until;
  std::size_t asked = 0;
  std::vector<std::uint64_t> open = {};  // offsets asked for and not answered, at most pieces_open
};

result<std::uint64_t> piece_puller::bring_page(const std::string& source, model_index model, page_key key,
                                               std::size_t wanted, const sink& put,
                                               std::chrono::milliseconds deadline) {
  pull_request what;
  what.kind = pull_kind::page;
  what.model = model;
  what.layer = key.layer;
  what.expert = key.expert;
  return bring(source, what, wanted, put, deadline);
}

result<std::vector<std::byte>> piece_puller::bring_dense(const std::string& source, model_index model,
                                                         std::size_t wanted, std::chrono::milliseconds deadline) {
  std::vector<std::byte> dense(wanted);
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

result<std::uint64_t> piece_puller::bring(const std::string& source, pull_request what, std::size_t wanted,
                                          const sink& put, std::chrono::milliseconds deadline) {
  auto socket =
      open_connected(context_, zmq::socket_type::dealer, source, {.queue = 64, .frame = 2 * std::int64_t{piece_bytes}});
  if (!socket) return fail(socket.error());
  what.id = next_id_++;
  session s{std::move(*socket), what, source, clock::now() + deadline};
  auto done = bring_pieces(s, wanted, put);
  if (!done) speed_.reset(clock::now());
  return done;
}

bool piece_puller::ask(session& s, std::uint64_t offset, std::uint32_t length) {
  auto request = s.request;
  request.offset = offset;
  request.length = length;
  zmq::message_t message(&request, sizeof request);
  return try_send(s.socket, message) == sent::yes;
}

// The next reply to this pull, checked. A refusal of the source is this function's error.
status piece_puller::next_reply(session& s, zmq::message_t& reply) {
  for (;;) {
    if (stop_.cancelled()) return fail(errc::aborted, fmt::format("pull from {} was cancelled", s.source));
    if (!try_receive(s.socket, reply)) {
      if (clock::now() >= s.until)
        return fail(errc::timed_out, fmt::format("pull from {}: no answer in time", s.source));
      wait(s.socket, ZMQ_POLLIN, stop_.interrupt(), s.until);
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

// Asks for pieces until the window is full; waits for the pace only while nothing is under way.
status piece_puller::ask_more(session& s, std::size_t wanted) {
  while (s.asked < wanted && s.open.size() < pieces_open) {
    const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(piece_bytes, wanted - s.asked));
    if (const auto now = clock::now(); speed_.limited() && now < speed_.next()) {
      if (!s.open.empty()) break;
      if (speed_.next() >= s.until)
        return fail(errc::timed_out, fmt::format("pull from {}: the pace does not meet the deadline", s.source));
      if (stop_.wait_until(speed_.next()))
        return fail(errc::aborted, fmt::format("pull from {} was cancelled", s.source));
    }
    speed_.spend(length, clock::now());
    if (!ask(s, s.asked, length)) return fail(errc::unavailable, fmt::format("{} takes no requests", s.source));
    s.open.push_back(s.asked);
    s.asked += length;
  }
  return {};
}

result<std::uint64_t> piece_puller::bring_pieces(session& s, std::size_t wanted, const sink& put) {
  zmq::message_t reply;
  if (!ask(s, 0, 0)) return fail(errc::unavailable, fmt::format("{} takes no requests", s.source));
  if (auto ok = next_reply(s, reply); !ok) return fail(std::move(ok.error()));
  const auto head = read_as<pull_reply>(reply.data());
  if (head.total != wanted)
    return fail(errc::corrupt,
                fmt::format("{} holds {} bytes where this rank's model has {}", s.source, head.total, wanted));
  s.request.checksum = head.checksum;

  for (std::size_t put_down = 0; put_down < wanted;) {
    if (auto ok = ask_more(s, wanted); !ok) return fail(std::move(ok.error()));
    if (auto ok = next_reply(s, reply); !ok) return fail(std::move(ok.error()));
    const auto piece = read_as<pull_reply>(reply.data());
    const auto at = std::find(s.open.begin(), s.open.end(), piece.offset);
    const std::span bytes(static_cast<const std::byte*>(reply.data()) + sizeof piece, reply.size() - sizeof piece);
    if (at == s.open.end() || bytes.size() != std::min<std::size_t>(piece_bytes, wanted - piece.offset))
      return fail(errc::corrupt,
                  fmt::format("{} sent {} bytes at {} that were not asked for", s.source, bytes.size(), piece.offset));
    s.open.erase(at);
    if (auto ok = put(piece.offset, bytes); !ok) return fail(std::move(ok.error()));
    put_down += bytes.size();
  }
  return head.checksum;
}

}  // namespace ballast::gpu::host
