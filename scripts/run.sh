#!/usr/bin/env bash
# One command from a fresh clone to a trained network: sets up, builds, and runs resnet50_train, which
# trains ResNet-50 on the embedded digits unless told otherwise. All arguments go to it:
#
#   scripts/run.sh --arch resnet18 --epochs 5
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/scripts/setup.sh" --build-only
echo "==> building"
(
  cd "$root"
  cmake --preset default --log-level=WARNING >/dev/null
  cmake --build --preset default --target resnet50_train
)
exec "$root/build/default/examples/resnet50_train" "$@"
