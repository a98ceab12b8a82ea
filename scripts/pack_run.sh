#!/usr/bin/env bash
# In a pack of scripts/gpu_pack.sh, where it is called run: a program of the pack by its name, on NVIDIA's libraries.
#
#   ./run resnet50_train --device cuda
#   ./run                                   lists the programs
set -euo pipefail
root=$(cd "$(dirname "$0")" && pwd)
export TAPER_TEST_DATA=${TAPER_TEST_DATA:-$root/tests/data} TAPER_ORACLE_DIR=${TAPER_ORACLE_DIR:-$root/tests/oracle_answers}
for program in "$root"/build/cuda/{tests,examples,bench}/"${1:-}"; do
  if [ -f "$program" ] && [ -x "$program" ]; then
    exec "$root/scripts/with_nvidia_libraries.sh" "$program" "${@:2}"
  fi
done
echo "usage: ./run PROGRAM [ARGUMENT...]; the programs:" "$(cd "$root/build/cuda" && echo {tests,examples,bench}/* | sed 's,[a-z]*/,,g')" >&2
exit 2
