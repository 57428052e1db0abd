// Bodies of every message: the first byte chooses the message, the rest is the body. An envelope that is always right
// takes the input past what the envelope target spends most of its time on.
#include <cstring>

#include "messages/names_impl.hpp"
#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;

namespace {

void append(byte_buffer& to, std::string_view bytes) {
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  to.insert(to.end(), first, first + bytes.size());
}

byte_buffer frame_of(std::string_view type, byte_view body) {
  byte_buffer frame;
  append(frame, "\x83\xa1v\x01\xa4type");
  frame.push_back(static_cast<std::byte>(0xa0 + type.size()));  // all names are short
  append(frame, type);
  append(frame,
         "\xa4"
         "body");
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto type = message_names[data[0] % message_names.size()];
  const auto message = decode(frame_of(type, fuzz::view(data + 1, size - 1)));
  if (!message) {
    fuzz::require_one_line(message.error());
    return 0;
  }
  fuzz::require(std::string_view(message_name(message->body)) == type, "a message is of the type that it names");
  const auto again = decode(encode(*message));
  // Compared as bytes: hidden states may be no numbers here, and those equal nothing.
  fuzz::require(again && encode(*again) == encode(*message), "what was read can be sent again");
  return 0;
}
