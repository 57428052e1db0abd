// `ballast demo`: the whole story on one machine, with real processes: a coordinator and seven agents serve a model
// whose loads follow a recording; experts are rebalanced, ranks added and removed, one is killed, all under traffic; in
// the end every answer is compared bit for bit with what one static rank computes.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "messages/result.hpp"

namespace ballast {

struct demo_options {
  std::string json_file;  // the final table as one JSON document
  std::string folder;     // works there and keeps it; empty: a temporary one
  std::string loads;      // recorded loads; empty: the project's own
  bool plain = false;     // lines instead of a redrawn block
};

// Error: the first thing that went wrong; also when a request was lost, an answer differed or an operation did not end
// done (the table is printed all the same).
status run_demo(const demo_options& options, std::ostream& out);

}  // namespace ballast
