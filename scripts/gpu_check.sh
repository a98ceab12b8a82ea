#!/usr/bin/env bash
# Everything to be known about Taper on this machine's GPU, with one command and without a network: all tests on the
# real device, compute-sanitizer over the GPU's own tests, the benchmarks and PyTorch's beside them, and ResNet-50's
# training step against PyTorch's. Results go to DIR/gpu_check.json and DIR/race.md.
#
#   scripts/gpu_check.sh [--out DIR] [--build DIR] [--parts tests,sanitizer,benchmarks,race] [--quick] [--device gpu|sim]
#
# The programs come from --build (build/cuda), made here or elsewhere: scripts/gpu_pack.sh packs them for a machine
# without compilers. --device sim runs the same steps over a build with the simulated GPU, to try this script.
# Exit codes: 0 all passed, 1 something failed, 2 nothing could be checked (no GPU, no programs).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if ! command -v python3 >/dev/null; then
  echo "gpu_check.sh: needs python3" >&2
  exit 2
fi
exec python3 "$root/scripts/gpu_check.py" "$@"
