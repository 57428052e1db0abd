// A deployment on this machine: a coordinator and agents, each a process of its own, from one configuration file.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "cli/local/process.hpp"
#include "messages/result.hpp"

namespace ballast {

// One thread; the processes die with it. Logs are FOLDER/NAME.log; a process that is started again adds to its log.
class local_deployment {
 public:
  // Writes the configuration; nothing runs yet. Programs are looked for in `programs`, with '/' at the end.
  static result<local_deployment> open(const std::string& folder, const std::string& configuration,
                                       std::string programs = program_folder());

  static const std::string& coordinator_name();
  status start_coordinator();
  status start_agent(const std::string& name);  // also again, after it has ended

  // Error: a process has ended that was not killed here; the text has the last line of its log.
  status check();
  std::map<std::string, pid_t> running();
  status kill(const std::string& name);          // SIGKILL, and waits for its end. Errors: not_found
  status pause(const std::string& name);         // SIGSTOP: it hangs. Errors: not_found
  status resume(const std::string& name);        // SIGCONT
  void stop(std::chrono::milliseconds longest);  // asks every process to end; kills what does not

 private:
  local_deployment(std::string folder, std::string programs)
      : folder_(std::move(folder)), programs_(std::move(programs)) {}
  std::string log_of(const std::string& name) const;
  status launch(const std::string& name, const std::string& program, std::vector<std::string> arguments);
  result<child_process*> find(const std::string& name);

  std::string folder_, programs_;
  std::map<std::string, child_process> processes_;
};

}  // namespace ballast
