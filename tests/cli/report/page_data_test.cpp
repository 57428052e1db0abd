// The numbers of a page: against sums taken straight from the recording, and against each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "cli/report/digits.hpp"
#include "cli/report/thinning.hpp"
#include "tests/cli/report/small_views.hpp"

namespace ballast::report {
namespace {

double load_of(std::uint64_t first_record, std::uint32_t layer, std::uint32_t first_expert, std::uint32_t experts) {
  double sum = 0;
  for (auto r = first_record; r < first_record + small_interval; ++r)
    for (auto e = first_expert; e < first_expert + experts; ++e) sum += small_recording().records[r].tokens[layer][e];
  return sum;
}

TEST(report_views, the_even_layout_has_the_loads_of_experts_in_order) {
  const auto even = small_view("static", 0);
  ASSERT_EQ(even.heat.frames.size(), 21u);
  ASSERT_EQ(even.heat.layers, (std::vector<std::uint32_t>{0, 1, 2, 3}));
  ASSERT_EQ(even.heat.columns, small_ranks);
  for (std::uint32_t frame = 0; frame < 21; ++frame) {
    const std::uint64_t first = (frame + 1) * small_interval;
    EXPECT_EQ(even.steps[frame].record, first);
    for (std::uint32_t layer = 0; layer < 4; ++layer) {
      for (std::uint32_t rank = 0; rank < small_ranks; ++rank) {
        const double share = load_of(first, layer, 4 * rank, 4) / load_of(first, layer, 0, 16);
        EXPECT_NEAR(even.heat.at(frame, layer, rank), share * small_ranks, 1e-5);
      }
    }
  }
  EXPECT_EQ(even.moves, 0u);
}

TEST(report_views, imbalance_is_the_busiest_cell_of_a_row) {
  for (const char* policy : {"static", "economy", "deepseek"}) {
    const auto v = small_view(policy, 4);
    double sum = 0, most = 0;
    std::vector<float> layers;
    for (std::size_t frame = 0; frame < v.heat.frames.size(); ++frame) {
      double frame_sum = 0;
      for (std::size_t row = 0; row < v.heat.layers.size(); ++row) {
        float peak = 0, all = 0;
        for (std::size_t c = 0; c < v.heat.columns; ++c) {
          peak = std::max(peak, v.heat.at(frame, row, c));
          all += v.heat.at(frame, row, c);
        }
        EXPECT_NEAR(all, static_cast<float>(small_ranks), 1e-4);
        frame_sum += static_cast<double>(peak);
        if (frame > 0) layers.push_back(peak);
      }
      EXPECT_NEAR(v.steps[frame].next, frame_sum / 4, 1e-5) << policy << " " << frame;
      if (frame > 0) sum += frame_sum / 4, most = std::max(most, v.steps[frame].next_max.value());
    }
    EXPECT_EQ(v.layer_imbalance, layers);
    EXPECT_NEAR(v.next, sum / 20, 1e-5) << policy;
    EXPECT_NEAR(v.next_max.value(), most, 1e-5) << policy;
  }
}

TEST(report_views, experts_come_busiest_first_with_all_their_copies) {
  const auto v = small_view("economy", 4);
  ASSERT_EQ(v.busiest.top, 16u);  // all there are
  ASSERT_EQ(v.busiest.cells.size(), 21u * 4 * 16);
  for (std::size_t at = 0; at < v.busiest.cells.size(); at += 16) {
    std::uint32_t copies = 0;
    float load = 0;
    std::set<std::uint32_t> seen;
    for (std::size_t i = at; i < at + 16; ++i) {
      const auto& e = v.busiest.cells[i];
      copies += e.copies;
      load += e.load;
      seen.insert(e.expert);
      EXPECT_TRUE(i == at || e.load <= v.busiest.cells[i - 1].load);
    }
    EXPECT_EQ(copies, 16u + 4);
    EXPECT_EQ(seen.size(), 16u);
    EXPECT_NEAR(load, 16.0F, 1e-3);
  }
  const double busiest = load_of(8, 0, v.busiest.cells[0].expert, 1) / load_of(8, 0, 0, 16) * 16;
  EXPECT_NEAR(v.busiest.cells[0].load, busiest, 1e-4);
}

TEST(report_page_data, counts_every_layer_once) {
  const auto data = small_page();
  ASSERT_EQ(data.histograms.size(), 3u);
  for (std::size_t i = 0; i < data.histograms.size(); ++i) {
    const auto& counts = data.histograms[i];
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}), 20u * 4);
    const double edge = data.imbalance_bins.from + 10 * data.imbalance_bins.width;
    const auto& layers = data.views[i].layer_imbalance;
    const auto below =
        std::count_if(layers.begin(), layers.end(), [&](float x) { return static_cast<double>(x) < edge; });
    EXPECT_EQ(std::accumulate(counts.begin(), counts.begin() + 10, std::uint64_t{0}),
              static_cast<std::uint64_t>(below));
  }
  EXPECT_TRUE(data.notes.empty());
}

TEST(report_page_data, shows_the_even_layout_beside_one_run_and_runs_beside_each_other) {
  auto even = small_view("static", 0);
  even.even_layout = true;
  const auto run = small_view("economy", 4);
  const auto one = page_data_of({small_source()}, {even, run});
  EXPECT_EQ(one.left, 0u);
  EXPECT_EQ(one.right, 1u);
  const auto two = small_page();
  EXPECT_EQ(two.left, 1u);
  EXPECT_EQ(two.right, 2u);
}

TEST(report_page_data, names_views_by_what_sets_them_apart) {
  const auto names = [](const page_data& data) {
    std::vector<std::string> out;
    for (const auto& v : data.views) out.push_back(v.name);
    return out;
  };
  EXPECT_EQ(names(small_page()), (std::vector<std::string>{"even layout", "economy", "deepseek"}));
  view a, b;
  a.policy = b.policy = "economy";
  a.redundant = 4;
  a.ranks = b.ranks = 8;
  b.source = 1;
  b.interval = 16;
  auto other = small_source();
  other.file = "other.jsonl.gz";
  EXPECT_EQ(names(page_data_of({small_source(), other}, {a, b})),
            (std::vector<std::string>{"economy, small.jsonl.gz, interval 0, 4 redundant",
                                      "economy, other.jsonl.gz, interval 16, 0 redundant"}));
  EXPECT_EQ(names(page_data_of({small_source(), small_source()}, {a, b}))[1],
            "economy, recording 2, interval 16, 0 redundant");
}

TEST(report_page_data, stays_within_its_bounds_and_says_what_was_left_out) {
  const auto full = small_page();
  const bounds within{.steps = 6, .layers = 2, .columns = 2, .bytes = 2000};
  const auto thin = small_page(within);
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < thin.views.size(); ++i) {
    const auto& v = thin.views[i];
    bytes += bytes_of(v);
    EXPECT_LE(v.steps.size(), within.steps);
    EXPECT_LE(v.heat.layers.size(), within.layers);
    EXPECT_LE(v.heat.columns, within.columns);
    EXPECT_EQ(v.heat.cells.size(), v.heat.frames.size() * v.heat.layers.size() * v.heat.columns);
    EXPECT_EQ(v.busiest.cells.size(), v.heat.frames.size() * v.heat.layers.size() * v.busiest.top);
    EXPECT_LT(v.heat.frames.back(), v.steps.size());
    EXPECT_EQ(v.heat.layers, (std::vector<std::uint32_t>{0, 3}));
    const auto& all = full.views[i];
    EXPECT_EQ(v.heat.at(0, 1, 0), std::max(all.heat.at(0, 3, 0), all.heat.at(0, 3, 1)));
    const auto sum = [](const view& of) {
      std::uint64_t moves = 0;
      for (const auto& s : of.steps) moves += s.moves;
      return moves;
    };
    EXPECT_EQ(sum(v), sum(all));
    EXPECT_EQ(v.next, all.next);
  }
  EXPECT_LE(bytes, within.bytes);
  EXPECT_EQ(thin.histograms, full.histograms);
  EXPECT_EQ(thin.notes.size(), 5u);
}

TEST(report_page_data, one_frame_is_left_when_the_bound_is_tiny) {
  const auto thin = small_page({.steps = 1, .layers = 1, .columns = 1, .bytes = 0});
  for (const auto& v : thin.views) {
    EXPECT_EQ(v.heat.frames, std::vector<std::uint32_t>{0});
    EXPECT_EQ(v.steps.size(), 1u);
  }
}

TEST(report_page_data, is_the_same_every_time) {
  const auto first = json_of(small_page());
  EXPECT_EQ(first, json_of(small_page()));
  const auto read = nlohmann::json::parse(first);
  EXPECT_EQ(read["views"].size(), 3u);
  EXPECT_EQ(read["views"][1]["heat"]["cells"].get<std::string>().size(), 21u * 4 * 4 * cell_digits);
  EXPECT_EQ(read["views"][1]["experts"]["cells"].get<std::string>().size(), 21u * 4 * 16 * busy_expert_digits);
}

TEST(report_digits, write_numbers_of_a_fixed_width) {
  const auto written = [](std::uint64_t value, std::uint32_t width) {
    std::string out;
    append_digits(out, value, width);
    return out;
  };
  EXPECT_EQ(written(0, 2), "00");
  EXPECT_EQ(written(63, 2), "0_");
  EXPECT_EQ(written(64, 3), "010");
  EXPECT_EQ(written(4095, 2), "__");
  EXPECT_EQ(written(4096, 2), "__") << "too large: the largest there is";
}

}  // namespace
}  // namespace ballast::report
