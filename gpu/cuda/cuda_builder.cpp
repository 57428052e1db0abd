#include <fmt/core.h>

#include <algorithm>

#include "gpu/cuda/cuda_builder_impl.hpp"
#include "gpu/cuda/kernels_impl.hpp"
#include "gpu/cuda/patience_impl.hpp"

namespace ballast::gpu::cuda {

result<std::unique_ptr<cuda_builder>> cuda_builder::make(int ordinal, host::host_builder& links,
                                                         exchange_memory& exchange, nccl_exchange& nccl,
                                                         exchange_kind wish) {
  std::unique_ptr<cuda_builder> made(new cuda_builder(ordinal, links, exchange, nccl, wish));
  auto proving = stream::make(true);
  if (!proving) return fail(proving.error());
  auto done = event::make();
  if (!done) return fail(done.error());
  auto step = memory::make(memory_kind::pinned, sizeof(step_view), "builder");
  if (!step) return fail(step.error());
  auto mismatches = memory::make(memory_kind::pinned, 64, "builder");
  if (!mismatches) return fail(mismatches.error());
  made->stream_ = std::move(*proving);
  made->event_ = std::move(*done);
  made->step_ = std::move(*step);
  made->mismatches_ = std::move(*mismatches);
  return made;
}

result<std::string> cuda_builder::open(epoch_t epoch) {
  if (auto ok = stand_on(ordinal_); !ok) return fail(ok.error());
  auto links = links_.open(epoch);
  if (!links) return fail(links.error());
  auto lane = exchange_.take();
  if (!lane) {
    links_.cancel(epoch);
    return fail(lane.error());
  }
  const std::lock_guard lock(mutex_);
  halves_.emplace(epoch, half{.lane = *lane});
  return *links + "\n" + exchange_.half(*lane, wish_).encode();
}

void cuda_builder::forget(epoch_t epoch) noexcept {
  const std::lock_guard lock(mutex_);
  halves_.erase(epoch);
}

void cuda_builder::cancel(epoch_t epoch) noexcept {
  links_.cancel(epoch);
  const std::lock_guard lock(mutex_);
  const auto it = halves_.find(epoch);
  if (it == halves_.end()) return;
  exchange_.stop(it->second.lane).raise();
  if (it->second.connecting) return;  // connect() will clear up
  exchange_.give_back(it->second.lane);
  halves_.erase(it);
}

result<std::unique_ptr<communicator>> cuda_builder::connect(epoch_t epoch, seat_id self,
                                                            const std::vector<member>& members,
                                                            std::chrono::milliseconds deadline) {
  const auto until = host::clock::now() + deadline;
  half mine;
  {
    const std::lock_guard lock(mutex_);
    const auto it = halves_.find(epoch);
    if (it == halves_.end())
      return fail(errc::aborted, fmt::format("epoch {} is not open here: it was cancelled, or never opened", epoch));
    if (it->second.connecting) return fail(errc::conflict, fmt::format("epoch {} is being connected already", epoch));
    it->second.connecting = true;
    mine = it->second;
  }
  auto made = join(epoch, self, members, mine, until);
  forget(epoch);  // first: a late cancel() must not raise the stop word of whoever takes the lane next
  if (!made) exchange_.give_back(mine.lane);
  return made;
}

result<std::unique_ptr<communicator>> cuda_builder::join(epoch_t epoch, seat_id self,
                                                         const std::vector<member>& members, const half& mine,
                                                         host::clock::time_point until) {
  if (members.size() > exchange_.shape().members) {
    links_.cancel(epoch);
    return fail(errc::does_not_fit,
                fmt::format("epoch {} has {} members; this rank exchanges with at most {}; start the "
                            "agents with more max_members",
                            epoch, members.size(), exchange_.shape().members));
  }
  auto links_only = members;
  std::vector<exchange_half> halves;
  const auto how = read_halves(links_only, halves);
  if (!how) {
    links_.cancel(epoch);
    return fail(how.error().code, fmt::format("epoch {}: {}", epoch, how.error().text));
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - host::clock::now());
  auto links = links_.connect(epoch, self, links_only, left);
  if (!links) return fail(links.error());
  cuda_communicator::parts parts;
  parts.links.reset(static_cast<host::host_communicator*>(links->release()));
  parts.exchange = &exchange_;
  parts.lane = mine.lane;
  parts.stop = exchange_.stop(mine.lane);
  auto joined = stand_on(ordinal_);
  if (joined) joined = *how == exchange_kind::nccl ? nccl_.join(parts, until) : join_peers(halves, parts, until);
  if (!joined)  // the others are told, so that none waits for a member that will not come
    return fail(
        parts.links->give_up({joined.error().code, fmt::format("epoch {}: {}", epoch, joined.error().text)}).error());
  return std::make_unique<cuda_communicator>(std::move(parts));
}

// Splits every contribution into what the links need, which it keeps, and the half.
result<exchange_kind> cuda_builder::read_halves(std::vector<member>& members,
                                                std::vector<exchange_half>& halves) const {
  std::vector<seat_id> seats;
  for (auto& m : members) {
    const auto cut = m.contribution.find('\n');
    auto theirs = exchange_half::decode(cut == std::string::npos ? "" : m.contribution.substr(cut + 1));
    if (theirs)
      if (auto ok = check_alike(exchange_.shape(), theirs->shape); !ok) theirs = fail(ok.error());
    if (!theirs) return fail(theirs.error().code, fmt::format("seat {}: {}", index_of(m.seat), theirs.error().text));
    halves.push_back(*theirs);
    seats.push_back(m.seat);
    m.contribution.resize(cut);
  }
  return choose_exchange(halves, seats);
}

status cuda_builder::join_peers(const std::vector<exchange_half>& halves, cuda_communicator::parts& parts,
                                host::clock::time_point until) {
  for (const auto& theirs : halves) {
    auto mapped = exchange_.map(theirs);
    if (!mapped) return fail(mapped.error());
    parts.views.push_back(exchange_memory::view((*mapped)->base(), exchange_.shape(), theirs.lane));
    parts.peers.push_back(std::move(*mapped));
  }
  parts.answers.assign(parts.views.size(), parts.views[parts.links->rank()].answers);
  return prove(parts, until);
}

status cuda_builder::prove(const cuda_communicator::parts& parts, host::clock::time_point until) {
  constexpr std::uint32_t values = 64;
  auto& step = *step_.as<step_view>();
  step = {};
  step.step = parts.links->epoch();
  step.rank = parts.links->rank();
  step.members = static_cast<std::uint32_t>(parts.views.size());
  step.stop = parts.stop.view();
  std::copy(parts.views.begin(), parts.views.end(), step.at);
  auto& mismatches = *mismatches_.as<std::uint32_t>();
  mismatches = 0;
  if (auto ok = check(prove_exchange(&step, values, &mismatches, stream_.get()), "proving the exchange"); !ok)
    return ok;
  if (auto ok = event_.record(stream_); !ok) return ok;
  if (auto ok = wait_for(event_, *parts.links, parts.stop, until); !ok) return ok;
  if (mismatches == 0) return {};
  return fail(errc::corrupt, fmt::format("{} values arrived changed from the memory of a peer", mismatches));
}

}  // namespace ballast::gpu::cuda
