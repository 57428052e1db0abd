// Frames from a peer that is broken, old, new or ill-meaning: refused with a sentence, never a crash or a large
// allocation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <msgpack.hpp>
#include <random>

#include "messages/codec.hpp"
#include "tests/messages/filler.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;
using packer = msgpack::packer<msgpack::sbuffer>;

byte_view view(const msgpack::sbuffer& b) { return {reinterpret_cast<const std::byte*>(b.data()), b.size()}; }

// A frame with this version and type, whose body is written by `body`.
template <class Body>
msgpack::sbuffer frame(std::uint32_t version, const std::string& type, Body body) {
  msgpack::sbuffer buffer;
  packer p(buffer);
  p.pack_map(4);
  p.pack("v"), p.pack(version), p.pack("type"), p.pack(type), p.pack("id"), p.pack(77), p.pack("body");
  body(p);
  return buffer;
}

void expect_refused(byte_view bytes, errc code, const std::string& text, const decode_limits& limits = {}) {
  const auto got = decode(bytes, limits);
  ASSERT_FALSE(got) << "accepted, though expected: " << text;
  EXPECT_EQ(got.error().code, code) << got.error().text;
  EXPECT_THAT(got.error().text, HasSubstr(text));
  EXPECT_EQ(got.error().text.find('\n'), std::string::npos);
}

TEST(codec_hostile, a_frame_cut_anywhere_is_malformed) {
  for (const envelope& message : every_message()) {
    const byte_buffer whole = encode(message);
    for (std::size_t length = 0; length < whole.size(); ++length)
      ASSERT_FALSE(decode(byte_view(whole).first(length))) << message_name(message.body) << " cut to " << length;
  }
  const byte_buffer whole = encode({1, "s", get_status{}});
  expect_refused(byte_view(whole).first(20), errc::malformed, "ends early");
  expect_refused({}, errc::malformed, "empty");
}

TEST(codec_hostile, random_damage_never_crashes_and_what_passes_can_be_sent_again) {
  const auto all = every_message();
  std::vector<byte_buffer> frames;
  for (const envelope& message : all) frames.push_back(encode(message));
  std::mt19937 random(20260101);
  std::size_t passed = 0, refused_count = 0;
  for (int round = 0; round < 100000; ++round) {
    byte_buffer damaged = frames[random() % frames.size()];
    for (std::uint32_t hits = 1 + random() % 4; hits > 0; --hits) {
      std::byte& at = damaged[random() % damaged.size()];
      at = random() % 2 ? at ^ static_cast<std::byte>(1u << random() % 8) : static_cast<std::byte>(random());
    }
    const auto got = decode(damaged);
    got ? ++passed : ++refused_count;
    if (!got) continue;
    const auto again = decode(encode(*got));
    ASSERT_TRUE(again) << again.error().text;
    ASSERT_EQ(encode(*again), encode(*got));
  }
  EXPECT_GT(passed, 1000u);
  EXPECT_GT(refused_count, 1000u);
}

TEST(codec_hostile, noise_never_crashes) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    byte_buffer noise(random() % 200);
    for (std::byte& b : noise) b = static_cast<std::byte>(random());
    EXPECT_FALSE(decode(noise));
  }
}

TEST(codec_hostile, claims_larger_than_the_frame_take_no_memory) {
  const auto claim = [](std::initializer_list<int> bytes) {
    byte_buffer b;
    for (const int byte : bytes) b.push_back(static_cast<std::byte>(byte));
    return b;
  };
  expect_refused(claim({0xdd, 0x80, 0, 0, 0}), errc::does_not_fit, "elements in a row");  // array of 2^31
  expect_refused(claim({0xdf, 0x80, 0, 0, 0}), errc::does_not_fit, "elements in a row");  // map of 2^31
  expect_refused(claim({0xdd, 0, 0x0f, 0xff, 0xff}), errc::malformed, "cannot hold");     // array of 2^20 - 1
  expect_refused(claim({0xdb, 0xff, 0xff, 0xff, 0xff}), errc::malformed, "ends early");   // text of 4 GiB
  expect_refused(claim({0xc6, 0xff, 0xff, 0xff, 0xff}), errc::malformed, "ends early");   // binary of 4 GiB
  byte_buffer nested;
  for (int i = 0; i < 15; ++i)
    for (const std::byte b : claim({0xdd, 0, 0x0f, 0xff, 0xff})) nested.push_back(b);
  expect_refused(nested, errc::malformed, "cannot hold");
}

TEST(codec_hostile, every_limit_is_kept_and_named) {
  decode_limits limits;
  limits.frame_bytes = 300;
  limits.array_length = 6;
  limits.string_bytes = 20;
  limits.binary_bytes = 16;
  limits.depth = 6;
  limits.elements = 40;
  const auto refuse = [&](const message_body& body, const std::string& text) {
    expect_refused(encode({1, "s", body}), errc::does_not_fit, text, limits);
  };
  EXPECT_TRUE(decode(encode({1, "s", inference_output{"r", 1, true, {1, 2, 3, 4}}}), limits));
  refuse(inference_output{"r", 1, true, {1, 2, 3, 4, 5}}, "20 binary bytes where at most 16");
  refuse(cancel_request{std::string(21, 'x')}, "21 string bytes where at most 20");
  refuse(scale_request{"r", 1, std::vector<seat_id>(7), false, 0}, "elements in a row");
  refuse(cancel_request{std::string(400, 'x')}, "bytes where at most 300");
  limits.array_length = 100;
  refuse(scale_request{"r", 1, std::vector<seat_id>(60), false, 0}, "elements in all");
  byte_buffer deep(7, std::byte{0x91});
  deep.push_back(std::byte{0});
  expect_refused(deep, errc::does_not_fit, "levels of nesting", limits);
  expect_refused(byte_buffer(100000, std::byte{0x91}), errc::does_not_fit, "levels of nesting");
}

TEST(codec_hostile, another_protocol_version_is_refused_naming_both) {
  const auto newer = frame(7, "get_status", [](packer& p) { p.pack_map(0); });
  expect_refused(view(newer), errc::version_mismatch, "version 7, this side speaks 1");
  EXPECT_EQ(id_of(view(newer)), 77u);
  msgpack::sbuffer none;
  packer p(none);
  p.pack_map(1), p.pack("type"), p.pack("get_status");
  expect_refused(view(none), errc::malformed, "v: expected the protocol version");
  EXPECT_EQ(id_of(view(none)), 0u);
  EXPECT_EQ(id_of({}), 0u);
}

TEST(codec_hostile, unknown_keys_are_ignored_and_missing_ones_keep_their_defaults) {
  const auto from_the_future = frame(1, "welcome", [](packer& p) {
    p.pack_map(4);
    p.pack("colour"), p.pack_array(2), p.pack(1), p.pack("blue");
    p.pack(12), p.pack("a key that is no text");
    p.pack("heartbeat_ms"), p.pack(250);
    p.pack("seats"), p.pack_array(1), p.pack_map(2), p.pack("x"), p.pack(1), p.pack("seat"), p.pack(5);
  });
  const auto got = decode(view(from_the_future));
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(got->id, 77u);
  EXPECT_EQ(got->sender, "");
  EXPECT_EQ(std::get<welcome>(got->body), (welcome{{{0, seat_id{5}, 0}}, 250, 8}));
}

TEST(codec_hostile, wrong_values_are_refused_with_the_path_to_them) {
  const auto body = [](const std::string& type, auto write) { return frame(1, type, write); };
  const auto refuse = [](const msgpack::sbuffer& f, const std::string& text) {
    expect_refused(view(f), errc::malformed, text);
  };
  refuse(body("welcome",
              [](packer& p) {
                p.pack_map(1), p.pack("seats"), p.pack_array(2), p.pack_map(0);
                p.pack_map(1), p.pack("seat"), p.pack(-1);
              }),
         "body.seats[1].seat: expected an unsigned integer");
  refuse(body("welcome", [](packer& p) { p.pack_map(1), p.pack("heartbeat_ms"), p.pack(1ull << 32); }),
         "body.heartbeat_ms: expected an unsigned integer of 32 bits");
  refuse(body("welcome", [](packer& p) { p.pack_map(1), p.pack("seats"), p.pack("none"); }),
         "body.seats: expected an array");
  refuse(body("cancel_request", [](packer& p) { p.pack_map(1), p.pack("id"), p.pack(3); }), "body.id: expected text");
  refuse(body("handover_taken", [](packer& p) { p.pack_map(1), p.pack("ok"), p.pack(1); }),
         "body.ok: expected true or false");
  refuse(body("get_status", [](packer& p) { p.pack_array(0); }), "body: expected a map");
  refuse(body("grow", [](packer& p) { p.pack_map(0); }),
         "type: expected the name of a message of protocol version 1, not \"grow\"");
  refuse(body("inference_output",
              [](packer& p) { p.pack_map(1), p.pack("hidden"), p.pack_bin(3), p.pack_bin_body("abc", 3); }),
         "body.hidden: expected binary data of little-endian 32-bit floats");
  refuse(body("refused",
              [](packer& p) { p.pack_map(1), p.pack("failure"), p.pack_map(1), p.pack("code"), p.pack("bad\nluck"); }),
         "body.failure.code: expected the name of an error code, not \"bad?luck\"");
  refuse(body("seat_command", [](packer& p) { p.pack_map(1), p.pack("body"), p.pack_map(0); }),
         "body.body: expected a command");
  refuse(body("seat_command",
              [](packer& p) { p.pack_map(1), p.pack("body"), p.pack_map(1), p.pack("kind"), p.pack("jump"); }),
         "body.body.kind: expected the name of a command, not \"jump\"");
}

TEST(codec_hostile, shares_and_loads_must_be_numbers_that_add_up) {
  const double bad[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                        -std::numeric_limits<double>::infinity(), -0.25};
  for (const double value : bad) {
    load_summary load;
    load.tokens = {{1, 2}, {3, value}};
    expect_refused(encode({1, "s", load}), errc::malformed, "body.tokens[1][1]: expected a ");
    command::publish publish;
    publish.table.layers = {{{{seat_id{1}, 0, value}}}};
    expect_refused(encode({1, "s", seat_command{seat_id{1}, 1, 1, 1, publish}}), errc::malformed,
                   "body.body.table.layers[0][0][0].share: expected a ");
  }
  rank_offer offer;
  offer.speed = bad[0];
  expect_refused(encode({1, "s", hello{"n", "a", 1, "", {}, {offer}}}), errc::malformed,
                 "body.ranks[0].speed: expected a finite number");
}

TEST(codec_hostile, bytes_after_the_message_are_refused) {
  byte_buffer twice = encode({1, "s", get_status{}});
  twice.push_back(std::byte{0});
  expect_refused(twice, errc::malformed, "1 bytes follow the message");
}

}  // namespace
}  // namespace ballast
