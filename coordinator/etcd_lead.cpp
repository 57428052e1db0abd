#include "coordinator/etcd_lead.hpp"

#include <fmt/format.h>

#include <csignal>

namespace ballast {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds shortest_lease{2};  // what etcd grants at least; another one leads within 0.5 s after it
constexpr milliseconds renewal{700}, renewal_retry{100};
constexpr milliseconds lead_patience{400};  // with one member after the other that hangs, the third is asked in time

// So that clocks which do not run at quite the same rate do no harm.
constexpr milliseconds margin(std::chrono::seconds lasts) { return milliseconds(lasts) / 10; }

error led_by(const std::string& name) { return {errc::conflict, name}; }

}  // namespace

result<std::unique_ptr<etcd_lead>> etcd_lead::take(etcd_client& client, const std::string& key,
                                                   const std::string& name) {
  auto found = client.find({key});
  if (!found) return fail(found.error());
  if (!found->pairs.empty()) return fail(led_by(found->pairs.front().value));
  const auto asked = clock::now();
  auto lease = client.grant(shortest_lease);
  if (!lease) return fail(lease.error());
  // From here on the lease is given back whatever happens.
  std::unique_ptr<etcd_lead> made(new etcd_lead(client.another(lead_patience), key, lease->id));
  auto won = client.commit({key, 0, {{key, name, {}, lease->id}}});
  if (!won) return fail(won.error());
  found = client.find({key});  // also where a commit that had no answer was made twice
  if (!found) return fail(found.error());
  if (found->pairs.empty()) return fail(errc::unavailable, "etcd: the lease ended before the lead was taken");
  if (found->pairs.front().lease != lease->id) return fail(led_by(found->pairs.front().value));
  made->created_ = found->pairs.front().created;
  made->holds(asked, lease->lasts);
  // Signals belong to the main thread; a new thread inherits the mask.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  made->keeper_ = std::thread([raw = made.get()] { raw->keep(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return made;
}

etcd_lead::etcd_lead(etcd_client client, std::string key, std::int64_t lease)
    : key_(std::move(key)), lease_(lease), client_(std::move(client)) {}

etcd_lead::~etcd_lead() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  (void)client_.revoke(lease_);  // where that fails it ends by itself
}

possession etcd_lead::held() const noexcept {
  if (lost_) return possession::lost;
  return clock::now().time_since_epoch().count() < until_ ? possession::ours : possession::in_doubt;
}

// etcd counts from when it was asked, which was later than we asked.
void etcd_lead::holds(clock::time_point asked, std::chrono::seconds lasts) noexcept {
  until_ = (asked + lasts - margin(lasts)).time_since_epoch().count();
}

void etcd_lead::keep() {
  auto pause = renewal;
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    const auto asked = clock::now();
    const auto lasts = client_.renew(lease_);
    if (lasts) holds(asked, *lasts);
    if (!lasts && lasts.error().code == errc::not_found) lost_ = true;
    pause = lasts ? renewal : renewal_retry;
    lock.lock();
    if (lost_) return;
  }
}

}  // namespace ballast
