#include "messages/codec.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/messages/filler.hpp"

namespace ballast {
namespace {

TEST(codec, every_message_and_command_comes_back_as_it_was) {
  const auto all = every_message();
  ASSERT_EQ(all.size(), std::variant_size_v<message_body> + std::variant_size_v<command_body>);
  for (const envelope& message : all) {
    const auto back = decode(encode(message));
    ASSERT_TRUE(back) << message_name(message.body) << ": " << back.error().text;
    EXPECT_EQ(*back, message) << message_name(message.body);
  }
}

// Counts the members of an aggregate: the most initialisers it takes. A member that the list of fields forgets would
// travel with nobody, and the round trip above could not see it.
struct anything {
  template <class T>
  operator T() const;
};
template <class T, class... Init>
constexpr std::size_t members_of() {
  if constexpr (std::is_empty_v<T>)
    return 0;
  else if constexpr (requires { T{Init{}..., anything{}}; })
    return members_of<T, Init..., anything>();
  else
    return sizeof...(Init);
}
template <class T>
void expect_every_member_listed() {
  std::set<std::string> keys;
  wire::fields(wire::of<T>{}, [&](const char* key, auto) { keys.insert(key); });
  EXPECT_EQ(keys.size(), members_of<T>()) << "of the type that has a field " << (keys.empty() ? "-" : *keys.begin());
}
template <class... T>
void expect_every_member_listed(std::variant<T...>) {
  (expect_every_member_listed<T>(), ...);
}

TEST(codec, the_list_of_fields_names_every_member_of_every_struct) {
  expect_every_member_listed(message_body{});
  expect_every_member_listed(command_body{});
  expect_every_member_listed(std::variant<error, placement, model_capacity, seat_capacity, page_source, stage_item,
                                          slot_ref, comm_member, session_target, model_description, rank_offer,
                                          seat_assignment, seat_beat, model_status, seat_status, operation_status>{});
  EXPECT_EQ(members_of<replica>(), 3u);
  EXPECT_EQ(members_of<envelope>(), 4u);
}

TEST(codec, names_are_those_of_the_types) {
  EXPECT_STREQ(message_name(hello{}), "hello");
  EXPECT_STREQ(message_name(seat_outcome{}), "seat_outcome");
  EXPECT_STREQ(message_name(get_status{}), "get_status");
  EXPECT_STREQ(message_name(rebalance_request{}), "rebalance_request");
  EXPECT_STREQ(message_name(operation_list{}), "operation_list");
  EXPECT_STREQ(message_name(refused{}), "refused");
  EXPECT_STREQ(message_name(event{}), "event");
  EXPECT_STREQ(message_name(inference_output{}), "inference_output");
  EXPECT_STREQ(message_name(handover_taken{}), "handover_taken");
  EXPECT_STREQ(command_name(command::prepare{}), "prepare");
  EXPECT_STREQ(command_name(command::connect_comm{}), "connect_comm");
  EXPECT_STREQ(command_name(command::arm{}), "arm");
  EXPECT_STREQ(command_name(command::undrain{}), "undrain");
  EXPECT_STREQ(command_name(command::revert{}), "revert");
  EXPECT_STREQ(command_name(command::release{}), "release");
  EXPECT_STREQ(to_string(errc::invalid_argument), "invalid_argument");
  EXPECT_STREQ(to_string(errc::does_not_fit), "does_not_fit");
  EXPECT_STREQ(to_string(errc::io), "io");
  EXPECT_STREQ(to_string(static_cast<errc>(200)), "unknown");
}

TEST(codec, numbers_at_their_ends_come_back_exactly) {
  seat_beat beat;
  beat.step = ~std::uint64_t{0};
  beat.tokens = ~std::uint32_t{0};
  beat.step_ms = 0.1;
  load_summary load;
  load.tokens = {{0.0, 1.0, 127.0, 128.0, 0x1p53 - 1, 0x1p53, 1e300, 5e-324, 1234567.25}, {}};
  inference_output output{"r", 1, true, {0.1f, -0.0f, 1e-45f, 3.4e38f}};
  for (const envelope& message : {envelope{~std::uint64_t{0}, "", heartbeat{"a", 1, {beat}}}, envelope{1, "", load},
                                  envelope{2, "", output}, envelope{3, "", inference_output{}}}) {
    const auto back = decode(encode(message));
    ASSERT_TRUE(back) << back.error().text;
    EXPECT_EQ(*back, message);
  }
}

TEST(codec, the_term_travels_only_where_there_is_one) {
  envelope message{7, "coordinator", fence{seat_id{1}, 2, 3}};
  const auto without = encode(message);
  message.term = ~std::uint64_t{0};
  const auto back = decode(encode(message));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(*back, message);
  EXPECT_EQ(decode(without)->term, 0u);
  EXPECT_LT(without.size(), encode(message).size());
}

TEST(codec, counts_take_few_bytes) {
  load_summary load;
  load.tokens.assign(61, std::vector<double>(256, 100.0));
  EXPECT_LT(encode({1, "agent", load}).size(), 61u * 256u * 2u);
}

TEST(codec, a_deployment_of_deepseek_size_passes_the_default_limits) {
  placement table;
  table.layers.assign(61, layer_placement(256, std::vector<replica>(4, replica{seat_id{255}, 1023, 0.25})));
  const envelope message{1, "coordinator", seat_command{seat_id{1}, 1, 1, 1, command::arm{7, true, {table, table}}}};
  const auto back = decode(encode(message));
  ASSERT_TRUE(back) << back.error().text;
  EXPECT_EQ(*back, message);
}

}  // namespace
}  // namespace ballast
