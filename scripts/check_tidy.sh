#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) over the library and the programs, as build/default compiles them:
#
#   scripts/check_tidy.sh                      every .cpp file of the library, the examples and the benchmarks
#   scripts/check_tidy.sh FILE...              these, one by one
#   scripts/check_tidy.sh --together FILE...   these, of one room and without a main, as if they were one file
#
# Most of its time clang-tidy walks the standard library's headers, so all files of the library are checked eight
# together, but for those that need more of the CPU than the others are compiled for. Left out are core/gpu/ (clang 14
# has no std::source_location, which the simulated GPU needs) and what calls NVIDIA's libraries, which build/default
# leaves out.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -f build/default/compile_commands.json ]; then
  echo "check_tidy.sh: build/default is not configured; run: cmake --preset default" >&2
  exit 1
fi

if [ "${1:-}" = --together ]; then
  shift
  others=$(mktemp --suffix=.h)
  trap 'rm -f "$others"' EXIT
  if [ $# -gt 1 ]; then printf "#include \"$PWD/%s\"\n" "${@:2}" >"$others"; fi
  clang-tidy --quiet -p build/tidy --warnings-as-errors='*' --extra-arg=-Wno-unknown-warning-option \
    --extra-arg=-Wno-unknown-pragmas --extra-arg=-include --extra-arg="$others" "$1" 2> >(grep -v 'warnings\? generated' >&2)
  exit
fi

# The commands of build/default for clang 14, which does not know all of GCC's flags. A file that is compiled for several
# levels of CPUs is checked once.
mkdir -p build/tidy
python3 - <<'PY'
import json
commands = {}
for command in json.load(open("build/default/compile_commands.json")):
    command["command"] = command["command"].replace(" -fno-gnu-unique", "")
    commands.setdefault(command["file"], command)
json.dump(list(commands.values()), open("build/tidy/compile_commands.json", "w"))
PY

# in_batches SIZE: the files named on standard input, SIZE together, on all cores.
in_batches() { xargs --no-run-if-empty -n "$1" -P "$(nproc)" scripts/check_tidy.sh --together; }
if [ $# -gt 0 ]; then printf '%s\n' "$@" | in_batches 1; exit; fi

left_out=(':!core/gpu' ':!ops/vendor/cublaslt' ':!ops/vendor/cudnn')
sets=('ops/**/cpu/avx512bf16/*.cpp' 'ops/**/cpu/amx/*.cpp') # for CPUs that the other files of a batch are not compiled for
forwarders=ops/cpu_levels/dispatch.cpp # has the names of the kernels that it stands in for
status=0
for room in core ops autograd nn examples/resnet50_train; do
  git ls-files "$room/*.cpp" "${left_out[@]}" ":!$forwarders" "${sets[@]/#/:!}" | in_batches 8 || status=1
done
# Programs have a main each. And two checks, of using declarations and namespace aliases, look at a file only when it
# is the first of its batch.
{
  git ls-files 'examples/*.cpp' 'bench/*.cpp' "$forwarders" "${sets[@]}" ':!examples/resnet50_train'
  git grep -lE '^\s*(using [A-Za-z_:]+::\w+;|namespace \w+ =)' -- {core,ops,autograd,nn}'/*.cpp' "${left_out[@]}" || true
} | in_batches 1 || status=1
exit $status
