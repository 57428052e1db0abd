#include "gpu/cuda/page_copier_impl.hpp"

namespace ballast::gpu::cuda {

result<std::unique_ptr<page_copier>> page_copier::make() {
  auto made = std::make_unique<page_copier>();
  constexpr std::size_t parts = std::size_t{checksum_batch::most} * checksum_parts;
  auto room = memory::make(memory_kind::pinned, most_batches * parts * sizeof(std::uint64_t), "checksums");
  if (!room) return fail(room.error());
  made->parts_ = std::move(*room);
  for (std::size_t i = 0; i < most_batches; ++i) {
    auto& b = made->ring_[i];
    b.parts = made->parts_.as<std::uint64_t>() + i * parts;
    auto copied = event::make();
    if (!copied) return fail(copied.error());
    b.copied = std::move(*copied);
    auto summed = event::make_blocking();
    if (!summed) return fail(summed.error());
    b.summed = std::move(*summed);
  }
  for (auto* s : {&made->copies_, &made->sums_}) {
    auto stream = stream::make(false);
    if (!stream) return fail(stream.error());
    *s = std::move(*stream);
  }
  return made;
}

page_copier::~page_copier() {
  if (copies_.get() == nullptr || sums_.get() == nullptr) return;
  log_failure(cudaStreamSynchronize(copies_.get()), "waiting for copies of pages");
  log_failure(cudaStreamSynchronize(sums_.get()), "waiting for checksums of pages");
}

status page_copier::issue(std::span<const copy> copies) {
  std::vector<void*> to;
  std::vector<const void*> from;
  std::vector<std::size_t> bytes;
  for (const auto& c : copies) {
    to.push_back(c.to);
    from.push_back(c.from);
    bytes.push_back(c.bytes);
  }
  cudaMemcpyAttributes how{};
  how.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  how.flags = cudaMemcpyFlagPreferOverlapWithCompute;  // copy engines, also within one GPU
  std::size_t first = 0;
  return check(
      cudaMemcpyBatchAsync(to.data(), from.data(), bytes.data(), copies.size(), &how, &first, 1, copies_.get()),
      "copying pages");
}

status page_copier::finish(const checksum_batch& arrived, std::size_t page_bytes, bool verify) {
  auto& b = ring_[(first_ + used_) % most_batches];
  if (auto ok = order_after(sums_, copies_, b.copied); !ok) return ok;
  if (verify)
    if (auto ok = check(sum_pages(arrived, page_bytes, b.parts, sums_.get()), "computing checksums"); !ok) return ok;
  if (auto ok = b.summed.record(sums_); !ok) return ok;
  b.pages = arrived.count;
  b.page_bytes = page_bytes;
  ++used_;
  return {};
}

void page_copier::abandon() noexcept {
  log_failure(cudaStreamSynchronize(copies_.get()), "waiting for copies of pages");
}

result<std::vector<std::uint64_t>> page_copier::wait_oldest() {
  auto& b = ring_[first_];
  first_ = (first_ + 1) % most_batches;
  --used_;
  if (auto ok = b.summed.wait(); !ok) return fail(ok.error());
  std::vector<std::uint64_t> sums;
  for (std::uint32_t i = 0; i < b.pages; ++i)
    sums.push_back(total_of(b.parts + std::size_t{i} * checksum_parts, b.page_bytes));
  return sums;
}

}  // namespace ballast::gpu::cuda
