#include "policies/formats/read_recorded.hpp"

namespace ballast::policies {

namespace {

// Sums up what ranks got, as long as they are the same ones.
class rank_sum {
 public:
  void add(const load_record& record) {
    if (record.rank_load.empty() || (counted_ && seats_ != record.seats)) broken_ = true;
    if (broken_) return;
    seats_ = record.seats;
    sum_.resize(record.rank_load.size(), std::vector<double>(seats_.size()));
    for (std::size_t l = 0; l < sum_.size(); ++l)
      for (std::size_t r = 0; r < seats_.size(); ++r) sum_[l][r] += record.rank_load[l][r];
    counted_ = true;
  }
  load_matrix take() && { return broken_ ? load_matrix{} : std::move(sum_); }

 private:
  load_matrix sum_;
  std::vector<std::uint32_t> seats_;
  bool counted_ = false, broken_ = false;
};

}  // namespace

result<recorded_file> read_recorded_loads(const std::string& path, std::uint64_t interval, const load_options& options,
                                          const std::function<void(std::uint64_t records)>& progress) {
  auto reader = load_record_reader::open(path, options);
  if (!reader) return fail(reader.error());
  load_folder folder(interval);
  rank_sum ranks;
  for (std::uint64_t records = 1;; ++records) {
    auto record = reader->next();
    if (!record) return fail(record.error());
    if (!*record) break;
    folder.add((*record)->tokens);
    ranks.add(**record);
    if (progress) progress(records);
  }
  return recorded_file{reader->meta(), std::move(folder).take(), std::move(ranks).take(), reader->map(),
                       reader->format()};
}

}  // namespace ballast::policies
