// The flags of the verbs that need no deployment.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/verbs/offline.hpp"
#include "cli/verbs/report.hpp"

namespace ballast {

void add_plan_flags(CLI::App& to, plan_verb_options& options);
void add_simulate_flags(CLI::App& to, simulate_options& options);
void add_convert_flags(CLI::App& to, convert_options& options);
void add_report_flags(CLI::App& to, report_options& options);

}  // namespace ballast
