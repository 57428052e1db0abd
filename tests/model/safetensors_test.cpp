#include "agent/model/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/model/checkpoint_fixture_impl.hpp"

namespace ballast {
namespace {

using ::testing::HasSubstr;

class safetensors : public ::testing::Test {
 protected:
  std::string path() const { return folder_.file("t.safetensors"); }

  result<std::shared_ptr<const safetensors_file>> open(const std::string& header, std::size_t data_bytes) const {
    test::write_bytes(path(), test::with_header(header, std::string(data_bytes, 'x')));
    return safetensors_file::open(path());
  }

  void expect_refused(const std::string& header, std::size_t data_bytes, errc code, const std::string& naming) const {
    const auto file = open(header, data_bytes);
    ASSERT_FALSE(file) << header;
    EXPECT_EQ(file.error().code, code) << file.error().text;
    EXPECT_THAT(file.error().text, HasSubstr(naming));
    EXPECT_THAT(file.error().text, HasSubstr(path()));
    EXPECT_EQ(file.error().text.find('\n'), std::string::npos);
  }

  test::temporary_folder folder_;
};

const std::string good =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
    R"("b":{"dtype":"F32","shape":[],"data_offsets":[12,16]},"c":{"dtype":"I64","shape":[0],"data_offsets":[16,16]}})";

TEST_F(safetensors, reads_tensors_where_they_lie) {
  test::write_bytes(path(), test::with_header(good, "0123456789abWXYZ"));
  const auto file = safetensors_file::open(path());
  ASSERT_TRUE(file) << file.error().text;
  ASSERT_EQ((*file)->tensors().size(), 3u);
  const auto bytes = (*file)->bytes((*file)->tensors().at("b"));
  ASSERT_TRUE(bytes);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()), "WXYZ");
}

TEST_F(safetensors, ignores_a_dtype_it_does_not_know) {
  EXPECT_TRUE(open(R"({"a":{"dtype":"F6_E9","shape":[5],"data_offsets":[0,7]}})", 7));
}

TEST_F(safetensors, is_refused_when_cut_anywhere) {
  const std::string whole = test::with_header(good, std::string(16, 'x'));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    test::write_bytes(path(), whole.substr(0, length));
    const auto file = safetensors_file::open(path());
    ASSERT_FALSE(file) << length;
    EXPECT_THAT(file.error().text, HasSubstr("again"));
  }
}

TEST_F(safetensors, never_crashes_on_a_damaged_header) {
  const std::string whole = test::with_header(good, std::string(16, 'x'));
  for (std::size_t at = 0; at < whole.size() - 16; ++at) {
    for (const char value : {'\0', '9', '"', '{', ']', '-', '\xff'}) {
      std::string damaged = whole;
      damaged[at] = value;
      test::write_bytes(path(), damaged);
      const auto file = safetensors_file::open(path());
      if (!file) continue;
      for (const auto& [name, entry] : (*file)->tensors()) EXPECT_LE((*file)->bytes(entry)->size(), 16u);
    }
  }
}

TEST_F(safetensors, refuses_a_header_that_is_no_json_object) {
  expect_refused("garbage", 0, errc::malformed, "not a JSON object");
  expect_refused("[]", 0, errc::malformed, "not a JSON object");
  expect_refused("\xff\xfe\xfd", 0, errc::malformed, "not a JSON object");
  expect_refused(std::string(100'000, '['), 0, errc::malformed, "not a JSON object");
}

TEST_F(safetensors, refuses_a_header_length_beyond_the_limit) {
  test::write_bytes(path(), std::string(8, '\xff') + "{}");
  const auto file = safetensors_file::open(path());
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, errc::malformed);
  EXPECT_THAT(file.error().text, HasSubstr("limit"));
}

TEST_F(safetensors, refuses_entries_without_sense) {
  const auto entry = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  expect_refused("{\"a\":7}", 4, errc::malformed, "tensor a");
  expect_refused(entry(R"("dtype":"F32","shape":[1])"), 4, errc::malformed, "tensor a");
  expect_refused(entry(R"("dtype":5,"shape":[1],"data_offsets":[0,4])"), 4, errc::malformed, "tensor a");
  expect_refused(entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), 4, errc::malformed, "tensor a");
  expect_refused(entry(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])"), 4, errc::malformed, "tensor a");
  expect_refused(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), 4, errc::malformed, "tensor a");
}

TEST_F(safetensors, refuses_offsets_outside_the_file_or_backwards) {
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, errc::corrupt, "not inside");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, errc::corrupt, "not inside");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]}})", 4,
                 errc::corrupt, "not inside");
}

TEST_F(safetensors, refuses_a_size_that_dtype_and_shape_do_not_make) {
  expect_refused(R"({"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}})", 4, errc::corrupt, "do not make");
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", 4, errc::corrupt,
                 "do not make");
  expect_refused(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, errc::corrupt, "do not make");
}

TEST_F(safetensors, refuses_overlaps_gaps_and_left_over_bytes) {
  const std::string a = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)";
  expect_refused(a + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})", 6, errc::corrupt, "overlaps");
  expect_refused(a + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, errc::corrupt, "overlaps");
  expect_refused(a + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}})", 9, errc::corrupt, "gap");
  expect_refused(a + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 11, errc::corrupt, "belong to none");
}

TEST_F(safetensors, says_which_file_is_not_there_or_not_a_file) {
  EXPECT_EQ(safetensors_file::open(folder_.file("none")).error().code, errc::not_found);
  EXPECT_EQ(safetensors_file::open(folder_.path()).error().code, errc::io);
}

TEST_F(safetensors, reports_a_file_that_became_shorter_while_in_use) {
  test::write_bytes(path(), test::with_header(good, std::string(16, 'x')));
  const auto file = safetensors_file::open(path());
  ASSERT_TRUE(file);
  std::filesystem::resize_file(path(), 40);
  const auto bytes = (*file)->bytes((*file)->tensors().at("a"));
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().code, errc::corrupt);
}

}  // namespace
}  // namespace ballast
