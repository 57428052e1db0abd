// Which way tokens take between GPUs: what members tell each other, what they choose, and what NCCL must be for it.
#include <gmock/gmock.h>

#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/exchange_half_impl.hpp"
#include "tests/gpu/cuda_support.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using cuda::exchange_half;
using ::testing::HasSubstr;

const std::vector<seat_id> seats{seat_id{3}, seat_id{5}, seat_id{8}};

// Rank `gpu` of `host`, with what it was told.
exchange_half half(const char* host, std::uint8_t gpu, exchange_kind wish = exchange_kind::automatic) {
  exchange_half made;
  std::snprintf(made.process.host, sizeof made.process.host, "%s", host);
  made.process.pid = gpu;
  made.gpu.id[3] = gpu;
  made.gpu.id[7] = static_cast<std::uint8_t>(host[0]);
  made.wish = wish;
  return made;
}
result<exchange_kind> choose(const std::vector<exchange_half>& halves) {
  return cuda::choose_exchange(halves, std::span(seats).first(halves.size()));
}

TEST(cuda_exchange, members_of_one_host_take_its_memory_and_others_nccl) {
  EXPECT_EQ(choose({half("a", 0), half("a", 0), half("a", 1)}).value(), exchange_kind::peer);
  EXPECT_EQ(choose({half("a", 0), half("a", 1), half("b", 0)}).value(), exchange_kind::nccl);
  EXPECT_EQ(choose({half("", 0), half("", 1)}).value(), exchange_kind::nccl);  // unknown hosts may be two
}

TEST(cuda_exchange, a_setting_is_obeyed_by_all_members_alike) {
  const auto peer = exchange_kind::peer, nccl = exchange_kind::nccl;
  EXPECT_EQ(choose({half("a", 0, nccl), half("a", 1, nccl)}).value(), nccl);
  EXPECT_EQ(choose({half("a", 0, peer), half("b", 0, peer)}).value(), peer);
  const auto torn = choose({half("a", 0, nccl), half("a", 1, nccl), half("a", 2)});
  ASSERT_FALSE(torn);
  EXPECT_EQ(torn.error().code, errc::invalid_argument);
  EXPECT_THAT(torn.error().text, HasSubstr("seat 3 has exchange = \"nccl\", seat 8 \"auto\""));
}

TEST(cuda_exchange, one_member_alone_needs_no_nccl) {
  EXPECT_EQ(choose({half("a", 0, exchange_kind::nccl)}).value(), exchange_kind::peer);
}

TEST(cuda_exchange, two_ranks_on_one_gpu_are_refused_where_nccl_is_needed) {
  const auto refused = choose({half("a", 0), half("b", 1), half("b", 1)});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::unavailable);
  EXPECT_THAT(refused.error().text, HasSubstr("seats 5 and 8 stand on one GPU"));
}

TEST(cuda_exchange, a_half_arrives_as_it_was_sent_and_anything_else_is_malformed) {
  auto sent = half("a", 7, exchange_kind::nccl);
  sent.lane = 2;
  sent.base = 0x1234'5678'9abc;
  sent.shape = {4, 100, 512, 8, 1 << 20};
  const auto got = exchange_half::decode(sent.encode());
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_TRUE(got->process.same_process(sent.process));
  EXPECT_TRUE(got->gpu == sent.gpu);
  EXPECT_TRUE(got->shape == sent.shape);
  EXPECT_EQ(got->wish, sent.wish);
  EXPECT_EQ(got->base, sent.base);
  auto text = sent.encode();
  text[0] = 'x';
  for (const auto& wrong : {std::string(), text, sent.encode() + "00"}) {
    const auto refused = exchange_half::decode(wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, errc::malformed);
  }
}

TEST(cuda_exchange, ranks_of_other_sizes_are_refused_with_both) {
  const auto refused = cuda::check_alike({8, 256, 512, 8, 1}, {8, 128, 512, 8, 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::does_not_fit);
  EXPECT_THAT(refused.error().text, HasSubstr("up to 128 tokens"));
}

TEST(nccl_library, versions_are_named_and_old_ones_refused_by_name) {
  EXPECT_EQ(cuda::nccl_version_name(22809), "2.28.9");
  EXPECT_EQ(cuda::nccl_version_name(2804), "2.8.4");
  EXPECT_TRUE(cuda::check_nccl_version(21800));
  EXPECT_TRUE(cuda::check_nccl_version(22809));
  const auto old = cuda::check_nccl_version(21403);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, errc::unavailable);
  EXPECT_THAT(old.error().text, HasSubstr("NCCL 2.14.3 was found"));
}

TEST(nccl_library, is_found_whole_or_named_with_what_to_do) {
  const auto found = cuda::nccl_library::get();
  if (!found) {
    EXPECT_EQ(found.error().code, errc::unavailable);
    EXPECT_THAT(found.error().text, HasSubstr("exchange = \"peer\""));
    GTEST_SKIP() << found.error().text;
  }
  EXPECT_GE((*found)->version, 21800);
  EXPECT_NE((*found)->receive, nullptr);
}

TEST(cuda_exchange, ranks_that_share_a_gpu_are_told_so_when_nccl_is_set) {
  BALLAST_NEEDS_NCCL(1);
  auto shape = small_shape();
  shape.shared_intermediate = 0;
  cluster c(make_model(shape, 1), {.ranks = 1 + static_cast<std::uint32_t>(cuda::device_count().value()),
                                   .make_backend = &cuda::make_cuda_backend,
                                   .exchange = exchange_kind::nccl});
  const auto refused = c.connect(1);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text, HasSubstr("stand on one GPU"));
}

}  // namespace
}  // namespace ballast::gpu::test
