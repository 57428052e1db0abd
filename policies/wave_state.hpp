// What wave planning knows between waves and tries within one: who holds what, which copies are still to come, which
// have to go, and how many pages and table entries are left. Private to policies/.
//
// A wave is put together from chains of adds. An add takes a page on its seat; if that leaves the seat without a spare
// page while replicas there wait for their expert to appear elsewhere, the add of one of those belongs to the same
// wave, and so on until a seat has room to spare or the chain comes back to where it was. So no seat is full between
// waves.
#pragma once

#include <cstdint>
#include <vector>

#include "messages/types.hpp"
#include "policies/placement.hpp"

namespace ballast::policies {

inline constexpr std::uint32_t no_index = ~0U;

struct held_copy {
  std::uint32_t seat = 0;  // index
  std::uint32_t slot = 0;
};

struct pending_add {
  std::uint32_t key = 0;   // layer * experts + expert
  std::uint32_t seat = 0;  // index
  std::uint32_t slot = 0;  // wished for
  bool chosen = false;     // part of the wave being put together
};

class wave_state {
 public:
  wave_state(const placement& base, const placement& target, const std::vector<seat_info>& seats,
             std::uint32_t adds_per_seat);

  void begin_wave();
  bool try_chain(std::uint32_t add);    // adds it and what it needs to the wave, or nothing
  bool try_single(std::uint32_t add);   // adds it alone, even if that fills the seat
  bool full(std::uint32_t seat) const;  // no page, or no entry in some layer, while replicas wait to leave
  const std::vector<std::uint32_t>& chosen() const { return chosen_; }
  void end_wave();  // forgets chosen adds and released copies; call after committing them to held()

  std::uint32_t layer_of(std::uint32_t key) const { return key / experts_; }
  std::uint32_t expert_of(std::uint32_t key) const { return key % experts_; }
  std::uint32_t key_count() const { return static_cast<std::uint32_t>(held_.size()); }
  std::vector<held_copy>& held(std::uint32_t key) { return held_[key]; }
  const pending_add& add(std::uint32_t id) const { return adds_[id]; }
  const std::vector<std::uint32_t>& pending_on(std::uint32_t seat) const { return pending_on_[seat]; }
  const std::vector<std::uint32_t>& pending_of(std::uint32_t key) const { return pending_of_[key]; }
  const std::vector<std::uint32_t>& waiting_on(std::uint32_t seat) const { return waiting_on_[seat]; }
  std::size_t pending() const { return pending_; }
  bool wanted(std::uint32_t key, std::uint32_t seat) const;  // does the target have it there?

  std::uint32_t take_slot(std::uint32_t add);  // a free entry, the wished one if possible; marks it used
  void put_copy(std::uint32_t key, held_copy copy);
  void drop_copy(std::uint32_t key, std::uint32_t seat);
  // Copies that nothing waits for: their expert is, or also is, where it shall be. To go with the first wave.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> take_free_drops();  // (key, seat)
  bool has_free_drops() const { return !free_drops_.empty(); }

 private:
  std::size_t cell(std::uint32_t seat, std::uint32_t layer) const { return std::size_t{seat} * layers_ + layer; }
  bool stageable(std::uint32_t add) const;
  bool settled(std::uint32_t seat, std::uint32_t layer) const;
  void apply(std::uint32_t add);
  void undo(std::uint32_t add);
  void release(std::uint32_t key, std::int32_t sign);
  std::uint32_t next_link(std::uint32_t seat, std::uint32_t layer, const std::vector<std::uint32_t>& path,
                          std::size_t& cycle_from) const;
  bool close_cycle(std::vector<std::uint32_t>& path, std::uint32_t last, std::size_t from);
  void find_work(const placement& target);

  std::uint32_t layers_ = 0, experts_ = 0, seats_ = 0, adds_per_seat_ = 0;
  std::vector<std::uint32_t> entries_;  // of a layer's table, by seat
  std::vector<std::uint64_t> pool_;
  std::vector<std::vector<held_copy>> held_;        // by key
  std::vector<std::vector<std::uint32_t>> wanted_;  // by key: seats of the target, sorted
  std::vector<pending_add> adds_;
  std::vector<std::vector<std::uint32_t>> pending_on_, pending_of_;  // ids of adds, by seat and by key
  std::vector<std::vector<std::uint32_t>> waiting_on_;               // by seat: keys whose only copies wait to leave
  std::vector<std::pair<std::uint32_t, std::uint32_t>> free_drops_;
  std::vector<std::vector<bool>> used_;  // by cell: entries
  std::size_t pending_ = 0;

  // Now, and as they will be after the wave being put together.
  std::vector<std::uint64_t> pages_, pages_then_;
  std::vector<std::uint32_t> copies_, copies_then_;  // by cell
  std::vector<std::uint32_t> staged_;                // by cell: adds of this wave
  std::vector<std::uint32_t> waiting_, waiting_in_;  // by seat, by cell: waiting copies after the wave
  std::vector<std::uint64_t> may_stage_;             // by seat: adds that this wave still takes
  std::vector<std::uint32_t> chosen_, chosen_of_;    // ids; by key: how many
};

}  // namespace ballast::policies
