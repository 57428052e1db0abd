#include "coordinator/config.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "messages/settings.hpp"
#include "policies/placement.hpp"

namespace ballast {
namespace {

std::uint32_t number(const settings& s, const std::string& key, std::uint32_t otherwise, std::uint32_t least,
                     std::uint32_t most) {
  return static_cast<std::uint32_t>(s.get(key, std::uint64_t{otherwise}, std::uint64_t{least}, std::uint64_t{most}));
}

constexpr std::uint32_t many = 1u << 30;

// Some settings go by two names in the field; the second is read where the first is absent.
std::uint32_t number(const settings& s, const std::string& key, const std::string& alias, std::uint32_t otherwise,
                     std::uint32_t least, std::uint32_t most) {
  return number(s, key, s.has(alias) ? number(s, alias, otherwise, least, most) : otherwise, least, most);
}

coordinator_config read(const settings& s) {
  coordinator_config c;
  c.bind = s.get("bind", c.bind);
  c.events = s.get("events", c.events);
  c.initial_ranks = number(s, "initial_ranks", c.initial_ranks, 1, 4096);
  c.num_redundant_experts = number(s, "num_redundant_experts", c.num_redundant_experts, 0, 1u << 20);
  c.window_size = number(s, "window_size", c.window_size, 1, many);
  c.step_interval = number(s, "step_interval", "algorithm_execution_interval", c.step_interval, 0, many);
  c.load_interval_steps =
      number(s, "load_interval_steps", "expert_heat_collection_interval", c.load_interval_steps, 1, many);
  c.use_async = s.get("use_async", c.use_async);
  c.policy = s.get("policy", c.policy);
  c.imbalance_trigger = s.get("imbalance_trigger", c.imbalance_trigger, 1.0, 1e6);
  c.target_imbalance = s.get("target_imbalance", c.target_imbalance, 1.0, 1e6);
  c.min_gain_ratio = s.get("min_gain_ratio", c.min_gain_ratio, 0.0, 1e6);
  c.planner_threads = number(s, "planner_threads", c.planner_threads, 0, 256);
  c.adds_per_seat = number(s, "adds_per_seat", c.adds_per_seat, 0, many);
  c.heartbeat_ms = number(s, "heartbeat_ms", c.heartbeat_ms, 1, many);
  c.heartbeat_timeout_ms = number(s, "heartbeat_timeout_ms", c.heartbeat_timeout_ms, 1, many);
  c.exit_grace_ms = number(s, "exit_grace_ms", c.exit_grace_ms, 0, many);
  c.step_timeout_ms = number(s, "step_timeout_ms", c.step_timeout_ms, 0, many);
  c.command_retry_ms = number(s, "command_retry_ms", c.command_retry_ms, 1, many);
  c.operation_deadline_ms = number(s, "operation_deadline_ms", c.operation_deadline_ms, 1, many);
  c.probation_steps = number(s, "probation_steps", c.probation_steps, 0, 1u << 20);
  c.auto_replace = s.get("auto_replace", c.auto_replace);
  c.shares_interval_ms = number(s, "shares_interval_ms", c.shares_interval_ms, 0, many);
  c.shares_window = number(s, "shares_window", c.shares_window, 1, many);
  c.shares_tokens = s.get("shares_tokens", c.shares_tokens, 0.0, 1e12);
  c.shares_gain = s.get("shares_gain", c.shares_gain, 0.0, 1e6);
  c.early_imbalance = s.get("early_imbalance", c.early_imbalance, 0.0, 1e6);
  c.measured_speeds = s.get("measured_speeds", c.measured_speeds);
  c.record_stats = s.get("record_stats", c.record_stats);
  c.record_interval_steps = number(s, "record_interval_steps", c.record_interval_steps, 0, many);
  c.record_stats_mib = number(s, "record_stats_mib", c.record_stats_mib, 1, 1u << 20);
  c.record_stats_files = number(s, "record_stats_files", c.record_stats_files, 1, 1000);
  c.store = s.get("store", c.store);
  c.store_tls.ca = s.get("store_ca", c.store_tls.ca);
  c.store_tls.certificate = s.get("store_certificate", c.store_tls.certificate);
  c.store_tls.key = s.get("store_key", c.store_tls.key);
  c.read_stats = s.get("read_stats", c.read_stats);
  return c;
}

// What would be left out without a word: a certificate that nobody asks for, a channel that is none.
status check_store_tls(const coordinator_config& c) {
  const auto& tls = c.store_tls;
  if (tls == etcd_tls{}) return {};
  if (!c.store.starts_with("etcd://"))
    return fail(errc::invalid_argument,
                fmt::format("store_ca, store_certificate and store_key are for a store in etcd, "
                            "not for `{}`; leave them out",
                            c.store));
  if (tls.ca.empty())
    return fail(errc::invalid_argument,
                "store_certificate and store_key need store_ca: without it etcd is spoken with "
                "in the clear");
  if (tls.certificate.empty() != tls.key.empty())
    return fail(errc::invalid_argument, fmt::format("{} is missing: store_certificate and store_key go together",
                                                    tls.key.empty() ? "store_key" : "store_certificate"));
  return {};
}

}  // namespace

status check_config(const coordinator_config& c) {
  const auto names = policies::policy_names();
  if (std::ranges::find(names, c.policy) == names.end()) {
    std::string known;
    for (const auto& n : names) known += (known.empty() ? "" : ", ") + n;
    return fail(errc::invalid_argument, fmt::format("policy `{}` is unknown; policies are {}", c.policy, known));
  }
  if (c.heartbeat_timeout_ms < 2 * std::uint64_t{c.heartbeat_ms})
    return fail(errc::invalid_argument,
                fmt::format("heartbeat_timeout_ms = {} must be at least twice heartbeat_ms = {}",
                            c.heartbeat_timeout_ms, c.heartbeat_ms));
  if (c.operation_deadline_ms < 2 * std::uint64_t{c.command_retry_ms})
    return fail(errc::invalid_argument,
                fmt::format("operation_deadline_ms = {} must be at least twice command_retry_ms = {}",
                            c.operation_deadline_ms, c.command_retry_ms));
  if (c.window_size < c.load_interval_steps)
    return fail(errc::invalid_argument, fmt::format("window_size = {} must be at least load_interval_steps = {}",
                                                    c.window_size, c.load_interval_steps));
  if (c.initial_ranks == 0) return fail(errc::invalid_argument, "initial_ranks must be at least 1");
  return check_store_tls(c);
}

result<coordinator_config> read_coordinator_config(const std::string& path) {
  const auto file = settings::from_file(path);
  if (!file) return fail(file.error());
  const auto table = file->table("coordinator");
  auto config = read(table);
  if (auto ok = table.finish(); !ok) return fail(ok.error());
  auto security = read_security(*file);
  if (!security) return fail(security.error());
  config.security = std::move(*security);
  if (auto ok = check_config(config); !ok) return fail(ok.error().code, path + " [coordinator]: " + ok.error().text);
  return config;
}

}  // namespace ballast
