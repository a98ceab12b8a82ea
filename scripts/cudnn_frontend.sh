#!/usr/bin/env bash
# Prints the folder with cudnn-frontend's headers, CUDNNFrontend_ROOT for CMake; without them a build has no cuDNN.
# Downloads them into build/ the first time. Prints nothing on stdout, and says why, if they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/cudnn-frontend
if [ ! -f "$folder/include/cudnn_frontend.h" ]; then
  if ! { timeout 120 python3 -m pip download -q --no-deps --dest "$folder" nvidia-cudnn-frontend==1.32.0 &&
    python3 -m zipfile -e "$folder"/nvidia_cudnn_frontend-*.whl "$folder"; } >&2; then
    echo "cudnn-frontend cannot be downloaded" >&2
    exit 1
  fi
fi
echo "$PWD/$folder"
