#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "agent/agent.hpp"
#include "messages/settings.hpp"

namespace ballast {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

std::optional<gpu::exchange_kind> exchange_named(const std::string& name) {
  if (name == "auto") return gpu::exchange_kind::automatic;
  if (name == "peer") return gpu::exchange_kind::peer;
  if (name == "nccl") return gpu::exchange_kind::nccl;
  return std::nullopt;
}

}  // namespace

result<agent_config> read_agent_config(const std::string& path) {
  const auto file = settings::from_file(path);
  if (!file) return fail(file.error());
  const settings a = file->table("agent");
  agent_config c;
  c.node = a.get("node", host_name());
  c.name = a.get("name", c.node);
  c.coordinator = a.get("coordinator", "tcp://127.0.0.1:7070");
  c.front_end = a.get("front_end", c.front_end);
  c.advertise = a.get("advertise", c.advertise);
  c.data = a.get("data", c.data);
  c.backend = a.get("backend", c.backend);
  c.verify_pages = a.get("verify_pages", true);
  c.first_gpu = static_cast<std::uint32_t>(a.get("first_gpu", std::uint64_t{0}, 0, 64));
  const auto exchange = a.get("exchange", "auto");
  c.nccl_ctas = static_cast<std::uint32_t>(a.get("nccl_ctas", std::uint64_t{8}, 1, 64));
  c.max_members = static_cast<std::uint32_t>(a.get("max_members", std::uint64_t{8}, 1, 64));
  c.ranks = static_cast<std::uint32_t>(a.get("ranks", std::uint64_t{1}, 1, 64));
  c.max_batch_tokens = static_cast<std::uint32_t>(a.get("max_batch_tokens", std::uint64_t{256}, 1, 1u << 20));
  c.session_bytes = a.get("session_mib", std::uint64_t{64}, 1, 1u << 20) << 20;
  c.client_session_bytes = a.get("client_session_mib", std::uint64_t{0}, 0, 1u << 20) << 20;
  if (c.client_session_bytes == 0) c.client_session_bytes = c.session_bytes / 4 * 3;
  c.collective_timeout_ms = static_cast<std::uint32_t>(a.get("collective_timeout_ms", std::uint64_t{10'000}, 100, 600'000));
  c.transfer_gbps = a.get("transfer_gbps", 100.0, 0.0, 10'000.0);
  model_capacity each;
  each.slots_per_layer = static_cast<std::uint32_t>(a.get("slots_per_layer", std::uint64_t{0}, 0, 1u << 16));
  each.spare_pages = static_cast<std::uint32_t>(a.get("spare_pages", std::uint64_t{8}, 1, 1u << 16));
  for (const auto& table : file->tables("model")) {
    auto spec = read_model_spec(table);
    if (!spec) return fail(spec.error());
    c.models.push_back(std::move(*spec));
    c.capacity.push_back(each);
  }
  auto security = read_security(*file);
  if (!security) return fail(security.error());
  c.security = std::move(*security);
  (void)file->has("coordinator");  // known here, read by the coordinator
  if (auto strict = a.finish(); !strict) return fail(strict.error());
  if (auto strict = file->finish(); !strict) return fail(strict.error());
  const auto kind = exchange_named(exchange);
  if (!kind)
    return fail(errc::invalid_argument,
                fmt::format("{}: exchange is `{}`; it must be `auto`, `peer` or `nccl`", path, exchange));
  c.exchange = *kind;
  if (c.models.empty()) return fail(errc::invalid_argument, path + ": no model to serve; add a [[model]] table");
  return c;
}

}  // namespace ballast
