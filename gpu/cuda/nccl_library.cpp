#include <dlfcn.h>
#include <fmt/core.h>

#include "gpu/cuda/nccl_library_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

constexpr const char* file = "libnccl.so.2";
constexpr const char* remedy =
    "install NCCL 2.18 or later (package libnccl2) or name its folder in LD_LIBRARY_PATH; ranks of one host can do "
    "without: exchange = \"peer\"";

// ok, or the name of the function that is not there.
template <class Function>
bool resolve(void* library, const char* name, Function& out, std::string& missing) {
  out = reinterpret_cast<Function>(::dlsym(library, name));
  if (out == nullptr && missing.empty()) missing = name;
  return out != nullptr;
}

result<nccl_library> load() {
  void* library = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    return fail(errc::unavailable, fmt::format("NCCL cannot be loaded ({}); {}", ::dlerror(), remedy));
  nccl_library made;
  std::string missing;
  decltype(&::ncclGetVersion) get_version = nullptr;
  if (!resolve(library, "ncclGetVersion", get_version, missing) || get_version(&made.version) != ncclSuccess)
    return fail(errc::unavailable, fmt::format("{} does not say its version; {}", file, remedy));
  if (auto ok = check_nccl_version(made.version); !ok) return fail(ok.error());
  resolve(library, "ncclGetUniqueId", made.get_unique_id, missing);
  resolve(library, "ncclCommInitRankConfig", made.init, missing);
  resolve(library, "ncclCommGetAsyncError", made.state, missing);
  resolve(library, "ncclCommFinalize", made.finalize, missing);
  resolve(library, "ncclCommDestroy", made.destroy, missing);
  resolve(library, "ncclCommAbort", made.abort, missing);
  resolve(library, "ncclGetErrorString", made.error_string, missing);
  resolve(library, "ncclGetLastError", made.last_error, missing);
  resolve(library, "ncclGroupStart", made.group_start, missing);
  resolve(library, "ncclGroupEnd", made.group_end, missing);
  resolve(library, "ncclSend", made.send, missing);
  resolve(library, "ncclRecv", made.receive, missing);
  if (!missing.empty())
    return fail(errc::unavailable,
                fmt::format("NCCL {} lacks {}; {}", nccl_version_name(made.version), missing, remedy));
  return made;
}

}  // namespace

std::string nccl_version_name(int version) {
  if (version < 10'000) return fmt::format("{}.{}.{}", version / 1000, version % 1000 / 100, version % 100);
  return fmt::format("{}.{}.{}", version / 10'000, version % 10'000 / 100, version % 100);
}

status check_nccl_version(int version) {
  constexpr int least = 21'800;
  if (version >= least) return {};
  return fail(errc::unavailable, fmt::format("NCCL {} was found, which cannot be given up while it connects; {}",
                                             nccl_version_name(version), remedy));
}

result<const nccl_library*> nccl_library::get() {
  static const result<nccl_library> loaded = load();
  if (!loaded) return fail(loaded.error());
  return &*loaded;
}

}  // namespace ballast::gpu::cuda
