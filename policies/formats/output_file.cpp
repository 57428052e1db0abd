#include "policies/formats/output_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace ballast::policies {

struct output_file::impl {
  std::string path, temporary;
  gzFile file = nullptr;

  ~impl() {
    if (file != nullptr) gzclose(file);
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }
  tl::unexpected<error> bad(int code) const {
    return fail(errc::io, path + ": " + std::strerror(code != 0 ? code : EIO) + "; nothing was written there");
  }
};

output_file::output_file(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
output_file::output_file(output_file&&) noexcept = default;
output_file& output_file::operator=(output_file&&) noexcept = default;
output_file::~output_file() = default;

result<output_file> output_file::open(const std::string& path) {
  auto state = std::make_unique<impl>();
  state->path = path;
  std::error_code ignored;
  if (path.empty() || std::filesystem::is_directory(path, ignored)) return state->bad(path.empty() ? EINVAL : EISDIR);
  auto name = path + ".XXXXXX";
  const int handle = ::mkstemp(name.data());
  if (handle < 0) return state->bad(errno);
  state->temporary = name;
  constexpr unsigned usual = 0666;  // mkstemp lets nobody else read
  const auto mask = ::umask(0);
  ::umask(mask);
  ::fchmod(handle, usual & ~mask);
  state->file = gzdopen(handle, path.ends_with(".gz") ? "wb" : "wbT");
  if (state->file == nullptr) {
    ::close(handle);
    return state->bad(ENOMEM);
  }
  return output_file(std::move(state));
}

status output_file::write(std::string_view text) {
  constexpr std::size_t piece_max = std::size_t{1} << 30;
  while (!text.empty()) {
    const auto piece = text.substr(0, piece_max);
    errno = 0;
    if (gzwrite(impl_->file, piece.data(), static_cast<unsigned>(piece.size())) <= 0) return impl_->bad(errno);
    text.remove_prefix(piece.size());
  }
  return {};
}

status output_file::commit() {
  errno = 0;
  const int closed = gzclose(std::exchange(impl_->file, nullptr));
  if (closed != Z_OK) return impl_->bad(errno);
  if (::rename(impl_->temporary.c_str(), impl_->path.c_str()) != 0) return impl_->bad(errno);
  impl_->temporary.clear();
  return {};
}

status write_whole(const std::string& path, std::string_view text) {
  auto file = output_file::open(path);
  if (!file) return fail(file.error());
  if (auto ok = file->write(text); !ok) return ok;
  return file->commit();
}

}  // namespace ballast::policies
