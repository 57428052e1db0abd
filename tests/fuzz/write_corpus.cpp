// Writes the inputs that fuzzing starts from: FOLDER/envelope and FOLDER/message_body, a message of every type and
// every command; FOLDER/safetensors, small files. The other corpora are files of other tests. Usage: PROGRAM FOLDER
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "messages/codec.hpp"
#include "messages/names_impl.hpp"
#include "tests/messages/filler.hpp"

namespace {

using namespace ballast;
namespace fs = std::filesystem;

void write(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string name_of(const message_body& body) {
  const std::string name = message_name(body);
  const auto* command = std::get_if<seat_command>(&body);
  return command ? name + "-" + command_names[command->body.index()] : name;
}

void write_messages(const fs::path& folder) {
  for (const envelope& message : every_message()) {
    const byte_buffer frame = encode(message);
    const std::string_view bytes(reinterpret_cast<const char*>(frame.data()), frame.size());
    write(folder / "envelope" / name_of(message.body), bytes);
    std::string body(1, static_cast<char>(message.body.index()));
    body += bytes.substr(bytes.find("\xa4"
                                    "body") +
                         5);
    write(folder / "message_body" / name_of(message.body), body);
  }
}

std::string safetensors(const std::string& header, std::size_t data_bytes) {
  std::string file;
  for (unsigned i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return file + header + std::string(data_bytes, '\x3f');
}

void write_safetensors(const fs::path& folder) {
  write(folder / "empty", safetensors("{}", 0));
  write(folder / "two", safetensors(R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"BF16","shape":[2,3],)"
                                    R"("data_offsets":[0,12]},"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})",
                                    16));
  write(folder / "scalar", safetensors(R"({"s":{"dtype":"F8_E4M3","shape":[],"data_offsets":[0,1]}})", 1));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]), 2;
  write_messages(argv[1]);
  write_safetensors(fs::path(argv[1]) / "safetensors");
  return 0;
}
