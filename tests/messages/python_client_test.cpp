// The Python client, which knows nothing but PROTOCOL.md, against links of this side: two codecs written apart must
// agree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "tests/messages/link_fixture.hpp"
#include "tests/support/paths.hpp"

namespace ballast {
namespace {

using testing::HasSubstr;

// A coordinator and two front ends with set answers.
struct python_client : testing::Test {
  struct outcome {
    int exit_status = -1;
    std::string out;
  };

  link_context context;
  std::unique_ptr<link> events, coordinator, first, second;
  std::vector<inference_request> seen;  // by `second`, on its link's thread; read when the client has ended

  std::mutex made;  // held while the links are made: their handlers use them

  python_client() {
    const std::lock_guard lock(made);
    link_options o = router_at(fresh_address("tcp"));
    first = opened(context, o, [this](const std::string& peer, envelope m) { serve_and_move(peer, m); });
    second = opened(context, o, [this](const std::string& peer, envelope m) { serve_rest(peer, m); });
    coordinator = opened(context, o, [this](const std::string& peer, envelope m) { control(peer, m); });
    o.kind = link_kind::publisher;
    events = opened(context, o, {});
  }
  ~python_client() override {
    for (auto* l : {&coordinator, &first, &second, &events}) (*l)->stop();
  }

  void answer(link& from, const std::string& peer, std::uint64_t id, message_body body) {
    EXPECT_TRUE(from.send(peer, {id, "fake", std::move(body)}));
  }

  void control(const std::string& peer, const envelope& m) {
    const std::lock_guard lock(made);
    if (std::holds_alternative<get_status>(m.body)) {
      cluster_status s;
      s.models = {{"toy", 3, 1.5, 2.25, 1, 0, 8, 16}};
      s.seats = {{seat_id{4}, 1, "a", "n", "active", first->address(), 77, 0, 5, 0.5},
                 {seat_id{5}, 1, "a", "n", "idle", "tcp://127.0.0.1:1", 0, 0, 0, 0}};
      answer(*coordinator, peer, m.id, s);
    } else if (const auto* scale = std::get_if<scale_request>(&m.body)) {
      if (scale->ranks == 99) return answer(*coordinator, peer, m.id, refused{{errc::does_not_fit, "only 2 seats"}});
      EXPECT_FALSE(scale->request.empty());
      answer(*coordinator, peer, m.id, accepted{12});
    } else {
      EXPECT_TRUE(std::holds_alternative<get_operations>(m.body)) << message_name(m.body);
      operation_status done;
      done.id = 12, done.kind = "scale", done.phase = "finished", done.outcome = "done", done.target = {seat_id{4}};
      EXPECT_TRUE(events->send("", {0, "fake", event{1, "operation", "operation 12 is done", {done}, {}}}));
      answer(*coordinator, peer, m.id, operation_list{{done}});
    }
  }
  void serve_and_move(const std::string& peer, const envelope& m) {
    const std::lock_guard lock(made);
    const auto& r = std::get<inference_request>(m.body);
    EXPECT_EQ(r.hidden.size(), 2u * 16u);
    answer(*first, peer, 0, inference_output{r.id, 0, false, std::vector<float>(r.hidden.size(), 0.5f)});
    answer(*first, peer, 0, request_moved{r.id, second->address(), 1});
  }
  void serve_rest(const std::string& peer, const envelope& m) {
    const std::lock_guard lock(made);
    const auto& r = std::get<inference_request>(m.body);
    seen.push_back(r);
    for (std::uint32_t step = r.first_step; step < r.steps; ++step)
      answer(*second, peer, 0, inference_output{r.id, step, step + 1 == r.steps, r.hidden});
  }

  outcome run(const std::string& arguments) {
    const std::string command = "/usr/bin/python3 " + source_folder() + "/tests/e2e/ballast_client.py" +
                                " --coordinator " + coordinator->address() + " --events " + events->address() + " " +
                                arguments + " 2>&1";
    outcome result;
    std::FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> block;
    while (const std::size_t got = std::fread(block.data(), 1, block.size(), pipe))
      result.out.append(block.data(), got);
    result.exit_status = WEXITSTATUS(pclose(pipe));
    return result;
  }
};

TEST_F(python_client, reads_the_status) {
  const auto [exit_status, out] = run("status");
  EXPECT_EQ(exit_status, 0) << out;
  EXPECT_THAT(out, HasSubstr(R"("imbalance_mean": 1.5, "imbalance_max": 2.25, "imbalance_min": 1)"));
  EXPECT_THAT(out, HasSubstr(R"("seat": 4, "incarnation": 1, "agent": "a", "node": "n", "state": "active")"));
}

TEST_F(python_client, scales_and_waits_for_the_end) {
  const auto [exit_status, out] = run("scale --to 3");
  EXPECT_EQ(exit_status, 0) << out;
  EXPECT_THAT(out, HasSubstr(R"({"accepted": 12})"));
  EXPECT_THAT(out, HasSubstr(R"("outcome": "done")"));
}

TEST_F(python_client, tells_why_it_was_refused) {
  const auto [exit_status, out] = run("scale --to 99");
  EXPECT_EQ(exit_status, 1);
  EXPECT_THAT(out, HasSubstr("does_not_fit: only 2 seats"));
}

TEST_F(python_client, streams_a_request_and_follows_it_when_it_moves) {
  const auto [exit_status, out] = run("request --model toy --tokens 2 --steps 4");
  EXPECT_EQ(exit_status, 0) << out;
  EXPECT_THAT(out, HasSubstr(R"({"done": true, "steps": 4, "moves": 1, "sends": 2})"));
  second->stop();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].first_step, 1u);
  EXPECT_EQ(seen[0].hidden, std::vector<float>(2 * 16, 0.5f));
}

}  // namespace
}  // namespace ballast
