// The store in one SQLite file, written ahead and synced with every change (WAL, synchronous = FULL). Tables: `state`
// (name, value), `journal` (line, at_ms, operation, kind, phase, outcome, reason, record); to be read with any SQLite
// shell, also while the coordinator runs. FILE-lock beside it is held while a coordinator has the file.
#pragma once

#include <memory>
#include <string>

#include "coordinator/store.hpp"

namespace ballast {

// Makes the file, and its folder, where they are missing; brings tables of an older release up to date. Errors:
// conflict (another coordinator has it), io, malformed (no state of a coordinator), version_mismatch (a newer
// release's).
result<std::unique_ptr<store>> open_sqlite_store(const std::string& path);

}  // namespace ballast
