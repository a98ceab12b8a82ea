#!/usr/bin/env bash
# Packs what scripts/gpu_check.sh needs into a folder that can be carried to a GPU machine without compilers or
# network: programs, the libraries beside them, tests' data and scripts. There: PACK/scripts/gpu_check.sh
#
#   scripts/gpu_pack.sh PACK [BUILD]      BUILD: a build of the preset cuda, default build/cuda
set -euo pipefail
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo "usage: scripts/gpu_pack.sh PACK [BUILD]" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
pack=$(cd "$1" && pwd)
build=$(cd "${2:-$root/build/cuda}" && pwd)
cd "$root"
if [ ! -x "$build/tests/taper_tests" ]; then
  echo "gpu_pack.sh: no $build/tests/taper_tests; build it: cmake --preset cuda && cmake --build --preset cuda" >&2
  exit 2
fi

git ls-files -z 'scripts/*' 'tests/*.py' 'tests/data/*' 'bench/*.py' | xargs -0 cp --parents -t "$pack"
mkdir -p "$pack/build/cuda"
(
  cd "$build"
  cp --parents -t "$pack/build/cuda" tests/taper_tests examples/resnet50_train bench/*_bench bench/ladder_* bench/resnet50_*
  if [ -d lib ]; then cp -r lib "$pack/build/cuda"; fi
  if [ -f kernel_report.txt ]; then cp kernel_report.txt "$pack/build/cuda"; fi
)
strip "$pack"/build/cuda/{tests/taper_tests,examples/resnet50_train,bench/*_bench,bench/ladder_*,bench/resnet50_*}
git describe --always --dirty --abbrev=40 >"$pack/COMMIT"
du -sh "$pack"
