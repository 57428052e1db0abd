#include <fmt/core.h>

#include <cstring>
#include <system_error>

#include "gpu/cuda/nccl_world_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {

status nccl_world::check(ncclResult_t code, const char* what) const {
  if (code == ncclSuccess || code == ncclInProgress) return {};
  std::string text = fmt::format("{}: NCCL {}: {}", what, nccl_version_name(nccl_.version), nccl_.error_string(code));
  const char* last = nccl_.last_error(comm_);
  if (last != nullptr && *last != '\0') text += fmt::format(" ({})", std::string(last, std::strcspn(last, "\r\n")));
  return fail(errc::io, std::move(text));
}

status nccl_world::settle(const watch& watching, const char* what) const {
  constexpr int looks = 4096;  // some hundred microseconds: an issued operation settles within them
  for (int look = 1;; ++look) {
    auto state = ncclSuccess;
    if (auto ok = check(nccl_.state(comm_, &state), what); !ok) return ok;
    if (state != ncclInProgress) return check(state, what);
    if (look % looks != 0) continue;
    if (auto ok = watching(); !ok) return ok;
  }
}

result<std::string> nccl_world::make_id(const nccl_library& nccl) {
  ncclUniqueId id;
  const auto code = nccl.get_unique_id(&id);
  if (code == ncclSuccess) return std::string(id.internal, sizeof id.internal);
  return fail(errc::io, fmt::format("making an id for NCCL {}: {}; name the network interface of this host in "
                                    "NCCL_SOCKET_IFNAME",
                                    nccl_version_name(nccl.version), nccl.error_string(code)));
}

result<std::unique_ptr<nccl_world>> nccl_world::make(const nccl_library& nccl, const std::string& id,
                                                     const place& where, const watch& watching) {
  ncclUniqueId key;
  if (id.size() != sizeof key.internal)
    return fail(errc::invalid_argument,
                fmt::format("{} bytes are no id for NCCL: the first member runs another version", id.size()));
  std::memcpy(key.internal, id.data(), sizeof key.internal);
  std::unique_ptr<nccl_world> made(new nccl_world(nccl, where.ordinal));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.maxCTAs = static_cast<int>(where.ctas);
  const auto code =
      nccl.init(&made->comm_, static_cast<int>(where.members), key, static_cast<int>(where.rank), &config);
  auto ready = made->check(code, "connecting");
  if (ready) ready = made->settle(watching, "connecting");
  if (!ready) return fail(ready.error());
  return made;
}

status nccl_world::exchange(std::span<const transfer> transfers, const stream& on, const watch& watching) {
  if (ended_) return fail(errc::aborted, "NCCL was given up");
  auto issued = check(nccl_.group_start(), "exchanging");
  if (!issued) return issued;
  for (const auto& t : transfers) {
    const auto peer = static_cast<int>(t.peer);
    if (issued) issued = check(nccl_.send(t.out, t.bytes, ncclUint8, peer, comm_, on.get()), "sending");
    if (issued) issued = check(nccl_.receive(t.in, t.bytes, ncclUint8, peer, comm_, on.get()), "receiving");
  }
  const auto ended = check(nccl_.group_end(), "exchanging");  // closes the group also after a failure
  if (!issued) return issued;
  if (!ended) return ended;
  return settle(watching, "exchanging");
}

void nccl_world::abort() noexcept {
  if (stand_on(ordinal_)) {
    const auto code = nccl_.abort(comm_);
    if (code != ncclSuccess && code != ncclInProgress) log::warn("giving NCCL up: {}", nccl_.error_string(code));
  }
}

void nccl_world::end() noexcept {
  if (ended_.exchange(true) || comm_ == nullptr) return;
  try {
    ending_ = std::thread([this] { abort(); });
  } catch (const std::system_error&) {
    abort();
    comm_ = nullptr;
  }
}

status nccl_world::finish(const watch& watching) {
  if (ended_ || comm_ == nullptr) return {};
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  auto done = check(nccl_.finalize(comm_), "disconnecting");
  if (done) done = settle(watching, "disconnecting");
  if (!done) return done;
  done = check(nccl_.destroy(comm_), "disconnecting");
  comm_ = nullptr;
  return done;
}

nccl_world::~nccl_world() {
  if (ending_.joinable())
    ending_.join();
  else if (comm_ != nullptr)
    abort();
}

}  // namespace ballast::gpu::cuda
