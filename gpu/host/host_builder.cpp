#include <fmt/core.h>

#include <algorithm>

#include "gpu/host/host_builder_impl.hpp"

namespace ballast::gpu::host {
namespace {

constexpr std::size_t most_open = 16;  // halves; more means that somebody forgets to cancel

status check_members(epoch_t epoch, seat_id self, const std::vector<communicator_builder::member>& members) {
  bool found = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    found = found || members[i].seat == self;
    if (i > 0 && members[i].seat <= members[i - 1].seat)
      return fail(errc::invalid_argument, fmt::format("epoch {}: members must be sorted by seat, each once", epoch));
    if (members[i].contribution.empty())
      return fail(errc::invalid_argument,
                  fmt::format("epoch {}: seat {} contributed no address", epoch, index_of(members[i].seat)));
  }
  if (found) return {};
  return fail(errc::invalid_argument, fmt::format("epoch {}: seat {} is not among the members", epoch, index_of(self)));
}

}  // namespace

result<std::string> host_builder::open(epoch_t epoch) {
  {
    const std::lock_guard lock(mutex_);
    if (halves_.contains(epoch)) return fail(errc::conflict, fmt::format("epoch {} is open already", epoch));
    if (halves_.size() >= most_open)
      return fail(errc::does_not_fit, fmt::format("{} epochs are open; cancel one first", halves_.size()));
  }
  auto inbound =
      open_bound(context_, zmq::socket_type::pull, pattern_, fmt::format("e{}", epoch), {.queue = limits_.queue()});
  if (!inbound) return fail(inbound.error());
  half made;
  made.signals = std::make_shared<comm_signals>();
  if (!made.signals->ring.good())
    return fail(errc::io, "no file descriptor left for an eventfd; raise the limit (ulimit -n)");
  auto address = inbound->address;
  made.inbound.emplace(std::move(*inbound));
  const std::lock_guard lock(mutex_);
  halves_.emplace(epoch, std::move(made));
  return address;
}

void host_builder::cancel(epoch_t epoch) noexcept {
  half dropped;
  const std::lock_guard lock(mutex_);
  const auto it = halves_.find(epoch);
  if (it == halves_.end()) return;
  if (!it->second.inbound) {  // connect() is under way and will clear up
    it->second.signals->aborted = true;
    it->second.signals->ring.ring();
    return;
  }
  dropped = std::move(it->second);
  halves_.erase(it);
}

void host_builder::forget(epoch_t epoch) noexcept {
  const std::lock_guard lock(mutex_);
  halves_.erase(epoch);
}

result<std::unique_ptr<communicator>> host_builder::connect(epoch_t epoch, seat_id self,
                                                            const std::vector<member>& members,
                                                            std::chrono::milliseconds deadline) {
  const auto until = clock::now() + deadline;
  half mine;
  {
    const std::lock_guard lock(mutex_);
    const auto it = halves_.find(epoch);
    if (it == halves_.end())
      return fail(errc::aborted, fmt::format("epoch {} is not open here: it was cancelled, or never opened", epoch));
    if (!it->second.inbound) return fail(errc::conflict, fmt::format("epoch {} is being connected already", epoch));
    mine.signals = it->second.signals;
    mine.inbound.emplace(std::move(*it->second.inbound));
    it->second.inbound.reset();
  }
  auto made = join(epoch, self, members, std::move(mine), until);
  forget(epoch);
  return made;
}

result<std::unique_ptr<communicator>> host_builder::join(epoch_t epoch, seat_id self,
                                                         const std::vector<member>& members, half mine,
                                                         clock::time_point until) {
  if (auto ok = check_members(epoch, self, members); !ok) return fail(std::move(ok.error()));
  host_communicator::parts parts;
  parts.epoch = epoch;
  parts.signals = mine.signals;
  parts.limits = limits_;
  for (const auto& m : members) {
    if (m.seat == self) {
      parts.rank = static_cast<std::uint32_t>(parts.members.size());
      parts.outbound.emplace_back();
    } else {
      auto out = open_connected(context_, zmq::socket_type::push, m.contribution, {.queue = limits_.queue()});
      if (!out)
        return fail(errc::unavailable, fmt::format("epoch {}: seat {}: {}", epoch, index_of(m.seat), out.error().text));
      parts.outbound.push_back(std::move(*out));
    }
    parts.members.push_back(m.seat);
  }
  parts.inbound = std::move(*mine.inbound);
  auto made = std::make_unique<host_communicator>(std::move(parts));
  if (auto ok = made->prove(until); !ok) return fail(std::move(ok.error()));
  return made;
}

}  // namespace ballast::gpu::host
