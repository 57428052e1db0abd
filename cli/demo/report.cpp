#include "cli/demo/report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/render/render.hpp"
#include "cli/render/table.hpp"

namespace ballast {

std::string text_of(const demo_report& r) {
  std::string out = fmt::format(
      "requests    {} sent, {} answered, {} failed ({} sent again, {} moved, {} duplicate outputs)\n"
      "answers     {} compared bit for bit with one static rank, {} different\n"
      "steps       {}; quiet p50 {:.2f} ms, p99 {:.2f} ms\n"
      "imbalance   mean {:.3f} -> {:.3f}, worst layer {:.3f} -> {:.3f} (before and after the first rebalance)\n"
      "moved       {} in {} pages\n\n",
      r.requests.sent, r.requests.answered, r.requests.failed, r.requests.resends, r.requests.moves,
      r.requests.duplicates, r.answers_compared, r.answers_different, r.steps, r.quiet.p50, r.quiet.p99,
      r.imbalance_before, r.imbalance_after, r.imbalance_before_max, r.imbalance_after_max, text::bytes(r.bytes_moved),
      [&] {
        std::uint64_t pages = 0;
        for (const auto& op : r.operations) pages += op.pages_copied;
        return pages;
      }());
  table t({"operation", "target", "outcome", "seconds", "step p50 ms", "step p99 ms", "pages", "moved"});
  for (const auto& op : r.operations) {
    t.row({op.kind, op.target, op.outcome, fmt::format("{:.2f}", op.seconds), fmt::format("{:.2f}", op.steps.p50),
           fmt::format("{:.2f}", op.steps.p99), fmt::format("{}", op.pages_copied), text::bytes(op.bytes_moved)});
  }
  return out + t.text();
}

std::string json_of(const demo_report& r) {
  nlohmann::ordered_json operations = nlohmann::ordered_json::array();
  for (const auto& op : r.operations) {
    operations.push_back({{"kind", op.kind},
                          {"target", op.target},
                          {"outcome", op.outcome},
                          {"seconds", op.seconds},
                          {"step_p50_ms", op.steps.p50},
                          {"step_p99_ms", op.steps.p99}});
  }
  const nlohmann::ordered_json all = {{"requests_sent", r.requests.sent},
                                      {"requests_answered", r.requests.answered},
                                      {"requests_failed", r.requests.failed},
                                      {"answers_compared", r.answers_compared},
                                      {"answers_different", r.answers_different},
                                      {"imbalance_before", r.imbalance_before},
                                      {"imbalance_after", r.imbalance_after},
                                      {"operations", operations},
                                      {"quiet_step_p50_ms", r.quiet.p50},
                                      {"quiet_step_p99_ms", r.quiet.p99},
                                      {"bytes_moved", r.bytes_moved}};
  return all.dump(2);
}

status verdict_of(const demo_report& r) {
  if (r.requests.answered != r.requests.sent || r.requests.failed != 0) {
    const auto why = r.requests.failures.empty() ? std::string("they were not answered") : r.requests.failures.front();
    return fail(errc::unavailable, fmt::format("{} of {} requests were lost: {}", r.requests.sent - r.requests.answered,
                                               r.requests.sent, why));
  }
  if (r.answers_compared != r.requests.sent || r.answers_different != 0) {
    return fail(errc::corrupt, fmt::format("{} of {} compared answers differ from one static rank's: {}",
                                           r.answers_different, r.answers_compared, r.first_difference));
  }
  for (const auto& op : r.operations) {
    if (op.outcome != "done")
      return fail(errc::aborted, fmt::format("{} to {} ended {}", op.kind, op.target, op.outcome));
  }
  return {};
}

}  // namespace ballast
