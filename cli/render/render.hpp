// How what the coordinator says looks on a terminal (text) and to a program (JSON, one document, no line ends inside).
#pragma once

#include <string>
#include <vector>

#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast::text {

std::string of(const cluster_status& all);
std::string of(const std::vector<operation_status>& operations);
std::string of(const operation_status& operation);  // one line
std::string of(const rebalance_preview& preview);
std::string of(const event& news);                   // one line
std::string bytes(std::uint64_t count);              // "3.4 MiB"
std::string seats(const std::vector<seat_id>& ids);  // "0,2,5"

}  // namespace ballast::text

namespace ballast::json {

std::string of(const cluster_status& all);
std::string of(const std::vector<operation_status>& operations);
std::string of(const operation_status& operation);
std::string of(const rebalance_preview& preview);
std::string of(const event& news);
std::string of(const error& failure);      // {"error":{"code":…,"text":…}}
std::string accepted(operation_id id);     // {"operation":id}
std::string quoted(const std::string& s);  // a JSON string

}  // namespace ballast::json
