// The store in etcd, for several coordinators that lead in turn. Below PREFIX:
//   leader             the gateway of the coordinator that leads; its revision of creation is the term
//   rows/PIECE/NAME    a row, in pieces of at most 256 KiB
//   journal/LINE       a line of the journal
//   redo, redo/BATCH   a change that takes several transactions: its parts, and how many there are once all are there.
//                      From then on it counts; whoever leads finishes it before anything else
// Everything is written on condition that `leader` is still that of this term.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "coordinator/etcd_client.hpp"
#include "coordinator/store.hpp"

namespace ballast {

struct etcd_address {
  std::vector<std::string> members;  // host:port
  std::string prefix;                // without a slash at the end
};
// etcd://host:port[,host:port…][/PREFIX]; PREFIX is `ballast` where there is none. Errors: invalid_argument.
result<etcd_address> etcd_address_of(const std::string& where);

// One thread.
class etcd_candidate {
 public:
  // `name`: the address that others are told of the leader. Errors: invalid_argument, io (a file of `tls`).
  static result<etcd_candidate> open(const std::string& where, std::string name, etcd_tls tls = {});
  // One attempt: the store, which is this process's until it is destroyed or lost. Errors: conflict (another one
  // leads), those of etcd_client.
  result<std::unique_ptr<store>> lead();
  const std::string& leader() const noexcept { return leader_; }  // as the last attempt found

 private:
  etcd_candidate(etcd_address at, std::string name, etcd_tls tls);
  etcd_address at_;
  std::string name_, leader_;
  etcd_client client_;
};

}  // namespace ballast
