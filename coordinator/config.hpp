// Reading and checking the coordinator's settings.
#pragma once

#include "coordinator/service.hpp"

namespace ballast {

// Settings that make no sense together. Error: invalid_argument, one line with the names and the remedy.
status check_config(const coordinator_config& config);

}  // namespace ballast
