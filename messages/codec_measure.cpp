#include <fmt/format.h>

#include <msgpack/null_visitor.hpp>
#include <msgpack/unpack.hpp>  // parse.hpp does not stand alone

#include "messages/codec_measure_impl.hpp"

namespace ballast::wire {
namespace {

class measuring_visitor : public msgpack::null_visitor {
 public:
  measuring_visitor(std::size_t frame_bytes, const decode_limits& limits)
      : frame_bytes_(frame_bytes), limits_(limits) {}

  bool visit_str(const char*, std::uint32_t size) { return within(size, limits_.string_bytes, "string bytes"); }
  bool visit_bin(const char*, std::uint32_t size) { return within(size, limits_.binary_bytes, "binary bytes"); }
  bool visit_ext(const char*, std::uint32_t size) { return within(size, limits_.string_bytes, "extension bytes"); }
  bool start_array(std::uint32_t count) { return enter(count, count); }
  bool end_array() { return leave(); }
  bool start_map(std::uint32_t pairs) { return enter(pairs, std::uint64_t{2} * pairs); }
  bool end_map() { return leave(); }
  void parse_error(std::size_t, std::size_t at) {
    fault_ = {errc::malformed, fmt::format("frame: not msgpack at byte {}", at)};
  }
  void insufficient_bytes(std::size_t, std::size_t) {
    fault_ = {errc::malformed,
              fmt::format("frame: ends early, after {} bytes; it was cut off on its way", frame_bytes_)};
  }
  error fault() const { return fault_; }

 private:
  bool within(std::uint64_t size, std::uint64_t limit, const char* what) {
    if (size <= limit) return true;
    fault_ = {errc::does_not_fit, fmt::format("frame: {} {} where at most {} are allowed", size, what, limit)};
    return false;
  }
  bool enter(std::uint32_t count, std::uint64_t elements) {
    elements_ += elements;
    if (!within(++depth_, limits_.depth, "levels of nesting") ||
        !within(count, limits_.array_length, "elements in a row") ||
        !within(elements_, limits_.elements, "elements in all"))
      return false;
    if (elements_ <= frame_bytes_) return true;  // every element takes a byte at least
    fault_ = {errc::malformed,
              fmt::format("frame: {} bytes cannot hold the {} elements claimed", frame_bytes_, elements_)};
    return false;
  }
  bool leave() {
    --depth_;
    return true;
  }

  std::size_t frame_bytes_;
  const decode_limits& limits_;
  std::uint64_t elements_ = 0;
  std::uint32_t depth_ = 0;
  error fault_{errc::malformed, "frame: not msgpack"};
};

}  // namespace

status measure(byte_view frame, const decode_limits& limits) {
  if (frame.empty()) return fail(errc::malformed, "frame: empty");
  if (frame.size() > limits.frame_bytes)
    return fail(errc::does_not_fit,
                fmt::format("frame: {} bytes where at most {} are allowed", frame.size(), limits.frame_bytes));
  measuring_visitor visitor(frame.size(), limits);
  std::size_t end = 0;
  try {
    if (!msgpack::parse(reinterpret_cast<const char*>(frame.data()), frame.size(), end, visitor))
      return fail(visitor.fault());
  } catch (const std::exception& e) {
    return fail(errc::malformed, fmt::format("frame: not msgpack ({})", e.what()));
  }
  if (end != frame.size())
    return fail(errc::malformed,
                fmt::format("frame: {} bytes follow the message; send one message a frame", frame.size() - end));
  return {};
}

}  // namespace ballast::wire
