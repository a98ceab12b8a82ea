#!/usr/bin/env bash
# One command from a fresh clone to a trained network: sets up, builds, and runs resnet50_train, which
# trains ResNet-50 on the embedded digits unless told otherwise. All arguments go to it:
#
#   scripts/run.sh --arch resnet18 --epochs 5
#   scripts/run.sh --ranks 2 --arch resnet18   # two processes on this machine, each with half of every batch
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/scripts/setup.sh" --build-only
echo "==> building"
(
  cd "$root"
  cmake --preset default --log-level=WARNING >/dev/null
  cmake --build --preset default --target resnet50_train
)
program=$root/build/default/examples/resnet50_train
if [ "${1:-}" != --ranks ]; then exec "$program" "$@"; fi

if ! [[ ${2:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "run.sh: --ranks needs a number of processes, as in --ranks 2" >&2
  exit 2
fi
ranks=$2
shift 2
# More ranks than cores may run, each on any core.
flags=(--oversubscribe --bind-to none)
if [ "$(id -u)" = 0 ]; then flags+=(--allow-run-as-root); fi # as in a container
exec mpirun "${flags[@]}" -n "$ranks" "$program" "$@"
