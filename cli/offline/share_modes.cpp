#include "cli/offline/share_modes.hpp"

#include <array>

#include "policies/shares.hpp"

namespace ballast::offline {
namespace {

constexpr std::array names = {"even", "interval", "record"};

}  // namespace

result<share_mode> share_mode_of(const std::string& name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (name == names[i]) return static_cast<share_mode>(i);
  }
  return fail(errc::not_found, "no shares named '" + name + "'; there are even, interval and record");
}

const char* to_string(share_mode mode) noexcept { return names[static_cast<std::size_t>(mode)]; }

result<placement> with_solved_shares(placement p, const load_matrix& loads,
                                     const std::vector<policies::seat_info>& seats) {
  auto solved = policies::solve_shares(std::move(p), loads, seats);
  if (!solved) return fail(solved.error());
  return std::move(solved->table);
}

}  // namespace ballast::offline
