#include "messages/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <memory>
#include <string>

#include "messages/result.hpp"

namespace ballast::log {
namespace {

std::atomic<level> lowest_level{level::info};

std::string pattern_for(std::string_view process) {
  std::string escaped;
  for (const char c : process) escaped.append(c == '%' ? "%%" : std::string(1, c));
  return "%Y-%m-%dT%H:%M:%S.%e %L " + escaped + "[%P] %v";
}

// Never destroyed: threads that outlive main's locals may still log while the process goes down.
spdlog::logger& logger() {
  static spdlog::logger* const made = [] {
    auto* l = new spdlog::logger("ballast", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    l->set_level(spdlog::level::trace);
    l->set_pattern(pattern_for("ballast"));
    return l;
  }();
  return *made;
}

spdlog::level::level_enum native(level l) noexcept {
  switch (l) {
    case level::debug:
      return spdlog::level::debug;
    case level::info:
      return spdlog::level::info;
    case level::warn:
      return spdlog::level::warn;
    case level::error:
      return spdlog::level::err;
    case level::off:
      break;
  }
  return spdlog::level::off;
}

}  // namespace

void set_level(level lowest) { lowest_level.store(lowest, std::memory_order_relaxed); }

void set_process_name(std::string_view name) { logger().set_pattern(pattern_for(on_one_line(std::string(name)))); }

bool enabled(level l) noexcept { return l != level::off && l >= lowest_level.load(std::memory_order_relaxed); }

void write(level l, std::string_view line) {
  if (enabled(l)) logger().log(native(l), "{}", on_one_line(std::string(line)));
}

}  // namespace ballast::log
