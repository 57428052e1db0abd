// What the fuzz targets share. A target is one LLVMFuzzerTestOneInput: libFuzzer calls it (deploy/fuzz.sh), and so does
// replay.cpp in ctest. It may refuse its input, never crash, hang, leak, or break a promise that it states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "messages/codec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace ballast::fuzz {

inline byte_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

// A broken promise ends the process, like any other crash.
void require(bool held, std::string_view promise);
// An error is one line that says something.
void require_one_line(const error& failure);

// A file in memory with these bytes, for readers that want a path. Valid until the next call; one thread.
const std::string& file_with(std::span<const std::byte> content);

}  // namespace ballast::fuzz
