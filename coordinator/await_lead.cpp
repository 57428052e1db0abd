#include "coordinator/await_lead.hpp"

#include <fmt/format.h>

#include <mutex>

#include "coordinator/etcd_store.hpp"
#include "messages/log.hpp"

namespace ballast {
namespace {

constexpr std::chrono::milliseconds look_again{50};

// The control gateway of a coordinator that does not lead.
class waiting_gateway {
 public:
  status open(link_context& context, const coordinator_config& config) {
    link_options options;
    options.kind = link_kind::router;
    options.address = config.bind;
    options.bind = true;
    options.name = "coordinator";
    options.admits = coordinator_admits;
    options.on_connection = [](const std::string&, bool) {};  // an announcement is no message
    auto bound =
        link::open(context, options, [this](const std::string& peer, const envelope& m) { answer(peer, m.id); });
    if (!bound) return fail(bound.error());
    const std::lock_guard lock(mutex_);
    link_ = std::move(*bound);
    return {};
  }
  void tell(std::string leader) {
    const std::lock_guard lock(mutex_);
    leader_ = std::move(leader);
  }
  ~waiting_gateway() {
    if (link_) link_->stop();
  }

 private:
  void answer(const std::string& peer, std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    if (link_) (void)link_->send(peer, {id, "coordinator", standby{leader_}});  // a full queue: it asks again
  }

  std::mutex mutex_;  // guards what follows
  std::string leader_;
  std::unique_ptr<link> link_;
};

// In the clear is, as for every other socket, for this host alone unless the network is trusted.
status check_reach(const etcd_address& at, const link_security& security) {
  for (const auto& member : at.members) {
    const auto host = member.substr(0, member.rfind(':'));
    const bool here = host == "localhost" || host == "[::1]" ||
                      (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
    if (!here && !security.insecure)
      return fail(
          errc::invalid_argument,
          fmt::format(
              "store: {} would be spoken with in the clear; name the certificate of its authority in store_ca, or "
              "set insecure = true in [security] if the network is trusted",
              member));
  }
  return {};
}

bool heals(const error& why) { return why.code == errc::conflict || why.code == errc::unavailable; }

}  // namespace

result<std::shared_ptr<store>> await_lead(link_context& context, const coordinator_config& config,
                                          const std::function<bool(std::chrono::milliseconds)>& stopped) {
  auto candidate = etcd_candidate::open(config.store, config.bind, config.store_tls);
  if (!candidate) return fail(candidate.error());
  if (config.store_tls.ca.empty())
    if (auto ok = check_reach(*etcd_address_of(config.store), config.security); !ok) return fail(ok.error());
  std::unique_ptr<waiting_gateway> gateway;
  std::optional<std::pair<errc, std::string>> told;
  do {
    auto kept = candidate->lead();
    if (kept) {
      log::info("coordinator: leads, term {}", (*kept)->term());
      return std::shared_ptr<store>(std::move(*kept));
    }
    if (!heals(kept.error())) return fail(kept.error());
    const std::pair now(kept.error().code, candidate->leader());
    if (std::exchange(told, now) != now) log::info("coordinator: stands by: {}", kept.error().text);
    if (!gateway) {
      gateway = std::make_unique<waiting_gateway>();
      if (auto ok = gateway->open(context, config); !ok) return fail(ok.error());
    }
    gateway->tell(candidate->leader());
  } while (!stopped(look_again));
  return std::shared_ptr<store>();
}

}  // namespace ballast
