#!/usr/bin/env bash
# Builds the fuzz targets of tests/fuzz and runs each for a while, beginning with the inputs in tests/fuzz/corpus, one on
# each core at a time:
#
#   scripts/fuzz.sh [--seconds N] [TARGET...]     20 seconds; all targets, or png safetensors ...
#
# Prints how many inputs each was given. Exits with 1 if a target crashed, hung, took too much memory or broke a
# promise; the input and the target's output are then in build/fuzz/found. The inputs that libFuzzer learned are thrown
# away, unless TAPER_FUZZ_CORPUS names a folder that keeps them from run to run.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=20 targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:-}; shift 2 || break ;;
    -*) echo "fuzz.sh: unknown argument '$1'; use --seconds N and names of targets" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then echo "fuzz.sh: --seconds needs a number of seconds" >&2; exit 2; fi
known=$(cd tests/fuzz && for file in *_fuzz.cpp; do echo "${file%_fuzz.cpp}"; done)
if [ ${#targets[@]} = 0 ]; then mapfile -t targets <<<"$known"; fi
for target in "${targets[@]}"; do
  if ! grep -qxF "$target" <<<"$known"; then
    echo "fuzz.sh: no target '$target'; there are ${known//$'\n'/ }" >&2
    exit 2
  fi
done

scripts/setup.sh
echo "==> building build/fuzz"
# shellcheck disable=SC2086 # several arguments on purpose
cmake --preset fuzz --log-level=WARNING ${TAPER_CMAKE_ARGS:-} >/dev/null
cmake --build --preset fuzz --target "${targets[@]/%/_fuzz}"

echo "==> $seconds s each"
found=build/fuzz/found
rm -rf "$found"
mkdir -p "$found"
work=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) # in memory: targets write and flush a file for each input
trap 'rm -rf "$work"' EXIT
export seconds found work TAPER_FUZZ_CORPUS

# run TARGET: one line about it.
# shellcheck disable=SC2317 # xargs calls it
run() {
  local learned=${TAPER_FUZZ_CORPUS:-$work}/$1 log=$work/$1.log inputs status=0
  mkdir -p "$learned" "$work/$1.tmp"
  TMPDIR=$work/$1.tmp "build/fuzz/tests/fuzz/$1_fuzz" "$learned" "tests/fuzz/corpus/$1" -max_total_time="$seconds" \
    -timeout=30 -malloc_limit_mb=256 -artifact_prefix="$found/$1-" -print_final_stats=1 >"$log" 2>&1 || status=$?
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%-18s %9d inputs, %6d a second%s\n' "$1" "${inputs:-0}" "$((${inputs:-0} / seconds))" \
    "$([ "$status" = 0 ] || echo ": FAILED, see $found")"
  if [ "$status" != 0 ]; then cp "$log" "$found"; fi
  return "$status"
}
export -f run
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'run {}' && exit
grep -hE '^(broken promise|SUMMARY|.*runtime error|.*error while loading)' "$found"/*.log | sort -u
exit 1
