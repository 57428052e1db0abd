// The project's log: one line an event, to standard error. spdlog stays behind log.cpp.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace ballast::log {

enum class level { debug, info, warn, error, off };

void set_level(level lowest);
void set_process_name(std::string_view name);  // shown in every line
bool enabled(level l) noexcept;
void write(level l, std::string_view line);

template <class... T>
void debug(fmt::format_string<T...> f, T&&... args) {
  if (enabled(level::debug)) write(level::debug, fmt::format(f, std::forward<T>(args)...));
}
template <class... T>
void info(fmt::format_string<T...> f, T&&... args) {
  if (enabled(level::info)) write(level::info, fmt::format(f, std::forward<T>(args)...));
}
template <class... T>
void warn(fmt::format_string<T...> f, T&&... args) {
  if (enabled(level::warn)) write(level::warn, fmt::format(f, std::forward<T>(args)...));
}
template <class... T>
void error(fmt::format_string<T...> f, T&&... args) {
  if (enabled(level::error)) write(level::error, fmt::format(f, std::forward<T>(args)...));
}

}  // namespace ballast::log
