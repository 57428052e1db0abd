// What is written is read back as it was, for random shapes, in every form and from any form to any other.
#include <gtest/gtest.h>
#include <zlib.h>

#include "policies/formats/load_records.hpp"
#include "policies/formats/load_writer.hpp"
#include "policies/formats/output_file.hpp"
#include "tests/policies/formats_fixture.hpp"

namespace ballast::policies {
namespace {

using testing::random_map;
using testing::scratch_file;

constexpr std::array forms = {file_format::vllm, file_format::sglang, file_format::trtllm, file_format::vllm_ascend,
                              file_format::ballast};

expert_map reread(const expert_map& map, file_format format, std::uint32_t dense) {
  const auto text = text_of(map, format, dense);
  EXPECT_TRUE(text) << text.error().text;
  if (!text) return {};
  const scratch_file file(*text);
  const auto got = read_expert_map(file.path(), {file_format::automatic, map.ranks, dense});
  EXPECT_TRUE(got) << to_string(format) << ": " << got.error().text << "\n" << text->substr(0, 2000);
  if (!got) return {};
  EXPECT_EQ(got->format, format);
  return got->map;
}

TEST(round_trip, of_placements_keeps_every_slot) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 100; ++round) {
    const auto map = random_map(random, false, false);
    const auto dense = static_cast<std::uint32_t>(round % 4);
    for (const auto format : forms) {
      const auto got = reread(map, format, dense);
      EXPECT_EQ(got.layers, map.layers) << to_string(format);
      EXPECT_EQ(got.experts, map.experts);
      EXPECT_EQ(got.ranks, map.ranks);
    }
  }
}

TEST(round_trip, through_all_forms_one_after_the_other) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 30; ++round) {
    const auto map = random_map(random, false, false);
    auto order = forms;
    std::shuffle(order.begin(), order.end(), random);
    auto at = map;
    for (const auto format : order) at = reread(at, format, 2);
    EXPECT_EQ(at.layers, map.layers);
  }
}

TEST(round_trip, of_ballast_placements_keeps_shares_empty_slots_and_names) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    auto map = random_map(random, round % 2 == 0, true);
    map.model = "a \"model\"\nof two lines";
    map.fingerprint = "0123";
    map.first_layer = static_cast<std::uint32_t>(round % 5);
    EXPECT_EQ(reread(map, file_format::ballast, 0), map);
  }
}

TEST(round_trip, of_devices_with_empty_slots_keeps_their_experts) {
  std::mt19937_64 random(4);
  for (int round = 0; round < 50; ++round) {
    const auto map = random_map(random, false, true);
    const auto got = reread(map, file_format::vllm_ascend, 0);
    const auto before = placement_of(map), after = placement_of(got);
    ASSERT_TRUE(before && after);
    for (std::size_t l = 0; l < map.layers.size(); ++l) {
      for (std::size_t e = 0; e < map.experts; ++e) {
        ASSERT_EQ(before->layers[l][e].size(), after->layers[l][e].size());
        for (std::size_t i = 0; i < before->layers[l][e].size(); ++i)
          EXPECT_EQ(before->layers[l][e][i].seat, after->layers[l][e][i].seat);
      }
    }
  }
}

TEST(round_trip, from_map_to_placement_and_back_is_the_same_but_for_second_copies) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const auto map = random_map(random, round % 2 == 0, true);
    const auto placed = placement_of(map);
    ASSERT_TRUE(placed) << placed.error().text;
    std::vector<seat_info> seats;
    for (std::uint32_t r = 0; r < map.ranks; ++r)
      seats.push_back({seat_id{r}, r % map.nodes, 1.0, {map.slots() / map.ranks, 0}});
    const auto legal = validate(*placed, static_cast<std::uint32_t>(map.layers.size()), map.experts, seats);
    ASSERT_TRUE(legal) << legal.error().text;
    const auto back = map_of(*placed, map.experts, seats);
    ASSERT_TRUE(back) << back.error().text;
    for (std::size_t l = 0; l < map.layers.size(); ++l) {
      for (std::size_t s = 0; s < map.slots(); ++s) {
        if (back->layers[l][s] != map.layers[l][s]) {
          EXPECT_EQ(back->layers[l][s], empty_slot);
        }
      }
    }
    const auto again = placement_of(*back);
    ASSERT_TRUE(again) << again.error().text;
    if (!back->shares.empty()) {
      EXPECT_EQ(again->layers, placed->layers);
    }
  }
}

TEST(fill_empty_slots, leaves_none_and_repeats_no_expert_on_a_rank_that_lacks_one) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 100; ++round) {
    auto map = random_map(random, round % 2 == 0, true);
    const auto before = map;
    load_matrix loads(map.layers.size(), std::vector<double>(map.experts));
    for (auto& row : loads)
      for (auto& cell : row) cell = static_cast<double>(random() % 1000);
    fill_empty_slots(map, round % 3 == 0 ? load_matrix{} : loads);
    ASSERT_TRUE(check(map));
    const auto room = map.slots() / map.ranks;
    for (std::size_t l = 0; l < map.layers.size(); ++l) {
      for (std::size_t s = 0; s < map.slots(); ++s) {
        if (before.layers[l][s] != empty_slot) {
          EXPECT_EQ(map.layers[l][s], before.layers[l][s]);
          continue;
        }
        ASSERT_NE(map.layers[l][s], empty_slot);
        const auto first = map.layers[l].begin() + static_cast<std::ptrdiff_t>(s / room * room);
        const std::set<std::int32_t> held(first, first + room);
        if (std::count(first, first + room, map.layers[l][s]) > 1) {
          EXPECT_EQ(held.size(), map.experts);
        }
      }
    }
  }
}

load_recording random_recording(std::mt19937_64& random, bool ours) {
  load_recording out;
  out.meta.model = "m";
  out.meta.layers = 1 + random() % 4;
  out.meta.experts = 1 + random() % 20;
  out.meta.ranks = random() % 5;
  out.meta.nodes = random() % 3;
  out.meta.groups = 1 + random() % 4;
  if (ours) {
    out.meta.fingerprint = "ab";
    out.meta.top_k = random() % 9;
    out.meta.redundant = random() % 9;
    out.meta.steps_per_interval = random() % 9;
  }
  const auto number = [&] {
    return random() % 3 == 0 ? static_cast<double>(random() % 7) / 3 : static_cast<double>(random() % 100000);
  };
  const auto seats = ours ? random() % 4 : 0;
  for (std::uint64_t r = 0; r < 1 + random() % 5; ++r) {
    load_record record;
    record.step = random() % 1000000;
    record.tokens.assign(out.meta.layers, std::vector<double>(out.meta.experts));
    for (auto& row : record.tokens)
      for (auto& cell : row) cell = number();
    for (std::uint32_t s = 0; s < seats; ++s) record.seats.push_back(3 * s);
    if (seats > 0 && random() % 2 == 0) {
      record.first_step = record.step / 2;
      record.rank_load.assign(out.meta.layers, std::vector<double>(seats));
      for (auto& row : record.rank_load)
        for (auto& cell : row) cell = number();
      record.step_ms.assign(seats, number());
    }
    out.records.push_back(std::move(record));
  }
  return out;
}

TEST(round_trip, of_loads_keeps_every_number) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    const bool ours = round % 2 == 0, packed = round % 3 == 0;
    const auto format = ours ? file_format::ballast : file_format::vllm;
    const auto recording = random_recording(random, ours);
    const scratch_file at("", packed ? ".jsonl.gz" : ".jsonl");
    auto file = output_file::open(at.path());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(*meta_line(recording.meta, format)));
    for (const auto& record : recording.records) ASSERT_TRUE(file->write(stats_line(record, format)));
    ASSERT_TRUE(file->commit());
    const auto got = read_load_records(at.path());
    ASSERT_TRUE(got) << got.error().text;
    EXPECT_EQ(got->meta.experts, recording.meta.experts);
    EXPECT_EQ(got->meta.fingerprint, recording.meta.fingerprint);
    EXPECT_EQ(got->meta.ranks, recording.meta.ranks);
    EXPECT_EQ(got->meta.groups, recording.meta.groups);
    EXPECT_EQ(got->meta.redundant, recording.meta.redundant);
    ASSERT_EQ(got->records.size(), recording.records.size());
    for (std::size_t r = 0; r < got->records.size(); ++r) {
      EXPECT_EQ(got->records[r].tokens, recording.records[r].tokens);
      EXPECT_EQ(got->records[r].step, recording.records[r].step);
      EXPECT_EQ(got->records[r].seats, recording.records[r].seats);
      EXPECT_EQ(got->records[r].rank_load, recording.records[r].rank_load);
      EXPECT_EQ(got->records[r].step_ms, recording.records[r].step_ms);
    }
  }
}

TEST(load_writer, names_the_forms_it_writes) {
  const auto refused = meta_line({}, file_format::trtllm);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().text, "loads are written as vllm or ballast, not as trtllm; name one of the two");
}

TEST(output_file, is_there_whole_or_not_at_all) {
  const scratch_file at("before");
  {
    auto file = output_file::open(at.path());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("half of it"));
  }
  EXPECT_EQ(testing::content_of(at.path()), "before");
  ASSERT_TRUE(write_whole(at.path(), "after"));
  EXPECT_EQ(testing::content_of(at.path()), "after");
  std::size_t left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(::testing::TempDir()))
    left += entry.path().string().starts_with(at.path()) ? 1 : 0;
  EXPECT_EQ(left, 1U);
}

TEST(output_file, says_why_it_cannot_be) {
  EXPECT_EQ(output_file::open("/no/such/folder/file").error().code, errc::io);
  EXPECT_NE(output_file::open(::testing::TempDir()).error().text.find("directory"), std::string::npos);
}

}  // namespace
}  // namespace ballast::policies
