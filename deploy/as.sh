#!/bin/sh
# In the containers of docker-compose.yml: a verb of `ballast` with the keys of a role. Usage: as.sh ROLE VERB...
set -eu
role=${1:?usage: as.sh ROLE VERB...}
shift
exec ballast "$@" --keys "/etc/ballast/keys/$role.key" --server-key "$(cat /etc/ballast/keys/coordinator.pub)" \
  --coordinator tcp://coordinator:7070 --events tcp://coordinator:7071
