// `ballast soak`: a coordinator and agents as processes on this machine; under load, operations, aborts, kills and
// hangs in random order; every answer is checked, and memory, descriptors, threads and pages are watched for growth.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "messages/result.hpp"

namespace ballast {

struct soak_options {
  double minutes = 30;
  std::uint64_t seed = 1;
  std::string json_file;  // the outcome as one JSON document
  std::string folder;     // works there and keeps it; empty: a temporary one
};

// Error: the first thing that went wrong; also when a request was lost, an answer was wrong, something grew or an
// operation did not end (the outcome is printed all the same).
status run_soak(const soak_options& options, std::ostream& out);

}  // namespace ballast
