// Recorded loads as JSON Lines, in vLLM's form or Ballast's.
#pragma once

#include <string>

#include "messages/result.hpp"
#include "policies/formats/load_records.hpp"

namespace ballast::policies {

// Text for a file: the meta line first, then one line for each record; columns are logical experts. `format` is vllm or
// ballast, whose records keep seats, rank loads and step times where there are any.
result<std::string> meta_line(const load_meta& meta, file_format format);
std::string stats_line(const load_record& record, file_format format);

}  // namespace ballast::policies
