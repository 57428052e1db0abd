// Calls a fuzz target without libFuzzer: with every file of the given folders and files, then with mutations of them,
// the same ones on every host. Usage: PROGRAM RUNS PATH...
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "tests/fuzz/fuzz_target.hpp"

namespace {

namespace fs = std::filesystem;
using input = std::vector<std::uint8_t>;

constexpr std::size_t longest = 4096;

input read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In the order of their names: the order of a folder is the file system's own.
std::vector<input> seeds_of(int count, char** paths) {
  std::vector<fs::path> files;
  for (const fs::path path : std::span(paths, static_cast<std::size_t>(count))) {
    if (!fs::is_directory(path))
      files.push_back(path);
    else
      for (const auto& entry : fs::directory_iterator(path)) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<input> seeds;
  for (const auto& file : files) seeds.push_back(read(file));
  return seeds;
}

class mutator {
 public:
  explicit mutator(const std::vector<input>& seeds) : seeds_(seeds) {}

  input next() {
    input made = any_seed();
    for (std::size_t left = 1 + below(4); left > 0; --left) change(made);
    if (made.size() > longest) made.resize(longest);
    return made;
  }

 private:
  std::size_t below(std::size_t bound) { return random_() % bound; }
  const input& any_seed() { return seeds_[below(seeds_.size())]; }
  static auto at(input& made, std::size_t index) { return made.begin() + static_cast<std::ptrdiff_t>(index); }

  void change(input& made) {
    constexpr std::uint8_t telling[] = {0, 1, 0x7f, 0x80, 0xff, '"', '[', '{', '9', '-', '\n', 0xc1, 0xdd, 0xdf};
    if (made.empty()) return made.push_back(telling[below(std::size(telling))]);
    const std::size_t where = below(made.size()), length = 1 + below(std::min<std::size_t>(16, made.size() - where));
    switch (below(6)) {
      case 0:
        made[where] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        made[where] = telling[below(std::size(telling))];
        break;
      case 2:
        made.erase(at(made, where), at(made, where + length));
        break;
      case 3: {
        const input piece(at(made, where), at(made, where + length));
        made.insert(at(made, below(made.size())), piece.begin(), piece.end());
        break;
      }
      case 4:
        made.insert(at(made, where), static_cast<std::uint8_t>(random_()));
        break;
      default: {  // the end of another one
        const input& other = any_seed();
        const std::size_t from = below(other.size() + 1);
        made.resize(where);
        made.insert(made.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      }
    }
  }

  const std::vector<input>& seeds_;
  std::mt19937_64 random_{20260101};
};

const input* running = nullptr;

// Whoever mends what crashed wants the input: `xxd -r -p` turns it into a file.
void show_input_and_end(int end) {
  static constexpr char digits[] = "0123456789abcdef";
  std::fprintf(stderr, "the input was: ");
  for (const std::uint8_t byte : *running) std::fprintf(stderr, "%c%c", digits[byte >> 4], digits[byte & 15]);
  std::fprintf(stderr, "\n");
  std::signal(end, SIG_DFL);
  std::raise(end);
}

void call(const input& bytes) {
  running = &bytes;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  const auto runs = argc < 3 ? 0 : std::strtoull(argv[1], nullptr, 10);
  const auto seeds = argc < 3 ? std::vector<input>{} : seeds_of(argc - 2, argv + 2);
  if (seeds.empty()) return std::fprintf(stderr, "usage: %s RUNS FILE_OR_FOLDER...\n", argv[0]), 2;
  for (const int end : {SIGABRT, SIGSEGV, SIGFPE}) std::signal(end, show_input_and_end);
  for (const input& seed : seeds) call(seed);
  mutator mutations(seeds);
  for (std::uint64_t run = 0; run < runs; ++run) {
    const input made = mutations.next();
    call(made);
  }
  std::printf("%zu files and %llu mutations\n", seeds.size(), static_cast<unsigned long long>(runs));
  return 0;
}
