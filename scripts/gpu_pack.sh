#!/usr/bin/env bash
# Builds and packs all that scripts/gpu_check.sh needs on a GPU machine without compilers or network, as one archive that is
# small enough to carry: programs, the libraries beside them, scripts, tests' data, PyTorch's answers for the tests.
#
#   scripts/gpu_pack.sh [--arch 90a[,80...]] [--jobs N] [--no-build BUILD] OUT.tar.xz
#
# --arch: the GPUs' compute capabilities; 90a is H100 and H200. The build is that of the preset gpu-pack, in
# build/gpu-pack; --no-build packs the programs of another build for CUDA. PyTorch's answers need a Python with torch
# (--oracle-python, /usr/bin/python3); without them the GPU machine's PyTorch makes them.
# Exit codes: 0 packed, 2 not, with one line that says why.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if ! command -v python3 >/dev/null; then
  echo "gpu_pack.sh: needs python3" >&2
  exit 2
fi
exec python3 "$root/scripts/gpu_pack.py" "$@"
