// What a coordinator does until it may lead: it tries, and tells whoever asks that it does not.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "coordinator/service.hpp"
#include "coordinator/store.hpp"

namespace ballast {

// Blocks until the replicated store that `config` names is this process's; null: `stopped` said so. `stopped` waits for
// so long, and answers whether to give up. What asks at `config.bind` meanwhile is answered with `standby`; the address
// is free again afterwards. A store that cannot be reached is tried for as long as it takes. Errors: invalid_argument
// (also an etcd beyond this host without `insecure`), those of links, and of the store what no waiting can heal.
result<std::shared_ptr<store>> await_lead(link_context& context, const coordinator_config& config,
                                          const std::function<bool(std::chrono::milliseconds)>& stopped);

}  // namespace ballast
