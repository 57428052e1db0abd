#!/bin/sh
# Keys for a deployment, in a new folder: for the coordinator, for all agents together, and for an operator, a client and an
# observer; and peers.toml, the list of who may do what. Usage: deploy/make-keys.sh FOLDER [PROGRAM_BALLAST]
set -eu
folder=${1:?usage: make-keys.sh FOLDER [PROGRAM_BALLAST]}
ballast=${2:-ballast}
mkdir "$folder"

public_key() { sed -n 's/^public = "\(.*\)"/\1/p' "$1"; }

"$ballast" keygen "$folder/coordinator.key" >/dev/null
public_key "$folder/coordinator.key" >"$folder/coordinator.pub"
for party in agents:agent operator:operator client:client observer:observer; do
  name=${party%:*}
  "$ballast" keygen "$folder/$name.key" >/dev/null
  printf '[[peer]]\nname = "%s"\nrole = "%s"\nkey = "%s"\n' "$name" "${party#*:}" "$(public_key "$folder/$name.key")"
done >"$folder/peers.toml"
