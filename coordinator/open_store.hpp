// The store that the configuration names.
#pragma once

#include <memory>
#include <string>

#include "coordinator/store.hpp"

namespace ballast {

// `where`: memory (or nothing); sqlite://FILE, relative to where the process runs unless FILE begins with a slash; or
// etcd://HOST:PORT[,…][/PREFIX]. Errors: invalid_argument, those of open_sqlite_store and of etcd_candidate::lead.
result<std::unique_ptr<store>> open_store(const std::string& where);
// Whether several coordinators may wait for it, each to lead in its turn.
bool is_replicated(const std::string& where);

}  // namespace ballast
