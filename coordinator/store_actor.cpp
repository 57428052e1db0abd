#include <exception>

#include "coordinator/actors_impl.hpp"

namespace ballast {
namespace {

status apply_without_throwing(store& to, const store_change& change) {
  try {
    return to.apply(change);
  } catch (const std::exception& e) {
    return fail(errc::io, std::string("store: ") + e.what());
  }
}

}  // namespace

store_actor::behavior_type keeper(store_actor::stateful_pointer<std::shared_ptr<store>> self,
                                  std::shared_ptr<store> where) {
  self->state = std::move(where);
  return {
      [self](const change_ptr& change) -> saved_ptr {
        return std::make_shared<const status>(apply_without_throwing(*self->state, *change));
      },
      [self](stop_atom) {
        self->state.reset();
        self->quit();
      },
  };
}

}  // namespace ballast
