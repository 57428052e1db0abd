#pragma once

#include <string>

namespace ballast {

// How etcd is spoken with; files in PEM. No `ca`: in the clear.
struct etcd_tls {
  std::string ca;                // of whom the members' certificates must be
  std::string certificate, key;  // with which this side shows who it is; none: it does not
  bool operator==(const etcd_tls&) const = default;
};

}  // namespace ballast
