// The words that name messages, commands and errors on the wire, in the order of their variants and enum.
#pragma once

#include <array>
#include <variant>

#include "messages/commands.hpp"
#include "messages/messages.hpp"
#include "messages/result.hpp"

namespace ballast {

inline constexpr std::array message_names{"hello",
                                          "welcome",
                                          "heartbeat",
                                          "seat_command",
                                          "seat_outcome",
                                          "load_summary",
                                          "seat_trouble",
                                          "fence",
                                          "get_status",
                                          "cluster_status",
                                          "scale_request",
                                          "rebalance_request",
                                          "rebalance_preview",
                                          "abort_request",
                                          "get_operations",
                                          "operation_list",
                                          "accepted",
                                          "refused",
                                          "event",
                                          "inference_request",
                                          "inference_output",
                                          "request_moved",
                                          "request_refused",
                                          "cancel_request",
                                          "session_handover",
                                          "handover_taken",
                                          "standby"};

inline constexpr std::array command_names{"prepare", "stage",  "publish",   "reclaim",    "open_comm", "connect_comm",
                                          "arm",     "disarm", "probation", "close_comm", "drain",     "undrain",
                                          "halt",    "resume", "revert",    "hold",       "unhold",    "release"};

inline constexpr std::array error_names{"invalid_argument", "malformed",    "version_mismatch", "not_found",
                                        "conflict",         "does_not_fit", "unavailable",      "timed_out",
                                        "aborted",          "fenced",       "corrupt",          "io"};

static_assert(message_names.size() == std::variant_size_v<message_body>);
static_assert(command_names.size() == std::variant_size_v<command_body>);
static_assert(error_names.size() == static_cast<std::size_t>(errc::io) + 1);

}  // namespace ballast
