// Files that are damaged, cut off, of another kind, or made to exhaust a reader: one line that names file and line.
#include <gmock/gmock.h>
#include <zlib.h>

#include "policies/formats/load_records.hpp"
#include "policies/formats/read_recorded.hpp"
#include "policies/formats/tree.hpp"
#include "tests/policies/formats_fixture.hpp"

namespace ballast::policies {
namespace {

using testing::content_of;
using testing::data_file;
using ::testing::HasSubstr;
using testing::scratch_file;

void expect_one_line(const error& e) {
  EXPECT_FALSE(e.text.empty());
  EXPECT_EQ(e.text.find('\n'), std::string::npos) << e.text;
  EXPECT_LT(e.text.size(), 400U) << e.text;
}

error loads_error(const std::string& text) {
  const scratch_file file(text);
  const auto got = read_recorded_loads(file.path());
  if (got) return {errc::aborted, "no error"};
  expect_one_line(got.error());
  return got.error();
}

error map_error(const std::string& text, const map_options& options = {.ranks = 2}) {
  const scratch_file file(text);
  const auto got = read_expert_map(file.path(), options);
  if (got) return {errc::aborted, "no error"};
  expect_one_line(got.error());
  return got.error();
}

const char* names[] = {"vllm_loads.jsonl",  "vllm_draft_loads.jsonl", "sglang_loads.json", "ballast_loads.jsonl",
                       "vllm_mapping.json", "vllm_ascend_map.json",   "trtllm_map.yaml",   "sglang_map.json"};

TEST(hostile, cut_off_files_never_crash_and_seldom_pass) {
  std::size_t passed = 0, tried = 0;
  for (const char* name : names) {
    const auto whole = content_of(data_file(name));
    ASSERT_FALSE(whole.empty());
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const scratch_file file(whole.substr(0, length));
      const auto loads = read_recorded_loads(file.path());
      const auto map = read_expert_map(file.path(), {.ranks = 2});
      if (!loads) expect_one_line(loads.error());
      if (!map) expect_one_line(map.error());
      ++tried;
      passed += loads || map ? 1 : 0;
    }
  }
  EXPECT_LT(passed, tried / 2) << "recordings cut off behind a record, YAML without its last lines";
}

TEST(hostile, flipped_bytes_never_crash) {
  std::mt19937_64 random(11);
  std::size_t refused = 0;
  for (const char* name : names) {
    const auto whole = content_of(data_file(name));
    for (int round = 0; round < 400; ++round) {
      auto text = whole;
      for (std::uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
        const auto at = random() % text.size();
        switch (random() % 4) {
          case 0:
            text[at] = static_cast<char>(random());
            break;
          case 1:
            text.erase(at, 1 + random() % 8);
            break;
          case 2:
            text.insert(at, 1, "[]{},:\"0-9eNa*&!\n"[random() % 16]);
            break;
          default:
            text.insert(at, text.substr(random() % text.size(), random() % 64));
        }
        if (text.empty()) text.push_back(32);
      }
      const scratch_file file(text);
      const auto loads = read_recorded_loads(file.path());
      const auto map = read_expert_map(file.path(), {.ranks = 2});
      if (!loads) expect_one_line(loads.error());
      if (!map) expect_one_line(map.error());
      refused += !loads && !map ? 1 : 0;
    }
  }
  EXPECT_GT(refused, 1000U);
}

TEST(hostile, loads_that_are_no_numbers_are_named) {
  const std::string head = R"({"record_type":"eplb_load_stats","version":1,"step":1,"expert_load":[[1,)";
  EXPECT_THAT(loads_error(head + "NaN]]}\n").text, HasSubstr(":1: not JSON (NaN or Infinity"));
  EXPECT_THAT(loads_error(head + "-Infinity]]}\n").text, HasSubstr("NaN or Infinity"));
  EXPECT_THAT(loads_error(head + "1e999]]}\n").text, HasSubstr(":1: "));
  EXPECT_THAT(loads_error(head + "-3]]}\n").text, HasSubstr("layer 0, column 1 is not a number >= 0"));
  EXPECT_THAT(loads_error(R"({"logical_count":[[1,2],[3]]})").text, HasSubstr("layer 1 has 1 experts"));
  EXPECT_THAT(loads_error(R"({"logical_count":[[[1,2]],[[1,2],[3,4]]]})").text,
              HasSubstr("logical_count has 2 layers"));
}

TEST(hostile, one_kind_of_file_in_place_of_another_is_told) {
  EXPECT_THAT(loads_error(content_of(data_file("sglang_map.json"))).text, HasSubstr("give it to --from-map"));
  EXPECT_THAT(map_error(content_of(data_file("sglang_loads.json"))).text, HasSubstr("give it to --stats"));
  EXPECT_THAT(loads_error("PK\3\4garbage").text, HasSubstr("PyTorch"));
  EXPECT_THAT(map_error("PK\3\4garbage").text, HasSubstr("PyTorch"));
  EXPECT_THAT(map_error("").text, HasSubstr(":1: is empty"));
  EXPECT_THAT(map_error("just words\n").text, HasSubstr("no placement"));
  const auto wrong = map_error(content_of(data_file("sglang_map.json")), {file_format::vllm, 2, 0});
  EXPECT_THAT(wrong.text, HasSubstr("holds a placement as sglang writes it, not vllm"));
  const scratch_file counts(content_of(data_file("sglang_loads.json")));
  EXPECT_THAT(read_load_records(counts.path(), {.format = file_format::vllm}).error().text, HasSubstr("not vllm"));
}

TEST(hostile, placements_that_make_no_sense_are_refused_with_layer_and_slot) {
  const auto sglang = [](const std::string& rows) { return "{\"physical_to_logical_map\":" + rows + "}"; };
  EXPECT_THAT(map_error(sglang("[[0,1,2,3]]"), {.ranks = 3}).text, HasSubstr("4 slots a layer"));
  EXPECT_THAT(map_error(sglang("[[0,1,3,3]]")).text, HasSubstr("no slot for expert 2"));
  EXPECT_THAT(map_error(sglang("[[0,1],[1,1]]")).text, HasSubstr("layer 1 has no slot for expert 0"));
  EXPECT_THAT(map_error(sglang("[[0,1],[0,1,1]]")).text, HasSubstr("layer 1 has 3 slots, layer 0 has 2"));
  EXPECT_THAT(map_error(sglang("[[0,1],[0,1.5]]")).text, HasSubstr("layer 1, slot 1"));
  EXPECT_THAT(map_error(sglang("[[0,1],[0,\"1\"]]")).text, HasSubstr("layer 1, slot 1"));
  EXPECT_THAT(map_error(sglang("[[0,1],[0,-2]]")).text, HasSubstr("layer 1, slot 1"));
  EXPECT_THAT(map_error(sglang("[]")).text, HasSubstr("not a table"));
  EXPECT_THAT(map_error(sglang("[[0,1000000]]")).text, HasSubstr("1000001 experts are named"));
  EXPECT_THAT(map_error(R"({"layer_list":[{"layer_id":0,"device_list":[1]}]})").text, HasSubstr("no device_list"));
  EXPECT_THAT(map_error(R"({"layer_list":[{"layer_id":0,"device_list":[[],1]}]})").text,
              HasSubstr("without device_id"));
  EXPECT_THAT(map_error(R"({"layer_list":[1]})").text, HasSubstr("layer_list"));
  EXPECT_THAT(map_error("num_slots: 2\ninitial_global_assignments:\n  3: [0, 1]\n  5: [0, 1]\n").text,
              HasSubstr(":4: layer 4 is missing"));
  EXPECT_THAT(map_error("num_slots: 3\ninitial_global_assignments:\n  3: [0, 1]\n").text, HasSubstr("num_slots is 3"));
  EXPECT_THAT(map_error("num_slots: 2\ninitial_global_assignments:\n  3: [0, 1\n").text, HasSubstr(": not YAML ("));
  EXPECT_THAT(map_error("num_slots: 2\ninitial_global_assignments:\n  3: &a [0, 1]\n  4: *a\n").text,
              HasSubstr(":4: refused (an alias"));
  EXPECT_THAT(map_error(R"({"record_type":"eplb_initial_mapping","version":2})").text, HasSubstr("version is not 1"));
  EXPECT_THAT(map_error(R"({"record_type":"eplb_load_stats","version":1,"step":1,"expert_load":[[1,2]]})").text,
              HasSubstr("without p2l_map"));
  EXPECT_THAT(map_error(content_of(data_file("vllm_ascend_map.json")), {.ranks = 4}).text,
              HasSubstr("is for 2 ranks, not for 4"));
}

TEST(hostile, keys_that_are_there_twice_are_refused) {
  EXPECT_THAT(map_error(R"({"physical_to_logical_map":[[0]],"physical_to_logical_map":[[0,1]]})").text,
              HasSubstr("'physical_to_logical_map' is there twice"));
  EXPECT_THAT(map_error(R"({"num_r\nks\u001b[2J":2,"num_r\nks\u001b[2J":2})").text,
              HasSubstr("'num_r ks [2J' is there twice"));
}

// A gigabyte of one thing, as a small compressed file.
class huge_file {
 public:
  huge_file(const std::string& head, const std::string& unit, std::size_t bytes) : at_("", ".gz") {
    std::string block;
    while (block.size() < (1U << 20)) block += unit;
    gzFile out = gzopen(at_.path().c_str(), "wb1");
    gzwrite(out, head.data(), static_cast<unsigned>(head.size()));
    for (std::size_t written = 0; written < bytes; written += block.size())
      gzwrite(out, block.data(), static_cast<unsigned>(block.size()));
    gzclose(out);
  }
  const std::string& path() const { return at_.path(); }

 private:
  scratch_file at_;
};

TEST(hostile, endless_values_are_refused_before_they_are_gathered) {
  const std::pair<const char*, const char*> kinds[] = {
      {"", "["},
      {"{\"logical_count\":[[", "1,"},
      {"{\"record_type\":\"", "a"},
      {"{\"a\":", "9"},
      {"{\"a\":[", "[],"},
      {"num_slots: 1\ninitial_global_assignments:\n  3: [", "1, "},
      {"num_slots: \"", "long "},
      {"", "\n"},
  };
  for (const auto& [head, unit] : kinds) {
    const huge_file file(head, unit, std::size_t{40} << 20);  // more than any of them may take
    const auto loads = read_recorded_loads(file.path());
    const auto map = read_expert_map(file.path(), {.ranks = 2});
    ASSERT_FALSE(loads) << head;
    ASSERT_FALSE(map) << head;
    expect_one_line(loads.error());
    expect_one_line(map.error());
  }
}

TEST(hostile, shapes_that_would_fill_the_memory_are_refused) {
  EXPECT_THAT(loads_error(R"({"record_type":"eplb_load_meta","version":1,"num_layers":2,"num_logical_experts":1048576})"
                          "\n"
                          R"({"record_type":"eplb_load_stats","version":1,"expert_load":[[1],[1]]})")
                  .text,
              HasSubstr(":2: "));
  std::string rows = "[1]";
  for (int i = 0; i < 99; ++i) rows += ",[1]";
  EXPECT_THAT(
      loads_error(R"({"record_type":"eplb_load_meta","version":1,"num_layers":100,"num_logical_experts":1048576})"
                  "\n"
                  R"({"record_type":"eplb_load_stats","version":1,"expert_load":[)" +
                  rows + R"(],"p2l_map":[)" + rows + "]}")
          .text,
      HasSubstr("more than any model has"));
}

// Found by libFuzzer: a short file that says its layers begin with the millionth, of which SGLang's form lists them
// all.
TEST(hostile, layers_that_begin_beyond_any_model_are_refused) {
  const auto far = map_error("initial_global_assignments:\n  951933: [0, 1]\n");
  EXPECT_EQ(far.code, errc::malformed);
  EXPECT_THAT(far.text, HasSubstr("layers begin with 951933; at most 1024"));
  const auto ours = map_error(R"({"record_type":"ballast_placement","version":1,"num_ranks":2,"num_layers":1,)"
                              R"("num_logical_experts":2,"first_layer":951933,"p2l_map":[[0,1]]})");
  EXPECT_THAT(ours.text, HasSubstr("951933"));

  const scratch_file last("initial_global_assignments:\n  1024: [0, 1]\n");
  const auto got = read_expert_map(last.path(), {.ranks = 2});
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_TRUE(text_of(got->map, file_format::sglang));
  const auto refused = text_of(got->map, file_format::sglang, 1025);
  ASSERT_FALSE(refused);
  expect_one_line(refused.error());
}

TEST(hostile, a_compressed_file_cut_off_behind_a_line_ends_there) {
  const auto text = content_of(data_file("vllm_loads.jsonl"));
  const scratch_file at("", ".gz");
  gzFile out = gzopen(at.path().c_str(), "wb");
  const auto first_two = text.find('\n', text.find('\n') + 1) + 1;
  gzwrite(out, text.data(), static_cast<unsigned>(first_two));
  gzflush(out, Z_SYNC_FLUSH);
  const auto flushed = std::filesystem::file_size(at.path());
  gzwrite(out, text.data() + first_two, static_cast<unsigned>(text.size() - first_two));
  gzclose(out);
  const auto all = std::filesystem::file_size(at.path());
  std::filesystem::resize_file(at.path(), flushed);
  const auto got = read_load_records(at.path());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->records.size(), 1U);
  ASSERT_GT(all, flushed);
}

TEST(hostile, a_fault_deep_in_a_document_is_named_by_its_own_line) {
  auto text = content_of(data_file("vllm_ascend_map.json"));
  text.replace(text.find("[3, 0, 1]"), 9, "[3, 0, x]");
  EXPECT_THAT(map_error(text).text, HasSubstr(":6: not JSON"));
  text = content_of(data_file("vllm_ascend_map.json"));
  text.replace(text.find("[0, 3, 2]"), 9, "[0, 3, -7]");
  EXPECT_THAT(map_error(text).text, HasSubstr(":9: layer 1, device 1, slot 2"));
}

}  // namespace
}  // namespace ballast::policies
