#include <fmt/core.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <random>
#include <string>

#include "gpu/cuda/peers_impl.hpp"

namespace ballast::gpu::cuda {

process_name this_process() {
  static const std::uint64_t process = [] {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
  }();
  process_name name;
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  boot.copy(name.host, sizeof name.host - 1);
  name.process = process;
  name.pid = static_cast<std::uint32_t>(::getpid());
  return name;
}

bool process_name::same_host(const process_name& other) const noexcept {
  return host[0] != '\0' && std::memcmp(host, other.host, sizeof host) == 0;
}

bool process_name::same_process(const process_name& other) const noexcept {
  return same_host(other) && process == other.process && pid == other.pid;
}

result<gpu_name> name_of_gpu(int ordinal) {
  cudaDeviceProp about{};
  if (auto ok = check(cudaGetDeviceProperties(&about, ordinal), "asking for a GPU's name"); !ok)
    return fail(ok.error());
  gpu_name name;
  static_assert(sizeof about.uuid == sizeof name.id);
  std::memcpy(name.id, &about.uuid, sizeof name.id);
  return name;
}

status reach(int ordinal, int other) {
  if (auto ok = stand_on(ordinal); !ok || ordinal == other) return ok;
  int can = 0;
  if (auto ok = check(cudaDeviceCanAccessPeer(&can, ordinal, other), "asking for peer access"); !ok) return ok;
  if (can == 0) return fail(errc::unavailable, fmt::format("GPU {} cannot reach the memory of GPU {}", ordinal, other));
  const auto code = cudaDeviceEnablePeerAccess(other, 0);
  if (code != cudaErrorPeerAccessAlreadyEnabled) return check(code, "enabling peer access");
  (void)cudaGetLastError();
  return {};
}

}  // namespace ballast::gpu::cuda
