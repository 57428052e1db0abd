#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <msgpack/object.hpp>
#include <msgpack/unpack.hpp>
#include <type_traits>
#include <utility>

#include "messages/codec.hpp"
#include "messages/codec_fields_impl.hpp"
#include "messages/codec_measure_impl.hpp"
#include "messages/names_impl.hpp"

namespace ballast {
namespace {

using msgpack::object;

// Where in the frame we are: a chain on the stack, written out only when something is wrong there.
struct place {
  const place* up = nullptr;
  const char* key = nullptr;  // null: element `index` of a row
  std::size_t index = 0;

  std::string text() const {
    const std::string before = up ? up->text() : "";
    if (!key) return fmt::format("{}[{}]", before, index);
    return before.empty() ? key : before + "." + key;
  }
};

bool is_text(const object& o, std::string_view s) {
  return o.type == msgpack::type::STR && std::string_view(o.via.str.ptr, o.via.str.size) == s;
}

// Looks for `key`, first where it lies when sender and receiver list their fields in the same order.
const object* find(const object& map, const char* key, std::uint32_t& guess) {
  const auto& m = map.via.map;
  if (guess < m.size && is_text(m.ptr[guess].key, key)) return &m.ptr[guess++].val;
  for (std::uint32_t i = 0; i < m.size; ++i)
    if (is_text(m.ptr[i].key, key)) {
      guess = i + 1;
      return &m.ptr[i].val;
    }
  return nullptr;
}

template <std::size_t N>
std::size_t position(const std::array<const char*, N>& names, const object& name) {
  return static_cast<std::size_t>(
      std::find_if(names.begin(), names.end(), [&](const char* n) { return is_text(name, n); }) - names.begin());
}

std::string shown(const object& o) {
  if (o.type != msgpack::type::STR) return "no text";
  std::string s(o.via.str.ptr, std::min<std::uint32_t>(o.via.str.size, 40));
  std::replace_if(
      s.begin(), s.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '?');
  return "\"" + s + "\"";
}

// Reads objects of a measured frame into structs. Every read() is false after the first fault, which fault() holds.
class reader {
 public:
  const error& fault() const { return fault_; }

  bool wrong(const place& at, std::string_view expected, errc code = errc::malformed) {
    fault_ = {code, fmt::format("{}: expected {}", at.text(), expected)};
    return false;
  }

  bool read_version(const object& frame) {
    const place at{nullptr, "v"};
    std::uint32_t guess = 0, version = 0;
    const object* found = find(frame, "v", guess);
    if (!found) return wrong(at, fmt::format("the protocol version ({} here), but there is none", protocol_version));
    if (!read(*found, version, at)) return false;
    if (version == protocol_version) return true;
    fault_ = {errc::version_mismatch, fmt::format("v: the sender speaks protocol version {}, this side speaks {}; "
                                                  "run the same release on both ends",
                                                  version, protocol_version)};
    return false;
  }

  bool read_envelope(const object& frame, envelope& to) {
    const place at{nullptr, "frame"};
    if (frame.type != msgpack::type::MAP) return wrong(at, "a map");
    if (!read_version(frame)) return false;
    std::uint32_t guess = 1;
    const object* type = find(frame, "type", guess);
    const place type_at{nullptr, "type"};
    if (!type) return wrong(type_at, "the name of a message, but there is none");
    if (!field(frame, "id", to.id, nullptr, guess) || !field(frame, "sender", to.sender, nullptr, guess)) return false;
    const std::size_t index = position(message_names, *type);
    if (index == message_names.size())
      return wrong(type_at,
                   fmt::format("the name of a message of protocol version {}, not {}", protocol_version, shown(*type)));
    const place body_at{nullptr, "body"};
    return read_variant(find(frame, "body", guess), to.body, index, body_at) &&
           field(frame, "term", to.term, nullptr, guess);
  }

 private:
  bool read(const object& o, bool& to, const place& at) {
    if (o.type != msgpack::type::BOOLEAN) return wrong(at, "true or false");
    to = o.via.boolean;
    return true;
  }

  template <class T>
  requires std::is_unsigned_v<T> &&(!std::is_same_v<T, bool>)bool read(const object& o, T& to, const place& at) {
    if (o.type != msgpack::type::POSITIVE_INTEGER) return wrong(at, "an unsigned integer");
    if (o.via.u64 > std::numeric_limits<T>::max())
      return wrong(at, fmt::format("an unsigned integer of {} bits", std::numeric_limits<T>::digits));
    to = static_cast<T>(o.via.u64);
    return true;
  }

  bool read(const object& o, double& to, const place& at) {
    switch (o.type) {
      case msgpack::type::POSITIVE_INTEGER:
        to = static_cast<double>(o.via.u64);
        return true;
      case msgpack::type::NEGATIVE_INTEGER:
        to = static_cast<double>(o.via.i64);
        return true;
      case msgpack::type::FLOAT32:
      case msgpack::type::FLOAT64:
        to = o.via.f64;
        break;
      default:
        return wrong(at, "a number");
    }
    return std::isfinite(to) || wrong(at, "a finite number");
  }

  bool read(const object& o, std::string& to, const place& at) {
    if (o.type != msgpack::type::STR) return wrong(at, "text");
    to.assign(o.via.str.ptr, o.via.str.size);
    return true;
  }

  bool read(const object& o, seat_id& to, const place& at) {
    std::uint32_t number = 0;
    if (!read(o, number, at)) return false;
    to = seat_id{number};
    return true;
  }

  bool read(const object& o, errc& to, const place& at) {
    const std::size_t index = position(error_names, o);
    if (index == error_names.size()) return wrong(at, "the name of an error code, not " + shown(o));
    to = static_cast<errc>(index);
    return true;
  }

  bool read(const object& o, std::vector<float>& to, const place& at) {
    if (o.type != msgpack::type::BIN || o.via.bin.size % sizeof(float) != 0)
      return wrong(at, "binary data of little-endian 32-bit floats");
    to.resize(o.via.bin.size / sizeof(float));
    if (!to.empty()) std::memcpy(to.data(), o.via.bin.ptr, o.via.bin.size);
    return true;
  }

  bool read(const object& o, replica& to, const place& at) {
    if (o.type != msgpack::type::ARRAY || o.via.array.size != 3) return wrong(at, "[seat, slot, share]");
    const object* parts = o.via.array.ptr;
    return read(parts[0], to.seat, {&at, "seat"}) && read(parts[1], to.slot, {&at, "slot"}) &&
           read_measure(parts[2], to.share, {&at, "share"});
  }

  bool read(const object& o, command_body& to, const place& at) {
    std::uint32_t guess = 0;
    const object* kind = o.type == msgpack::type::MAP ? find(o, "kind", guess) : nullptr;
    if (!kind) return wrong(at, "a command: a map with a \"kind\"");
    const std::size_t index = position(command_names, *kind);
    if (index == command_names.size()) return wrong({&at, "kind"}, "the name of a command, not " + shown(*kind));
    return read_variant(&o, to, index, at);
  }

  // Shares and token counts: a not-a-number or a negative one would poison every sum it meets.
  bool read_measure(const object& o, double& to, const place& at) {
    return read(o, to, at) && (to >= 0 || wrong(at, "a number that is not negative"));
  }

  template <class T>
  bool read(const object& o, std::vector<T>& to, const place& at) {
    if (o.type != msgpack::type::ARRAY) return wrong(at, "an array");
    to.resize(o.via.array.size);
    for (std::uint32_t i = 0; i < o.via.array.size; ++i) {
      const place element{&at, nullptr, i};
      if constexpr (std::is_same_v<T, double>) {
        if (!read_measure(o.via.array.ptr[i], to[i], element)) return false;
      } else {
        if (!read(o.via.array.ptr[i], to[i], element)) return false;
      }
    }
    return true;
  }

  template <class T>
  requires wire::has_fields<T>
  bool read(const object& o, T& to, const place& at) {
    if (o.type != msgpack::type::MAP) return wrong(at, "a map");
    std::uint32_t guess = 0;
    bool good = true;
    wire::fields(wire::of<T>{},
                 [&](const char* key, auto member) { good = good && field(o, key, to.*member, &at, guess); });
    return good;
  }

  template <class T>
  bool field(const object& map, const char* key, T& to, const place* up, std::uint32_t& guess) {
    const object* found = find(map, key, guess);
    return !found || read(*found, to, {up, key});
  }

  // Makes alternative `index` of the variant and reads `o` into it; none given: it keeps its defaults.
  template <class... T>
  bool read_variant(const object* o, std::variant<T...>& to, std::size_t index, const place& at) {
    std::size_t next = 0;
    bool good = true;
    const auto try_one = [&]<class U>(std::type_identity<U>) {
      if (next++ == index) good = !o || read(*o, to.template emplace<U>(), at);
    };
    (try_one(std::type_identity<T>{}), ...);
    return good;
  }

  error fault_{};
};

// Text and binary data stay in the frame; only the tree of objects takes memory.
msgpack::object_handle unpack(byte_view frame, const decode_limits& limits) {
  const msgpack::unpack_limit bounds(limits.array_length, limits.array_length, limits.string_bytes, limits.binary_bytes,
                                     limits.string_bytes, limits.depth);
  std::size_t end = 0;
  bool referenced = false;
  return msgpack::unpack(
      reinterpret_cast<const char*>(frame.data()), frame.size(), end, referenced,
      [](msgpack::type::object_type, std::size_t, void*) { return true; }, nullptr, bounds);
}

}  // namespace

result<envelope> decode(byte_view frame, const decode_limits& limits) {
  if (const status measured = wire::measure(frame, limits); !measured) return fail(measured.error());
  try {
    const msgpack::object_handle tree = unpack(frame, limits);
    envelope message;
    reader r;
    if (!r.read_envelope(tree.get(), message)) return fail(r.fault());
    return message;
  } catch (const std::exception& e) {
    return fail(errc::malformed, fmt::format("frame: cannot be read ({})", e.what()));
  }
}

std::uint64_t id_of(byte_view frame, const decode_limits& limits) {
  if (!wire::measure(frame, limits)) return 0;
  try {
    const msgpack::object_handle tree = unpack(frame, limits);
    std::uint32_t guess = 2;
    const object* id = tree.get().type == msgpack::type::MAP ? find(tree.get(), "id", guess) : nullptr;
    return id && id->type == msgpack::type::POSITIVE_INTEGER ? id->via.u64 : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

}  // namespace ballast
