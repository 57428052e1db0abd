// Pages in GPU memory and their checksums; what needs no GPU of both runs everywhere.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <atomic>
#include <set>
#include <thread>

#include "gpu/cuda/lease_book_impl.hpp"
#include "tests/gpu/cuda_support.hpp"

namespace ballast::gpu::test {
namespace {

using namespace std::chrono_literals;
using cuda::cuda_page_pool;
using ::testing::HasSubstr;

std::vector<std::byte> bytes(std::size_t n, int value) {
  return std::vector<std::byte>(n, static_cast<std::byte>(value));
}
std::uint64_t sum_of(const std::vector<std::byte>& b) { return cuda::checksum_of(b.data(), b.size()); }

TEST(checksums, every_bit_place_and_length_counts) {
  std::set<std::uint64_t> seen;
  std::size_t made = 0;
  const auto note = [&](const std::vector<std::byte>& b) {
    seen.insert(sum_of(b));
    ++made;
  };
  const auto plain = random_bytes(100, 3);
  note(plain);
  for (std::size_t bit = 0; bit < 800; ++bit) {
    auto changed = plain;
    changed[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    note(changed);
  }
  for (std::size_t lane = 1; lane < 6; ++lane) {  // the same lanes in another order
    auto swapped = plain;
    std::swap_ranges(swapped.begin(), swapped.begin() + 16, swapped.begin() + static_cast<std::ptrdiff_t>(lane) * 16);
    note(swapped);
  }
  for (std::size_t n = 0; n < 70; ++n) note(bytes(n, 0));
  EXPECT_EQ(seen.size(), made);
}

TEST(checksums, ranks_of_any_build_agree_on_them) {
  std::vector<std::byte> counting(1000);
  for (std::size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<std::byte>(i * 7);
  EXPECT_EQ(sum_of(counting), 0x30c5e781f243514cull);
}

TEST(leases, a_page_stays_until_released_or_run_out) {
  page_book book(3);
  for (std::uint32_t e = 0; e < 2; ++e) ASSERT_TRUE(book.publish(book.take().value(), {0, e}, e));
  const auto pin = [&](std::uint32_t e) {
    std::vector<page_book::pin> pins;
    pins.push_back(book.hold({0, e}, std::nullopt).value());
    return pins;
  };
  cuda::lease_book leases;
  const cuda::lease_book::time_point start{1h};
  const auto first = leases.add(pin(0), start + 5s);
  leases.add(pin(1), start + 6s);
  const auto page = *book.find({0, 0}), other = *book.find({0, 1});
  book.give_back(page);
  book.give_back(other);
  EXPECT_EQ(leases.expire(start), start + 5s);
  EXPECT_EQ(book.take().value(), 2u);  // the only one that nobody copies from
  leases.release(first);
  leases.release(first);
  EXPECT_EQ(book.take().value(), page);
  EXPECT_EQ(leases.expire(start + 5s), start + 6s);
  EXPECT_FALSE(leases.empty());
  EXPECT_FALSE(leases.expire(start + 6s));
  EXPECT_TRUE(leases.empty());
  EXPECT_EQ(book.take().value(), other);
}

std::unique_ptr<cuda_page_pool> make_pool(std::size_t page_bytes, std::uint32_t pages) {
  return cuda_page_pool::make(0, page_bytes, pages).value();
}

page_index resident(cuda_page_pool& pool, page_key key, int value) {
  const auto page = pool.take().value();
  EXPECT_TRUE(pool.write(page, bytes(pool.page_bytes(), value)));
  EXPECT_TRUE(pool.seal(page, key, std::nullopt));
  return page;
}

TEST(cuda_checksums, are_those_of_the_host_for_every_size) {
  BALLAST_NEEDS_GPUS(1);
  ASSERT_TRUE(cuda::stand_on(0));
  constexpr std::size_t room = 1 << 20;
  const auto all = random_bytes(room, 11);
  const auto on_device = cuda::memory::make(cuda::memory_kind::device, room, "bytes").value();
  const auto parts = cuda::memory::make(cuda::memory_kind::pinned, 1 << 16, "sums").value();
  const auto stream = cuda::stream::make(false).value();
  ASSERT_EQ(cudaMemcpy(on_device.data(), all.data(), room, cudaMemcpyHostToDevice), cudaSuccess);
  for (const std::size_t size : {1, 15, 16, 17, 64, 1000, 4096, 32768 + 5, 131072 - 1, 131072, 524288 + 64 + 3}) {
    cuda::checksum_batch batch;
    batch.count = cuda::checksum_batch::most;
    for (std::uint32_t i = 0; i < batch.count; ++i) batch.at[i] = on_device.data() + 4096 * i;
    ASSERT_EQ(cuda::sum_pages(batch, size, parts.as<std::uint64_t>(), stream.get()), cudaSuccess);
    ASSERT_TRUE(stream.wait());
    for (std::uint32_t i = 0; i < batch.count; ++i)
      ASSERT_EQ(cuda::total_of(parts.as<std::uint64_t>() + i * cuda::checksum_parts, size),
                cuda::checksum_of(all.data() + 4096 * i, size))
          << size << " bytes, page " << i;
  }
}

TEST(cuda_pages, a_page_goes_from_spare_to_filling_to_resident_and_back) {
  BALLAST_NEEDS_GPUS(1);
  for (const std::size_t size : {std::size_t{64}, std::size_t{320}, (std::size_t{9} << 20) + 64}) {
    const auto pool = make_pool(size, 2);
    EXPECT_EQ(pool->spare(), 2u);
    const auto page = pool->take().value();
    EXPECT_FALSE(pool->find({1, 2}));
    const auto contents = random_bytes(size, size);
    ASSERT_TRUE(pool->write(page, contents));
    ASSERT_TRUE(pool->seal(page, {1, 2}, sum_of(contents)));
    EXPECT_EQ(pool->find({1, 2}), page);
    EXPECT_EQ(pool->checksum(page), sum_of(contents));
    EXPECT_EQ(pool->resident(page, {1, 2}), pool->at(page));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(pool->at(1)) % 256, 0u);
    EXPECT_TRUE(pool->verify(page));
    std::vector<std::byte> out(size);
    EXPECT_EQ(pool->read(page, out).value(), size);
    EXPECT_EQ(out, contents);
    std::vector<std::byte> piece(30);
    ASSERT_TRUE(pool->read_key({1, 2}, sum_of(contents), 33, piece));
    EXPECT_TRUE(std::equal(piece.begin(), piece.end(), contents.begin() + 33));
    pool->give_back(page);
    EXPECT_EQ(pool->spare(), 2u);
    EXPECT_FALSE(pool->find({1, 2}));
    EXPECT_EQ(pool->resident(page, {1, 2}), nullptr);
  }
}

TEST(cuda_pages, wrong_states_and_sizes_are_refused_and_change_nothing) {
  BALLAST_NEEDS_GPUS(1);
  const auto pool = make_pool(64, 2);
  const auto page = resident(*pool, {0, 0}, 1);
  std::vector<std::byte> small(63);
  EXPECT_EQ(pool->write(page, bytes(64, 2)).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->seal(page, {0, 1}, std::nullopt).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->seal_verified(page, {0, 1}, 0).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->read(page, small).error().code, errc::invalid_argument);
  std::vector<std::byte> too_far(64);
  EXPECT_EQ(pool->read_key({0, 0}, pool->checksum(page), 10, too_far).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->write(99, bytes(64, 2)).error().code, errc::invalid_argument);
  const auto filling = pool->take().value();
  EXPECT_EQ(pool->write_at(filling, 60, bytes(5, 2)).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->verify(filling).error().code, errc::invalid_argument);
  EXPECT_EQ(pool->take().error().code, errc::does_not_fit);
  EXPECT_TRUE(pool->verify(page));
}

TEST(cuda_pages, contents_that_do_not_match_are_never_resident) {
  BALLAST_NEEDS_GPUS(1);
  const auto pool = make_pool(4096, 1);
  const auto page = pool->take().value();
  ASSERT_TRUE(pool->write(page, bytes(4096, 1)));
  EXPECT_EQ(pool->seal(page, {0, 0}, sum_of(bytes(4096, 2))).error().code, errc::corrupt);
  EXPECT_FALSE(pool->find({0, 0}));
  EXPECT_TRUE(pool->seal(page, {0, 0}, sum_of(bytes(4096, 1))));
  flip_bit(pool->raw(page) + 4095);
  const auto verified = pool->verify(page);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code, errc::corrupt);
}

TEST(cuda_pages, each_of_many_pages_is_verified_by_itself) {
  BALLAST_NEEDS_GPUS(1);
  constexpr std::uint32_t count = 2 * cuda::checksum_batch::most + 3, changed = cuda::checksum_batch::most + 1;
  const auto pool = make_pool(4096 + 16, count + 1);
  std::vector<page_index> pages;
  for (std::uint32_t i = 0; i < count; ++i) pages.push_back(resident(*pool, {i, 0}, static_cast<int>(i % 100)));
  const auto filling = pool->take().value();
  flip_bit(pool->raw(pages[changed]) + 4095);
  pages.insert(pages.begin() + 5, filling);
  const auto verified = pool->verify_each(pages);
  ASSERT_EQ(verified.size(), pages.size());
  for (std::uint32_t i = 0; i < verified.size(); ++i) {
    if (i == 5)
      EXPECT_EQ(verified[i].error().code, errc::invalid_argument);
    else if (i == changed + 1)
      EXPECT_EQ(verified[i].error().code, errc::corrupt);
    else
      EXPECT_TRUE(verified[i]) << i;
  }
}

TEST(cuda_pages, a_pool_that_does_not_fit_says_what_there_is) {
  BALLAST_NEEDS_GPUS(1);
  const auto pool = cuda_page_pool::make(0, std::size_t{1} << 30, 100'000);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code, errc::does_not_fit);
  EXPECT_THAT(pool.error().text, HasSubstr("spare_pages"));
  EXPECT_TRUE(make_pool(64, 1));  // the failure is not met again
}

// A reader races with a page that is given back and filled with another expert, over and over.
TEST(cuda_pages, a_reader_sees_whole_experts_or_none) {
  BALLAST_NEEDS_GPUS(1);
  constexpr std::size_t size = 1 << 16;
  const auto pool = make_pool(size, 1);
  const std::uint64_t sums[] = {sum_of(bytes(size, 0)), sum_of(bytes(size, 1))};
  std::atomic<bool> stop{false};
  std::atomic<int> tries{0}, seen{0};
  std::thread reader([&] {
    std::vector<std::byte> out(size);
    for (std::uint32_t e = 0; !stop; e = 1 - e, ++tries)
      if (pool->read_key({0, e}, sums[e], 0, out)) {
        EXPECT_EQ(out, bytes(size, static_cast<int>(e)));
        ++seen;
      }
  });
  for (int i = 0; seen < 20; ++i) {
    const auto page = resident(*pool, {0, static_cast<std::uint32_t>(i % 2)}, i % 2);
    for (const int before = tries; tries < before + 2;) std::this_thread::yield();
    pool->give_back(page);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(pool->spare(), 1u);
}

}  // namespace
}  // namespace ballast::gpu::test
