// Loads are recorded as the window counts them, and read again: whole, rotated, and cut off by a kill.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "coordinator/load_recorder.hpp"
#include "coordinator/read_start.hpp"
#include "policies/formats/load_records.hpp"
#include "tests/coordinator/bench.hpp"

namespace ballast::cluster::test {
namespace {

namespace fs = std::filesystem;

struct folder {
  folder() : path(fs::temp_directory_path() / fmt::format("ballast-recording-{}-{}", ::getpid(), ++made)) {
    fs::create_directories(path);
  }
  ~folder() { fs::remove_all(path); }
  std::string file(const std::string& name = "loads.jsonl.gz") const { return path / name; }
  fs::path path;
  static inline int made = 0;
};

recorded_interval interval(step_t last, double value = 1, std::uint32_t layers = 2, std::uint32_t experts = 3) {
  recorded_interval out;
  out.model = {"target", "f", layers, experts, 1, 10};
  out.nodes = 1;
  out.loads.first = last - 7;
  out.loads.last = last;
  for (std::uint32_t l = 0; l < layers; ++l) {
    out.loads.tokens.emplace_back();
    for (std::uint32_t e = 0; e < experts; ++e) out.loads.tokens.back().push_back(value * (l + 1) + e);
  }
  for (std::uint32_t seat = 0; seat < 2; ++seat) {
    out.loads.received[seat_id{seat}] = std::vector<double>(layers, value);
    out.loads.step_ms[seat_id{seat}] = 1.5;
  }
  return out;
}

coordinator_config recording_config(std::uint32_t steps) {
  auto c = bench::default_config();
  c.record_stats = std::string("loads");
  c.record_interval_steps = steps;
  return c;
}

// Effects of a summary of every member for steps first to last, each with `each` tokens an expert.
std::vector<recorded_interval> report(bench& b, step_t first, step_t last, double each = 1) {
  std::vector<recorded_interval> out;
  for (const auto seat : b.state.members) {
    const load_summary l{seat, b.state.seats[index_of(seat)].incarnation,
                         0,    first,
                         last, load_matrix(2, std::vector<double>(b.experts, each)),
                         0};
    for (auto& e : step(b.state, input::message{"peer", envelope{1, "agent", l}}))
      if (const auto* r = std::get_if<effect::record_loads>(&e)) out.push_back(*r->what);
  }
  return out;
}

TEST(Recording, PutsWholeIntervalsTogether) {
  auto b = serving(3, recording_config(16));
  EXPECT_TRUE(report(b, 1, 8).empty());
  const auto first = report(b, 9, 16, 2);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].loads.first, 1u);
  EXPECT_EQ(first[0].loads.last, 16u);
  EXPECT_EQ(first[0].loads.tokens, load_matrix(2, std::vector<double>(b.experts, 3 * 1 + 3 * 2)));
  ASSERT_EQ(first[0].loads.received.size(), 3u);
  EXPECT_EQ(first[0].loads.received.at(seat_id{1}), std::vector<double>(2, 3.0 * b.experts));
  EXPECT_TRUE(report(b, 17, 20).empty());  // cut short, by a change of members say
  const auto second = report(b, 21, 33);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].loads.first, 17u);
  EXPECT_EQ(second[0].loads.last, 33u);
}

TEST(Recording, IsNotMadeUnlessAskedFor) {
  auto b = serving(3);
  EXPECT_TRUE(report(b, 1, 8).empty());
}

TEST(Recording, ComesBackAsItWasWritten) {
  const folder at;
  {
    load_recorder recorder({at.file()});
    for (step_t s = 8; s <= 80; s += 8) ASSERT_TRUE(recorder.append(interval(s, static_cast<double>(s) + 0.25)));
  }
  const auto read = policies::read_load_records(at.file());
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->meta.model, "target");
  EXPECT_EQ(read->meta.layers, 2u);
  EXPECT_EQ(read->meta.experts, 3u);
  EXPECT_EQ(read->meta.ranks, 2u);
  ASSERT_EQ(read->records.size(), 10u);
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_EQ(read->records[i].step, 8 * (i + 1));
    EXPECT_EQ(read->records[i].tokens, interval(8, static_cast<double>(8 * (i + 1)) + 0.25).loads.tokens);
  }
}

TEST(Recording, CanBeReadWhileItIsWrittenAndAfterAKill) {
  const folder at;
  load_recorder recorder({at.file()});
  for (step_t s = 8; s <= 24; s += 8) {
    ASSERT_TRUE(recorder.append(interval(s)));
    const auto read = policies::read_load_records(at.file());
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(read->records.size(), s / 8);
  }
}

TEST(Recording, CutOffWithinARecordIsAnErrorThatNamesTheLine) {
  const folder at;
  {
    load_recorder recorder({at.file()});
    ASSERT_TRUE(recorder.append(interval(8)));
    ASSERT_TRUE(recorder.append(interval(16, 1, 40, 64)));
  }
  fs::resize_file(at.file(), fs::file_size(at.file()) - 60);
  const auto read = policies::read_load_records(at.file());
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().text.find(at.file() + ":3: "), std::string::npos) << read.error().text;
}

TEST(Recording, RotatesAndKeepsSoManyFiles) {
  const folder at;
  {
    load_recorder recorder({at.file(), 400, 3});
    for (step_t s = 8; s <= 800; s += 8) ASSERT_TRUE(recorder.append(interval(s, static_cast<double>(s * s % 997))));
  }
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(at.path)) files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 3u);
  step_t expected = 800;
  for (const auto& name : {at.file(), at.file() + ".1", at.file() + ".2"}) {  // newest first, without a gap
    const auto read = policies::read_load_records(name);
    ASSERT_TRUE(read) << read.error().text;
    for (auto r = read->records.rbegin(); r != read->records.rend(); ++r, expected -= 8) EXPECT_EQ(r->step, expected);
  }
}

TEST(Recording, PutsAsideWhatWasThereBefore) {
  const folder at;
  std::ofstream(at.file()) << "precious";
  load_recorder({at.file()}).append(interval(8));
  std::string kept;
  std::ifstream(at.file() + ".1") >> kept;
  EXPECT_EQ(kept, "precious");
}

TEST(Recording, OfAnotherModelLiesBesideIt) {
  const folder at;
  load_recorder recorder({at.file()});
  auto other = interval(8);
  other.loads.model = 1;
  other.model.name = "a/draft";
  ASSERT_TRUE(recorder.append(interval(8)));
  ASSERT_TRUE(recorder.append(other));
  EXPECT_TRUE(policies::read_load_records(at.file()));
  EXPECT_TRUE(policies::read_load_records(at.file("loads-a_draft.jsonl.gz")));
}

TEST(Recording, SaysOnceThatItCannotBeWritten) {
  const folder at;
  load_recorder recorder({at.file("no/such/folder.gz")});
  const auto failed = recorder.append(interval(8));
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().text.find("no/such/folder.gz"), std::string::npos);
  EXPECT_TRUE(recorder.append(interval(16)));
  EXPECT_FALSE(check_recording(at.file("no/such/folder.gz")));
  EXPECT_TRUE(check_recording(at.file()));
  EXPECT_FALSE(fs::exists(at.file()));
}

TEST(Recording, IsLeftOutAtItsBoundAndSaysSoTwice) {
  recording_gate gate;
  std::string line;
  EXPECT_TRUE(gate.admits(recording_gate::most - 1, line));
  EXPECT_EQ(line, "");
  EXPECT_FALSE(gate.admits(recording_gate::most, line));
  EXPECT_NE(line, "");
  for (int i = 0; i < 6; ++i) {
    EXPECT_FALSE(gate.admits(recording_gate::most, line));
    EXPECT_EQ(line, "");
  }
  EXPECT_TRUE(gate.admits(0, line));
  EXPECT_EQ(line, "7 records were left out of the recording");
  EXPECT_TRUE(gate.admits(0, line));
  EXPECT_EQ(line, "");
}

TEST(Start, IsPlannedFromRecordedLoads) {
  const folder at;
  {
    load_recorder recorder({at.file()});
    for (step_t s = 8; s <= 800; s += 8) {
      auto hot = interval(s, 1, 2, 8);
      hot.loads.tokens[0][5] = hot.loads.tokens[1][2] = 500;
      ASSERT_TRUE(recorder.append(hot));
    }
  }
  auto read = read_start(at.file());
  ASSERT_TRUE(read) << read.error().text;
  EXPECT_EQ(read->recorded.loads[0][5], 500 * 100);
  EXPECT_LE(read->recorded.history.parts.size(), 16u);
  load_matrix sum(2, std::vector<double>(8));
  for (const auto& part : read->recorded.history.parts)
    for (std::size_t l = 0; l < 2; ++l)
      for (std::size_t e = 0; e < 8; ++e) sum[l][e] += part[l][e];
  EXPECT_EQ(sum, read->recorded.loads);

  auto c = bench::default_config();
  c.num_redundant_experts = 1;
  bench b(c);
  b.state.start = *read;
  b.join_all(3);
  b.answer_all();
  ASSERT_TRUE(b.legal());
  EXPECT_EQ(b.state.models[0].current->layers[0][5].size(), 2u);
  EXPECT_EQ(b.state.models[0].current->layers[1][2].size(), 2u);
}

TEST(Start, RefusesLoadsOfAnotherModelAtOnce) {
  bench b;
  b.state.start = recorded_start{"loads.gz", {load_matrix(4, std::vector<double>(256, 1)), {}, 1}};
  b.join(0);
  ASSERT_TRUE(std::holds_alternative<refused>(b.sent.back().second));
  EXPECT_EQ(std::get<refused>(b.sent.back().second).failure.text,
            "read_stats = loads.gz: 4 layers of 256 experts, but target has 2 layers of 8; record this model, or leave "
            "read_stats out to start evenly");
  const auto absent = read_start("no-such-file");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().text.find("no-such-file"), std::string::npos);
}

}  // namespace
}  // namespace ballast::cluster::test
