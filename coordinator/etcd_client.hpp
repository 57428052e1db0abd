// etcd's v3 API through its JSON gateway (/v3/kv/…, /v3/lease/…): the few calls that a store with one owner needs.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/etcd_tls.hpp"
#include "messages/result.hpp"

namespace ballast {

struct etcd_pair {
  std::string key, value;
  std::int64_t created = 0;  // revision of the cluster in which the key came to be
  std::int64_t lease = 0;
};

// One change of a transaction.
struct etcd_change {
  std::string key;
  std::optional<std::string> value;  // none: the keys from `key` up to `end` go (no `end`: `key` alone)
  std::string end;
  std::int64_t lease = 0;  // the key goes with it
};

// All of the changes, if `key` came to be in the revision `created` (0: if it is not there); none of them otherwise.
// etcd takes at most 128 changes and 1.5 MiB at once.
struct etcd_transaction {
  std::string key;
  std::int64_t created = 0;
  std::vector<etcd_change> changes;
};
struct etcd_committed {
  bool done = false;
  std::int64_t revision = 0;
};

struct etcd_selection {
  std::string key, end;       // keys from `key` up to `end`, in their order; no `end`: `key` alone
  std::size_t limit = 0;      // 0: all
  std::int64_t revision = 0;  // 0: the newest
  bool last_first = false;
  bool keys_only = false;
};
struct etcd_found {
  std::vector<etcd_pair> pairs;
  bool more = false;  // than `limit`
  std::int64_t revision = 0;
};

std::string end_of_prefix(std::string prefix);  // the first key behind all that begin with it

// One thread at a time. Every call goes to the member that answered last and, where that one fails, to the others in
// turn; a call that had no answer may have been carried out all the same. Errors of each: unavailable (none of the
// members answers, or they have no leader), io (an answer that is not etcd's), and where etcd refuses: not_found,
// does_not_fit (too large, or its space is used up), invalid_argument.
class etcd_client {
 public:
  // `members`: host:port each. `patience`: for one answer of one of them.
  etcd_client(std::vector<std::string> members, std::chrono::milliseconds patience, etcd_tls tls = {});
  ~etcd_client();
  etcd_client(etcd_client&&) noexcept;
  etcd_client another(std::chrono::milliseconds patience) const;  // of the same members, for another thread

  result<etcd_found> find(const etcd_selection& what);
  result<etcd_committed> commit(const etcd_transaction& what);

  struct lease {
    std::int64_t id = 0;
    std::chrono::seconds lasts{};  // at least what was asked for
  };
  result<lease> grant(std::chrono::seconds lasts);
  // How long it lasts from now on. Errors: not_found (it has run out).
  result<std::chrono::seconds> renew(std::int64_t lease);
  status revoke(std::int64_t lease);

 private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace ballast
