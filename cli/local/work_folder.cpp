#include "cli/local/work_folder.hpp"

#include <fmt/core.h>
#include <stdlib.h>

#include <filesystem>
#include <utility>

namespace ballast {

work_folder::work_folder(std::string path, bool keep) : path_(std::move(path)), keep_(keep) {}

work_folder::work_folder(work_folder&& other) noexcept
    : path_(std::move(other.path_)), keep_(std::exchange(other.keep_, true)) {}

work_folder::~work_folder() {
  std::error_code ignored;
  if (!keep_) std::filesystem::remove_all(path_, ignored);
}

result<work_folder> work_folder::open(const std::string& named, const std::string& purpose) {
  std::error_code failed;
  if (!named.empty()) {
    std::filesystem::create_directories(named, failed);
    if (failed) return fail(errc::io, fmt::format("{}: {}", named, failed.message()));
    return work_folder(std::filesystem::absolute(named).string(), true);
  }
  std::string path = fmt::format("/tmp/ballast-{}-XXXXXX", purpose);  // short: socket addresses may not be long
  if (::mkdtemp(path.data()) == nullptr) return fail(errc::io, "no temporary folder could be made in /tmp");
  return work_folder(path, false);
}

}  // namespace ballast
