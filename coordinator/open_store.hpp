// The store that the configuration names.
#pragma once

#include <memory>
#include <string>

#include "coordinator/store.hpp"

namespace ballast {

// `where`: memory (or nothing), or sqlite://FILE, relative to where the process runs unless FILE begins with a slash.
// Errors: invalid_argument, and those of open_sqlite_store.
result<std::unique_ptr<store>> open_store(const std::string& where);

}  // namespace ballast
