// `read_stats`: recorded loads that the first placement is planned from.
#pragma once

#include <string>

#include "coordinator/cluster_state.hpp"
#include "messages/result.hpp"

namespace ballast {

// The whole recording, in bounded memory whatever its length. Errors: those of policies::load_record_reader.
result<cluster::recorded_start> read_start(const std::string& path);

}  // namespace ballast
