// How errors travel: as values. Exceptions are for bugs only and never cross an actor handler or a thread.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace ballast {

// The kind of a failure, for code that reacts to it. The sentence for people is error::text.
enum class errc : std::uint8_t {
  invalid_argument,  // a setting, flag or message value that can never be right
  malformed,         // bytes that do not parse: frame, file, header
  version_mismatch,  // the peer speaks another protocol or schema version
  not_found,         // a named thing (seat, model, operation, file, tensor) does not exist
  conflict,          // another operation is under way, or the base version moved on
  does_not_fit,      // memory, slots or capacity do not suffice; the text has the numbers
  unavailable,       // the peer or resource cannot be reached now; trying again may help
  timed_out,         // a deadline passed
  aborted,           // given up on request
  fenced,            // the sender's incarnation or epoch is outdated
  corrupt,           // a checksum or a named identity does not match
  io,                // the operating system refused a file or socket operation
};

const char* to_string(errc code) noexcept;

// One line: what went wrong, where, and what to do instead.
struct error {
  errc code = errc::invalid_argument;
  std::string text;
  bool operator==(const error&) const = default;
};

template <class T>
using result = tl::expected<T, error>;
using status = result<void>;

// What a peer or a file says may end up in a text or a log: its control characters come as blanks, so that they neither
// forge a second line nor steer a terminal.
[[nodiscard]] inline std::string on_one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

[[nodiscard]] inline tl::unexpected<error> fail(errc code, std::string text) {
  return tl::unexpected<error>(error{code, on_one_line(std::move(text))});
}
[[nodiscard]] inline tl::unexpected<error> fail(error e) { return tl::unexpected<error>(std::move(e)); }

}  // namespace ballast
