#include "cli/soak/soak_traffic.hpp"

#include <fmt/core.h>

namespace ballast {

result<std::unique_ptr<soak_traffic>> soak_traffic::start(link_context& context, serving_options serving,
                                                          request_maker make, std::uint64_t distinct,
                                                          std::size_t at_once) {
  std::unique_ptr<soak_traffic> made(new soak_traffic(std::move(make), distinct));
  auto* raw = made.get();
  auto client = serving_client::connect(context, std::move(serving),
                                        [raw](const request_record& record) { raw->on_done(record); });
  if (!client) return fail(client.error());
  made->client_ = std::move(*client);
  for (std::size_t i = 0; i < at_once; ++i) made->submit();
  return made;
}

soak_traffic::~soak_traffic() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

void soak_traffic::submit() {
  std::uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    number = next_++;
  }
  auto request = make_(number % distinct_);
  request.id = fmt::format("soak-{}-{}", number % distinct_, number);
  const auto given = client_->submit(std::move(request));
  if (given) return;
  const std::lock_guard lock(mutex_);
  ++counts_.failed;
  counts_.first_problem = given.error().text;
}

void soak_traffic::on_done(const request_record& record) {
  {
    const std::lock_guard lock(mutex_);
    if (record.failure) {
      ++counts_.failed;
      if (counts_.first_problem.empty())
        counts_.first_problem = fmt::format("{}: {}", record.request.id, record.failure->text);
    } else {
      ++counts_.answered;
      compare(std::stoull(record.request.id.substr(5)), record);
    }
  }
  submit();
}

void soak_traffic::compare(std::uint64_t number, const request_record& record) {
  const auto [at, first] = first_.try_emplace(number, kept_answer{number, record.digests, record.outputs.back()});
  if (first || at->second.digests == record.digests) return;
  ++counts_.different;
  if (counts_.first_problem.empty())
    counts_.first_problem = fmt::format("{}: answered otherwise than before", record.request.id);
}

soak_counts soak_traffic::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

status soak_traffic::drain(std::chrono::milliseconds longest) {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  return client_->wait_idle(longest);
}

std::vector<kept_answer> soak_traffic::first_answers() const {
  const std::lock_guard lock(mutex_);
  std::vector<kept_answer> out;
  for (const auto& [number, answer] : first_) out.push_back(answer);
  return out;
}

}  // namespace ballast
