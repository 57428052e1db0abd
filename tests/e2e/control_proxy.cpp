#include "tests/e2e/control_proxy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace ballast::test {

control_proxy::control_proxy(link_context& context, std::string front, std::string coordinator,
                             std::function<void(message_body&)> rewrite)
    : context_(context), coordinator_(std::move(coordinator)), rewrite_(std::move(rewrite)) {
  link_options o;
  o.kind = link_kind::router;
  o.address = std::move(front);
  o.bind = true;
  o.name = "proxy";
  o.on_connection = [this](const std::string& peer, bool open) { on_connection(peer, open); };
  auto opened = link::open(context_, std::move(o),
                           [this](const std::string& peer, envelope message) { from_agent(peer, std::move(message)); });
  EXPECT_TRUE(opened) << (opened ? "" : opened.error().text);
  if (opened) front_ = std::move(*opened);
}

// First those that send through `front_`, then itself: its thread takes `links_mutex_`.
control_proxy::~control_proxy() {
  if (front_) front_->stop();
  std::map<std::string, std::shared_ptr<link>> last;
  {
    const std::lock_guard lock(links_mutex_);
    last.swap(to_coordinator_);
  }
}

void control_proxy::on_connection(const std::string& peer, bool open) {
  std::shared_ptr<link> former;
  {
    const std::lock_guard lock(links_mutex_);
    if (const auto at = to_coordinator_.find(peer); at != to_coordinator_.end()) {
      former = std::move(at->second);
      to_coordinator_.erase(at);
    }
  }
  former.reset();
  if (!open) return;
  link_options o;
  o.address = coordinator_;
  o.identity = peer;
  o.announce = true;
  o.name = "proxy of " + peer;
  auto made = link::open(context_, std::move(o), [this, peer](const std::string&, envelope message) {
    from_coordinator(peer, std::move(message));
  });
  if (!made) return;
  const std::lock_guard lock(links_mutex_);
  to_coordinator_[peer] = std::move(*made);
}

void control_proxy::from_agent(const std::string& peer, envelope message) {
  if (rewrite_) rewrite_(message.body);
  if (is_held(peer, message)) return;
  const std::lock_guard lock(links_mutex_);
  if (const auto at = to_coordinator_.find(peer); at != to_coordinator_.end()) (void)at->second->send("", message);
}

void control_proxy::from_coordinator(const std::string& peer, envelope message) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto* c = std::get_if<seat_command>(&message.body))
      commands_[{c->seat, c->sequence}] = command_name(c->body);
    if (const auto* f = std::get_if<fence>(&message.body)) fenced_[f->seat] = std::max(fenced_[f->seat], f->up_to);
  }
  (void)front_->send(peer, message);
}

bool control_proxy::is_held(const std::string& peer, const envelope& message) {
  const auto* outcome = std::get_if<seat_outcome>(&message.body);
  if (outcome == nullptr) return false;
  const std::lock_guard lock(mutex_);
  const auto command = commands_.find({outcome->seat, outcome->sequence});
  if (held_command_.empty() || command == commands_.end() || command->second != held_command_) return false;
  held_.push_back({peer, held_command_, message});
  changed_.notify_all();
  return true;
}

void control_proxy::hold(const std::string& command) {
  const std::lock_guard lock(mutex_);
  held_command_ = command;
}

bool control_proxy::wait_held(const std::string& command, std::chrono::milliseconds longest) {
  std::unique_lock lock(mutex_);
  const auto held = [&] { return std::ranges::find(held_, command, &held_message::command) != held_.end(); };
  return changed_.wait_for(lock, longest, held);
}

void control_proxy::release(const std::string& lost) {
  std::vector<held_message> held;
  {
    const std::lock_guard lock(mutex_);
    held.swap(held_);
    held_command_.clear();
  }
  const std::lock_guard lock(links_mutex_);
  for (const auto& h : held) {
    const auto at = to_coordinator_.find(h.peer);
    if (h.peer != lost && at != to_coordinator_.end()) (void)at->second->send("", h.message);
  }
}

incarnation_t control_proxy::fenced(seat_id seat) const {
  const std::lock_guard lock(mutex_);
  const auto at = fenced_.find(seat);
  return at == fenced_.end() ? 0 : at->second;
}

}  // namespace ballast::test
