// Placements of any engine, JSON and YAML; and what is written of those that are legal is read back as it was.
#include "policies/formats/placement_file.hpp"
#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;
using policies::file_format;

namespace {

void require_written_as_read(const policies::expert_map& map) {
  const auto text = policies::text_of(map, file_format::ballast);
  if (!text) return fuzz::require_one_line(text.error());
  const auto back = policies::read_expert_map(fuzz::file_with(std::as_bytes(std::span(*text))));
  fuzz::require(back.has_value(), "what was written can be read: " + (back ? "" : back.error().text));
  fuzz::require(back->map.layers == map.layers, "a placement is read back as it was written");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = policies::read_expert_map(fuzz::file_with(fuzz::view(data, size)), {.ranks = size % 2 ? 2u : 0u});
  if (!file) {
    fuzz::require_one_line(file.error());
    return 0;
  }
  fuzz::require(check(file->map).has_value(), "a placement that was read is legal");
  for (const auto form : {file_format::vllm, file_format::sglang, file_format::trtllm, file_format::vllm_ascend})
    if (const auto text = policies::text_of(file->map, form); !text) fuzz::require_one_line(text.error());
  if (file->map.ranks != 0) {
    fuzz::require(placement_of(file->map).has_value(), "a legal placement can be used");
    require_written_as_read(file->map);
  }
  return 0;
}
