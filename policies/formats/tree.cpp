#include "policies/formats/tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace ballast::policies {

bool is_whole(double number) noexcept {
  return std::isfinite(number) && std::abs(number) < 9007199254740992.0 && number == std::floor(number);
}

bool node::is_whole() const noexcept { return is_number() && policies::is_whole(number); }

std::size_t node::first_no_number() const noexcept {
  if (numbers.empty()) return items.empty() ? npos : 0;
  return odd_at;
}

std::size_t node::first_no_list() const noexcept {
  if (!numbers.empty()) return 0;
  for (std::size_t i = 0; i < items.size() && i < odd_at; ++i) {
    if (!items[i].is_list()) return i;
  }
  return odd_at;
}

const node* node::find(const std::string& key) const noexcept {
  const auto at = std::find(keys.begin(), keys.end(), key);
  return at == keys.end() ? nullptr : &items[static_cast<std::size_t>(at - keys.begin())];
}

bool tree_builder::refuse(std::string why) {
  if (fault_.empty()) fault_ = std::move(why);
  return false;
}

node* tree_builder::add(node::kind_t kind, std::uint64_t line) {
  if (++nodes_ > nodes_max || open_.size() >= depth_max) {
    refuse(nodes_ > nodes_max ? "more values than any recording or placement has"
                              : "lists within lists, deeper than any recording or placement");
    return nullptr;
  }
  node* to = &root_;
  if (!open_.empty()) {
    auto& parent = *open_.back();
    if (parent.is_list() && !parent.numbers.empty() && parent.odd_at == node::npos) {
      parent.odd_at = parent.numbers.size();
    }
    to = &parent.items.emplace_back();
  } else if (started_) {
    refuse("a second value");
    return nullptr;
  }
  started_ = true;
  to->kind = kind;
  to->line = line;
  return to;
}

bool tree_builder::begin(node::kind_t list_or_map, std::uint64_t line) {
  auto* made = add(list_or_map, line);
  if (made == nullptr) return false;
  open_.push_back(made);
  return true;
}

bool tree_builder::end() {
  auto& closed = *open_.back();
  open_.pop_back();
  if (!closed.is_map()) return true;
  std::vector<std::string_view> sorted(closed.keys.begin(), closed.keys.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  return twice == sorted.end() || refuse(fmt::format("'{:.40}' is there twice", *twice));
}

bool tree_builder::key(std::string name) {
  text_bytes_ += name.size();
  if (text_bytes_ > text_max) return refuse("more text than any recording or placement has");
  open_.back()->keys.push_back(std::move(name));
  return true;
}

bool tree_builder::number(double value, std::uint64_t line) {
  if (!open_.empty() && open_.back()->is_list()) {
    auto& list = *open_.back();
    if (list.odd_at != node::npos) return true;
    if (!list.items.empty()) {
      list.odd_at = list.items.size();
      return true;
    }
    if (++numbers_ > numbers_max) return refuse("more numbers than any recording or placement has");
    list.numbers.push_back(value);
    return true;
  }
  return other(node::kind_t::number, {}, value, line);
}

bool tree_builder::other(node::kind_t kind, std::string text, double value, std::uint64_t line) {
  text_bytes_ += text.size();
  if (text_bytes_ > text_max) return refuse("more text than any recording or placement has");
  auto* made = add(kind, line);
  if (made == nullptr) return false;
  made->text = std::move(text);
  made->number = value;
  return true;
}

}  // namespace ballast::policies
