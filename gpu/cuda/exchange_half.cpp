#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "gpu/cuda/exchange_half_impl.hpp"
#include "gpu/cuda/views.hpp"

namespace ballast::gpu::cuda {
namespace {

constexpr std::size_t align(std::size_t n) noexcept { return (n + 255) / 256 * 256; }

// What travels: the half as it lies in memory, in hexadecimal. Both ends run the same program on the same kind of host.
struct wire {
  char magic[8] = {'B', 'L', 'C', 'U', 'D', 'A', '0', '2'};
  process_name process;
  gpu_name gpu;
  std::uint64_t base = 0, answer_bytes = 0;
  std::int32_t ordinal = 0;
  std::uint32_t lane = 0, members = 0, max_tokens = 0, row_bytes = 0, top_k = 0, wish = 0;
  cudaIpcMemHandle_t handle{};
};

const char* name_of(exchange_kind kind) noexcept {
  return kind == exchange_kind::peer ? "peer" : kind == exchange_kind::nccl ? "nccl" : "auto";
}

}  // namespace

std::size_t exchange_shape::picks_offset() const noexcept {
  return align(std::size_t{members} * max_tokens * row_bytes);
}
std::size_t exchange_shape::answers_offset() const noexcept {
  return picks_offset() + align(std::size_t{members} * max_tokens * top_k * sizeof(pick));
}
std::size_t exchange_shape::flags_offset() const noexcept { return answers_offset() + align(answer_bytes); }
std::size_t exchange_shape::lane_bytes() const noexcept {
  return flags_offset() + align(signal_kinds * max_members * sizeof(std::uint64_t));
}

exchange_shape shape_exchange(const std::vector<moe_shape>& models, std::uint32_t max_tokens, std::uint32_t members) {
  exchange_shape s;
  s.members = members;
  s.max_tokens = max_tokens;
  for (const auto& m : models) {
    s.row_bytes = std::max(s.row_bytes, m.hidden * 2);
    s.top_k = std::max(s.top_k, m.top_k);
    s.answer_bytes = std::max(s.answer_bytes, std::uint64_t{max_tokens} * m.top_k * m.hidden * sizeof(float));
  }
  return s;
}

status check_alike(const exchange_shape& mine, const exchange_shape& peers) {
  if (mine == peers) return {};
  return fail(
      errc::does_not_fit,
      fmt::format("a peer exchanges up to {} tokens with {} members in rows of {} bytes, this rank {}, {} and {}; "
                  "give all agents the same models, max_batch_tokens and max_members",
                  peers.max_tokens, peers.members, peers.row_bytes, mine.max_tokens, mine.members, mine.row_bytes));
}

std::string exchange_half::encode() const {
  wire w;
  w.process = process;
  w.base = base;
  w.answer_bytes = shape.answer_bytes;
  w.ordinal = ordinal;
  w.lane = lane;
  w.members = shape.members;
  w.max_tokens = shape.max_tokens;
  w.row_bytes = shape.row_bytes;
  w.top_k = shape.top_k;
  w.handle = handle;
  w.gpu = gpu;
  w.wish = static_cast<std::uint32_t>(wish);
  std::array<unsigned char, sizeof w> bytes{};
  std::memcpy(bytes.data(), &w, sizeof w);
  std::string text;
  for (const auto b : bytes) text += fmt::format("{:02x}", b);
  return text;
}

result<exchange_half> exchange_half::decode(const std::string& text) {
  const auto bad = [] {
    return fail(errc::malformed, "not a half of a cuda communicator: another backend, or version?");
  };
  wire w;
  if (text.size() != 2 * sizeof w) return bad();
  std::array<unsigned char, sizeof w> bytes{};
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (std::size_t i = 0; i < sizeof w; ++i) {
    const auto high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return bad();
    bytes[i] = static_cast<unsigned char>(high << 4 | low);
  }
  std::memcpy(&w, bytes.data(), sizeof w);
  if (std::memcmp(w.magic, wire{}.magic, sizeof w.magic) != 0 || w.wish > 2) return bad();
  return exchange_half{w.process, w.ordinal,
                       w.lane,    w.base,
                       w.handle,  {w.members, w.max_tokens, w.row_bytes, w.top_k, w.answer_bytes},
                       w.gpu,     static_cast<exchange_kind>(w.wish)};
}

result<exchange_kind> choose_exchange(std::span<const exchange_half> halves, std::span<const seat_id> seats) {
  bool one_host = true;
  for (std::size_t i = 1; i < halves.size(); ++i) {
    if (halves[i].wish != halves[0].wish)
      return fail(
          errc::invalid_argument,
          fmt::format("seat {} has exchange = \"{}\", seat {} \"{}\"; give all agents the same", index_of(seats[0]),
                      name_of(halves[0].wish), index_of(seats[i]), name_of(halves[i].wish)));
    one_host = one_host && halves[i].process.same_host(halves[0].process);
  }
  if (halves.size() < 2 || halves[0].wish == exchange_kind::peer) return exchange_kind::peer;
  if (halves[0].wish == exchange_kind::automatic && one_host) return exchange_kind::peer;
  for (std::size_t i = 0; i < halves.size(); ++i)
    for (std::size_t j = i + 1; j < halves.size(); ++j)
      if (halves[i].gpu == halves[j].gpu)
        return fail(errc::unavailable,
                    fmt::format("seats {} and {} stand on one GPU, where NCCL takes one rank; give each rank its own "
                                "(first_gpu), or keep all on one host with exchange = \"peer\"",
                                index_of(seats[i]), index_of(seats[j])));
  return exchange_kind::nccl;
}

}  // namespace ballast::gpu::cuda
