#include <dlfcn.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "gpu/device.hpp"
#include "gpu/host/host_backend.hpp"

namespace ballast::gpu {
namespace {

// Only a plain name may become part of a file name.
bool plain(const std::string& name) {
  return !name.empty() && name.size() <= 32 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

result<std::unique_ptr<backend>> load_backend(const std::string& name) {
  if (name == "host") return host::make_host_backend();
  if (!plain(name))
    return fail(errc::not_found,
                fmt::format("backend `{}`: a name has 1 to 32 of a-z, 0-9 and _; built in: host", name));
  std::error_code failed;
  const char* named = std::getenv("BALLAST_BACKENDS");
  const auto folder = named != nullptr ? std::filesystem::path(named)
                                       : std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  const auto file = folder / fmt::format("libballast_{}.so", name);
  if (failed || !std::filesystem::exists(file, failed))
    return fail(errc::not_found, fmt::format("backend `{}`: there is no {}; built in: host", name, file.string()));
  void* library =
      ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded: its code outlives every object it made
  if (library == nullptr) {
    const char* why = ::dlerror();
    return fail(errc::not_found,
                fmt::format("backend `{}`: {} cannot be loaded: {}", name, file.string(), why != nullptr ? why : "?"));
  }
  using maker = backend* (*)();
  const auto make = reinterpret_cast<maker>(::dlsym(library, "ballast_make_backend"));
  std::unique_ptr<backend> made(make != nullptr ? make() : nullptr);
  if (made == nullptr)
    return fail(errc::not_found,
                fmt::format("backend `{}`: {} has no working ballast_make_backend()", name, file.string()));
  return made;
}

}  // namespace ballast::gpu
