// The hand-made files of tests/data/formats, read, and written again.
#include <gmock/gmock.h>

#include "policies/formats/load_records.hpp"
#include "policies/formats/load_writer.hpp"
#include "policies/formats/read_recorded.hpp"
#include "tests/policies/formats_fixture.hpp"

namespace ballast::policies {
namespace {

using testing::data_file;
using ::testing::HasSubstr;

const load_matrix first_tokens = {{60, 80, 30, 40}, {3, 4, 6, 8}};
const load_matrix second_tokens = {{62, 82, 31, 41}, {0, 0, 0, 0}};
const std::vector<std::vector<std::int32_t>> slots = {{0, 1, 2, 3, 0, 1}, {3, 2, 1, 0, 3, 2}};

struct loads_case {
  const char* file;
  file_format format;
  std::uint32_t dense = 0;
};

class golden_loads : public ::testing::TestWithParam<loads_case> {};

TEST_P(golden_loads, are_the_same_in_every_form) {
  const auto& [file, format, dense] = GetParam();
  for (const auto asked : {file_format::automatic, format}) {
    const load_options options{.first_dense_layers = dense, .format = asked};
    const auto got = read_load_records(data_file(file), options);
    ASSERT_TRUE(got) << got.error().text;
    ASSERT_EQ(got->records.size(), 2U);
    EXPECT_EQ(got->records[0].tokens, first_tokens);
    EXPECT_EQ(got->records[1].tokens, second_tokens);
    EXPECT_EQ(got->meta.layers, 2U);
    EXPECT_EQ(got->meta.experts, 4U);
    const auto reader = load_record_reader::open(data_file(file), options);
    ASSERT_TRUE(reader);
    EXPECT_EQ(reader->format(), format);
  }
}

INSTANTIATE_TEST_SUITE_P(formats, golden_loads,
                         ::testing::Values(loads_case{"vllm_loads.jsonl", file_format::vllm},
                                           loads_case{"vllm_draft_loads.jsonl", file_format::vllm},
                                           loads_case{"sglang_loads.json", file_format::sglang, 1},
                                           loads_case{"ballast_loads.jsonl", file_format::ballast}));

struct map_case {
  const char* file;
  file_format format;
  std::uint32_t dense = 0;
};

class golden_maps : public ::testing::TestWithParam<map_case> {};

TEST_P(golden_maps, are_the_same_in_every_form) {
  const auto& [file, format, dense] = GetParam();
  for (const auto asked : {file_format::automatic, format}) {
    const auto got = read_expert_map(data_file(file), {asked, 2, dense});
    ASSERT_TRUE(got) << got.error().text;
    EXPECT_EQ(got->map.layers, slots);
    EXPECT_EQ(got->map.experts, 4U);
    EXPECT_EQ(got->map.ranks, 2U);
    EXPECT_EQ(got->format, format);
    const auto again = text_of(got->map, format, dense);
    ASSERT_TRUE(again) << again.error().text;
    const testing::scratch_file copy(*again);
    const auto reread = read_expert_map(copy.path(), {file_format::automatic, 2, dense});
    ASSERT_TRUE(reread) << reread.error().text;
    EXPECT_EQ(reread->map.layers, slots);
    EXPECT_EQ(reread->map.first_layer, got->map.first_layer);
    EXPECT_EQ(reread->map.shares, got->map.shares);
  }
}

INSTANTIATE_TEST_SUITE_P(formats, golden_maps,
                         ::testing::Values(map_case{"vllm_mapping.json", file_format::vllm},
                                           map_case{"vllm_loads.jsonl", file_format::vllm},
                                           map_case{"vllm_ascend_map.json", file_format::vllm_ascend},
                                           map_case{"trtllm_map.yaml", file_format::trtllm, 3},
                                           map_case{"sglang_map.json", file_format::sglang, 1},
                                           map_case{"ballast_loads.jsonl", file_format::ballast}));

TEST(golden_maps, trtllm_says_itself_how_many_dense_layers_there_are) {
  const auto got = read_expert_map(data_file("trtllm_map.yaml"), {.ranks = 2});
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->map.first_layer, 3U);
  const auto wrong = read_expert_map(data_file("trtllm_map.yaml"), {.ranks = 2, .first_dense_layers = 1});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().text, HasSubstr("layers begin with 3, not with 1"));
}

TEST(golden_maps, are_written_as_documented) {
  const auto map = read_expert_map(data_file("vllm_mapping.json"), {.ranks = 2})->map;
  EXPECT_EQ(text_of(map, file_format::vllm),
            "{\"record_type\":\"eplb_initial_mapping\",\"version\":1,\"num_redundant_experts\":2,\"num_slots\":6,"
            "\"initial_global_assignments\":{\"0\":[0,1,2,3,0,1],\"1\":[3,2,1,0,3,2]}}\n");
  EXPECT_EQ(text_of(map, file_format::trtllm, 3),
            "num_slots: 6\ninitial_global_assignments:\n  3: [0,1,2,3,0,1]\n  4: [3,2,1,0,3,2]\n"
            "layer_updates_per_iter: 0\n");
  EXPECT_EQ(text_of(map, file_format::sglang, 1),
            "{\"physical_to_logical_map\":[[0,1,2,3,0,1],[0,1,2,3,0,1],[3,2,1,0,3,2]]}\n");
  EXPECT_EQ(text_of(map, file_format::vllm_ascend),
            "{\"moe_layer_count\": 2, \"layer_list\": [\n"
            "  {\"layer_id\": 0, \"device_count\": 2, \"device_list\": [\n"
            "    {\"device_id\": 0, \"device_expert\": [0,1,2]},\n"
            "    {\"device_id\": 1, \"device_expert\": [3,0,1]}]},\n"
            "  {\"layer_id\": 1, \"device_count\": 2, \"device_list\": [\n"
            "    {\"device_id\": 0, \"device_expert\": [3,2,1]},\n"
            "    {\"device_id\": 1, \"device_expert\": [0,3,2]}]}]}\n");
}

TEST(golden_loads, of_ballast_have_seats_and_times) {
  const auto got = read_load_records(data_file("ballast_loads.jsonl"));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->meta.fingerprint, "5f0c");
  const auto& first = got->records[0];
  EXPECT_EQ(first.first_step, 51U);
  EXPECT_EQ(first.seats, (std::vector<std::uint32_t>{0, 4}));
  EXPECT_EQ(first.rank_load, (load_matrix{{60, 150}, {15, 7}}));
  EXPECT_EQ(first.step_ms, (std::vector<double>{1.5, 1.75}));
  const auto text = testing::content_of(data_file("ballast_loads.jsonl"));
  EXPECT_THAT(text, HasSubstr(stats_line(first, file_format::ballast)));
}

TEST(golden_loads, of_vllm_say_where_experts_lay) {
  const auto got = read_recorded_loads(data_file("vllm_loads.jsonl"), 1);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->recorded.loads, second_tokens);
  ASSERT_EQ(got->recorded.history.intervals.size(), 1U);
  EXPECT_EQ(got->recorded.history.intervals[0], first_tokens);
  ASSERT_TRUE(got->map);
  EXPECT_EQ(got->map->layers, slots);
  EXPECT_EQ(got->map->ranks, 2U);
  EXPECT_EQ(got->rank_load, (load_matrix{{123, 303}, {15, 6}}));
}

}  // namespace
}  // namespace ballast::policies
