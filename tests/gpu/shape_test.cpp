// Shapes and layouts, and the loading of backends by name.
#include <gmock/gmock.h>

#include "gpu/device.hpp"
#include "tests/gpu/support.hpp"

namespace ballast::gpu::test {
namespace {

using ::testing::HasSubstr;

TEST(shape, each_impossible_field_is_named) {
  const auto refused = [](const char* field, auto change) {
    auto s = small_shape(dtype::f8_e4m3);
    change(s);
    const auto checked = check(s);
    ASSERT_FALSE(checked) << field;
    EXPECT_EQ(checked.error().code, errc::invalid_argument);
    EXPECT_THAT(checked.error().text, HasSubstr(std::string(": ") + field + " must be"));
  };
  EXPECT_TRUE(check(small_shape(dtype::f8_e4m3)));
  refused("layers", [](auto& s) { s.layers = 0; });
  refused("experts", [](auto& s) { s.experts = 0; });
  refused("top_k", [](auto& s) { s.top_k = 0; });
  refused("top_k", [](auto& s) { s.top_k = 9; });
  refused("top_k", [](auto& s) { s.groups = 4, s.top_groups = 1; });
  refused("hidden", [](auto& s) { s.hidden = 60; });
  refused("intermediate", [](auto& s) { s.intermediate = 0; });
  refused("shared_intermediate", [](auto& s) { s.shared_intermediate = 4; });
  refused("groups", [](auto& s) { s.groups = 3; });
  refused("top_groups", [](auto& s) { s.top_groups = 2; });
  refused("routed_scale", [](auto& s) { s.routed_scale = 0; });
  refused("norm_eps", [](auto& s) { s.norm_eps = -1; });
  refused("expert_type", [](auto& s) { s.expert_type = static_cast<dtype>(9); });
  refused("scale_block", [](auto& s) { s.scale_block = 0; });
}

TEST(shape, tensors_are_aligned_and_do_not_overlap) {
  for (const auto type : {dtype::f32, dtype::bf16, dtype::f16, dtype::f8_e4m3}) {
    auto s = small_shape(type);
    s.router_bias = true;
    for (const auto& layout : {expert_layout(s), dense_layout(s)}) {
      std::size_t end = 0;
      for (const auto& t : layout.tensors) {
        EXPECT_EQ(t.offset % 64, 0u);
        EXPECT_GE(t.offset, end);
        EXPECT_EQ(t.bytes, std::size_t{t.rows} * t.cols * size_of(t.type));
        end = t.offset + t.bytes;
      }
      EXPECT_GE(layout.bytes, end);
      EXPECT_EQ(layout.bytes % 64, 0u);
    }
  }
}

TEST(shape, a_bundle_holds_the_scales_that_its_kernel_reads) {
  const auto layout = expert_layout(small_shape(dtype::f8_e4m3));  // 64 x 40, blocks of 16
  ASSERT_NE(layout.find("down_scale"), nullptr);
  EXPECT_EQ(layout.find("down_scale")->rows, 4u);
  EXPECT_EQ(layout.find("down_scale")->cols, 3u);
  EXPECT_EQ(layout.find("gate_scale")->rows, 3u);
  EXPECT_EQ(expert_layout(small_shape()).find("gate_scale"), nullptr);
}

TEST(backends, the_host_backend_is_built_in) {
  const auto made = load_backend("host");
  ASSERT_TRUE(made);
  EXPECT_STREQ((*made)->name(), "host");
}

TEST(backends, an_unknown_name_says_which_file_is_missing) {
  const auto made = load_backend("cuda_that_is_not_here");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, errc::not_found);
  EXPECT_THAT(made.error().text, HasSubstr("libballast_cuda_that_is_not_here.so"));
  EXPECT_THAT(made.error().text, HasSubstr("built in: host"));
}

TEST(backends, a_name_cannot_leave_the_program_folder) {
  for (const auto* name : {"", "../evil", "a/b", "Cuda", "a.b"}) {
    const auto made = load_backend(name);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, errc::not_found);
  }
}

TEST(devices, impossible_options_are_refused) {
  const auto host = load_backend("host").value();
  device_options good;
  good.bind = "tcp://127.0.0.1:*";
  good.models = {small_shape()};
  good.limits.models = {{8, 2}};
  EXPECT_TRUE(host->make_device(good));
  const auto refused = [&](const char* why, auto change) {
    auto o = good;
    change(o);
    const auto made = host->make_device(o);
    ASSERT_FALSE(made) << why;
    EXPECT_THAT(made.error().text, HasSubstr(why));
  };
  refused("1 to 4 models", [](auto& o) { o.models.clear(); });
  refused("capacities", [](auto& o) { o.limits.models.clear(); });
  refused("hidden must be", [](auto& o) { o.models[0].hidden = 3; });
  refused("slots_per_layer", [](auto& o) { o.limits.models[0].slots_per_layer = 0; });
  refused("must be tcp://", [](auto& o) { o.bind = "udp://x"; });
  refused("cannot open data address", [](auto& o) { o.bind = "tcp://no-such-host.invalid:*"; });
  refused("shorter prefix", [](auto& o) { o.bind = "ipc:///tmp/" + std::string(120, 'x'); });
}

}  // namespace
}  // namespace ballast::gpu::test
