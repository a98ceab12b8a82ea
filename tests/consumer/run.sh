#!/usr/bin/env bash
# run.sh BUILD: installs BUILD to a temporary prefix, moves the prefix (a package must not know where it was
# installed), then configures, builds and runs project/ against it with find_package(Taper).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1
cmake=${CMAKE:-cmake}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix"

for licence in LICENSE THIRD_PARTY_NOTICES.md digits.LICENSE.md; do
  if [ -z "$(find "$work/prefix" -name "$licence")" ]; then echo "$licence is not installed" >&2; exit 1; fi
done

source_tree=$(cd "$here/../.." && pwd)
if grep -rnF -e "$source_tree" -e "$work/first" "$work/prefix" --include='*.cmake' --include='*.h'; then
  echo "the installed package names the folder it was built in" >&2
  exit 1
fi
if grep -rnE -e '-march|-Werror|-Wall|build_flags|Eigen' "$work/prefix" --include='*.cmake'; then
  echo "the installed package hands its private build settings to its users" >&2
  exit 1
fi

"$cmake" -S "$here/project" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release
"$cmake" --build "$work/build"
output=$("$work/build/consumer")
echo "$output"
[[ $output == *"TwoTowers learns: true, served: true"*"1437 digits, error 0" ]]

output=$("$work/build/train")
echo "$output"
[[ $output == "finished after 46 steps, and it learned" ]]
