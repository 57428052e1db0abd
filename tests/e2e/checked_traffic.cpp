#include "tests/e2e/checked_traffic.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/tiny_model.hpp"

namespace ballast::test {

using namespace std::chrono_literals;

checked_traffic::checked_traffic(link_context& context, serving_options options, std::vector<model_spec> models)
    : models_(std::move(models)) {
  auto client = serving_client::connect(
      context, std::move(options), [this](const request_record& r) { on_done(r); },
      [this](const std::string& id, std::uint32_t, const std::vector<float>& output) { keep(id, output); });
  EXPECT_TRUE(client.has_value()) << (client ? "" : client.error().text);
  if (client) client_ = std::move(*client);
}

checked_traffic::~checked_traffic() { flowing_ = false; }

void checked_traffic::start(std::size_t width, std::uint32_t steps, const std::string& model) {
  flowing_ = true;
  for (std::size_t i = 0; i < width; ++i) submit(model, steps);
}

void checked_traffic::stop() {
  flowing_ = false;
  const auto idle = client_->wait_idle(60s);
  ASSERT_TRUE(idle.has_value()) << idle.error().text;
}

void checked_traffic::await_answers(std::size_t more) {
  std::unique_lock lock(mutex_);
  const auto goal = answered_ + more;
  ASSERT_TRUE(progress_.wait_for(lock, 60s, [&] { return answered_ >= goal; })) << answered_ << " of " << goal;
}

void checked_traffic::expect_all_exact(std::size_t at_least) {
  const std::lock_guard lock(mutex_);
  EXPECT_EQ(client_->counters().failed, 0u);
  EXPECT_GE(answered_, at_least);
  std::map<std::pair<std::string, std::uint32_t>, std::vector<const inference_request*>> alike;  // by model and steps
  for (const auto& [id, sent] : sent_) alike[{sent.model, sent.steps}].push_back(&sent);
  for (const auto& [kind, requests] : alike)
    for (const auto& spec : models_)
      if (spec.name == kind.first) compare(spec, kind.second, requests);
  sent_.clear();
  last_.clear();
}

std::optional<steady_time> checked_traffic::first_output_after(steady_time moment, std::chrono::milliseconds longest) {
  std::unique_lock lock(mutex_);
  const auto later = [&] { return std::ranges::upper_bound(outputs_, moment); };
  if (!progress_.wait_for(lock, longest, [&] { return later() != outputs_.end(); })) return std::nullopt;
  return *later();
}

// Many requests at once, as many as a batch of a rank takes: the bits of an answer do not depend on it.
void checked_traffic::compare(const model_spec& spec, std::uint32_t steps,
                              const std::vector<const inference_request*>& requests) {
  constexpr std::size_t at_once = 256 / tokens;
  static_rank reference(spec);
  for (std::size_t first = 0; first < requests.size(); first += at_once) {
    const auto end = std::min(requests.size(), first + at_once);
    std::vector<float> rows;
    for (auto i = first; i < end; ++i) rows.insert(rows.end(), requests[i]->hidden.begin(), requests[i]->hidden.end());
    rows = reference.answer(rows, static_cast<std::uint32_t>(tokens * (end - first)), steps);
    const auto size = rows.size() / (end - first);
    for (auto i = first; i < end; ++i) {
      const auto from = rows.begin() + static_cast<std::ptrdiff_t>((i - first) * size);
      EXPECT_EQ(last_[requests[i]->id], std::vector<float>(from, from + static_cast<std::ptrdiff_t>(size)))
          << requests[i]->id;
    }
  }
}

void checked_traffic::submit(const std::string& model, std::uint32_t steps) {
  inference_request r;
  {
    const std::lock_guard lock(mutex_);
    const auto number = number_++;
    r = {fmt::format("{}-{}", model, number),
         model,
         tokens,
         steps,
         0,
         random_hidden(tokens * hidden, static_cast<unsigned>(number))};
    sent_[r.id] = r;
  }
  const auto submitted = client_->submit(r);
  EXPECT_TRUE(submitted.has_value()) << (submitted ? "" : submitted.error().text);
}

void checked_traffic::keep(const std::string& id, const std::vector<float>& output) {
  const std::lock_guard lock(mutex_);
  last_[id] = output;
  outputs_.push_back(std::chrono::steady_clock::now());
  if (outputs_.size() > kept_outputs) outputs_.pop_front();
  progress_.notify_all();
}

void checked_traffic::on_done(const request_record& record) {
  {
    const std::lock_guard lock(mutex_);
    ++answered_;
    progress_.notify_all();
  }
  if (flowing_) submit(record.request.model, record.request.steps);
}

}  // namespace ballast::test
