// A router with keys and a list of one peer of each role, and contexts for those who come.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <map>

#include "messages/log.hpp"
#include "tests/messages/link_fixture.hpp"

namespace ballast {

inline key_pair fresh_keys() {
  static int count = 0;
  const auto path = testing::TempDir() + "ballast_key_" + std::to_string(getpid()) + "_" + std::to_string(++count);
  auto made = make_keys(path);
  EXPECT_TRUE(made) << made.error().text;
  std::filesystem::remove(path);
  return *made;
}

struct secured_router : testing::Test {
  std::map<peer_role, key_pair> keys;
  key_pair server_keys = fresh_keys(), stranger_keys = fresh_keys();
  link_context server;
  inbox got, answers;
  std::unique_ptr<link> router;

  secured_router() {
    log::set_level(log::level::off);
    for (const auto role : {peer_role::agent, peer_role::operator_, peer_role::client, peer_role::observer})
      keys[role] = fresh_keys();
  }
  ~secured_router() override { log::set_level(log::level::info); }

  void serve(peer_limits limits = {}) {
    link_security security{server_keys, {}, "", false, limits};
    for (const auto& [role, pair] : keys) security.allowed[pair.public_key] = {"one", role};
    ASSERT_TRUE(server.secure(std::move(security)));
    auto options = router_at(fresh_address("tcp"));
    options.admits = coordinator_admits;
    router = opened(server, options, got.handler());
  }

  static void with(link_context& context, const key_pair& own) {
    ASSERT_TRUE(context.secure({own, {}, "", false, {}}));
  }

  // One of the list is served.
  void expect_service() {
    link_context context;
    with(context, keys[peer_role::operator_]);
    inbox back;
    auto dealer = opened(context, dealer_to(router->address(), "op"), back.handler());
    const auto before = got.size();
    ASSERT_TRUE(dealer->send("", {1, "op", get_status{}}));
    ASSERT_EQ(got.wait_for(before + 1).size(), before + 1);
    ASSERT_TRUE(router->send("op", {1, "router", accepted{5}}));
    ASSERT_EQ(back.wait_for(1).size(), 1u);
  }
};

}  // namespace ballast
