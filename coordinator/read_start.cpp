#include "coordinator/read_start.hpp"

#include <fmt/format.h>

#include "policies/load_records.hpp"

namespace ballast {
namespace {

constexpr std::size_t parts_max = 16;

void add(load_matrix& to, const load_matrix& what) {
  if (to.empty()) to.assign(what.size(), std::vector<double>(what.front().size()));
  for (std::size_t l = 0; l < to.size(); ++l)
    for (std::size_t e = 0; e < to[l].size(); ++e) to[l][e] += what[l][e];
}

// A recording of any length in at most parts_max parts: when there are more, neighbours become one.
class folded {
 public:
  void take(const load_matrix& tokens) {
    if (in_last_ == 0) parts_.emplace_back();
    add(parts_.back(), tokens);
    if (++in_last_ < each_) return;
    in_last_ = 0;
    if (parts_.size() < parts_max) return;
    for (std::size_t i = 0; i < parts_max / 2; ++i) {
      if (i != 0) parts_[i] = std::move(parts_[2 * i]);
      add(parts_[i], parts_[2 * i + 1]);
    }
    parts_.resize(parts_max / 2);
    each_ *= 2;
  }
  std::vector<load_matrix> parts() && { return std::move(parts_); }

 private:
  std::vector<load_matrix> parts_;
  std::uint64_t each_ = 1, in_last_ = 0;
};

}  // namespace

result<cluster::recorded_start> read_start(const std::string& path) {
  const auto with_remedy = [&](const error& e) {
    return fail(e.code, fmt::format("read_stats: {}; name a recording of loads, or leave read_stats out", e.text));
  };
  auto reader = policies::load_record_reader::open(path);
  if (!reader) return with_remedy(reader.error());
  folded all;
  for (;;) {
    auto record = reader->next();
    if (!record) return with_remedy(record.error());
    if (!*record) break;
    all.take((*record)->tokens);
  }
  cluster::recorded_start out;
  out.source = path;
  out.history.parts = std::move(all).parts();
  for (const auto& part : out.history.parts) add(out.loads, part);
  return out;
}

}  // namespace ballast
