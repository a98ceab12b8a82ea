#!/usr/bin/env bash
# Everything to be known about Taper on this machine's GPU, with one command and without a network; --help explains it.
#
#   scripts/gpu_check.sh [--budget SECONDS] [--out DIR] [--continue | --only FAILED|NAME,...] [--build DIR]
#                        [--parts tests,race,benchmarks,sanitizer] [--families REGEX] [--quick] [--device gpu|sim]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if ! command -v python3 >/dev/null; then
  echo "gpu_check.sh: needs python3" >&2
  exit 2
fi
exec python3 "$root/scripts/gpu_check.py" "$@"
