// Pulls between ranks of the cuda backend: one GPU, two GPUs, two processes, with and without a mapping.
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <thread>
#include <zmq.hpp>

#include "gpu/cuda/map_frames.hpp"
#include "gpu/host/transport_frames.hpp"
#include "tests/gpu/cuda_support.hpp"

namespace ballast::gpu::test {
namespace {

using namespace std::chrono_literals;
using cuda::map_kind;
using cuda::map_reply;
using cuda::map_request;
using ::testing::HasSubstr;

map_reply answer_of(cuda::map_answerer& answerer, const map_request& request, std::size_t more = 0) {
  zmq::message_t message(sizeof request + more);
  std::memcpy(message.data(), &request, sizeof request);
  const auto reply = answerer.answer(message);
  EXPECT_TRUE(reply);
  return host::read_as<map_reply>(reply->data());
}

TEST(map_requests, garbage_is_refused_with_the_reason) {
  const cuda::cuda_model_stores none;
  cuda::map_answerer answerer(none);
  const auto refusal = [&](auto change, std::size_t more) {
    map_request request;
    request.id = 9;
    change(request);
    const auto head = answer_of(answerer, request, more);
    EXPECT_EQ(head.id, 9u);
    EXPECT_EQ(head.refused, 1);
    EXPECT_NE(head.source, 0u);
    return static_cast<errc>(head.code);
  };
  EXPECT_EQ(refusal([](auto&) {}, 0), errc::not_found);
  EXPECT_EQ(refusal([](auto&) {}, 1), errc::malformed);
  EXPECT_EQ(refusal([](auto& r) { r.kind = map_kind::locate, r.count = 2; }, 8), errc::malformed);
  EXPECT_EQ(refusal([](auto& r) { r.kind = map_kind::locate, r.count = ~0u; }, 8), errc::malformed);
  EXPECT_EQ(refusal([](auto& r) { r.kind = map_kind::locate, r.count = 1; }, 8), errc::not_found);
  zmq::message_t nothing;
  EXPECT_EQ(host::read_as<host::pull_reply>(answerer.answer(nothing)->data()).refused, 1);
  EXPECT_EQ(answerer.malformed(), 1u);
  map_request probe;
  probe.kind = map_kind::probe;
  EXPECT_EQ(answer_of(answerer, probe).refused, 0);
  EXPECT_TRUE(answerer.wind_up());
}

TEST(process_names, tell_processes_and_hosts_apart) {
  const auto self = cuda::this_process();
  EXPECT_TRUE(self.same_process(cuda::this_process()));
  auto child = self;  // a forked one has drawn the same number
  ++child.pid;
  EXPECT_FALSE(self.same_process(child));
  EXPECT_TRUE(self.same_host(child));
  auto elsewhere = self;
  elsewhere.host[0] ^= 1;
  EXPECT_FALSE(self.same_process(elsewhere));
  EXPECT_FALSE(cuda::process_name{}.same_host(cuda::process_name{}));  // unknown is not equal
}

// Rank 0 holds experts, rank 1 pulls them.
struct cuda_pulls : ::testing::Test {
  void start(cuda_rank::options o = {}, int puller_ordinal = 0) {
    source = std::make_unique<cuda_rank>(context, o);
    o.ordinal = puller_ordinal;
    puller = std::make_unique<cuda_rank>(context, o);
  }
  void hold(std::uint32_t experts, model_index model = 0) {
    for (std::uint32_t e = 0; e < experts; ++e)
      source->hold({0, e}, random_bytes(source->pool(model).page_bytes(), seed(e, model)), model);
  }
  static std::uint64_t seed(std::uint32_t expert, model_index model) { return 100 * model + expert; }
  std::vector<pull_item> want(std::uint32_t experts, model_index model = 0) {
    std::vector<pull_item> items;
    for (std::uint32_t e = 0; e < experts; ++e) items.push_back({model, {0, e}, puller->pool(model).take().value()});
    return items;
  }
  pull_results pull(const std::vector<pull_item>& items, std::chrono::milliseconds deadline = 20s) {
    return puller->transport->pull_many(source->transport->address(), items, deadline);
  }
  void expect_whole(const std::vector<pull_item>& items, const pull_results& pulled) {
    ASSERT_EQ(pulled.size(), items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      const auto& item = items[i];
      auto& pool = puller->pool(item.model);
      ASSERT_TRUE(pulled[i]) << pulled[i].error().text;
      EXPECT_EQ(*pulled[i], pool.page_bytes());
      EXPECT_EQ(pool.find(item.key), item.page);
      const auto wanted = random_bytes(pool.page_bytes(), seed(item.key.expert, item.model));
      EXPECT_EQ(puller->contents(item.key, item.model), wanted);
      EXPECT_EQ(pool.checksum(item.page), cuda::checksum_of(wanted.data(), wanted.size()));
    }
  }
  const cuda::transfer_counts& counts() const { return puller->transport->counts(); }

  zmq::context_t context;
  std::unique_ptr<cuda_rank> source, puller;
};

TEST_F(cuda_pulls, bundles_come_whole_on_one_gpu) {
  BALLAST_NEEDS_GPUS(1);
  start({.pages = 150, .models = 2});
  hold(150);
  hold(3, 1);
  auto items = want(150);
  for (const auto& i : want(3, 1)) items.push_back(i);
  expect_whole(items, pull(items));
  EXPECT_EQ(counts().copied_bytes, 153 * source->pool().page_bytes());
  EXPECT_EQ(counts().message_bytes, 0u);
}

TEST_F(cuda_pulls, bundles_come_whole_from_another_gpu) {
  BALLAST_NEEDS_GPUS(2);
  start({.page_bytes = (9 << 20) + 64, .pages = 40}, 1);
  hold(40);
  EXPECT_TRUE(puller->transport->warm(source->transport->address(), 20s).value());
  const auto items = want(40);
  expect_whole(items, pull(items));
  EXPECT_EQ(counts().message_bytes, 0u);
}

TEST_F(cuda_pulls, without_a_mapping_they_come_as_messages) {
  BALLAST_NEEDS_GPUS(1);
  start({.page_bytes = (1 << 20) + 64, .allow_mappings = false});
  hold(3);
  EXPECT_FALSE(puller->transport->warm(source->transport->address(), 20s).value());
  const auto items = want(3);
  expect_whole(items, pull(items));
  EXPECT_EQ(counts().copied_bytes, 0u);
  EXPECT_EQ(counts().message_bytes, 3 * source->pool().page_bytes());
}

TEST_F(cuda_pulls, every_bundle_fares_by_itself) {
  BALLAST_NEEDS_GPUS(1);
  for (const bool mapped : {true, false}) {
    start({.allow_mappings = mapped});
    hold(4);
    flip_bit(source->pool().raw(*source->pool().find({0, 2})) + 5000);
    auto items = want(6);  // 4 and 5 are not there
    puller->pool().give_back(items[1].page);
    items.push_back({7, {0, 0}, 0});
    const auto pulled = pull(items);
    EXPECT_TRUE(pulled[0]) << pulled[0].error().text;
    EXPECT_EQ(pulled[1].error().code, errc::invalid_argument);
    EXPECT_EQ(pulled[2].error().code, errc::corrupt);
    EXPECT_TRUE(pulled[3]);
    EXPECT_EQ(pulled[4].error().code, errc::not_found);
    EXPECT_EQ(pulled[5].error().code, errc::not_found);
    EXPECT_EQ(pulled[6].error().code, errc::not_found);
    EXPECT_EQ(counts().corrupt_pages, 1u);
    EXPECT_FALSE(puller->pool().find({0, 2}));
    source->pool().give_back(*source->pool().find({0, 2}));
    source->hold({0, 2}, random_bytes(source->pool().page_bytes(), 2));
    const std::vector again{items[2]};
    expect_whole(again, pull(again));  // the page can be used for the next try
  }
}

TEST_F(cuda_pulls, dense_weights_come_whole_and_open_the_way_for_pages) {
  BALLAST_NEEDS_GPUS(1);
  start({.dense_bytes = (3 << 20) + 7});
  const auto dense = random_bytes((3 << 20) + 7, 5);
  const auto& address = source->transport->address();
  EXPECT_EQ(puller->transport->pull_dense(address, 0, 20s).error().code, errc::not_found);
  EXPECT_EQ(source->stores[0]->set_dense(random_bytes(5, 5)).error().code, errc::invalid_argument);
  ASSERT_TRUE(source->stores[0]->set_dense(dense));
  const auto got = puller->transport->pull_dense(address, 0, 20s);
  ASSERT_TRUE(got) << got.error().text;
  EXPECT_EQ(*got, dense);
}

TEST_F(cuda_pulls, nobody_at_the_address_runs_into_the_deadline_once) {
  BALLAST_NEEDS_GPUS(1);
  start();
  const auto items = want(3);
  for (const auto& p : puller->transport->pull_many("inproc://nobody", items, 50ms)) {
    ASSERT_FALSE(p);
    EXPECT_EQ(p.error().code, errc::timed_out);
    EXPECT_THAT(p.error().text, HasSubstr("inproc://nobody"));
  }
  EXPECT_EQ(puller->transport->pull("no address", 0, {0, 0}, items[0].page, 50ms).error().code, errc::unavailable);
}

TEST_F(cuda_pulls, a_speed_is_not_exceeded) {
  BALLAST_NEEDS_GPUS(1);
  start({.page_bytes = 1 << 20, .pages = 20, .bytes_per_s = 100 << 20});
  hold(20);
  const auto items = want(20);
  const auto begun = std::chrono::steady_clock::now();
  expect_whole(items, pull(items));
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 185ms);  // 19 pages after the first
  EXPECT_EQ(counts().copied_bytes, 20u << 20);
}

TEST_F(cuda_pulls, a_speed_that_does_not_meet_the_deadline_says_so) {
  BALLAST_NEEDS_GPUS(1);
  start({.page_bytes = 1 << 20, .bytes_per_s = 1000});
  hold(2);
  const auto pulled = pull(want(2));
  EXPECT_TRUE(pulled[0]) << pulled[0].error().text;  // was under way already
  ASSERT_FALSE(pulled[1]);
  EXPECT_EQ(pulled[1].error().code, errc::timed_out);
  EXPECT_THAT(pulled[1].error().text, HasSubstr("pace"));
}

TEST_F(cuda_pulls, cancel_ends_a_pull_under_way_and_the_next_one_works) {
  BALLAST_NEEDS_GPUS(1);
  for (const bool mapped : {true, false}) {
    start({.page_bytes = 1 << 20, .pages = 8, .bytes_per_s = 1 << 20, .allow_mappings = mapped});
    hold(8);
    const auto items = want(8);
    auto pulling = std::async(std::launch::async, [&] { return pull(items, 60s); });
    while (pulling.wait_for(1ms) != std::future_status::ready) puller->transport->cancel();
    const auto pulled = pulling.get();
    EXPECT_EQ(pulled.back().error().code, errc::aborted);
    for (std::size_t i = 0; i < items.size(); ++i)
      EXPECT_EQ(puller->pool().find(items[i].key).has_value(), pulled[i].has_value());
    const std::vector last{items.back()};
    expect_whole(last, pull(last));
  }
}

TEST_F(cuda_pulls, a_page_stays_while_a_peer_has_it_on_lease) {
  BALLAST_NEEDS_GPUS(1);
  start({.pages = 1});
  hold(1);
  auto& pool = source->pool();
  zmq::socket_t peer(context, zmq::socket_type::dealer);
  peer.set(zmq::sockopt::linger, 0);
  peer.set(zmq::sockopt::rcvtimeo, 20'000);
  peer.connect(source->transport->address());
  map_request request;
  request.kind = map_kind::locate;
  request.count = 1;
  const cuda::key_frame key{0, 0};
  zmq::message_t message(sizeof request + sizeof key), reply;
  std::memcpy(message.data(), &request, sizeof request);
  std::memcpy(message.data<char>() + sizeof request, &key, sizeof key);
  ASSERT_TRUE(peer.send(message, zmq::send_flags::none));
  ASSERT_TRUE(peer.recv(reply));
  const auto head = host::read_as<map_reply>(reply.data());
  ASSERT_EQ(head.refused, 0);
  ASSERT_NE(head.lease, 0u);
  pool.give_back(0);
  auto taking = std::async(std::launch::async, [&] { return pool.take().value(); });
  EXPECT_EQ(taking.wait_for(100ms), std::future_status::timeout);
  request.kind = map_kind::release;
  request.lease = head.lease;
  ASSERT_TRUE(peer.send(zmq::buffer(&request, sizeof request), zmq::send_flags::none));
  EXPECT_EQ(taking.get(), 0u);
}

TEST_F(cuda_pulls, pages_that_come_and_go_are_delivered_whole_or_not_at_all) {
  BALLAST_NEEDS_GPUS(1);
  start({.page_bytes = 1 << 20, .pages = 2});
  hold(1);
  std::atomic<bool> stop{false};
  std::thread changing([&] {
    const auto other = random_bytes(1 << 20, 1), one = random_bytes(1 << 20, 0);
    for (std::uint32_t i = 1; !stop; i = 1 - i) {
      source->hold({0, i}, i == 0 ? one : other);
      source->pool().give_back(*source->pool().find({0, 1 - i}));
    }
  });
  for (int round = 0, whole = 0; whole < 50 && round < 5000; ++round) {
    const auto items = want(2);
    const auto pulled = pull(items);
    for (std::size_t i = 0; i < 2; ++i) {
      if (pulled[i]) {
        ++whole;
        EXPECT_EQ(puller->contents(items[i].key), random_bytes(1 << 20, items[i].key.expert));
      } else {
        EXPECT_EQ(pulled[i].error().code, errc::not_found) << pulled[i].error().text;
      }
      puller->pool().give_back(items[i].page);
    }
  }
  stop = true;
  changing.join();
  EXPECT_EQ(counts().corrupt_pages, 0u);
}

// A process that holds pages (hold_pages) until it is told to end.
struct holder {
  explicit holder(int ordinal) {
    int in[2], out[2];
    if (::pipe(in) != 0 || ::pipe(out) != 0) std::abort();
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out[1], STDOUT_FILENO);
    for (const int end : {in[0], in[1], out[0], out[1]}) posix_spawn_file_actions_addclose(&files, end);
    std::string program = "/proc/self/exe", flag = "--hold-pages=" + std::to_string(ordinal);
    char* arguments[] = {program.data(), flag.data(), nullptr};
    EXPECT_EQ(::posix_spawn(&pid, program.c_str(), &files, nullptr, arguments, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    ::close(in[0]);
    ::close(out[1]);
    tell = in[1];
    for (char c = 0; ::read(out[0], &c, 1) == 1 && c != '\n';) address += c;
    ::close(out[0]);
  }
  ~holder() { end(); }
  int end(int signal = 0) {
    if (pid <= 0) return 0;
    if (signal != 0) ::kill(pid, signal);
    ::close(tell);
    int status = 0;
    ::waitpid(std::exchange(pid, 0), &status, 0);
    return status;
  }
  pid_t pid = 0;
  int tell = -1;
  std::string address;
};

struct from_a_process : cuda_pulls, ::testing::WithParamInterface<int> {};

TEST_P(from_a_process, bundles_come_whole_over_a_mapping) {
  BALLAST_NEEDS_GPUS(GetParam() + 1);
  holder there(GetParam());
  ASSERT_THAT(there.address, HasSubstr("ipc://"));
  puller = std::make_unique<cuda_rank>(context,
                                       cuda_rank::options{.page_bytes = held_page_bytes, .pages = 2 * held_experts});
  for (int round = 0; round < 2; ++round) {
    const auto items = want(held_experts);
    expect_whole(items, puller->transport->pull_many(there.address, items, 20s));
    for (const auto& i : items) puller->pool().give_back(i.page);
  }
  EXPECT_EQ(counts().message_bytes, 0u) << "no mapping could be made";
  EXPECT_EQ(there.end(), 0);
}

TEST_P(from_a_process, a_killed_source_fails_the_pull_and_nothing_else) {
  BALLAST_NEEDS_GPUS(GetParam() + 1);
  puller = std::make_unique<cuda_rank>(context,
                                       cuda_rank::options{.page_bytes = held_page_bytes, .pages = 2 * held_experts});
  const auto items = want(held_experts);
  {
    holder there(GetParam());
    expect_whole(items, puller->transport->pull_many(there.address, items, 20s));
    there.end(SIGKILL);
    for (const auto& p : puller->transport->pull_many(there.address, want(2), 100ms))
      EXPECT_TRUE(!p && source_is_of_no_use(p.error().code));
  }
  for (const auto& i : items) {
    EXPECT_TRUE(puller->pool().verify(i.page));
    puller->pool().give_back(i.page);
  }
  holder another(GetParam());
  const auto again = want(2);
  expect_whole(again, puller->transport->pull_many(another.address, again, 20s));
}

INSTANTIATE_TEST_SUITE_P(gpu, from_a_process, ::testing::Values(0, 1),
                         [](const auto& i) { return i.param == 0 ? "same" : "other"; });

}  // namespace
}  // namespace ballast::gpu::test

int main(int argc, char** argv) {
  constexpr const char* flag = "--hold-pages=";
  if (argc == 2 && std::strncmp(argv[1], flag, std::strlen(flag)) == 0)
    return ballast::gpu::test::hold_pages(std::atoi(argv[1] + std::strlen(flag)));
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
