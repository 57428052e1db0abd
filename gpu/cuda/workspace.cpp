#include <algorithm>

#include "gpu/cuda/workspace_impl.hpp"

namespace ballast::gpu::cuda {
namespace {

// Lays arrays one after the other; first without memory to learn the size, then in it.
class cutter {
 public:
  explicit cutter(std::byte* base) : base_(base) {}
  template <class T>
  void cut(T*& out, std::size_t n) {
    out = reinterpret_cast<T*>(base_ + at_);
    at_ += (n * sizeof(T) + 255) / 256 * 256;
  }
  std::size_t size() const noexcept { return at_; }

 private:
  std::byte* base_;
  std::size_t at_ = 0;
};

struct most {
  std::size_t hidden = 0, experts = 0, top_k = 0, inner = 0, shared = 0, entries = 0, counts = 0;
};

most of(const workspace_sizes& sizes) {
  most m;
  for (std::size_t i = 0; i < sizes.models.size(); ++i) {
    const auto& s = sizes.models[i];
    m.hidden = std::max<std::size_t>(m.hidden, s.hidden);
    m.experts = std::max<std::size_t>(m.experts, s.experts);
    m.top_k = std::max<std::size_t>(m.top_k, s.top_k);
    m.inner = std::max(m.inner, std::size_t{s.top_k} * s.intermediate);
    m.shared = std::max<std::size_t>(m.shared, s.shared_intermediate);
    m.entries = std::max<std::size_t>(m.entries, sizes.entries[i]);
    m.counts = std::max(m.counts, std::size_t{s.layers} * sizes.entries[i]);
  }
  return m;
}

void lay_out(cutter& c, const workspace_sizes& sizes, const most& m, work_view& v, step_view*& step) {
  const std::size_t own = sizes.max_tokens, all = own * sizes.members;
  c.cut(step, 1);
  c.cut(v.hidden, own * m.hidden);
  c.cut(v.normed, own * m.hidden);
  c.cut(v.own, own * m.hidden);
  c.cut(v.logits, own * m.experts);
  c.cut(v.chosen, own * m.top_k);
  c.cut(v.jobs, all * m.top_k);
  c.cut(v.active, m.entries);
  c.cut(v.active_count, 1);
  c.cut(v.wide, all * m.top_k / wide_tokens + m.entries);
  c.cut(v.wide_count, 1);
  c.cut(v.inner, all * m.inner);
  c.cut(v.shared_out, own * m.hidden);
  c.cut(v.shared_inner, own * m.shared);
  c.cut(v.shared_jobs, own);
  c.cut(v.shared_active, 1);
  c.cut(v.shared_count, 1);
  c.cut(v.counts, m.counts);
  c.cut(v.done, 4);
  c.cut(v.queue, 8);
}

}  // namespace

result<workspace> workspace::make(const workspace_sizes& sizes) {
  const auto m = of(sizes);
  workspace made;
  cutter measure(nullptr);
  lay_out(measure, sizes, m, made.view_, made.step_);
  const auto rows = sizes.max_tokens * m.hidden * sizeof(float);
  struct wish {
    memory& into;
    memory_kind kind;
    std::size_t bytes;
  };
  for (const auto& [into, kind, bytes] :
       {wish{made.device_, memory_kind::device, measure.size()},
        wish{made.in_, memory_kind::pinned, rows_offset + rows}, wish{made.out_, memory_kind::pinned, rows},
        wish{made.counts_, memory_kind::pinned, m.counts * sizeof(std::uint32_t)},
        wish{made.fault_, memory_kind::pinned, sizeof(fault_view)},
        wish{made.rhythm_, memory_kind::pinned, sizeof(std::uint32_t)}}) {
    auto got = memory::make(kind, bytes, "buffers of a step");
    if (!got) return fail(got.error());
    into = std::move(*got);
  }
  cutter place(made.device_.data());
  lay_out(place, sizes, m, made.view_, made.step_);
  made.view_.fault = made.fault_.as<fault_view>();
  made.view_.failed = &made.step_->failed;
  made.view_.rhythm = made.rhythm_.as<std::uint32_t>();
  made.fault() = {};
  *made.view_.rhythm = 0;
  if (auto ok = check(cudaMemset(made.device_.data(), 0, made.device_.size()), "clearing buffers of a step"); !ok)
    return fail(ok.error());
  return made;
}

}  // namespace ballast::gpu::cuda
