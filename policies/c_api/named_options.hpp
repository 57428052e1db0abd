// A policy with its options, set by name: what stands behind ballast_options. Private to the shared library.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "policies/placement.hpp"
#include "policies/shares.hpp"

namespace ballast::policies::c_api {

struct named_options {
  std::string policy;
  std::optional<plan_options> plan;  // none for a policy without options
  bool solved_shares = false;
  std::uint32_t redundant = ~0U;
  share_options shares;
  std::uint32_t threads = 1;

  // Errors: not_found (lists the policies).
  static result<named_options> of(const std::string& policy);

  // Errors: not_found (lists the options), invalid_argument (a value out of range; says which values are right).
  status set(const std::string& name, double value);
};

}  // namespace ballast::policies::c_api
