#!/usr/bin/env bash
# Installs the Debian packages Taper needs. Does nothing, silently, when none is missing.
#
#   scripts/setup.sh [--build-only | --no-oracle]
#
#   --build-only  what compiling and running need, no more
#   --no-oracle   that, the tests' tools and the source checks', but not PyTorch, with which the tests compare
set -euo pipefail

build=(g++ binutils cmake ninja-build ccache python3
  libfmt-dev nlohmann-json3-dev libcli11-dev libeigen3-dev libboost-context-dev
  libjpeg62-turbo-dev libpng-dev catch2 libbenchmark-dev libopenmpi-dev openmpi-bin)
test=(gdb graphviz git clang clang-format clang-tidy libclang-rt-dev libopenblas0-pthread)
oracle=(python3-torch python3-torchvision python3-sklearn python3-numpy python3-pil)

case ${1:-} in
  "") wanted=("${build[@]}" "${test[@]}" "${oracle[@]}") ;;
  --no-oracle) wanted=("${build[@]}" "${test[@]}") ;;
  --build-only) wanted=("${build[@]}") ;;
  *) echo "setup.sh: unknown argument '$1'; use --build-only, --no-oracle or nothing" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  echo "setup.sh: this is not a Debian system; install what these packages hold: ${wanted[*]}" >&2
  exit 1
fi

installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
missing=()
for package in "${wanted[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then exit 0; fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: run this as root, to install: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "==> installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
