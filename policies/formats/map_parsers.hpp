// One function for each form of a placement, from its tree to a map. Private to policies/formats/.
#pragma once

#include "policies/formats/placement_file.hpp"
#include "policies/formats/stats_parser.hpp"

namespace ballast::policies {

using parsed_map = stats_parser::parsed<expert_map>;

parsed_map parse_vllm_mapping(const node& object);
parsed_map parse_trtllm(const node& object);
parsed_map parse_sglang(const node& object, std::uint32_t first_dense_layers);
parsed_map parse_ascend(const node& object);
parsed_map parse_ballast(const node& object);

}  // namespace ballast::policies
