#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) over the library and the programs, as build/default compiles them. Arguments
# are file names; without any it checks every .cpp file of the library, the examples and the benchmarks, but
# not core/gpu/ (clang 14 has no std::source_location, which the simulated GPU needs) nor what calls NVIDIA's
# libraries, which build/default leaves out.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f build/default/compile_commands.json ]; then
  echo "check_tidy.sh: build/default is not configured; run: cmake --preset default" >&2
  exit 1
fi
if [ $# -gt 0 ]; then files=("$@"); else
  mapfile -t files < <(git ls-files 'core/*.cpp' 'ops/*.cpp' 'autograd/*.cpp' 'nn/*.cpp' 'examples/*.cpp' \
    'bench/*.cpp' ':!core/gpu' ':!*_cublaslt.cpp' ':!*_cudnn.cpp')
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p build/default --warnings-as-errors='*' \
    --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-unknown-pragmas 2> >(grep -v 'warnings\? generated' >&2)
