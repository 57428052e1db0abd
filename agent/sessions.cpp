#include "agent/sessions.hpp"

#include <algorithm>
#include <iterator>

namespace ballast {

void session_board::add(session s) {
  lines_[s.model].push_back(std::move(s));
  ++count_;
}

bool session_board::remove(const std::string& id) {
  for (auto& line : lines_) {
    const auto removed = line.remove_if([&](const session& s) { return s.id == id; });
    count_ -= removed;
    if (removed) return true;
  }
  return false;
}

std::vector<session> session_board::take_all() {
  std::vector<session> all;
  for (auto& line : lines_) {
    std::ranges::move(line, std::back_inserter(all));
    line.clear();
  }
  count_ = 0;
  return all;
}

const std::vector<session*>& session_board::pick(model_index model) {
  auto& picked = picked_[model];
  picked.clear();
  std::uint32_t room = max_batch_tokens_;
  for (auto& s : lines_[model]) {
    if (s.tokens > room) break;  // not skipped: a large request must not wait for ever behind small ones
    room -= s.tokens;
    picked.push_back(&s);
  }
  return picked;
}

std::vector<session_output> session_board::advance(model_index model, const std::vector<float>& hidden) {
  std::vector<session_output> outputs;
  auto& line = lines_[model];
  auto row = hidden.begin();
  for (std::size_t n = picked_[model].size(); n > 0; --n) {  // the picked ones are the first n of the line, in order
    session& s = line.front();
    const auto end = row + static_cast<std::ptrdiff_t>(s.hidden.size());
    s.hidden.assign(row, end);
    row = end;
    const bool last = s.next_step + 1 == s.steps;
    outputs.push_back({s.id, s.next_step++, last, s.hidden});
    if (last) {
      line.pop_front();
      --count_;
    } else {
      line.splice(line.end(), line, line.begin());
    }
  }
  picked_[model].clear();
  return outputs;
}

}  // namespace ballast
