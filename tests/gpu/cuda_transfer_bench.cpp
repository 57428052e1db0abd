// How fast bundles move between two GPUs, both ways at once, beside what the copy engines can do at most: a line a
// case, or one JSON object. Each GPU holds `experts` x `layers` pages and takes in as many.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <zmq.hpp>

#include "tests/gpu/cuda_support.hpp"

namespace ballast::gpu::test {
namespace {

using clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct shape {
  std::uint32_t experts = 18, layers = 48, mib = 9, repeat = 5;
  bool json = false;
  std::uint32_t bundles() const { return experts * layers; }
  std::size_t page_bytes() const { return std::size_t{mib} << 20; }
};

struct figures {
  std::string name;
  double gb_per_s = 0, seconds = 0, slowest_seconds = 0;
};

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(1);
}
void must(const status& ok) {
  if (!ok) give_up(ok.error().text);
}
void must(cudaError_t code) { must(cuda::check(code, "cuda")); }

// Seconds from the moment that both threads are ready until both are done; prepare(side) goes before, undo(side) after.
using of_side = std::function<void(int)>;
double both_ways(const of_side& prepare, const of_side& work, const of_side& undo) {
  std::array<clock::time_point, 2> begun, ended;
  std::barrier ready(2);
  const auto run = [&](int side) {
    must(cuda::stand_on(side));
    prepare(side);
    ready.arrive_and_wait();
    begun[static_cast<std::size_t>(side)] = clock::now();
    work(side);
    ended[static_cast<std::size_t>(side)] = clock::now();
    ready.arrive_and_wait();
    undo(side);
  };
  std::thread other(run, 1);
  run(0);
  other.join();
  return std::chrono::duration<double>(std::max(ended[0], ended[1]) - std::min(begun[0], begun[1])).count();
}

figures of(const std::string& name, double bytes, std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto median = seconds[seconds.size() / 2];
  return {name, bytes / median / 1e9, median, seconds.back()};
}

cuda_rank::options rank_options(const shape& s, int side) {
  cuda_rank::options o;
  o.ordinal = side;
  o.page_bytes = s.page_bytes();
  o.pages = 2 * s.bundles();
  return o;
}

page_key key_of(const shape& s, int side, std::uint32_t i) {
  return {i / s.experts, i % s.experts + static_cast<std::uint32_t>(side) * s.experts};
}

struct pair {
  pair(zmq::context_t& context, const shape& of) : s(of) {
    both_ways(
        [&](int side) {
          ranks[static_cast<std::size_t>(side)] = std::make_unique<cuda_rank>(context, rank_options(s, side));
        },
        [&](int side) {
          auto bundle = random_bytes(s.page_bytes(), static_cast<std::uint64_t>(side));
          for (std::uint32_t i = 0; i < s.bundles(); ++i) {
            bundle[i % bundle.size()] ^= std::byte{1};
            at(side).hold(key_of(s, side, i), bundle);
          }
        },
        [](int) {});
  }
  cuda_rank& at(int side) { return *ranks[static_cast<std::size_t>(side)]; }
  const shape s;
  std::array<std::unique_ptr<cuda_rank>, 2> ranks;
};

// Copies of up to 256 MiB from the pages held into the spare ones of the peer; pages lie one after the other.
figures ceiling(pair& p) {
  const auto room = p.s.page_bytes() * p.s.bundles();
  const auto each = std::min<std::size_t>(std::size_t{256} << 20, room);
  const auto copies = std::min<std::size_t>(room / each, 20);
  std::array<cuda::stream, 2> streams;
  const auto issue = [&](int side, std::size_t count) {
    const auto& on = streams[static_cast<std::size_t>(side)];
    for (std::size_t i = 0; i < count; ++i)
      must(cudaMemcpyAsync(p.at(1 - side).pool().at(p.s.bundles()) + i * each, p.at(side).pool().at(0) + i * each, each,
                           cudaMemcpyDefault, on.get()));
    must(on.wait());
  };
  std::vector<double> seconds;
  for (std::uint32_t r = 0; r < p.s.repeat; ++r)
    seconds.push_back(both_ways(
        [&](int side) {
          auto& on = streams[static_cast<std::size_t>(side)];
          if (on.get() == nullptr) on = cuda::stream::make(false).value();
          const auto code = cudaDeviceEnablePeerAccess(1 - side, 0);
          if (code != cudaErrorPeerAccessAlreadyEnabled) must(code);
          (void)cudaGetLastError();
          issue(side, 1);
        },
        [&](int side) { issue(side, copies); }, [](int) {}));
  return of("ceiling", static_cast<double>(each * copies), seconds);
}

figures pulls(const host::wire_context& context, pair& p, std::uint32_t gb_per_s) {
  std::array<std::unique_ptr<cuda::cuda_transport>, 2> transports;
  for (int side = 0; side < 2; ++side) {
    cuda::cuda_transport_options how;
    how.ordinal = side;
    how.bytes_per_s = gb_per_s * 1'000'000'000ull;
    auto made = cuda::cuda_transport::open(context, {"inproc://bench", ""}, p.at(side).stores, how);
    if (!made) give_up(made.error().text);
    transports[static_cast<std::size_t>(side)] = std::move(*made);
  }
  std::array<std::vector<pull_item>, 2> items;
  std::vector<double> seconds;
  for (std::uint32_t r = 0; r < p.s.repeat; ++r)
    seconds.push_back(both_ways(
        [&](int side) {
          const auto me = static_cast<std::size_t>(side);
          const auto mapped = transports[me]->warm(transports[1 - me]->address(), 20s);
          if (!mapped || !*mapped) give_up(mapped ? "the GPUs cannot map each other" : mapped.error().text);
          items[me].clear();
          for (std::uint32_t i = 0; i < p.s.bundles(); ++i)
            items[me].push_back({0, key_of(p.s, 1 - side, i), p.at(side).pool().take().value()});
        },
        [&](int side) {
          const auto me = static_cast<std::size_t>(side);
          for (const auto& one : transports[me]->pull_many(transports[1 - me]->address(), items[me], 20s))
            if (!one) give_up(one.error().text);
        },
        [&](int side) {
          for (const auto& i : items[static_cast<std::size_t>(side)]) p.at(side).pool().give_back(i.page);
        }));
  const auto name = gb_per_s == 0 ? std::string("unpaced") : "paced " + std::to_string(gb_per_s);
  return of(name, static_cast<double>(p.s.page_bytes()) * p.s.bundles(), seconds);
}

void print(const shape& s, const std::vector<figures>& all) {
  const auto most = all.front().gb_per_s;
  if (!s.json) {
    std::printf("%u experts x %u layers x %u MiB, both ways at once, medians of %u\n", s.experts, s.layers, s.mib,
                s.repeat);
    for (const auto& f : all)
      std::printf("%-10s %7.1f GB/s a direction  %5.1f %% of the ceiling  %8.3f ms (slowest %.3f)\n", f.name.c_str(),
                  f.gb_per_s, 100 * f.gb_per_s / most, 1e3 * f.seconds, 1e3 * f.slowest_seconds);
    return;
  }
  std::printf("{\"experts\": %u, \"layers\": %u, \"mib\": %u, \"repeat\": %u, \"cases\": [", s.experts, s.layers, s.mib,
              s.repeat);
  for (const auto& f : all)
    std::printf(
        "%s{\"name\": \"%s\", \"gb_per_s\": %.2f, \"share\": %.4f, \"seconds\": %.6f, \"slowest_seconds\": %.6f}",
        &f == &all.front() ? "" : ", ", f.name.c_str(), f.gb_per_s, f.gb_per_s / most, f.seconds, f.slowest_seconds);
  std::printf("]}\n");
}

shape read_shape(int argc, char** argv) {
  shape s;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--json") {
      s.json = true;
      continue;
    }
    std::uint32_t* const field = flag == "--experts"  ? &s.experts
                                 : flag == "--layers" ? &s.layers
                                 : flag == "--mib"    ? &s.mib
                                 : flag == "--repeat" ? &s.repeat
                                                      : nullptr;
    const long value = i + 1 < argc ? std::strtol(argv[i + 1], nullptr, 10) : 0;
    if (field == nullptr || value < 1 || value > 1024)
      give_up("cuda_transfer_bench [--experts n] [--layers n] [--mib n] [--repeat n] [--json], each n from 1 to 1024");
    *field = static_cast<std::uint32_t>(value);
    ++i;
  }
  return s;
}

int run(const shape& s) {
  if (const auto lacking = lacking_gpus(2); !lacking.empty()) give_up("two GPUs are needed: " + lacking);
  zmq::context_t context;
  const host::wire_context wires{context, {}};
  pair p(context, s);
  std::vector<figures> all{ceiling(p)};
  for (const std::uint32_t gb_per_s : {0u, 100u, 50u}) all.push_back(pulls(wires, p, gb_per_s));
  print(s, all);
  return 0;
}

}  // namespace
}  // namespace ballast::gpu::test

int main(int argc, char** argv) { return ballast::gpu::test::run(ballast::gpu::test::read_shape(argc, argv)); }
