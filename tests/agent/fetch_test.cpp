// What a stage job brings in: many bundles from the nearest source at once, the rest from other sources or the
// checkpoint.
#include <fmt/core.h>
#include <gmock/gmock.h>

#include <map>

#include "agent/rank_unit.hpp"
#include "gpu/host/page_pool.hpp"
#include "tests/support/tiny_model.hpp"

namespace ballast {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sources are names; what each of them says to a pull of an expert is given by the test.
struct scripted_transport final : gpu::weight_transport {
  gpu::page_pool* pool = nullptr;
  std::vector<std::byte> bundle;
  std::map<std::pair<std::string, std::uint32_t>, errc> refusals;  // (source, expert)
  std::vector<std::string> calls;
  std::function<void()> on_pull = [] {};
  std::string here = "here";

  const std::string& address() const noexcept override { return here; }
  result<std::uint64_t> bring(const std::string& source, gpu::page_key key, gpu::page_index page) {
    on_pull();
    if (const auto no = refusals.find({source, key.expert}); no != refusals.end())
      return fail(no->second, source + " refuses");
    EXPECT_TRUE(pool->write(page, bundle));
    EXPECT_TRUE(pool->seal(page, key, std::nullopt));
    return bundle.size();
  }
  result<std::uint64_t> pull(const std::string& source, model_index, gpu::page_key key, gpu::page_index page,
                             std::chrono::milliseconds) override {
    calls.push_back(source + ":" + std::to_string(key.expert));
    return bring(source, key, page);
  }
  gpu::pull_results pull_many(const std::string& source, std::span<const gpu::pull_item> items,
                              std::chrono::milliseconds) override {
    std::string call = source + " many";
    for (const auto& i : items) call += fmt::format(" {}", i.key.expert);
    calls.push_back(call);
    return one_by_one(items, [&](const gpu::pull_item& i) { return bring(source, i.key, i.page); });
  }
  result<std::vector<std::byte>> pull_dense(const std::string&, model_index, std::chrono::milliseconds) override {
    return fail(errc::not_found, "none");
  }
  void cancel() noexcept override {}
};

struct scripted_device final : gpu::device {
  gpu::host::host_page_pool pool;
  scripted_transport links;
  scripted_device(std::size_t page_bytes, std::uint32_t pages) : pool(page_bytes, pages) {
    links.pool = &pool;
    links.bundle.resize(page_bytes, std::byte{7});
  }
  gpu::page_pool& pages(model_index) override { return pool; }
  gpu::slot_table& slots(model_index) override { throw std::logic_error("no table is touched"); }
  gpu::weight_transport& transport() override { return links; }
  gpu::communicator_builder& builder() override { throw std::logic_error("nothing is built"); }
  status set_dense(model_index, std::vector<std::byte>) override { return {}; }
  bool has_dense(model_index) const override { return false; }
  result<std::shared_ptr<const gpu::routing_table>> make_routing(const placement&) const override {
    return fail(errc::invalid_argument, "none");
  }
  status run_step(model_index, step_t, std::span<float>, const gpu::routing_table&, gpu::communicator&,
                  gpu::slot_counts&) override {
    return {};
  }
};

struct fetching : ::testing::Test {
  fetching() {
    auto opened = open_model(test::tiny_spec());
    const auto bytes = gpu::expert_layout((*opened)->shape()).bytes;
    models.push_back(std::move(*opened));
    auto made = std::make_unique<scripted_device>(bytes, 6);
    device = made.get();
    unit.device = std::move(made);
    unit.models = &models;
  }
  void want(std::uint32_t expert, std::vector<std::string> sources) {
    stage_item item{0, 1, expert, expert, {}};
    for (auto& s : sources) item.sources.push_back({seat_id{3}, std::move(s)});
    job.items.push_back(std::move(item));
  }
  fetch_result fetch() { return fetch_bundles(unit, job); }
  std::size_t bytes() const { return device->pool.page_bytes(); }
  bool from_checkpoint(std::uint32_t expert) {
    std::vector<std::byte> got(bytes()), wanted(bytes());
    EXPECT_TRUE(device->pool.read(*device->pool.find({1, expert}), got));
    EXPECT_TRUE(models[0]->bundle(1, expert, wanted));
    return got == wanted;
  }

  std::vector<std::unique_ptr<model_source>> models;
  rank_unit unit;
  scripted_device* device = nullptr;
  fetch_job job;
};

TEST_F(fetching, neighbours_with_the_same_first_source_come_in_one_call) {
  want(0, {"a"});
  want(1, {"a", "b"});
  want(2, {"b"});
  want(3, {"a"});
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_THAT(device->links.calls, ElementsAre("a many 0 1", "b many 2", "a many 3"));
  EXPECT_EQ(got.bytes, 4 * bytes());
  ASSERT_EQ(got.writes.size(), 4u);
  for (std::uint32_t e = 0; e < 4; ++e) {
    EXPECT_EQ(got.writes[e].expert, e);
    EXPECT_EQ(device->pool.find({1, e}), got.writes[e].page);
  }
}

TEST_F(fetching, what_the_first_source_lacks_comes_from_the_others) {
  want(0, {"a", "b"});
  want(1, {"a", "b"});
  want(2, {"a", "b", "c"});
  device->links.refusals = {{{"a", 1}, errc::not_found}, {{"a", 2}, errc::corrupt}, {{"b", 2}, errc::unavailable}};
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_THAT(device->links.calls, ElementsAre("a many 0 1 2", "b:1", "b:2", "c:2"));
  EXPECT_EQ(got.bytes, 3 * bytes());
  EXPECT_EQ(unit.corrupt_pulls, 1u) << "wrong bytes are counted, sources that are gone are not";
}

TEST_F(fetching, the_checkpoint_is_the_last_source_and_counts_no_bytes) {
  want(0, {});
  want(1, {"a"});
  want(2, {"a"});
  device->links.refusals = {{{"a", 1}, errc::not_found}};
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_THAT(device->links.calls, ElementsAre("a many 1 2"));
  EXPECT_EQ(got.bytes, bytes());
  EXPECT_TRUE(from_checkpoint(0));
  EXPECT_TRUE(from_checkpoint(1));
  EXPECT_FALSE(from_checkpoint(2));
}

TEST_F(fetching, a_source_that_has_gone_is_tried_once_not_for_every_bundle) {
  int pulls = 0;
  device->links.on_pull = [&] { ++pulls; };
  for (std::uint32_t e = 0; e < 4; ++e) want(e, {"gone"});
  device->links.refusals = {{{"gone", 0}, errc::timed_out}};
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_EQ(pulls, 1);
  EXPECT_EQ(got.bytes, 0u);
  for (std::uint32_t e = 0; e < 4; ++e) EXPECT_TRUE(from_checkpoint(e));
}

TEST_F(fetching, what_spare_pages_still_hold_is_not_brought_again) {
  for (const std::uint32_t e : {0u, 1u, 2u}) want(e, {"a"});
  const auto before = fetch();
  ASSERT_TRUE(before.outcome) << before.outcome.error().text;
  for (const auto& w : before.writes) device->pool.give_back(w.page);
  device->links.calls.clear();
  job.items.clear();
  for (const std::uint32_t e : {3u, 4u, 2u, 0u}) want(e, {"b"});
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_THAT(device->links.calls, ElementsAre("b many 3 4"));
  EXPECT_EQ(got.bytes, 2 * bytes());
  ASSERT_EQ(got.writes.size(), 4u);
  EXPECT_EQ(got.writes[2].page, before.writes[2].page);
  EXPECT_EQ(got.writes[3].page, before.writes[0].page);
  for (const auto& w : got.writes) EXPECT_EQ(device->pool.find({1, w.expert}), w.page);
}

TEST_F(fetching, what_a_spare_page_holds_comes_first_though_others_need_every_page) {
  want(5, {"a"});
  const auto before = fetch();
  device->pool.give_back(before.writes[0].page);
  device->links.calls.clear();
  job.items.clear();
  for (const std::uint32_t e : {0u, 1u, 2u, 3u, 4u, 5u}) want(e, {"a"});
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_THAT(device->links.calls, ElementsAre("a many 0 1 2 3 4"));
}

TEST_F(fetching, what_suffered_in_a_spare_page_is_brought_anew_and_counted) {
  want(0, {});
  want(1, {});
  const auto before = fetch();
  for (const auto& w : before.writes) device->pool.give_back(w.page);
  device->pool.raw(before.writes[1].page)[3] ^= std::byte{1};
  const auto got = fetch();
  ASSERT_TRUE(got.outcome) << got.outcome.error().text;
  EXPECT_EQ(got.writes[0].page, before.writes[0].page);
  EXPECT_TRUE(from_checkpoint(0));
  EXPECT_TRUE(from_checkpoint(1));
  EXPECT_EQ(unit.corrupt_pulls, 1u);
  EXPECT_EQ(device->pool.spare(), 4u);
}

TEST_F(fetching, a_cancelled_pull_ends_the_job_and_gives_every_page_back) {
  want(0, {"a"});
  want(1, {"a", "b"});
  want(2, {"c"});
  device->links.refusals = {{{"a", 1}, errc::aborted}};
  const auto got = fetch();
  ASSERT_FALSE(got.outcome);
  EXPECT_EQ(got.outcome.error().code, errc::aborted);
  EXPECT_THAT(device->links.calls, ElementsAre("a many 0 1"));
  EXPECT_TRUE(got.writes.empty());
  EXPECT_EQ(device->pool.spare(), 6u);
}

TEST_F(fetching, a_job_given_up_while_it_pulls_goes_no_further) {
  want(0, {"a"});
  want(1, {"b"});
  device->links.on_pull = [&] { ++unit.fetch_generation; };
  EXPECT_EQ(fetch().outcome.error().code, errc::aborted);
  EXPECT_EQ(device->links.calls.size(), 1u);
  EXPECT_EQ(device->pool.spare(), 6u);
  job.generation = unit.fetch_generation + 1;  // older than what is asked for at present
  EXPECT_EQ(fetch().outcome.error().code, errc::aborted);
  EXPECT_EQ(device->links.calls.size(), 1u);
}

TEST_F(fetching, a_job_that_does_not_fit_moves_nothing) {
  for (std::uint32_t e = 0; e < 7; ++e) want(e, {"a"});
  const auto got = fetch();
  ASSERT_FALSE(got.outcome);
  EXPECT_EQ(got.outcome.error().code, errc::does_not_fit);
  EXPECT_TRUE(device->links.calls.empty());
  EXPECT_EQ(device->pool.spare(), 6u);
  job.items.resize(1);
  job.items[0].model = 1;
  EXPECT_THAT(fetch().outcome.error().text, HasSubstr("no model 1"));
}

}  // namespace
}  // namespace ballast
