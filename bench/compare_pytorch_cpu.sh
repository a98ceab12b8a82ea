#!/usr/bin/env bash
# ResNet-50 training steps on the CPU: Taper beside Debian's python3-torch in both of its memory formats, in
# alternating runs on the same threads. Prints a table of medians and Taper's ratio to PyTorch's better layout.
#
#   bench/compare_pytorch_cpu.sh [ROUNDS]     (default 3; needs a built default preset)
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
threads=$(nproc)
program=build/default/examples/resnet50_train
[ -x "$program" ] || { echo "build first: cmake --preset default && cmake --build --preset default" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

taper() {  # SIZE BATCH
  "$program" --dataset synthetic --num-classes 10 --image-size "$1" --batch-size "$2" --max-steps 13 --schedule constant \
    --lr 0.01 --threads "$threads" --workers 0 --augment off --resize "$1" --summary "$work/summary.json" >/dev/null
  python3 -c "import json; print(json.load(open('$work/summary.json'))['images_per_second'])"
}
pytorch() {  # SIZE BATCH LAYOUT
  /usr/bin/python3 bench/pytorch_resnet50_cpu.py --size "$1" --batch "$2" --layout "$3" --threads "$threads" --steps 13
}

echo "ResNet-50 training, f32, $threads threads, images per second (median of $rounds alternating runs of 10 steps)"
printf '%-18s %10s %14s %16s %8s\n' "pictures" "Taper" "PyTorch NCHW" "PyTorch NHWC" "ratio"
for problem in "32 64" "224 8"; do
  read -r size batch <<<"$problem"
  for ((round = 0; round < rounds; ++round)); do
    taper "$size" "$batch" >>"$work/taper.$size"
    pytorch "$size" "$batch" contiguous >>"$work/nchw.$size"
    pytorch "$size" "$batch" channels_last >>"$work/nhwc.$size"
  done
  python3 - "$work" "$size" "$batch" <<'PY'
import statistics, sys
work, size, batch = sys.argv[1:]
speed = {name: statistics.median(map(float, open(f"{work}/{name}.{size}"))) for name in ("taper", "nchw", "nhwc")}
print(f"{batch + ' x ' + size + ' px':18} {speed['taper']:10.1f} {speed['nchw']:14.1f} {speed['nhwc']:16.1f} "
      f"{speed['taper'] / max(speed['nchw'], speed['nhwc']):7.2f}x")
PY
done
