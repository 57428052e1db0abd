// The backend of machines without a GPU: ranks are threads or processes, pages are host memory, links are ZeroMQ.
#pragma once

#include <memory>

#include "gpu/device.hpp"

namespace ballast::gpu::host {
std::unique_ptr<backend> make_host_backend();
}  // namespace ballast::gpu::host
