#!/usr/bin/env bash
# Installs the Debian packages Taper needs. Does nothing, silently, when none is missing.
#
#   scripts/setup.sh [--no-oracle] [--no-checks]
#
#   --no-oracle   without PyTorch, against which the tests compare (some 1.5 GB installed)
#   --no-checks   without what the source checks use
set -euo pipefail

build=(g++ cmake ninja-build ccache
  libfmt-dev nlohmann-json3-dev libcli11-dev libeigen3-dev libboost-context-dev
  libjpeg62-turbo-dev libpng-dev catch2 libbenchmark-dev)
test=(python3 graphviz)
oracle=(python3-torch python3-torchvision python3-sklearn python3-numpy python3-pil)
checks=(git clang-format clang-tidy)

wanted=("${build[@]}" "${test[@]}")
with_oracle=1 with_checks=1
for argument in "$@"; do
  case $argument in
    --no-oracle) with_oracle=0 ;;
    --no-checks) with_checks=0 ;;
    *) echo "setup.sh: unknown argument '$argument'; use --no-oracle or --no-checks" >&2; exit 2 ;;
  esac
done
if [ $with_oracle = 1 ]; then wanted+=("${oracle[@]}"); fi
if [ $with_checks = 1 ]; then wanted+=("${checks[@]}"); fi

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
