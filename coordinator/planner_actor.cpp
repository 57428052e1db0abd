#include <exception>

#include "coordinator/actors_impl.hpp"

namespace ballast {
namespace {

result<cluster::plan> plan_without_throwing(planning_function make, const cluster::plan_request& request) {
  try {
    return make(request);
  } catch (const std::exception& e) {
    return fail(errc::invalid_argument, std::string("the planner failed: ") + e.what());
  }
}

}  // namespace

planner_actor::behavior_type planner(planner_actor::pointer self, planning_function make) {
  return {
      [make](const plan_request_ptr& request) -> planned_ptr {
        return std::make_shared<const cluster::input::planned>(
            cluster::input::planned{request->id, plan_without_throwing(make, *request)});
      },
      [self](stop_atom) { self->quit(); },
  };
}

}  // namespace ballast
