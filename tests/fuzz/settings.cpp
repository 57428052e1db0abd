// Settings files: the TOML itself, a model's table, and the tables of coordinator and agent.
#include "messages/settings.hpp"

#include "agent/agent.hpp"
#include "coordinator/service.hpp"
#include "tests/fuzz/fuzz_target.hpp"

using namespace ballast;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto parsed = settings::from_text(text);
  if (!parsed) {
    fuzz::require_one_line(parsed.error());
    return 0;
  }
  (void)parsed->get("text", "otherwise");
  (void)parsed->get("ratio", 1.0, 0.0, 2.0);
  if (const auto number = parsed->get("number", 7u, 1, 100); true)
    fuzz::require(number >= 1 && number <= 100, "a number is in its range");
  (void)parsed->table("table").get("flag", true);
  for (const auto& row : parsed->tables("row")) (void)row.get("number", std::uint8_t{3}, 0, 1000);
  if (const auto done = parsed->finish(); !done) fuzz::require_one_line(done.error());
  const auto& path = fuzz::file_with(fuzz::view(data, size));
  if (const auto config = read_coordinator_config(path); !config) fuzz::require_one_line(config.error());
  if (const auto config = read_agent_config(path); !config) fuzz::require_one_line(config.error());
  return 0;
}
