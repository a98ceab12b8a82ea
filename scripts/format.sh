#!/usr/bin/env bash
# Formats every C++ and CUDA file of the project with clang-format, in place. With --check: changes
# nothing, and fails naming each line that would change.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  "") mode=(-i) ;;
  --check) mode=(--dry-run -Werror) ;;
  *) echo "format.sh: unknown argument '$1'; use --check or nothing" >&2; exit 2 ;;
esac
git ls-files -z --cached --others --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh' ':!include' | # include/ is links
  xargs -0 --no-run-if-empty clang-format "${mode[@]}"
