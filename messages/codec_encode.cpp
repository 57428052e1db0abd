#include <bit>
#include <cmath>
#include <msgpack/pack.hpp>
#include <type_traits>

#include "messages/codec.hpp"
#include "messages/codec_fields_impl.hpp"
#include "messages/names_impl.hpp"

namespace ballast {
namespace {

static_assert(std::endian::native == std::endian::little, "hidden states travel as the bytes lie in memory");

struct sink {
  byte_buffer bytes;
  void write(const char* data, std::size_t size) {
    const auto* first = reinterpret_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), first, first + size);
  }
};

class writer {
 public:
  void write(const envelope& message) {
    pack_.pack_map(message.term == 0 ? 5 : 6);
    entry("v", protocol_version);
    entry("type", message_name(message.body));
    entry("id", message.id);
    entry("sender", message.sender);
    text("body");
    std::visit([this](const auto& body) { write(body); }, message.body);
    if (message.term != 0) entry("term", message.term);
  }

  byte_buffer take() { return std::move(out_.bytes); }

 private:
  template <class T>
  void entry(const char* key, const T& value) {
    text(key);
    write(value);
  }

  void text(std::string_view s) {
    pack_.pack_str(static_cast<std::uint32_t>(s.size()));
    pack_.pack_str_body(s.data(), static_cast<std::uint32_t>(s.size()));
  }

  template <class T>
  void write(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value ? pack_.pack_true() : pack_.pack_false();
    } else if constexpr (std::is_unsigned_v<T>) {
      pack_.pack_uint64(value);  // takes the shortest form
    } else if constexpr (std::is_same_v<T, errc>) {
      text(to_string(value));
    } else if constexpr (std::is_enum_v<T>) {
      write(static_cast<std::underlying_type_t<T>>(value));
    } else if constexpr (std::is_convertible_v<T, std::string_view>) {
      text(value);
    } else {
      write_struct(value);
    }
  }

  // Counts are whole numbers mostly: as integers they take one to three bytes instead of nine, and nothing is lost.
  void write(double value) {
    if (value >= 0 && value < 0x1p53 && value == std::floor(value) && !std::signbit(value))
      pack_.pack_uint64(static_cast<std::uint64_t>(value));
    else
      pack_.pack_double(value);
  }

  void write(const replica& r) {
    pack_.pack_array(3);
    write(r.seat);
    write(r.slot);
    write(r.share);
  }

  void write(const std::vector<float>& numbers) {
    const auto size = static_cast<std::uint32_t>(numbers.size() * sizeof(float));
    pack_.pack_bin(size);
    pack_.pack_bin_body(reinterpret_cast<const char*>(numbers.data()), size);
  }

  template <class T>
  void write(const std::vector<T>& items) {
    pack_.pack_array(static_cast<std::uint32_t>(items.size()));
    for (const T& item : items) write(item);
  }

  void write(const command_body& body) {
    std::visit([&](const auto& command) { write_struct(command, command_name(body)); }, body);
  }

  template <class T>
  void write_struct(const T& value, const char* kind = nullptr) {
    std::uint32_t count = kind ? 1 : 0;
    wire::fields(wire::of<T>{}, [&](const char*, auto) { ++count; });
    pack_.pack_map(count);
    if (kind) entry("kind", kind);
    wire::fields(wire::of<T>{}, [&](const char* key, auto member) { entry(key, value.*member); });
  }

  sink out_;
  msgpack::packer<sink> pack_{out_};
};

}  // namespace

byte_buffer encode(const envelope& message) {
  writer w;
  w.write(message);
  return w.take();
}

}  // namespace ballast
