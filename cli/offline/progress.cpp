#include "cli/offline/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ostream>

namespace ballast::offline {

std::string progress_line(const std::string& what, std::uint64_t done, std::uint64_t of, double seconds) {
  if (of == 0) return fmt::format("{}: {}", what, done);
  constexpr std::uint64_t width = 30;
  const auto filled = std::min(width, width * done / of);
  const double left =
      done == 0 ? 0 : seconds * static_cast<double>(of - std::min(done, of)) / static_cast<double>(done);
  return fmt::format("{} [{}{}] {} of {}, {:.0f} s left", what, std::string(filled, '#'),
                     std::string(width - filled, '.'), done, of, left);
}

void progress::at(std::uint64_t done, std::uint64_t of) {
  if (to_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto now = clock::now();
  if (now - began_ < std::chrono::seconds(1) || now - shown_ < std::chrono::milliseconds(100)) return;
  shown_ = now;
  visible_ = true;
  *to_ << "\r\033[K" << progress_line(what_, done, of, std::chrono::duration<double>(now - began_).count())
       << std::flush;
}

progress::~progress() {
  if (visible_) *to_ << "\r\033[K" << std::flush;
}

}  // namespace ballast::offline
