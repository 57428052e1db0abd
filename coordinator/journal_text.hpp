// A line of the journal as JSON.
#pragma once

#include <string>

#include "coordinator/store.hpp"

namespace ballast {

std::string text_of(const journal_record& line);
result<journal_record> journal_record_from(const std::string& text);  // errors: malformed

}  // namespace ballast
