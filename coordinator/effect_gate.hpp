// Effects of the cluster machine on their way out: held back, in their order, until what they rest on is saved. Pure.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "coordinator/cluster_machine.hpp"
#include "coordinator/store.hpp"

namespace ballast::cluster {

// One change is with the store at a time; what is decided meanwhile goes into the next one, all of it together. One
// thread.
class effect_gate {
 public:
  // What a step lets out, and what it changed that has to be saved first.
  void add(effects out, store_change change);
  // What may leave now. Effects that rest on nothing never wait.
  effects released() { return std::exchange(released_, {}); }
  // The next change for the store; null: there is none, or one is with the store.
  std::shared_ptr<const store_change> begin_save();
  void saved();  // the change that was given out; one that failed is given to the store again

  // Nothing should be decided any more until a save ends: the store is so slow that too much waits for it.
  bool full() const noexcept { return waiting_.size() >= most_waiting; }
  static constexpr std::size_t most_waiting = 4096;

 private:
  effects released_;
  effects saving_, waiting_;
  store_change next_;  // what `waiting_` rests on
  bool under_way_ = false;
};

}  // namespace ballast::cluster
