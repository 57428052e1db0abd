// Weights on their way from device memory to the warp that multiplies them: a ring of pieces in shared memory, filled
// several pieces ahead. What is under way does not depend on registers or on when the warp computes, so the memory is
// kept busy even while other traffic (experts that change places) makes each access take longer.
#pragma once

#include "gpu/cuda/expert_tiles.cuh"
#include "gpu/cuda/step_rhythm.hpp"

namespace ballast::gpu::cuda {

// Up to most_tokens tokens of one slot times the rows of one warp: 16 of the gate and of up, or 32 of down.
struct expert_unit {
  std::uint32_t slot, first, count;  // jobs[first .. first + count)
  std::uint32_t row0;
};

// One warp's.
template <class Weight, bool Up, int Stages, std::uint32_t PieceBytes>
class weight_ring {
 public:
  static constexpr std::uint32_t rows = 32, most_tokens = 32, unit_rows = Up ? 16 : 32;
  static constexpr std::uint32_t piece_columns = PieceBytes / sizeof(Weight);
  static constexpr std::uint32_t stage_bytes = rows * PieceBytes, bytes = Stages * stage_bytes;
  static constexpr std::uint32_t parts = PieceBytes / 16;  // of a row's piece, each copied by a lane
  static_assert(parts >= 8 && 32 % parts == 0);

  __device__ weight_ring(const expert_args& args, std::byte* room) : a_(args), room_(room) {
    const auto all_rows = Up ? a_.intermediate : a_.shape.hidden;
    groups_ = (all_rows + unit_rows - 1) / unit_rows;
    items_ = *a_.active_count * groups_;
    row_bytes_ = (Up ? a_.shape.hidden : a_.intermediate) * sizeof(Weight);
    at_ = row_bytes_;
    ahead_ = take_item();
    for (int s = 0; s < Stages; ++s) fill();
  }

  // The next unit. False: there is none left, for any warp.
  __device__ bool next(expert_unit& unit) {
    if (!aimed_) return false;
    unit = aim_;
    aimed_ = false;
    if (short_rows())
      while (filled_ - taken_ < Stages && at_ < row_bytes_) fill();
    return true;
  }

  // Waits for the next piece of the unit's rows.
  __device__ const std::byte* await() {
    if (short_rows())
      await_groups_but<0>();
    else
      await_groups_but<Stages - 1>();
    __syncwarp();
    return room_ + taken_ % Stages * stage_bytes;
  }
  // The piece has been read.
  __device__ void release() {
    __syncwarp();
    ++taken_;
    fill();
  }

  // The four rows of a piece that lanes of a group multiply: two of each matrix.
  __device__ static std::uint32_t row_of(std::uint32_t group, std::uint32_t i) {
    return Up ? i / 2 * unit_rows + 2 * group + i % 2 : 4 * group + i;
  }
  // Where a byte of a row's piece lies: rows that are read together, `apart` apart, are in different banks.
  __device__ static std::uint32_t place(std::uint32_t row, std::uint32_t byte) {
    constexpr std::uint32_t apart = Up ? 2 : 4, classes = sizeof(Weight) == 2 ? 2 : 4;
    const auto part = byte / 16 ^ row / apart % classes * (8 / classes);
    return row * PieceBytes + part * 16 + byte % 16;
  }

 private:
  __device__ static std::uint32_t lane() { return threadIdx.x % 32; }
  // A unit that does not fill the ring: the ring is filled unit by unit.
  __device__ bool short_rows() const { return row_bytes_ < Stages * PieceBytes; }

  // Asked for an item ahead, so that nobody waits for the answer. Only lane 0 has it.
  __device__ std::uint32_t take_item() const { return lane() == 0 ? atomicAdd(a_.queue + (Up ? 0 : 1), 1) : 0; }

  __device__ bool aim() {
    if (left_ > 0) {
      aim_.first += aim_.count;
    } else {
      const auto item = __shfl_sync(~0u, ahead_, 0);
      mark(item);
      if (item >= items_) return false;
      ahead_ = take_item();
      const auto active = a_.active[item / groups_];
      aim_ = {active.slot, active.first, 0, item % groups_ * unit_rows};
      left_ = active.count;
      const auto* bundle = a_.slots[active.slot].bundle;
      base_[0] = bundle + (Up ? a_.bundle.gate : a_.bundle.down);
      base_[1] = bundle + (Up ? a_.bundle.up : a_.bundle.down);
    }
    aim_.count = min(left_, most_tokens);
    left_ -= aim_.count;
    at_ = 0;
    aimed_ = true;
    return true;
  }

  // For pulls beside this step (step_rhythm.hpp). From phase_closing on, what is left takes about as long as a piece.
  __device__ void mark(std::uint32_t item) const {
    if (lane() != 0 || !a_.signals) return;
    const auto say = [&](step_phase phase) {
      const auto layer = static_cast<std::uint32_t>(signal_value(*a_.step, a_.layer));
      *static_cast<volatile std::uint32_t*>(a_.work.rhythm) = layer << 2 | phase;
    };
    if (Up && item == 0) say(phase_experts);
    if (!Up && item == items_ / 4) say(phase_closing);
    if (!Up && item == items_) say(phase_lull);  // the first warp to find nothing: others are at their last
  }

  // One piece more, if there is one; a group of copies in any case, as groups are counted.
  __device__ void fill() {
    if (at_ < row_bytes_ || (!aimed_ && aim())) {
      const auto last = (Up ? a_.intermediate : a_.shape.hidden) - 1;
      auto* to = room_ + filled_ % Stages * stage_bytes;
      const auto part = lane() % parts;
      constexpr auto rows_at_once = 32 / parts;
      if (at_ + part * 16 < row_bytes_)
#pragma unroll
        for (std::uint32_t i = 0; i < rows; i += rows_at_once) {
          const auto row = i + lane() / parts;
          const auto from = min(aim_.row0 + row % unit_rows, last);
          copy_unit(to + place(row, part * 16),
                    base_[i / unit_rows] + std::size_t{from} * row_bytes_ + at_ + part * 16);
        }
      at_ += min(PieceBytes, row_bytes_ - at_);
      ++filled_;
    }
    close_group();
  }

  const expert_args& a_;
  std::byte* room_;
  std::uint32_t groups_, items_, row_bytes_;
  std::uint32_t ahead_;
  expert_unit aim_{};       // whose rows are being fetched
  bool aimed_ = false;      // and has not been begun by the warp
  std::uint32_t left_ = 0;  // tokens of its slot that come after it
  const std::byte* base_[2] = {};
  std::uint32_t at_;
  std::uint32_t filled_ = 0, taken_ = 0;
};

}  // namespace ballast::gpu::cuda
