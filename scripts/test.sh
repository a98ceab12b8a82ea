#!/usr/bin/env bash
# Sets up, builds everything and runs all tests. Arguments go to ctest:
#
#   scripts/test.sh -R conv        only the tests with conv in their name
#   scripts/test.sh --rerun-failed
#
# TAPER_PRESET picks another preset of CMakePresets.json (default: default), and TAPER_CMAKE_ARGS adds
# arguments to its configuration.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${TAPER_PRESET:-default}

scripts/setup.sh
echo "==> configuring build/$preset"
# shellcheck disable=SC2086 # several arguments on purpose
cmake --preset "$preset" --log-level=WARNING ${TAPER_CMAKE_ARGS:-} >/dev/null
echo "==> building build/$preset"
cmake --build --preset "$preset"
echo "==> testing build/$preset"
ctest --preset "$preset" --parallel "$(nproc)" "$@"
