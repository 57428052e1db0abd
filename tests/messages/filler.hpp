// Gives every field of a message a value that is not its default, no two alike where the type allows it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <type_traits>
#include <vector>

#include "messages/codec_fields_impl.hpp"

namespace ballast {

class filler {
 public:
  template <class T>
  T make() {
    T value{};
    fill(value);
    return value;
  }

  template <class T>
  requires wire::has_fields<T>
  void fill(T& value) {
    wire::fields(wire::of<T>{}, [&](const char* key, auto member) {
      const auto before = T{}.*member;
      fill(value.*member);
      EXPECT_FALSE(value.*member == before) << key << " kept its default";
    });
  }

 private:
  void fill(bool& b) { b = !b; }
  template <class T>
  requires std::is_unsigned_v<T>
  void fill(T& n) {
    n = static_cast<T>(++count_ * 1009);  // over 127, so that longer integer forms are met too
  }
  void fill(double& d) {
    ++count_;
    d = static_cast<double>(count_) + (count_ % 2 ? 0.5 : 0);  // whole or not: two forms on the wire
  }
  void fill(float& f) { f = static_cast<float>(++count_) * 0.25f; }
  void fill(std::string& s) { s = "text " + std::to_string(++count_); }
  void fill(seat_id& s) { s = seat_id{static_cast<std::uint32_t>(++count_)}; }
  void fill(errc& e) { e = static_cast<errc>(1 + ++count_ % 11); }
  void fill(replica& r) { r = {seat_id{static_cast<std::uint32_t>(++count_)}, 7, 0.375}; }
  void fill(command_body& body) { body = make<command::stage>(); }
  template <class T>
  void fill(std::vector<T>& items) {
    items.resize(2);
    for (T& item : items) fill(item);
  }

  std::uint64_t count_ = 0;
};

// One filled message of every type, and a seat_command for every command.
template <class... M, class... C>
std::vector<envelope> every_message(const std::variant<M...>&, const std::variant<C...>&) {
  filler f;
  std::vector<envelope> all;
  const auto add = [&](message_body body) { all.push_back({1000 + all.size(), "sender", std::move(body)}); };
  (add(f.make<M>()), ...);
  (add(seat_command{seat_id{3}, 4, 5, 6, f.make<C>()}), ...);
  return all;
}
inline std::vector<envelope> every_message() { return every_message(message_body{}, command_body{}); }

}  // namespace ballast
