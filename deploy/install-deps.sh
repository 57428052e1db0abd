#!/usr/bin/env bash
# Installs the Debian 12 packages that Ballast is built and tested with; does nothing when all are present.
# `--runtime` installs only what the built programs need, `--browser` also what tests look at pages with, `--fuzz` also what
# deploy/fuzz.sh builds with. This is the only place in the project that names packages.
set -euo pipefail

runtime=(libcaf-core0.17 libzmq5 libspdlog1.10 libfmt9 libsqlite3-0 libcurl4 libxxhash0 zlib1g libyaml-0-2)
packages=(
  # tools
  cmake g++ ninja-build ccache
  # the programs
  libcaf-dev cppzmq-dev libzmq3-dev libmsgpack-cxx-dev libspdlog-dev libfmt-dev libcli11-dev nlohmann-json3-dev
  libtomlplusplus-dev libsqlite3-dev libcurl4-openssl-dev libeigen3-dev libexpected-dev libxxhash-dev zlib1g-dev libyaml-dev
  # the charts of ballast report
  node-d3-axis node-d3-scale node-d3-scale-chromatic node-d3-selection node-d3-shape
  # the tests
  libgtest-dev libgmock-dev libbenchmark-dev libglpk-dev python3 python3-zmq python3-msgpack python3-numpy etcd-server openssl
)
case ${1:-} in
  "") ;;
  --runtime) packages=("${runtime[@]}") ;;
  --browser) packages+=(chromium) ;;
  --fuzz) packages+=(clang libclang-rt-14-dev llvm) ;;
  *) echo "usage: deploy/install-deps.sh [--runtime | --browser | --fuzz]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    echo "install-deps: ${missing[*]} are missing; run this script as root, or install sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }

# The lists on a fresh machine are empty or old: they are fetched only if the packages cannot be had with what is there.
echo "install-deps: installing ${missing[*]}" >&2
install() { apt install -y --no-install-recommends "${missing[@]}" >/dev/null; }
if ! install 2>/dev/null; then
  apt update
  install
fi
