#include "policies/formats/file_format.hpp"

#include <array>

namespace ballast::policies {

namespace {

constexpr std::array names = {"automatic", "vllm", "sglang", "trtllm", "vllm-ascend", "ballast"};

}  // namespace

const char* to_string(file_format format) noexcept { return names[static_cast<std::size_t>(format)]; }

result<file_format> file_format_of(const std::string& name) {
  for (std::size_t i = 1; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<file_format>(i);
  }
  std::string known;
  for (const auto& one : file_format_names()) known += (known.empty() ? "" : ", ") + one;
  return fail(errc::not_found, "no format named '" + name + "'; there are " + known);
}

std::vector<std::string> file_format_names() { return {names.begin() + 1, names.end()}; }

}  // namespace ballast::policies
