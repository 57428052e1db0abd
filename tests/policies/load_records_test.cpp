#include "policies/formats/load_records.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"

namespace ballast::policies {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* meta_line =
    R"({"record_type":"eplb_load_meta","version":1,"model":"m","num_ranks":2,"num_groups":1,"num_nodes":1,)"
    R"("num_layers":2,"num_logical_experts":3,"top_k":2,"num_redundant_experts":1,"steps_per_interval":8})";

// A file of the given lines, gone with the test.
class recording_file {
 public:
  explicit recording_file(const std::vector<std::string>& lines, bool newline_at_end = true) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      text_ += lines[i];
      if (newline_at_end || i + 1 < lines.size()) text_ += '\n';
    }
    std::ofstream(path_, std::ios::binary) << text_;
  }
  ~recording_file() { std::filesystem::remove(path_); }
  std::string path() const { return path_; }

  void compress(std::size_t keep_bytes = 0) const {
    gzFile out = gzopen(path_.c_str(), "wb");
    gzwrite(out, text_.data(), static_cast<unsigned>(text_.size()));
    gzclose(out);
    if (keep_bytes > 0) std::filesystem::resize_file(path_, keep_bytes);
  }

 private:
  std::string path_ = ::testing::TempDir() + "load_records_" +
                      ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
  std::string text_;
};

std::string stats_line(const std::string& load, const std::string& rest = "") {
  return R"({"record_type":"eplb_load_stats","version":1,"step":7,"expert_load":)" + load + rest + "}";
}

error read_error(const std::vector<std::string>& lines) {
  const recording_file file(lines);
  const auto got = read_load_records(file.path());
  if (got) return error{errc::aborted, "no error"};
  return got.error();
}

TEST(load_records, reads_the_meta_record_and_logical_columns) {
  const recording_file file({meta_line, stats_line("[[1,2,3],[4,5,6]]"), "", stats_line("[[7,8,9],[0,0,1]]")}, false);
  const auto got = read_load_records(file.path());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->meta.model, "m");
  EXPECT_EQ(got->meta.layers, 2U);
  EXPECT_EQ(got->meta.experts, 3U);
  EXPECT_EQ(got->meta.top_k, 2U);
  EXPECT_EQ(got->meta.redundant, 1U);
  EXPECT_EQ(got->meta.steps_per_interval, 8U);
  ASSERT_EQ(got->records.size(), 2U);
  EXPECT_EQ(got->records[0].step, 7U);
  EXPECT_EQ(got->records[0].tokens, (load_matrix{{1, 2, 3}, {4, 5, 6}}));
  EXPECT_EQ(got->records[1].tokens, (load_matrix{{7, 8, 9}, {0, 0, 1}}));
}

TEST(load_records, folds_physical_columns_onto_logical_experts) {
  const recording_file file({R"({"record_type":"eplb_load_meta","version":1,"num_layers":2,"num_redundant_experts":1})",
                             stats_line("[[1,2,3,4],[5,6,7,8]]", R"(,"p2l_map":[[0,1,2,0],[2,2,1,0]])")});
  const auto got = read_load_records(file.path());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->meta.experts, 3U);
  EXPECT_EQ(got->records[0].tokens, (load_matrix{{5, 2, 3}, {8, 7, 11}}));
}

TEST(load_records, reads_the_draft_without_meta_and_skips_unknown_records) {
  const recording_file file({R"({"record_type":"something_new","version":9})",
                             stats_line("[[1,2,3,4]]", R"(,"num_ranks":2,"p2l_map":[[0,1,1,-1]])")});
  EXPECT_EQ(read_load_records(file.path()).error().code, errc::malformed);  // an empty slot with load
  const recording_file good({R"({"record_type":"something_new","version":9})",
                             stats_line("[[1,2,3,0]]", R"(,"num_ranks":2,"p2l_map":[[0,1,1,-1]])")});
  const auto got = read_load_records(good.path());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->meta.layers, 1U);
  EXPECT_EQ(got->records[0].tokens, (load_matrix{{1, 5}}));
}

TEST(load_records, delivers_only_the_layers_and_records_asked_for) {
  const recording_file file({meta_line, stats_line("[[1,2,3],[4,5,6]]"), "this line is never read"});
  const auto got = read_load_records(file.path(), {.max_layers = 1}, 1);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->meta.layers, 1U);
  EXPECT_EQ(got->records[0].tokens, (load_matrix{{1, 2, 3}}));
}

TEST(load_records, reads_the_cut_traces) {
  for (const auto& [name, layers, experts] :
       {std::tuple{"small-drift-s1", 4U, 16U}, {"qwen30-drift-s1-8l", 8U, 128U}, {"dsv3-shift-s1-4l", 4U, 256U}}) {
    const auto got = read_load_records(test_data(std::string(name) + ".jsonl.gz"));
    ASSERT_TRUE(got) << got.error().text;
    EXPECT_EQ(got->meta.layers, layers);
    EXPECT_EQ(got->meta.experts, experts);
    EXPECT_EQ(got->records.size(), 176U);
  }
}

TEST(load_records, names_file_and_line_of_every_fault) {
  const auto good = stats_line("[[1,2,3],[4,5,6]]");
  const std::vector<std::pair<std::string, const char*>> faults = {
      {"{\"record_type\":", "not JSON"},
      {"[1,2]", "not a JSON object"},
      {"{\"step\":1}", "no record_type"},
      {R"({"record_type":"eplb_load_stats","version":1})", "without expert_load"},
      {stats_line("[[1,2,3]]"), "1 layers"},
      {stats_line("[[1,2,3],[4,5]]"), "layer 1 has 2 experts"},
      {stats_line("[[1,2,3],[4,5,-6]]"), "layer 1, column 2"},
      {stats_line("[[1,2,3],[4,null,6]]"), "layer 1, column 1"},
      {stats_line("[[1,2,3],7]"), "layer 1 is not a list"},
      {stats_line("7"), "not a table"},
      {stats_line("[[1,2,3],[4,5,6]]", R"(,"p2l_map":[[0,1,2]])"), "p2l_map of layer 1"},
      {stats_line("[[1,2,3],[4,5,6]]", R"(,"p2l_map":[[0,1,2],[0,1,3]])"), "not a logical expert"},
      {R"({"record_type":"eplb_load_stats","version":1,"step":-1,"expert_load":[[1,2,3],[4,5,6]]})", "step"},
      {R"({"record_type":"eplb_load_meta","version":1,"num_layers":-2})", "num_layers"},
      {R"({"record_type":"eplb_load_meta","version":1,"num_layers":3})", "another shape"},
  };
  for (const auto& [line, part] : faults) {
    const auto failure = read_error({meta_line, good, line});
    EXPECT_EQ(failure.code, errc::malformed) << line;
    EXPECT_THAT(failure.text, AllOf(HasSubstr(".jsonl:3: "), HasSubstr(part))) << line;
  }
  const auto version = read_error({meta_line, R"({"record_type":"eplb_load_stats","version":2})"});
  EXPECT_EQ(version.code, errc::version_mismatch);
  EXPECT_THAT(version.text, HasSubstr(":2: record version 2"));
}

TEST(load_records, refuses_files_that_are_missing_empty_or_cut_off) {
  EXPECT_EQ(read_load_records("no/such/file.jsonl").error().code, errc::io);
  EXPECT_EQ(read_load_records(::testing::TempDir()).error().code, errc::io);
  EXPECT_THAT(read_error({meta_line}).text, HasSubstr("no eplb_load_stats"));
  EXPECT_THAT(read_error({}).text, HasSubstr("no eplb_load_stats"));
  std::vector<std::string> lines{meta_line};
  for (int i = 0; i < 2000; ++i) {
    lines.push_back(
        stats_line("[[" + std::to_string(i * 7919 % 10007) + ",2,3],[4,5," + std::to_string(i * 31 % 977) + "]]"));
  }
  const recording_file file(lines);
  file.compress();
  ASSERT_TRUE(read_load_records(file.path()));
  file.compress(std::filesystem::file_size(file.path()) / 2);
  const auto cut = read_load_records(file.path());
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, errc::malformed);
  EXPECT_THAT(cut.error().text, HasSubstr("cut off"));
}

TEST(load_records, gives_nothing_more_after_an_error) {
  const recording_file file({meta_line, stats_line("[[1,2,3],[4,5,6]]"), "garbage", stats_line("[[1,2,3],[4,5,6]]")});
  auto reader = load_record_reader::open(file.path());
  ASSERT_TRUE(reader);
  ASSERT_TRUE(reader->next());
  EXPECT_FALSE(reader->next());
  EXPECT_FALSE(reader->next());
}

}  // namespace
}  // namespace ballast::policies
