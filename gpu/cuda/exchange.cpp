#include "gpu/cuda/exchange_impl.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

namespace ballast::gpu::cuda {
namespace {

constexpr std::size_t align(std::size_t n) noexcept { return (n + 255) / 256 * 256; }

// What travels: the half as it lies in memory, in hexadecimal. Both ends run the same program on the same kind of host.
struct wire {
  char magic[8] = {'B', 'L', 'C', 'U', 'D', 'A', '0', '1'};
  process_name process;
  std::uint64_t base = 0, answer_bytes = 0;
  std::int32_t ordinal = 0;
  std::uint32_t lane = 0, members = 0, max_tokens = 0, row_bytes = 0, top_k = 0;
  cudaIpcMemHandle_t handle{};
};

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
  std::array<unsigned char, sizeof w> bytes{};
  std::memcpy(bytes.data(), &w, sizeof w);
  std::string text;
  for (const auto b : bytes) text += fmt::format("{:02x}", b);
  return text;
}

result<exchange_half> exchange_half::decode(const std::string& text) {
  const auto bad = [] { return fail(errc::malformed, "not a half of a cuda communicator: another backend, or version?"); };
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
  if (std::memcmp(w.magic, wire{}.magic, sizeof w.magic) != 0 || w.lane >= exchange_memory::lanes) return bad();
  return exchange_half{w.process,
                       w.ordinal,
                       w.lane,
                       w.base,
                       w.handle,
                       {w.members, w.max_tokens, w.row_bytes, w.top_k, w.answer_bytes}};
}

mapping::~mapping() {
  if (foreign_) log_failure(cudaIpcCloseMemHandle(base_), "unmapping a peer's memory");
}

result<std::unique_ptr<exchange_memory>> exchange_memory::make(int ordinal, const exchange_shape& shape) {
  std::unique_ptr<exchange_memory> made(new exchange_memory(ordinal, shape));
  auto device = memory::make(memory_kind::device, lanes * shape.lane_bytes(), "exchange buffers");
  if (!device) return fail(device.error());
  auto clearing = stream::make(false);
  if (!clearing) return fail(clearing.error());
  made->memory_ = std::move(*device);
  made->stream_ = std::move(*clearing);
  if (auto ok = check(cudaIpcGetMemHandle(&made->handle_, made->memory_.data()), "exporting exchange buffers"); !ok)
    return fail(ok.error());
  // Rows that nobody has sent yet are multiplied by zero weights at the end of a matrix: they must be numbers.
  if (auto ok = check(cudaMemset(made->memory_.data(), 0, made->memory_.size()), "clearing exchange buffers"); !ok)
    return fail(ok.error());
  return made;
}

result<std::uint32_t> exchange_memory::take() {
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  const std::lock_guard lock(mutex_);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    if (taken_[lane]) continue;
    auto* flags = memory_.data() + lane * shape_.lane_bytes() + shape_.flags_offset();
    const auto bytes = signal_kinds * max_members * sizeof(std::uint64_t);
    if (auto ok = check(cudaMemsetAsync(flags, 0, bytes, stream_.get()), "clearing signals"); !ok) return fail(ok.error());
    if (auto ok = stream_.wait(); !ok) return fail(ok.error());
    taken_[lane] = true;
    return lane;
  }
  return fail(errc::does_not_fit, fmt::format("{} communicators are open on GPU {}; close one first", lanes, ordinal_));
}

void exchange_memory::give_back(std::uint32_t lane) {
  const std::lock_guard lock(mutex_);
  taken_.at(lane) = false;
}

exchange_half exchange_memory::half(std::uint32_t lane) const {
  return {this_process(), ordinal_, lane, reinterpret_cast<std::uint64_t>(memory_.data()), handle_, shape_};
}

result<std::shared_ptr<mapping>> exchange_memory::map(const exchange_half& peer) {
  if (!(peer.shape == shape_))
    return fail(errc::does_not_fit,
                fmt::format("a peer exchanges up to {} tokens with {} members in rows of {} bytes, this rank {}, {} and {}; "
                            "give all agents the same models, max_batch_tokens and max_members",
                            peer.shape.max_tokens, peer.shape.members, peer.shape.row_bytes, shape_.max_tokens,
                            shape_.members, shape_.row_bytes));
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  const auto self = this_process();
  if (peer.process.same_process(self)) {
    if (auto ok = reach(ordinal_, peer.ordinal); !ok) return fail(ok.error());
    return std::make_shared<mapping>(reinterpret_cast<std::byte*>(peer.base), false);
  }
  if (!peer.process.same_host(self))
    return fail(errc::unavailable, "a member is on another host: its memory cannot be mapped");
  const std::lock_guard lock(mutex_);
  auto& known = mappings_[{peer.process.process, peer.process.pid, peer.base}];
  if (auto alive = known.lock()) return alive;
  void* at = nullptr;
  const auto code = cudaIpcOpenMemHandle(&at, peer.handle, cudaIpcMemLazyEnablePeerAccess);
  if (code != cudaSuccess) {
    (void)cudaGetLastError();
    return fail(errc::unavailable, fmt::format("the memory of a peer process cannot be mapped: {}", cudaGetErrorName(code)));
  }
  auto made = std::make_shared<mapping>(static_cast<std::byte*>(at), true);
  known = made;
  return made;
}

member_view exchange_memory::view(std::byte* base, const exchange_shape& shape, std::uint32_t lane) noexcept {
  auto* at = base + lane * shape.lane_bytes();
  return {reinterpret_cast<std::uint16_t*>(at), reinterpret_cast<pick*>(at + shape.picks_offset()),
          reinterpret_cast<float*>(at + shape.answers_offset()),
          reinterpret_cast<std::uint64_t*>(at + shape.flags_offset())};
}

}  // namespace ballast::gpu::cuda
