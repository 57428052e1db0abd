#include "cli/client/request_book.hpp"

#include <fmt/core.h>
#include <xxhash.h>

#include <algorithm>

namespace ballast {
namespace {

// A refusal that may pass: sent again later or elsewhere. Anything else can never be right.
bool is_for_now(errc code) {
  return code == errc::unavailable || code == errc::does_not_fit || code == errc::conflict || code == errc::fenced ||
         code == errc::aborted || code == errc::timed_out;
}

}  // namespace

std::uint64_t digest_of(const std::vector<float>& values) noexcept {
  return XXH3_64bits(values.data(), values.size() * sizeof(float));
}

request_effects request_book::submit(inference_request request, steady_time now) {
  request_effects out;
  if (requests_.contains(request.id)) return out;
  entry e;
  e.last = request.hidden;
  e.record.request = std::move(request);
  e.record.submitted = e.progress = e.due = now;
  const auto at = requests_.emplace(e.record.request.id, std::move(e)).first;
  assign(at->second, "", now, out);
  return out;
}

void request_book::assign(entry& e, const std::string& avoid, steady_time now, request_effects& out) {
  const std::string* best = nullptr;
  for (const auto& candidate : open_) {
    if (candidate == avoid && open_.size() > 1) continue;
    if (best == nullptr || load_[candidate] < load_[*best]) best = &candidate;
  }
  if (!e.front_end.empty()) --load_[e.front_end];
  e.front_end = best == nullptr ? "" : *best;
  e.silences = 0;
  if (best == nullptr) {
    e.due = now + options_.progress_deadline;
    return;
  }
  ++load_[e.front_end];
  send(e, now, out);
}

void request_book::send(entry& e, steady_time now, request_effects& out) {
  inference_request r = e.record.request;
  r.first_step += static_cast<std::uint32_t>(e.record.arrivals.size());
  r.hidden = e.last;
  ++e.record.sends;
  e.due = now + options_.progress_deadline;
  out.push_back(book_effect::send{e.front_end, std::move(r)});
}

request_effects request_book::front_ends(const std::set<std::string>& open, const std::set<std::string>& alive,
                                         steady_time now) {
  request_effects out;
  open_ = open;
  alive_ = alive;
  for (auto& [id, e] : requests_) {
    if (e.front_end.empty() || !alive_.contains(e.front_end)) assign(e, e.front_end, now, out);
  }
  std::erase_if(load_, [&](const auto& one) { return one.second == 0 && !alive_.contains(one.first); });
  return out;
}

bool request_book::matches(const entry& e, std::uint32_t step, const std::vector<float>& hidden) const {
  return e.record.digests[step] == digest_of(hidden);
}

void request_book::deliver(entry& e, std::vector<float> hidden, steady_time when, request_effects& out) {
  auto& record = e.record;
  const auto step = record.request.first_step + static_cast<std::uint32_t>(record.arrivals.size());
  record.arrivals.push_back(when);
  record.digests.push_back(digest_of(hidden));
  if (options_.keep_outputs) record.outputs.push_back(hidden);
  out.push_back(book_effect::output{record.request.id, step, hidden});
  e.last = std::move(hidden);
  e.progress = when;
  e.silences = 0;
}

request_effects request_book::on(inference_output output, steady_time now) {
  request_effects out;
  const auto at = requests_.find(output.id);
  if (at == requests_.end()) return out;
  entry& e = at->second;
  auto& record = e.record;
  const auto first = record.request.first_step;
  const auto wanted = std::size_t{record.request.tokens} == 0 ? 0 : record.request.hidden.size();
  if (output.step < first || output.step >= record.request.steps || output.hidden.size() != wanted) {
    finish(at,
           error{errc::corrupt, fmt::format("request {}: an output of step {} with {} values where {} were asked for",
                                            output.id, output.step, output.hidden.size(), wanted)},
           out);
    return out;
  }
  const auto index = output.step - first;
  if (index < record.arrivals.size()) {
    ++record.duplicates;
    if (!matches(e, index, output.hidden)) {
      finish(at,
             error{errc::corrupt, fmt::format("request {}: two different outputs of step {}", output.id, output.step)},
             out);
    }
    return out;
  }
  if (index > record.arrivals.size()) {
    e.early.try_emplace(index, std::move(output.hidden), now);
    return out;
  }
  deliver(e, std::move(output.hidden), now, out);
  for (auto next = e.early.begin(); next != e.early.end() && next->first <= record.arrivals.size();
       next = e.early.begin()) {
    if (next->first == record.arrivals.size()) deliver(e, std::move(next->second.first), now, out);
    e.early.erase(next);
  }
  e.due = now + options_.progress_deadline;
  if (first + record.arrivals.size() == record.request.steps) finish(at, std::nullopt, out);
  return out;
}

request_effects request_book::on(const request_moved& moved, steady_time now) {
  request_effects out;
  const auto at = requests_.find(moved.id);
  if (at == requests_.end() || moved.front_end == at->second.front_end) return out;
  entry& e = at->second;
  ++e.record.moves;
  if (moved.front_end.empty()) {
    assign(e, e.front_end, now, out);
    return out;
  }
  if (!e.front_end.empty()) --load_[e.front_end];
  e.front_end = moved.front_end;
  e.silences = 0;
  alive_.insert(e.front_end);
  ++load_[e.front_end];
  send(e, now, out);
  return out;
}

request_effects request_book::on(const request_refused& refused, steady_time now) {
  request_effects out;
  const auto at = requests_.find(refused.id);
  if (at == requests_.end()) return out;
  entry& e = at->second;
  ++e.record.refusals;
  if (!is_for_now(refused.failure.code)) {
    finish(at, refused.failure, out);
    return out;
  }
  e.silences = options_.patience;  // another front end next, if there is one
  e.due = now + options_.refusal_pause;
  return out;
}

request_effects request_book::tick(steady_time now) {
  request_effects out;
  for (auto at = requests_.begin(); at != requests_.end();) {
    const auto here = at++;
    entry& e = here->second;
    if (now >= e.progress + options_.give_up) {
      finish(
          here,
          error{errc::timed_out, fmt::format("request {}: no output of step {} for {} s; is any seat active?",
                                             here->first, e.record.arrivals.size(), options_.give_up.count() / 1000)},
          out);
    } else if (now >= e.due) {
      if (e.front_end.empty() || ++e.silences >= options_.patience) {
        assign(e, e.front_end, now, out);
      } else {
        send(e, now, out);
      }
    }
  }
  return out;
}

void request_book::finish(entries::iterator at, std::optional<error> failure, request_effects& out) {
  entry& e = at->second;
  if (!e.front_end.empty()) --load_[e.front_end];
  if (!options_.keep_outputs && !e.record.arrivals.empty()) e.record.outputs.push_back(std::move(e.last));
  e.record.failure = std::move(failure);
  out.push_back(book_effect::finished{std::move(e.record)});
  requests_.erase(at);
}

std::optional<steady_time> request_book::next_due() const {
  std::optional<steady_time> earliest;
  for (const auto& [id, e] : requests_) {
    const auto due = std::min(e.due, e.progress + options_.give_up);
    if (!earliest || due < *earliest) earliest = due;
  }
  return earliest;
}

std::size_t request_book::waiting() const {
  return static_cast<std::size_t>(
      std::count_if(requests_.begin(), requests_.end(), [](const auto& one) { return one.second.front_end.empty(); }));
}

bool request_book::uses(const std::string& front_end) const {
  const auto at = load_.find(front_end);
  return at != load_.end() && at->second > 0;
}

}  // namespace ballast
