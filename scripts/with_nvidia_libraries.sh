#!/usr/bin/env bash
# Runs a program with the libraries of NVIDIA's Python wheels (cuDNN, cuBLASLt, NVRTC, NCCL) in front of LD_LIBRARY_PATH:
# all those of every Python on this machine, PyTorch's among them.
#
#   scripts/with_nvidia_libraries.sh build/cuda/examples/resnet50_train --device cuda
set -euo pipefail
if [ $# = 0 ]; then
  echo "usage: with_nvidia_libraries.sh PROGRAM [ARGUMENT...]" >&2
  exit 2
fi
if command -v python3 >/dev/null; then
  folders=$(python3 "$(dirname "$0")/nvidia_libraries.py" "$1")
  if [ -n "$folders" ]; then
    export LD_LIBRARY_PATH="$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  fi
fi
exec "$@"
