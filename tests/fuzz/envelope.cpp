// Whole frames, as they come from a socket.
#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const byte_view frame = fuzz::view(data, size);
  const auto message = decode(frame);
  if (!message) {
    fuzz::require_one_line(message.error());
    (void)id_of(frame);
    return 0;
  }
  fuzz::require(id_of(frame) == message->id, "a frame that decodes has its id where id_of looks");
  const auto again = decode(encode(*message));
  // Compared as bytes: hidden states may be no numbers here, and those equal nothing.
  fuzz::require(again && encode(*again) == encode(*message), "what was read can be sent again");
  return 0;
}
