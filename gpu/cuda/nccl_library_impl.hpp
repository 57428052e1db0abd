// NCCL, found at run time: the backend loads on hosts that have none. Its header is used for types alone.
#pragma once

#include <nccl.h>

#include <string>

#include "messages/result.hpp"

namespace ballast::gpu::cuda {

struct nccl_library {
  int version = 0;  // as ncclGetVersion says it
  decltype(&::ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&::ncclCommInitRankConfig) init = nullptr;
  decltype(&::ncclCommGetAsyncError) state = nullptr;
  decltype(&::ncclCommFinalize) finalize = nullptr;
  decltype(&::ncclCommDestroy) destroy = nullptr;
  decltype(&::ncclCommAbort) abort = nullptr;
  decltype(&::ncclGetErrorString) error_string = nullptr;
  decltype(&::ncclGetLastError) last_error = nullptr;
  decltype(&::ncclGroupStart) group_start = nullptr;
  decltype(&::ncclGroupEnd) group_end = nullptr;
  decltype(&::ncclSend) send = nullptr;
  decltype(&::ncclRecv) receive = nullptr;

  // libnccl.so.2 as the loader finds it, kept until the process ends. Any thread; the answer never changes. Errors:
  // unavailable (there is none, or it lacks something: one line says which, and what to do).
  static result<const nccl_library*> get();
};

std::string nccl_version_name(int version);  // 22809: 2.28.9
status check_nccl_version(int version);      // Errors: unavailable

}  // namespace ballast::gpu::cuda
