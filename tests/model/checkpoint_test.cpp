#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <tuple>

#include "agent/model/checkpoint_model.hpp"
#include "agent/model/number_formats.hpp"
#include "agent/model/seeded_model.hpp"
#include "tests/model/bundle_of.hpp"
#include "tests/model/checkpoint_fixture_impl.hpp"

namespace ballast {
namespace {

// What the seed's shared expert becomes when a writer keeps it in f8.
void quantise_shared(const gpu::moe_shape& shape, std::vector<std::byte>& dense) {
  const auto layout = gpu::dense_layout(shape);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (const auto& slot : layout.tensors) {
      if (!slot.name.starts_with("shared_")) continue;
      std::vector<float> values(std::size_t{slot.rows} * slot.cols);
      std::byte* const at = dense.data() + layer * layout.bytes + slot.offset;
      std::memcpy(values.data(), at, slot.bytes);
      const std::size_t block = shape.scale_block;
      std::vector<std::byte> stored(values.size());
      std::vector<float> scales(blocks(slot.rows, block) * blocks(slot.cols, block));
      quantise(values, slot.rows, slot.cols, block, stored, scales);
      dequantise(stored, slot.rows, slot.cols, block, scales, values);
      std::memcpy(at, values.data(), slot.bytes);
    }
  }
}

std::vector<std::byte> joined_pieces(const model_source& model, std::uint32_t layer, std::uint32_t expert) {
  std::vector<std::byte> room, out;
  const auto ok =
      model.pieces(layer, expert, room, [&](std::size_t offset, std::span<const std::byte> piece) -> status {
        if (offset != out.size()) return fail(errc::corrupt, "a gap, or out of order");
        out.insert(out.end(), piece.begin(), piece.end());
        return {};
      });
  EXPECT_TRUE(ok) << ok.error().text;
  return out;
}

class round_trip : public ::testing::TestWithParam<std::tuple<hf_layout, gpu::dtype>> {};

TEST_P(round_trip, what_was_written_is_read_bit_for_bit) {
  const auto [layout, type] = GetParam();
  const auto shape = test::small_shape(layout, type);
  test::temporary_folder folder;
  const auto written = write_checkpoint(folder.path(), layout, shape, 42);
  ASSERT_TRUE(written) << written.error().text;
  const auto model = test::open_folder(folder.path());
  ASSERT_TRUE(model) << model.error().text;
  EXPECT_EQ((*model)->shape(), shape);
  EXPECT_EQ((*model)->name(), "tried");
  const auto seeded = make_seeded_model("seeded", 42, shape);
  auto expected = *seeded->dense();
  if (type == gpu::dtype::f8_e4m3) quantise_shared(shape, expected);
  const auto dense = (*model)->dense();
  ASSERT_TRUE(dense) << dense.error().text;
  EXPECT_EQ(*dense, expected);
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    for (std::uint32_t expert = 0; expert < shape.experts; ++expert) {
      ASSERT_EQ(bundle_of(**model, layer, expert), bundle_of(*seeded, layer, expert)) << layer << " " << expert;
      ASSERT_EQ(joined_pieces(**model, layer, expert), bundle_of(*seeded, layer, expert)) << layer << " " << expert;
      ASSERT_EQ(joined_pieces(*seeded, layer, expert), bundle_of(*seeded, layer, expert)) << layer << " " << expert;
    }
  }
}

std::string case_name(const ::testing::TestParamInfo<round_trip::ParamType>& info) {
  constexpr const char* types[] = {"f32", "bf16", "f16", "f8_e4m3"};
  return std::string(to_string(std::get<0>(info.param))) + "_" + types[static_cast<int>(std::get<1>(info.param))];
}
INSTANTIATE_TEST_SUITE_P(
    checkpoints, round_trip,
    ::testing::Combine(::testing::Values(hf_layout::qwen3_moe, hf_layout::mixtral, hf_layout::deepseek_v3),
                       ::testing::Values(gpu::dtype::f32, gpu::dtype::bf16, gpu::dtype::f16, gpu::dtype::f8_e4m3)),
    case_name);

class checkpoint : public ::testing::Test {
 protected:
  void write(std::uint64_t seed = 1, std::uint32_t shards = 4, gpu::dtype type = gpu::dtype::bf16) {
    const auto ok = write_checkpoint(folder_.path(), hf_layout::deepseek_v3,
                                     test::small_shape(hf_layout::deepseek_v3, type), seed, std::nullopt, shards);
    ASSERT_TRUE(ok) << ok.error().text;
  }
  std::string fingerprint(std::uint32_t max_layers = 0) const {
    const auto model = test::open_folder(folder_.path(), max_layers);
    EXPECT_TRUE(model) << model.error().text;
    return model ? (*model)->fingerprint() : "";
  }
  test::temporary_folder folder_;
};

TEST_F(checkpoint, is_spread_over_the_shards_that_its_index_names) {
  write();
  EXPECT_TRUE(std::filesystem::exists(folder_.file("model-00001-of-00004.safetensors")));
  EXPECT_TRUE(std::filesystem::exists(folder_.file("model-00004-of-00004.safetensors")));
}

TEST_F(checkpoint, may_be_one_file_without_an_index) {
  write();
  const auto split = fingerprint();
  write(1, 1);
  std::filesystem::rename(folder_.file("model-00001-of-00001.safetensors"), folder_.file("model.safetensors"));
  std::filesystem::remove(folder_.file(test::index_file));
  EXPECT_EQ(fingerprint(), split);
}

TEST_F(checkpoint, fingerprint_tells_any_changed_weight_and_nothing_else) {
  write();
  const auto first = fingerprint();
  EXPECT_TRUE(first.starts_with("whole-")) << first;
  write(1, 3);
  EXPECT_EQ(fingerprint(), first);  // shards do not matter
  EXPECT_NE(fingerprint(1), first);
  write(2);
  EXPECT_NE(fingerprint(), first);
  write(1, 1);
  const std::string shard = folder_.file("model-00001-of-00001.safetensors");
  std::string bytes = test::read_bytes(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  test::write_bytes(shard, bytes);
  EXPECT_NE(fingerprint(), first);
}

TEST_F(checkpoint, fingerprint_of_a_large_model_tells_what_it_samples) {
  write(1, 1);
  const auto sampled = [&] { return (*open_checkpoint_model("tried", folder_.path(), 0, 0))->fingerprint(); };
  const auto first = sampled();
  EXPECT_TRUE(first.starts_with("sampled-")) << first;
  const std::string shard = folder_.file("model-00001-of-00001.safetensors");
  const std::string whole = test::read_bytes(shard);
  const auto after_change_at = [&](std::size_t from_end) {
    std::string bytes = whole;
    bytes[bytes.size() - from_end] = static_cast<char>(bytes[bytes.size() - from_end] ^ 1);
    test::write_bytes(shard, bytes);
    return sampled();
  };
  const std::size_t last_tensor = 40 * 24 * 2;
  EXPECT_NE(after_change_at(1), first);
  EXPECT_NE(after_change_at(last_tensor), first);
  EXPECT_NE(after_change_at(last_tensor / 2), first);
  EXPECT_EQ(after_change_at(last_tensor - 300), first);  // as documented: between the samples
}

TEST_F(checkpoint, pieces_end_where_they_are_not_taken) {
  write();
  const auto model = test::open_folder(folder_.path());
  ASSERT_TRUE(model);
  std::vector<std::byte> room;
  int taken = 0;
  const auto ended = (*model)->pieces(1, 2, room, [&](std::size_t, std::span<const std::byte>) -> status {
    if (++taken == 2) return fail(errc::io, "enough");
    return {};
  });
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().text, "enough");
  EXPECT_EQ(taken, 2);
  EXPECT_EQ((*model)->pieces(99, 0, room, [](auto, auto) -> status { return {}; }).error().code,
            errc::invalid_argument);
}

TEST_F(checkpoint, max_layers_needs_only_the_shards_of_these_layers) {
  write();
  const auto whole = test::open_folder(folder_.path());
  ASSERT_TRUE(whole);
  const auto expected = bundle_of(**whole, 0, 5);
  std::filesystem::remove(folder_.file("model-00004-of-00004.safetensors"));
  const auto cut = test::open_folder(folder_.path(), 1);
  ASSERT_TRUE(cut) << cut.error().text;
  EXPECT_EQ((*cut)->shape().layers, 1u);
  EXPECT_EQ(bundle_of(**cut, 0, 5), expected);
  std::vector<std::byte> bytes(expected.size());
  EXPECT_FALSE((*cut)->bundle(1, 0, bytes));
}

TEST_F(checkpoint, bundles_read_at_the_same_time_by_threads_are_right) {
  write();
  const auto model = test::open_folder(folder_.path());
  ASSERT_TRUE(model);
  const auto expected = bundle_of(**model, 1, 2);
  std::vector<std::vector<std::byte>> got(4);
  std::vector<std::thread> threads;
  for (auto& bytes : got) threads.emplace_back([&] { bytes = bundle_of(**model, 1, 2); });
  for (auto& thread : threads) thread.join();
  for (const auto& bytes : got) EXPECT_EQ(bytes, expected);
}

TEST(checkpoint_writer, refuses_a_shape_that_the_layout_cannot_say) {
  test::temporary_folder folder;
  const auto refused = [&](hf_layout layout, auto change) {
    auto shape = test::small_shape(layout, gpu::dtype::bf16);
    change(shape);
    const auto ok = write_checkpoint(folder.path(), layout, shape, 1);
    return !ok && ok.error().code == errc::invalid_argument && !std::filesystem::exists(folder.file("config.json"));
  };
  EXPECT_TRUE(refused(hf_layout::qwen3_moe, [](auto& s) { s.shared_intermediate = 8; }));
  EXPECT_TRUE(refused(hf_layout::qwen3_moe, [](auto& s) { s.router_bias = true; }));
  EXPECT_TRUE(refused(hf_layout::mixtral, [](auto& s) { s.renormalise = false; }));
  EXPECT_TRUE(refused(hf_layout::mixtral, [](auto& s) { s.score = gpu::scoring::sigmoid; }));
  EXPECT_TRUE(refused(hf_layout::deepseek_v3, [](auto& s) { s.shared_intermediate = 32; }));
  EXPECT_TRUE(refused(hf_layout::deepseek_v3, [](auto& s) { s.top_k = 0; }));
}

TEST(checkpoint_writer, says_when_the_folder_cannot_be_written) {
  test::temporary_folder folder;
  test::write_bytes(folder.file("taken"), "a file, not a folder");
  const auto ok = write_checkpoint(folder.file("taken"), hf_layout::mixtral,
                                   test::small_shape(hf_layout::mixtral, gpu::dtype::bf16), 1);
  ASSERT_FALSE(ok);
  EXPECT_EQ(ok.error().code, errc::io);
}

}  // namespace
}  // namespace ballast
