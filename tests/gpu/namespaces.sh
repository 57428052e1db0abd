#!/usr/bin/env bash
# Two agents as on two hosts: a network namespace each, joined by a veth pair, one GPU each, tokens by NCCL over sockets.
# Serves under load while a rank joins, experts are rebalanced and the rank leaves again. Needs root, ip netns and two GPUs.
# Usage: namespaces.sh [FOLDER_OF_PROGRAMS] [BACKEND] [SECONDS_OF_LOAD]; BACKEND `host` tries the layout where there is no GPU.
# One line a check. Exit: 0 if all hold, 1 if one does not, 77 if it cannot run here.
set -uo pipefail
bin=${1:-build/release/bin}
backend=${2:-cuda}
seconds=${3:-15}

cannot() { echo "skip: $1"; exit 77; }
[ "$(id -u)" = 0 ] || cannot "must run as root, to make network namespaces"
command -v ip >/dev/null || cannot "there is no ip (package iproute2)"
for program in ballast ballast-agent ballast-coordinator; do
  [ -x "$bin/$program" ] || cannot "there is no $bin/$program; build it, or name the folder of programs"
done
if [ "$backend" = cuda ]; then
  gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU')
  [ "$gpus" -ge 2 ] || cannot "there are $gpus of 2 GPUs"
fi

folder=$(mktemp -d)
left=ballast-l$$ right=ballast-r$$
pids=()
clean_up() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  ip netns del "$left" 2>/dev/null
  ip netns del "$right" 2>/dev/null
  rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

ip netns add "$left" 2>"$folder/why" || cannot "no network namespace can be made: $(head -1 "$folder/why")"
ip netns add "$right" || exit 1
ip link add bal0 netns "$left" type veth peer name bal0 netns "$right" 2>"$folder/why" ||
  cannot "no veth pair can be made: $(head -1 "$folder/why")"
for side in "$left:1" "$right:2"; do
  ip -n "${side%:*}" address add "10.213.77.${side#*:}/30" dev bal0 && ip -n "${side%:*}" link set bal0 up &&
    ip -n "${side%:*}" link set lo up || exit 1
done

# Nothing crosses between hosts in the clear.
"$(dirname "$0")/../../deploy/make-keys.sh" "$folder/keys" "$bin/ballast" || exit 1
server_key=$(cat "$folder/keys/coordinator.pub")

config() { # NAME KEYS ADDRESS FIRST_GPU
  cat >"$folder/$1.toml" <<END
[coordinator]
bind = "tcp://10.213.77.1:7070"
events = "tcp://10.213.77.1:7071"
store = "memory"
initial_ranks = 1
num_redundant_experts = 8
step_interval = 0
load_interval_steps = 4
[agent]
coordinator = "tcp://10.213.77.1:7070"
front_end = "tcp://$3:*"
data = "tcp://$3:*"
backend = "$backend"
exchange = "nccl"
first_gpu = $4
ranks = 1
slots_per_layer = 32
spare_pages = 8
[security]
keys = "$folder/keys/$2.key"
peers = "$folder/keys/peers.toml"
server_key = "$server_key"
[[model]]
name = "m"
seed = 3
layers = 4
experts = 32
top_k = 4
hidden = 256
intermediate = 128
END
}
config coordinator coordinator 10.213.77.1 0
config left agents 10.213.77.1 0
config right agents 10.213.77.2 1

# What NCCL sees are two hosts with a network of sockets between them.
export NCCL_SOCKET_IFNAME=bal0 NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 NCCL_IB_DISABLE=1
start() { # NAMESPACE LOG COMMAND...
  local namespace=$1 log=$folder/$2
  shift 2
  mkfifo "$log.ready"
  NCCL_HOSTID=$namespace ip netns exec "$namespace" "$@" >"$log.ready" 2>"$log" &
  pids+=($!)
  local line=
  read -r -t 60 line <"$log.ready"
  [ -n "$line" ] && return 0
  echo "no: $(basename "$1") started: $(tail -1 "$log")"
  exit 1
}
ballast() { # VERB...
  local who=operator
  [ "$1" = bench ] && who=client
  ip netns exec "$left" "$bin/ballast" "$@" --coordinator tcp://10.213.77.1:7070 --events tcp://10.213.77.1:7071 --json \
    --keys "$folder/keys/$who.key" --server-key "$server_key"
}

start "$left" coordinator "$bin/ballast-coordinator" --config "$folder/coordinator.toml"
start "$left" left "$bin/ballast-agent" --config "$folder/left.toml" --name left --node left
start "$right" right "$bin/ballast-agent" --config "$folder/right.toml" --name right --node right

failed=0
check() { # WHAT CONDITION...
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else
    echo "no: $what"
    failed=1
  fi
}
seats_in() { ballast status 2>/dev/null | grep -o "\"state\":\"$1\"" | grep -c .; } # STATE
await_seats() { # STATE COUNT: every status takes a moment
  for _ in $(seq 200); do [ "$(seats_in "$1")" = "$2" ] && return 0; done
  return 1
}
done_by() { ballast "$@" >"$folder/answer" 2>&1 && grep -q '"outcome":"done"' "$folder/answer" || { cat "$folder/answer"; false; }; }
no_failures_in() { grep -q '"requests_failed":0,' "$1" && ! grep -q '"requests_answered":0,' "$1"; }
says() { grep -q "$2" "$folder/$1"; }

check "one rank serves, the other waits" await_seats active 1
check "the other agent has joined" await_seats idle 1
check "a rank alone answers without failures" eval 'ballast bench --concurrency 4 --num-requests 40 --tokens 2 --steps 8 >"$folder/alone" && no_failures_in "$folder/alone"'
check "a rank of the other host joins" done_by scale --to 2
check "both ranks are active" await_seats active 2
ballast bench --concurrency 8 --duration "$seconds" --tokens 2 --steps 16 >"$folder/load" 2>"$folder/load.why" &
load=$!
pids+=("$load")
check "two ranks answer without failures" eval 'ballast bench --concurrency 4 --num-requests 200 --tokens 2 --steps 8 >"$folder/both" && no_failures_in "$folder/both"'
check "experts are rebalanced under load" eval 'done_by rebalance --force && ! grep -q "nothing moved" "$folder/answer"'
check "the rank leaves under load" done_by scale --to 1
check "it joins again under load" done_by scale --to 2
wait "$load"
check "no request failed meanwhile" no_failures_in "$folder/load"
[ -s "$folder/load.why" ] && cat "$folder/load.why"
if [ "$backend" = cuda ]; then
  check "tokens travelled by NCCL" says left "tokens travel by NCCL .* between 2 members"
fi
for agent in coordinator left right; do
  [ "$failed" = 0 ] || { echo "-- $agent:" && tail -5 "$folder/$agent"; }
done
exit "$failed"
