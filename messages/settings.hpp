// Strict reading of a TOML file: every key that is not asked for is an error that names it, its line and the known
// keys.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace ballast {

// One table of a parsed file. Getters return the default when the key is absent and remember the first fault (wrong
// type, out of range); finish() reports it, or an unknown key. Cheap to copy; single-threaded.
class settings {
 public:
  static result<settings> from_file(const std::string& path);
  static result<settings> from_text(const std::string& text, const std::string& name = "settings");

  std::string get(const std::string& key, const std::string& otherwise) const;
  std::string get(const std::string& key, const char* otherwise) const;
  bool get(const std::string& key, bool otherwise) const;
  double get(const std::string& key, double otherwise, double least, double most) const;
  std::uint64_t get(const std::string& key, std::uint64_t otherwise, std::uint64_t least, std::uint64_t most) const;
  // Any other integer type, so that a plain literal can be the default; `most` is lowered to what T can hold.
  template <std::integral T>
  requires(!std::same_as<T, bool>) T get(const std::string& key, T otherwise, std::uint64_t least, std::uint64_t most)
  const {
    const auto holds = static_cast<std::uint64_t>(std::numeric_limits<T>::max());
    return static_cast<T>(get(key, static_cast<std::uint64_t>(otherwise), least, most < holds ? most : holds));
  }
  bool has(const std::string& key) const;

  settings table(const std::string& key) const;                // empty if absent
  std::vector<settings> tables(const std::string& key) const;  // [[key]]
  std::string where() const;                                   // "file.toml:12 [agent]"

  // Error: invalid_argument with file, line, key and the remedy; unknown keys name the closest known one.
  status finish() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace ballast
