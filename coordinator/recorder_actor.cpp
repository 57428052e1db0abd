#include "coordinator/actors_impl.hpp"
#include "messages/log.hpp"

namespace ballast {

recorder_actor::behavior_type recorder(recorder_actor::stateful_pointer<std::optional<load_recorder>> self,
                                       recorder_options options, std::shared_ptr<coordinator_ports> ports) {
  self->state.emplace(std::move(options));
  return {
      [self, ports](const recorded_ptr& what) {
        ports->recording.fetch_sub(1, std::memory_order_relaxed);
        if (auto written = self->state->append(*what); !written) log::error("coordinator: {}", written.error().text);
      },
      [self](stop_atom) {
        self->state.reset();
        self->quit();
      },
  };
}

}  // namespace ballast
