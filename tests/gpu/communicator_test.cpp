// Communicators: waiting, waking, failing, and what the network may throw at them.
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <thread>
#include <zmq.hpp>

#include "gpu/host/host_communicator_impl.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

step_header header(step_t step) { return {.step = step, .ready_epoch = 0, .tokens = {}, .versions = {}, .flags = 0}; }

// Ranks that are connected and hold no experts.
struct ring : cluster {
  explicit ring(std::uint32_t ranks, std::chrono::milliseconds timeout = 20s, const std::string& bind = "inproc://ring")
      : cluster(make_model(small_shape(), 1), {.bind = bind, .ranks = ranks, .timeout = timeout}) {
    const auto connected = connect(1);
    EXPECT_TRUE(connected) << connected.error().text;
  }
  status headers(std::uint32_t rank, step_t step) {
    std::vector<step_header> all(comm(rank).members().size());
    return comm(rank).exchange_headers(header(step), all);
  }
};

TEST(communicator, headers_arrive_in_member_order) {
  ring r(3);
  for (const auto& s : r.everywhere([&](std::uint32_t rank) -> status {
         auto mine = header(5);
         mine.ready_epoch = 100 + rank;
         mine.tokens[1] = rank;
         std::vector<step_header> all(3);
         if (auto ok = r.comm(rank).exchange_headers(mine, all); !ok) return ok;
         EXPECT_EQ(r.comm(rank).rank(), rank);
         EXPECT_EQ(r.comm(rank).members(), r.seats());
         for (std::uint32_t other = 0; other < 3; ++other) {
           EXPECT_EQ(all[other].step, 5u);
           EXPECT_EQ(all[other].ready_epoch, 100u + other);
           EXPECT_EQ(all[other].tokens[1], other);
         }
         return {};
       }))
    EXPECT_TRUE(s);
}

TEST(communicator, a_parked_rank_learns_of_the_step_that_a_peer_begins) {
  ring r(2);
  EXPECT_FALSE(r.comm(1).peer_has_begun());
  auto parked = std::async(std::launch::async, [&]() -> result<step_t> {
    const auto begun = r.comm(1).wait_for_peer();
    if (!begun || !*begun) return fail(errc::aborted, "woken without a step");
    const auto step = r.comm(1).peer_step();
    if (auto ok = r.headers(1, step); !ok) return fail(ok.error());
    return step;
  });
  ASSERT_TRUE(r.headers(0, 41));
  EXPECT_EQ(parked.get().value(), 41u);
  EXPECT_FALSE(r.comm(1).peer_has_begun());
}

TEST(communicator, wake_ends_a_park_and_is_not_lost_before_it) {
  ring r(2);
  r.comm(0).wake();
  EXPECT_FALSE(r.comm(0).wait_for_peer().value());
  auto parked = std::async(std::launch::async, [&] { return r.comm(0).wait_for_peer(); });
  r.comm(0).wake();
  EXPECT_FALSE(parked.get().value());
}

TEST(communicator, wake_does_not_disturb_an_exchange) {
  ring r(2);
  auto waiting = std::async(std::launch::async, [&] { return r.headers(0, 1); });
  r.comm(0).wake();
  ASSERT_TRUE(r.headers(1, 1));
  EXPECT_TRUE(waiting.get());
  EXPECT_FALSE(r.comm(0).wait_for_peer().value());
}

TEST(communicator, abort_ends_a_park_and_an_exchange_for_good) {
  ring r(2);
  auto parked = std::async(std::launch::async, [&] { return r.comm(0).wait_for_peer(); });
  auto waiting = std::async(std::launch::async, [&] { return r.headers(1, 1); });
  r.comm(1).abort();
  EXPECT_EQ(waiting.get().error().code, errc::aborted);
  r.comm(0).abort();
  const auto ended = parked.get();  // the other's header may have come first
  if (!ended) {
    EXPECT_EQ(ended.error().code, errc::aborted);
  }
  for (std::uint32_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(r.headers(rank, 1).error().code, errc::aborted);
    EXPECT_EQ(r.comm(rank).wait_for_peer().error().code, errc::aborted);
  }
}

TEST(communicator, a_member_that_stays_away_is_named) {
  ring r(3, 100ms);
  const auto waited = r.headers(0, 1);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, errc::timed_out);
  EXPECT_THAT(waited.error().text, HasSubstr("seat 13, 16"));
  EXPECT_EQ(r.headers(0, 1).error(), waited.error());  // and it stays failed
}

TEST(communicator, a_member_at_another_step_is_corrupt_on_both_sides) {
  ring r(2);
  const auto results = r.everywhere([&](std::uint32_t rank) { return r.headers(rank, 7 + rank); });
  for (const auto& s : results) {
    ASSERT_FALSE(s);
    EXPECT_EQ(s.error().code, errc::corrupt);
    EXPECT_THAT(s.error().text, HasSubstr("at step"));
  }
}

// A member with all headers of an empty step may send its next one before a slower member has seen everyone's.
TEST(communicator, empty_steps_in_a_row_lose_no_header) {
  ring r(4);
  for (const auto& s : r.everywhere([&](std::uint32_t rank) -> status {
         for (step_t step = 1; step <= 2000; ++step)
           if (auto ok = r.headers(rank, step); !ok) return ok;
         return {};
       }))
    EXPECT_TRUE(s) << s.error().text;
}

TEST(communicator, members_share_words_in_rounds_and_then_step) {
  ring r(4);
  const auto until = host::clock::now() + 20s;
  const auto word = [](std::uint32_t rank, int round) {
    return std::string(static_cast<std::size_t>(rank), 'a') + std::to_string(round);
  };
  for (const auto& s : r.everywhere([&](std::uint32_t rank) -> status {
         auto& links = dynamic_cast<host::host_communicator&>(r.comm(rank));
         for (int round = 0; round < 500; ++round) {
           const auto all = links.share(word(rank, round), until);
           if (!all) return fail(all.error());
           for (std::uint32_t other = 0; other < 4; ++other) EXPECT_EQ(all->at(other), word(other, round));
         }
         return r.headers(rank, 1);
       }))
    EXPECT_TRUE(s) << s.error().text;
}

TEST(communicator, a_member_that_shares_nothing_is_named_and_too_much_is_refused) {
  ring r(3);
  auto& links = dynamic_cast<host::host_communicator&>(r.comm(0));
  const auto refused =
      links.share(std::string(host::host_communicator::most_shared + 1, 'x'), host::clock::now() + 20s);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, errc::invalid_argument);
  const auto waited = links.share("x", host::clock::now() + 50ms);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().code, errc::timed_out);
  EXPECT_THAT(waited.error().text, HasSubstr("seat 13, 16"));
}

TEST(communicator, a_member_that_gives_up_ends_a_parked_look_at_its_state) {
  ring r(2);
  auto& links = dynamic_cast<host::host_communicator&>(r.comm(0));
  EXPECT_TRUE(links.alive_until(host::clock::now() + 1ms));
  auto looking = std::async(std::launch::async, [&] { return links.alive_until(host::clock::now() + 60s); });
  EXPECT_FALSE(dynamic_cast<host::host_communicator&>(r.comm(1)).give_up({errc::corrupt, "a test"}));
  const auto ended = looking.get();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, errc::corrupt);
}

TEST(communicator, one_member_alone_needs_nobody) {
  ring r(1);
  EXPECT_TRUE(r.headers(0, 1));
  EXPECT_FALSE(r.comm(0).peer_has_begun());
}

TEST(communicator, frames_that_do_not_belong_are_dropped_and_counted) {
  cluster c(make_model(small_shape(), 1), {.bind = "tcp://127.0.0.1:*", .ranks = 2});
  const auto addresses = c.contributions(9);
  std::vector<communicator_builder::member> members{{c.seats()[0], addresses[0]}, {c.seats()[1], addresses[1]}};
  std::unique_ptr<communicator> comms[2];
  for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
         auto made = c.at(r).builder().connect(9, c.seats()[r], members, 20s);
         if (!made) return fail(made.error());
         comms[r] = std::move(*made);
         return {};
       }))
    ASSERT_TRUE(s);

  zmq::socket_t intruder(*static_cast<zmq::context_t*>(c.context()), zmq::socket_type::push);
  intruder.set(zmq::sockopt::linger, 0);
  intruder.connect(addresses[0]);
  const auto send = [&](host::frame_head head, std::size_t payload) {
    zmq::message_t frame(sizeof head + payload);
    std::memset(frame.data(), 0x5a, frame.size());
    std::memcpy(frame.data(), &head, sizeof head);
    ASSERT_TRUE(intruder.send(frame, zmq::send_flags::none));
  };
  const auto of = [](host::frame_kind kind, epoch_t epoch, std::uint32_t source) {
    host::frame_head head;
    head.kind = kind;
    head.epoch = epoch;
    head.source = source;
    return head;
  };
  std::uint64_t sent = 0;
  const auto strange = [&](host::frame_head head, std::size_t payload) {
    send(head, payload);
    ++sent;
  };
  ASSERT_TRUE(intruder.send(zmq::str_buffer("garbage"), zmq::send_flags::none));
  ++sent;
  strange(of(host::frame_kind::header, 8, 1), sizeof(step_header));   // another epoch
  strange(of(host::frame_kind::header, 9, 77), sizeof(step_header));  // no such member
  strange(of(host::frame_kind::header, 9, 0), sizeof(step_header));   // itself
  strange(of(host::frame_kind::header, 9, 1), 3);                     // too short
  strange(of(static_cast<host::frame_kind>(200), 9, 1), 100);
  auto lying = of(host::frame_kind::dispatch, 9, 1);
  lying.entries = lying.rows = lying.width = 0xffff'ffff;
  strange(lying, 1000);
  lying.model = lying.layer = 0xffff'ffff;
  strange(lying, 0);
  // A wake in between shows that garbage alone is no step of a peer.
  comms[0]->wake();
  EXPECT_FALSE(comms[0]->wait_for_peer().value());
  for (step_t step = 1; step <= 50; ++step)
    for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
           std::vector<step_header> all(2);
           return comms[r]->exchange_headers(header(step), all);
         }))
      ASSERT_TRUE(s) << s.error().text;
  auto& counted = dynamic_cast<host::host_communicator&>(*comms[0]);
  while (counted.dropped() < sent) {
    auto parked = std::async(std::launch::async, [&] { return counted.wait_for_peer(); });
    counted.wake();
    ASSERT_FALSE(parked.get().value());
  }
  EXPECT_EQ(counted.dropped(), sent);
}

TEST(builder, a_member_that_never_connects_is_named) {
  cluster c(make_model(small_shape(), 1), {.ranks = 3});
  const auto addresses = c.contributions(2);
  std::vector<communicator_builder::member> members;
  for (std::uint32_t r = 0; r < 3; ++r) members.push_back({c.seats()[r], addresses[r]});
  for (const auto& s : c.everywhere([&](std::uint32_t r) -> status {
         if (r == 2) return {};
         const auto made = c.at(r).builder().connect(2, c.seats()[r], members, 100ms);
         EXPECT_FALSE(made);
         return made ? status{} : fail(made.error());
       }))
    if (!s) {
      EXPECT_EQ(s.error().code, errc::timed_out);
      EXPECT_THAT(s.error().text, HasSubstr("seat 16 "));
      EXPECT_THAT(s.error().text, Not(HasSubstr("seat 13")));
    }
}

TEST(builder, cancel_ends_a_connect_and_forgets_a_half) {
  cluster c(make_model(small_shape(), 1), {.ranks = 2});
  const auto addresses = c.contributions(3);
  const std::vector<communicator_builder::member> members{{c.seats()[0], addresses[0]}, {c.seats()[1], addresses[1]}};
  auto connecting =
      std::async(std::launch::async, [&] { return c.at(0).builder().connect(3, c.seats()[0], members, 60s); });
  while (connecting.wait_for(0s) !=
         std::future_status::ready) {  // cancelled before or while it connects: both abort it
    c.at(0).builder().cancel(3);
    std::this_thread::yield();
  }
  const auto ended = connecting.get();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code, errc::aborted);

  c.at(1).builder().cancel(3);
  EXPECT_EQ(c.at(1).builder().connect(3, c.seats()[1], members, 1s).error().code, errc::aborted);
  EXPECT_TRUE(c.at(1).builder().open(3));  // may be opened again
  EXPECT_EQ(c.at(1).builder().open(3).error().code, errc::conflict);
}

TEST(builder, members_that_make_no_sense_are_refused) {
  cluster c(make_model(small_shape(), 1), {.ranks = 1});
  const auto refused = [&](std::vector<communicator_builder::member> members, errc code) {
    const auto address = c.at(0).builder().open(4).value();
    for (auto& m : members)
      if (m.contribution == "mine") m.contribution = address;
    EXPECT_EQ(c.at(0).builder().connect(4, seat_id{1}, members, 1s).error().code, code);
  };
  refused({}, errc::invalid_argument);
  refused({{seat_id{2}, "mine"}}, errc::invalid_argument);
  refused({{seat_id{1}, "mine"}, {seat_id{1}, "mine"}}, errc::invalid_argument);
  refused({{seat_id{2}, "inproc://x"}, {seat_id{1}, "mine"}}, errc::invalid_argument);
  refused({{seat_id{1}, "mine"}, {seat_id{2}, ""}}, errc::invalid_argument);
  refused({{seat_id{1}, "mine"}, {seat_id{2}, "nonsense"}}, errc::unavailable);
}

TEST(builder, an_abandoned_epoch_leaves_no_file_behind) {
  const auto folder = std::filesystem::temp_directory_path() / ("bgt" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder), {}); };
  {
    ring r(2, 20s, "ipc://" + folder.string() + "/s-*");
    EXPECT_EQ(files(), 4);  // a communicator and a page server each
    r.contributions(5);
    EXPECT_EQ(files(), 6);
    for (std::uint32_t rank = 0; rank < 2; ++rank) r.at(rank).builder().cancel(5);
    EXPECT_EQ(files(), 4);
  }
  EXPECT_EQ(files(), 0);
  std::filesystem::remove(folder);
}

TEST(builder, advertised_hosts_replace_the_bound_one) {
  device_options o;
  o.bind = "tcp://127.0.0.1:*";
  o.advertise = "localhost";
  o.models = {small_shape()};
  o.limits.models = {{8, 1}};
  const auto host = load_backend("host").value();
  const auto device = host->make_device(o).value();
  EXPECT_THAT(device->transport().address(), ::testing::StartsWith("tcp://localhost:"));
  EXPECT_THAT(device->builder().open(1).value(), ::testing::StartsWith("tcp://localhost:"));
}

}  // namespace
}  // namespace ballast::gpu::test
