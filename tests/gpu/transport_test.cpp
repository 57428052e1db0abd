// Pulling pages and dense weights from another rank, and what may go wrong on the way.
#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <thread>
#include <zmq.hpp>

#include "gpu/host/page_pool.hpp"
#include "gpu/host/transport_frames.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using namespace std::chrono_literals;
using host::pull_reply;
using host::pull_request;
using ::testing::HasSubstr;

moe_shape big_shape() {  // a page of 2 pieces and a bit
  auto s = small_shape(dtype::f32);
  s.layers = 1;
  s.experts = 2;
  s.top_k = 1;
  s.hidden = 512;
  s.intermediate = 360;
  return s;
}

// Rank 0 holds experts, rank 1 pulls them.
struct pulls : ::testing::TestWithParam<std::string> {
  explicit pulls(const moe_shape& s = big_shape(), const std::string& bind = "inproc://pulls")
      : model(make_model(s, 5)), c(model, {.bind = bind, .ranks = 2}) {}

  page_index hold(std::uint32_t layer, std::uint32_t expert) {
    auto& pool = c.at(0).pages(0);
    const auto page = pool.take().value();
    EXPECT_TRUE(pool.write(page, model.bundles[layer][expert]));
    EXPECT_TRUE(pool.seal(page, {layer, expert}, std::nullopt));
    return page;
  }
  result<std::uint64_t> pull(page_key key, page_index page, std::chrono::milliseconds deadline = 20s) {
    return c.at(1).transport().pull(source(), 0, key, page, deadline);
  }
  const std::string& source() { return c.at(0).transport().address(); }
  zmq::socket_t raw(zmq::socket_type type) {
    zmq::socket_t made(*static_cast<zmq::context_t*>(c.context()), type);
    made.set(zmq::sockopt::linger, 0);
    made.set(zmq::sockopt::rcvtimeo, 20'000);
    return made;
  }

  model_data model;
  cluster c;
};

struct over : pulls {
  over() : pulls(big_shape(), GetParam()) {}
};

TEST_P(over, a_page_arrives_whole_and_sealed) {
  hold(0, 0);
  hold(0, 1);
  auto& pool = c.at(1).pages(0);
  for (std::uint32_t expert = 0; expert < 2; ++expert) {
    const auto page = pool.take().value();
    const auto moved = pull({0, expert}, page);
    ASSERT_TRUE(moved) << moved.error().text;
    EXPECT_EQ(*moved, pool.page_bytes());
    EXPECT_EQ(pool.find({0, expert}), page);
    std::vector<std::byte> got(pool.page_bytes());
    ASSERT_TRUE(pool.read(page, got));
    EXPECT_EQ(got, model.bundles[0][expert]);
    EXPECT_EQ(pool.checksum(page), c.at(0).pages(0).checksum(*c.at(0).pages(0).find({0, expert})));
  }
}

TEST_P(over, dense_weights_arrive_whole) {
  const auto got = c.at(1).transport().pull_dense(source(), 0, 20s);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(*got, model.dense);
}

INSTANTIATE_TEST_SUITE_P(links, over, ::testing::Values("inproc://pulls", "ipc:///tmp/bp", "tcp://127.0.0.1:*"),
                         [](const auto& i) { return i.param.substr(0, i.param.find(':')); });

TEST_F(pulls, a_page_that_the_source_does_not_hold_is_not_found) {
  const auto page = c.at(1).pages(0).take().value();
  const auto missing = pull({0, 1}, page);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, errc::not_found);
  EXPECT_THAT(missing.error().text, HasSubstr("layer 0 expert 1"));
  hold(0, 1);
  EXPECT_TRUE(pull({0, 1}, page));  // the page can be used for the next try
}

TEST_F(pulls, a_byte_that_changed_at_the_source_is_corrupt) {
  const auto page = hold(0, 0);
  dynamic_cast<host::host_page_pool&>(c.at(0).pages(0)).raw(page)[2'000'000] ^= std::byte{4};
  const auto into = c.at(1).pages(0).take().value();
  const auto pulled = pull({0, 0}, into);
  ASSERT_FALSE(pulled);
  EXPECT_EQ(pulled.error().code, errc::corrupt);
  EXPECT_FALSE(c.at(1).pages(0).find({0, 0}));
}

TEST_F(pulls, only_a_filling_page_is_written) {
  hold(0, 0);
  EXPECT_EQ(pull({0, 0}, 0).error().code, errc::invalid_argument);
  EXPECT_EQ(c.at(1).transport().pull(source(), 3, {0, 0}, 0, 1s).error().code, errc::not_found);
}

TEST_F(pulls, nobody_at_the_address_runs_into_the_deadline) {
  const auto page = c.at(1).pages(0).take().value();
  const auto dead = [&](const std::string& address, errc code) {
    const auto pulled = c.at(1).transport().pull(address, 0, {0, 0}, page, 50ms);
    ASSERT_FALSE(pulled);
    EXPECT_EQ(pulled.error().code, code) << pulled.error().text;
    EXPECT_THAT(pulled.error().text, HasSubstr(address));
  };
  dead("inproc://nobody", errc::timed_out);
  dead("tcp://127.0.0.1:1", errc::timed_out);
  dead("no address", errc::unavailable);
}

TEST_F(pulls, cancel_ends_a_pull_under_way) {
  auto silent = raw(zmq::socket_type::router);
  silent.bind("inproc://silent");
  const auto page = c.at(1).pages(0).take().value();
  auto pulling = std::async(std::launch::async, [&] {
    return c.at(1).transport().pull("inproc://silent", 0, {0, 0}, page, 60s);
  });
  zmq::message_t peer, request;
  ASSERT_TRUE(silent.recv(peer));  // it has asked, and waits
  ASSERT_TRUE(silent.recv(request));
  c.at(1).transport().cancel();
  EXPECT_EQ(pulling.get().error().code, errc::aborted);
  c.at(1).transport().cancel();  // nothing under way: no effect on the next
  hold(0, 0);
  EXPECT_TRUE(pull({0, 0}, page));
}

TEST_F(pulls, a_page_given_back_between_two_pieces_is_never_delivered) {
  const auto page = hold(0, 0);
  auto puller = raw(zmq::socket_type::dealer);
  puller.connect(source());
  pull_request request;
  request.id = 77;
  const auto ask = [&] {
    EXPECT_TRUE(puller.send(zmq::buffer(&request, sizeof request), zmq::send_flags::none));
    zmq::message_t reply;
    EXPECT_TRUE(puller.recv(reply));
    EXPECT_EQ(host::read_as<pull_reply>(reply.data()).id, 77u);
    return host::read_as<pull_reply>(reply.data());
  };
  request.checksum = ask().checksum;
  request.length = host::piece_bytes;
  EXPECT_EQ(ask().refused, 0);
  auto& pool = c.at(0).pages(0);
  pool.give_back(page);
  request.offset = host::piece_bytes;
  auto refused = ask();
  EXPECT_EQ(refused.refused, 1);
  EXPECT_EQ(static_cast<errc>(refused.code), errc::not_found);
  // Another bundle under the same name is not what was begun either.
  const auto other = pool.take().value();
  ASSERT_TRUE(pool.write(other, model.bundles[0][1]));
  ASSERT_TRUE(pool.seal(other, {0, 0}, std::nullopt));
  EXPECT_EQ(ask().refused, 1);
}

TEST_F(pulls, a_server_survives_garbage_and_answers_it) {
  hold(0, 0);
  auto puller = raw(zmq::socket_type::dealer);
  puller.connect(source());
  const auto refusal = [&](zmq::message_t request) {
    EXPECT_TRUE(puller.send(request, zmq::send_flags::none));
    zmq::message_t reply;
    EXPECT_TRUE(puller.recv(reply));
    const auto head = host::read_as<pull_reply>(reply.data());
    EXPECT_EQ(head.refused, 1);
    return static_cast<errc>(head.code);
  };
  EXPECT_EQ(refusal(zmq::message_t(std::string("garbage"))), errc::malformed);
  EXPECT_EQ(refusal(zmq::message_t()), errc::malformed);
  EXPECT_EQ(refusal(zmq::message_t(std::string(sizeof(pull_request), '\xff'))), errc::malformed);
  pull_request request;
  const auto with = [&](auto change) {
    auto changed = request;
    change(changed);
    return refusal(zmq::message_t(&changed, sizeof changed));
  };
  EXPECT_EQ(with([](auto& r) { r.model = 9; }), errc::not_found);
  EXPECT_EQ(with([](auto& r) { r.layer = ~0u; }), errc::not_found);
  EXPECT_EQ(with([](auto& r) { r.kind = static_cast<host::pull_kind>(7); }), errc::malformed);
  EXPECT_EQ(with([](auto& r) { r.length = ~0u; }), errc::invalid_argument);
  const auto sum = *dynamic_cast<host::host_page_pool&>(c.at(0).pages(0)).checksum_of_key({0, 0});
  EXPECT_EQ(with([&](auto& r) { r.length = 100, r.checksum = sum, r.offset = ~0ull - 50; }), errc::invalid_argument);
  EXPECT_EQ(with([](auto& r) { r.kind = host::pull_kind::dense, r.length = 100; }), errc::not_found);  // wrong checksum

  ASSERT_TRUE(puller.send(zmq::str_buffer("two"), zmq::send_flags::sndmore));
  EXPECT_EQ(refusal(zmq::message_t(std::string("parts"))), errc::malformed);
  const auto page = c.at(1).pages(0).take().value();
  EXPECT_TRUE(pull({0, 0}, page));
}

TEST_F(pulls, a_source_that_answers_nonsense_is_found_out) {
  auto liar = raw(zmq::socket_type::router);
  liar.bind("inproc://liar");
  const auto page = c.at(1).pages(0).take().value();
  const auto lie = [&](auto answer) {
    auto pulling = std::async(std::launch::async, [&] {
      return c.at(1).transport().pull("inproc://liar", 0, {0, 0}, page, 20s);
    });
    zmq::message_t peer, message;
    const auto receive = [&] {
      EXPECT_TRUE(liar.recv(peer));
      EXPECT_TRUE(liar.recv(message));
      return host::read_as<pull_request>(message.data());
    };
    const auto reply = [&](const void* bytes, std::size_t size) {
      EXPECT_TRUE(liar.send(peer, zmq::send_flags::sndmore));
      EXPECT_TRUE(liar.send(zmq::buffer(bytes, size), zmq::send_flags::none));
    };
    answer(receive, reply);
    const auto pulled = pulling.get();
    EXPECT_FALSE(pulled);
    return pulled ? errc{} : pulled.error().code;
  };
  const auto described = [&](auto& receive, std::uint64_t total) {
    pull_reply head;
    head.id = receive().id;
    head.total = total;
    return head;
  };
  EXPECT_EQ(lie([](auto receive, auto reply) { receive(), reply("junk", 4); }), errc::corrupt);
  EXPECT_EQ(lie([&](auto receive, auto reply) {
              const auto head = described(receive, 12);  // a page of another size
              reply(&head, sizeof head);
            }),
            errc::corrupt);
  EXPECT_EQ(lie([&](auto receive, auto reply) {
              auto head = described(receive, c.at(1).pages(0).page_bytes());
              reply(&head, sizeof head);
              receive();
              head.offset = 5;  // a piece that was not asked for
              reply(&head, sizeof head);
            }),
            errc::corrupt);
  EXPECT_FALSE(c.at(1).pages(0).find({0, 0}));
}

TEST(pace, a_pull_that_its_pace_cannot_finish_says_so) {
  const auto model = make_model(big_shape(), 5);
  zmq::context_t context;
  device_options o;
  o.bind = "inproc://pace";
  o.models = {model.shape};
  o.limits.models = {{2, 1}};
  o.link_context = &context;
  const auto host = load_backend("host").value();
  const auto source = host->make_device(o).value();
  auto& pool = source->pages(0);
  const auto held = pool.take().value();
  ASSERT_TRUE(pool.write(held, model.bundles[0][0]));
  ASSERT_TRUE(pool.seal(held, {0, 0}, std::nullopt));
  for (const bool slow : {true, false}) {
    o.limits.pull_bytes_per_s = slow ? 1000 : 1'000'000'000;
    const auto puller = host->make_device(o).value();
    const auto page = puller->pages(0).take().value();
    const auto pulled = puller->transport().pull(source->transport().address(), 0, {0, 0}, page, 20s);
    if (slow) {
      ASSERT_FALSE(pulled);
      EXPECT_EQ(pulled.error().code, errc::timed_out);
      EXPECT_THAT(pulled.error().text, HasSubstr("pace"));
    } else {
      EXPECT_TRUE(pulled);
    }
  }
}

// Rank 1 takes every expert from rank 0, again and again, while both step.
TEST(while_stepping, pages_are_pulled_and_answers_stay_the_same) {
  auto shape = small_shape();
  const auto model = make_model(shape, 21);
  cluster c(model, {.bind = "ipc:///tmp/bw", .ranks = 2});
  ASSERT_TRUE(c.connect(1));
  placement table{0, 1, {}};
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    table.layers.emplace_back();
    for (std::uint32_t e = 0; e < shape.experts; ++e) table.layers.back().push_back({{c.seats()[0], e, 1.0}});
  }
  ASSERT_TRUE(c.load(table));
  std::atomic<bool> done{false};
  std::thread transfer([&] {
    auto& pool = c.at(1).pages(0);
    for (int round = 0; round < 20; ++round) {
      std::vector<page_index> pages;
      for (std::uint32_t layer = 0; layer < shape.layers; ++layer)
        for (std::uint32_t e = 0; e < shape.experts; ++e) {
          pages.push_back(pool.take().value());
          const auto pulled = c.at(1).transport().pull(c.at(0).transport().address(), 0, {layer, e}, pages.back(), 20s);
          EXPECT_TRUE(pulled) << pulled.error().text;
        }
      for (const auto page : pages) pool.give_back(page);
    }
    done = true;
  });
  step_t step = 0;
  while (!done) {
    std::vector<std::vector<std::vector<float>>> hidden(2);
    for (std::uint32_t r = 0; r < 2; ++r) hidden[r].push_back(make_hidden(shape, 4, ++step));
    const auto before = hidden;
    for (const auto& s : c.step(step, hidden)) ASSERT_TRUE(s);
    for (std::uint32_t r = 0; r < 2; ++r) EXPECT_EQ(hidden[r][0], reference(model, before[r][0]));
  }
  transfer.join();
}

}  // namespace
}  // namespace ballast::gpu::test
