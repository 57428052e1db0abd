// Placements of any engine, from files and to text. docs/PLANNING.md has every form.
#pragma once

#include <cstdint>
#include <string>

#include "messages/result.hpp"
#include "policies/formats/expert_map.hpp"
#include "policies/formats/file_format.hpp"

namespace ballast::policies {

struct map_options {
  file_format format = file_format::automatic;
  std::uint32_t ranks = 0;               // for forms that do not say it
  std::uint32_t first_dense_layers = 0;  // that the form counts or lists before the first of these layers
};

struct map_file {
  expert_map map;  // legal (check)
  file_format format = file_format::automatic;
};

// "-" is standard input; plain or gzip; the last placement of a file that has several. A recording whose records have
// p2l_map is a placement, too: where experts lay in the end. Holds one record or document, within tree_builder's
// limits. Errors: io; malformed and version_mismatch with file, line and what to do; invalid_argument (ranks do not
// fit).
result<map_file> read_expert_map(const std::string& path, const map_options& options = {});

// In the form of `format`, which is none of the automatic ones. first_dense_layers as above: layers of trtllm are
// counted on from it, sglang lists that many in order first; map.first_layer where it is 0. Errors: does_not_fit where
// the form knows no empty slots and there are some, invalid_argument (ranks unknown where the form needs them).
result<std::string> text_of(const expert_map& map, file_format format, std::uint32_t first_dense_layers = 0);

}  // namespace ballast::policies
