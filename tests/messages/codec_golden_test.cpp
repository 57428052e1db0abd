// The bytes of two messages, written down by hand from PROTOCOL.md: what is on the wire may not change by accident.
#include <gtest/gtest.h>

#include <string_view>

#include "messages/codec.hpp"

namespace ballast {
namespace {

using namespace std::string_view_literals;

std::string_view text_of(const byte_buffer& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
byte_view bytes_of(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }

void expect_bytes(const envelope& message, std::string_view bytes) {
  EXPECT_EQ(text_of(encode(message)), bytes);
  const auto back = decode(bytes_of(bytes));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(*back, message);
}

TEST(codec_golden, a_publish_command) {
  placement table;
  table.model = 1;
  table.version = 300;
  table.layers = {{{{seat_id{2}, 5, 1.0}}, {{seat_id{2}, 6, 0.5}, {seat_id{3}, 0, 0.5}}}};
  const envelope message{7, "c", seat_command{seat_id{2}, 1, 9, 4, command::publish{table}}};
  expect_bytes(
      message,
      "\x85"
      "\xa1v\x01"
      "\xa4type\xacseat_command"
      "\xa2id\x07"
      "\xa6sender\xa1"
      "c"
      "\xa4"
      "body\x85"
      "\xa4seat\x02"
      "\xabincarnation\x01"
      "\xa8sequence\x09"
      "\xa9operation\x04"
      "\xa4"
      "body\x82"
      "\xa4kind\xa7publish"
      "\xa5table\x83"
      "\xa5model\x01"
      "\xa7version\xcd\x01\x2c"
      "\xa6layers\x91\x92"
      "\x91\x93\x02\x05\x01"
      "\x92\x93\x02\x06\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\x93\x03\x00\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00"sv);
}

TEST(codec_golden, an_inference_output) {
  expect_bytes({0, "agent", inference_output{"r1", 200, true, {1.0f, -2.5f}}},
               "\x85"
               "\xa1v\x01"
               "\xa4type\xb0inference_output"
               "\xa2id\x00"
               "\xa6sender\xa5"
               "agent"
               "\xa4"
               "body\x84"
               "\xa2id\xa2r1"
               "\xa4step\xcc\xc8"
               "\xa4last\xc3"
               "\xa6hidden\xc4\x08\x00\x00\x80\x3f\x00\x00\x20\xc0"sv);
}

}  // namespace
}  // namespace ballast
