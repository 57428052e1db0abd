// One layer's placement as a policy works on it: dense indices, load kept up to date with every change. Tokens of an
// expert split evenly over its replicas. Private to policies/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ballast::policies {

// The seats of a problem in order of id; one for all layers.
struct seat_table {
  std::vector<std::uint32_t> room;  // replicas a layer may hold
  std::vector<double> speed;
  std::vector<std::uint32_t> node;
  double speed_sum = 0;
  std::size_t size() const { return room.size(); }
};

class layer_state {
 public:
  layer_state(const std::vector<double>& weights, const seat_table& seats);

  void add(std::uint32_t expert, std::uint32_t seat);     // the seat must not hold it
  void remove(std::uint32_t expert, std::uint32_t seat);  // the seat must hold it

  std::size_t experts() const { return weights_->size(); }
  const seat_table& seats() const { return *seats_; }
  std::size_t replicas() const { return replicas_; }
  double weight(std::uint32_t expert) const { return (*weights_)[expert]; }
  std::uint32_t copies(std::uint32_t expert) const { return static_cast<std::uint32_t>(holders_[expert].size()); }
  double each(std::uint32_t expert) const { return each_[expert]; }  // load of one replica
  const std::vector<std::uint32_t>& holders(std::uint32_t expert) const { return holders_[expert]; }  // sorted
  const std::vector<std::uint32_t>& on(std::uint32_t seat) const { return on_[seat]; }                // sorted
  bool holds(std::uint32_t seat, std::uint32_t expert) const { return holds_[seat * experts() + expert] != 0; }
  bool room(std::uint32_t seat) const { return on_[seat].size() < seats_->room[seat]; }
  double load(std::uint32_t seat) const { return load_[seat]; }
  double time(std::uint32_t seat) const { return time_[seat]; }
  double ideal() const { return total_ / seats_->speed_sum; }  // every seat's time if perfectly balanced
  std::uint32_t slowest() const;                               // lowest index of those with the longest time

 private:
  void spread(std::uint32_t expert, double sign);

  const std::vector<double>* weights_;
  const seat_table* seats_;
  std::vector<std::vector<std::uint32_t>> holders_, on_;
  std::vector<std::uint8_t> holds_;
  std::vector<double> load_, time_, each_;
  std::size_t replicas_ = 0;
  double total_ = 0;
};

}  // namespace ballast::policies
