#include "cli/local/local_deployment.hpp"

#include <fmt/core.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace ballast {
namespace {

std::string last_line(const std::string& file) {
  std::ifstream in(file);
  std::string line, last = "its log is empty";
  while (std::getline(in, line)) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

const std::string& local_deployment::coordinator_name() {
  static const std::string name = "coordinator";
  return name;
}

result<local_deployment> local_deployment::open(const std::string& folder, const std::string& configuration,
                                                std::string programs) {
  local_deployment d(folder, std::move(programs));
  std::ofstream file(folder + "/ballast.toml");
  file << configuration;
  file.flush();
  if (!file) return fail(errc::io, folder + "/ballast.toml: cannot be written");
  return d;
}

std::string local_deployment::log_of(const std::string& name) const { return fmt::format("{}/{}.log", folder_, name); }

status local_deployment::launch(const std::string& name, const std::string& program,
                                std::vector<std::string> arguments) {
  auto child = child_process::start(programs_ + program, arguments, log_of(name));
  if (!child) return fail(child.error());
  processes_.insert_or_assign(name, std::move(*child));
  return {};
}

status local_deployment::start_coordinator() {
  return launch(coordinator_name(), "ballast-coordinator", {"--config", folder_ + "/ballast.toml"});
}

status local_deployment::start_agent(const std::string& name) {
  return launch(name, "ballast-agent", {"--config", folder_ + "/ballast.toml", "--name", name});
}

status local_deployment::check() {
  for (auto& [name, process] : processes_) {
    if (process.running()) continue;
    return fail(errc::unavailable, fmt::format("{} has ended by itself: {}", name, last_line(log_of(name))));
  }
  return {};
}

std::map<std::string, pid_t> local_deployment::running() {
  std::map<std::string, pid_t> out;
  for (auto& [name, process] : processes_)
    if (process.running()) out.emplace(name, process.pid());
  return out;
}

result<child_process*> local_deployment::find(const std::string& name) {
  const auto at = processes_.find(name);
  if (at == processes_.end()) return fail(errc::not_found, "no process " + name);
  return &at->second;
}

status local_deployment::kill(const std::string& name) {
  const auto process = find(name);
  if (!process) return fail(process.error());
  (*process)->kill();
  (void)(*process)->wait(std::chrono::seconds(5));
  processes_.erase(name);
  return {};
}

status local_deployment::pause(const std::string& name) {
  const auto process = find(name);
  if (!process) return fail(process.error());
  (*process)->signal(SIGSTOP);
  return {};
}

status local_deployment::resume(const std::string& name) {
  const auto process = find(name);
  if (!process) return fail(process.error());
  (*process)->signal(SIGCONT);
  return {};
}

void local_deployment::stop(std::chrono::milliseconds longest) {
  const auto end = std::chrono::steady_clock::now() + longest;
  // Agents first: a coordinator that is gone would make each of them wait for it.
  for (const bool agents : {true, false}) {
    for (auto& [name, process] : processes_) {
      if ((name != coordinator_name()) == agents) process.signal(SIGTERM);
    }
    for (auto& [name, process] : processes_) {
      if ((name != coordinator_name()) != agents) continue;
      const auto left = end - std::chrono::steady_clock::now();
      (void)process.wait(
          std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(left)));
    }
  }
  processes_.clear();  // kills what still runs
}

}  // namespace ballast
