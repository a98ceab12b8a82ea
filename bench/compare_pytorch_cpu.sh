#!/usr/bin/env bash
# ResNet-50 on the CPU: Taper beside Debian's python3-torch in both of its memory formats, in alternating runs on the
# same threads; training steps and inference (Taper's in its InferenceForm, PyTorch's in inference_mode). Prints a table
# of medians with Taper's ratio to PyTorch's better layout, the arithmetic of Taper's convolutions as a share of what
# matrix products reach on the machine, and how fast those are: Taper's, OpenBLAS's and Eigen's beside the processor's
# peak. About four minutes on an idle machine of two cores.
#
#   bench/compare_pytorch_cpu.sh [ROUNDS] [PROBLEM...]     (default 3 rounds of all problems; needs a built default preset)
#   bench/compare_pytorch_cpu.sh 1 "train 224 8" "infer 224 1"
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
shift || true
problems=("$@")
[ ${#problems[@]} -gt 0 ] || problems=("train 32 64" "train 224 8" "infer 224 1" "infer 224 8")
threads=$(nproc)
build=build/default
for program in examples/resnet50_train bench/inference_bench bench/conv_bench; do
  [ -x "$build/$program" ] || { echo "build first: cmake --preset default && cmake --build --preset default" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

taper() {  # train|infer SIZE BATCH
  if [ "$1" = infer ]; then
    "$build/bench/inference_bench" "$2" "$3" 20 "$threads"
  else
    "$build/examples/resnet50_train" --dataset synthetic --num-classes 10 --image-size "$2" --batch-size "$3" --max-steps 13 \
      --schedule constant --lr 0.01 --threads "$threads" --workers 0 --augment off --resize "$2" \
      --summary "$work/summary.json" >/dev/null
    python3 -c "import json; print(json.load(open('$work/summary.json'))['images_per_second'])"
  fi
}
pytorch() {  # train|infer SIZE BATCH LAYOUT
  local flags=(--steps 13)
  [ "$1" = train ] || flags=(--steps 23 --inference)
  /usr/bin/python3 bench/pytorch_resnet50_cpu.py --size "$2" --batch "$3" --layout "$4" --threads "$threads" "${flags[@]}"
}

"$build/bench/conv_bench" --benchmark_filter='^ceiling' --benchmark_format=json 2>/dev/null >"$work/ceiling.json"
python3 - "$work/ceiling.json" <<'PY'
import json, sys
speed = {b["name"].split("/")[1]: b["GFLOP/s"] for b in json.load(open(sys.argv[1]))["benchmarks"]}
print("matrix product of 2048, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in speed.items() if name != "peak")
      + f"; multiply-adds in registers {speed['peak']:.0f}")
PY

echo "ResNet-50, f32, $threads threads, images per second (median of $rounds alternating runs of 10 steps or 20 calls)"
printf '%-24s %10s %14s %16s %8s %16s\n' "" "Taper" "PyTorch NCHW" "PyTorch NHWC" "ratio" "GFLOP/s (share)"
for problem in "${problems[@]}"; do
  read -r mode size batch <<<"$problem"
  for ((round = 0; round < rounds; ++round)); do
    taper "$mode" "$size" "$batch" >>"$work/taper.$problem"
    pytorch "$mode" "$size" "$batch" contiguous >>"$work/nchw.$problem"
    pytorch "$mode" "$size" "$batch" channels_last >>"$work/nhwc.$problem"
  done
  python3 - "$work" "$problem" <<'PY'
import json, statistics, sys
work, problem = sys.argv[1:]
mode, size, batch = problem.split()
speed = {name: statistics.median(map(float, open(f"{work}/{name}.{problem}"))) for name in ("taper", "nchw", "nhwc")}
# Direct sums of the convolutions: 4.09e9 multiply-adds forward for an image of 224 pixels, twice that backward.
# Winograd needs fewer, so that the share can pass 100%.
gflops = speed["taper"] * 2 * 4.087 * (int(size) / 224) ** 2 * (3 if mode == "train" else 1)
product = max(b["GFLOP/s"] for b in json.load(open(f"{work}/ceiling.json"))["benchmarks"] if "/peak" not in b["name"])
print(f"{mode + ' ' + batch + ' x ' + size + ' px':24} {speed['taper']:10.1f} {speed['nchw']:14.1f} {speed['nhwc']:16.1f} "
      f"{speed['taper'] / max(speed['nchw'], speed['nhwc']):7.2f}x {gflops:8.0f} ({100 * gflops / product:.0f}%)", flush=True)
PY
done
