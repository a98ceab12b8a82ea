#!/usr/bin/env bash
# ResNet-50 on the CPU: Taper beside PyTorch in both of its memory formats, in alternating runs on the same threads;
# training steps and inference (Taper's in its InferenceForm, PyTorch's in inference_mode), in f32 and under autocast in
# bf16. Prints a table of medians with Taper's ratio to PyTorch's better layout and, for bf16, to Taper's own f32 in the
# same rounds; the arithmetic of Taper's convolutions as a share of what f32 matrix products reach on the machine; and how
# fast those are: Taper's, OpenBLAS's and Eigen's beside the processor's peak. About ten minutes on an idle machine of two
# cores.
#
#   bench/compare_pytorch_cpu.sh [ROUNDS] [PROBLEM...]     (default 3 rounds of all problems; needs a built default preset)
#   bench/compare_pytorch_cpu.sh 1 "train 224 8" "train 224 8 bf16" "infer 224 1"
#   TAPER_TORCH_PYTHON=venv/bin/python bench/compare_pytorch_cpu.sh   another PyTorch than Debian's, which has no fast bf16
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
shift || true
problems=("$@")
[ ${#problems[@]} -gt 0 ] || problems=("train 32 64" "train 224 8" "infer 224 1" "infer 224 8"
  "train 32 64 bf16" "train 224 8 bf16" "train 224 32 bf16" "infer 224 1 bf16" "infer 224 8 bf16")
python=${TAPER_TORCH_PYTHON:-/usr/bin/python3}
threads=$(nproc)
build=build/default
for program in examples/resnet50_train bench/inference_bench bench/conv_bench; do
  [ -x "$build/$program" ] || { echo "build first: cmake --preset default && cmake --build --preset default" >&2; exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

taper() {  # train|infer SIZE BATCH f32|bf16
  if [ "$1" = infer ]; then
    "$build/bench/inference_bench" "$2" "$3" 20 "$threads" "$4"
  else
    "$build/examples/resnet50_train" --dataset synthetic --num-classes 10 --image-size "$2" --batch-size "$3" --max-steps 13 \
      --schedule constant --lr 0.01 --threads "$threads" --workers 0 --augment off --resize "$2" --amp "${4/f32/off}" \
      --summary "$work/summary.json" >/dev/null
    python3 -c "import json; print(json.load(open('$work/summary.json'))['images_per_second'])"
  fi
}
pytorch() {  # train|infer SIZE BATCH f32|bf16 LAYOUT
  local flags=(--steps 13)
  [ "$1" = train ] || flags=(--steps 23 --inference)
  "$python" bench/pytorch_resnet50_cpu.py --size "$2" --batch "$3" --precision "$4" --layout "$5" --threads "$threads" \
    "${flags[@]}"
}

"$build/bench/conv_bench" --benchmark_filter='^ceiling' --benchmark_format=json 2>/dev/null >"$work/ceiling.json"
python3 - "$work/ceiling.json" <<'PY'
import json, sys
speed = {b["name"].split("/")[1]: b["GFLOP/s"] for b in json.load(open(sys.argv[1]))["benchmarks"]}
print("matrix product of 2048, GFLOP/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in speed.items() if name != "peak")
      + f"; multiply-adds in registers {speed['peak']:.0f}")
PY

version=$("$python" -c 'import torch; print(torch.__version__)')
echo "ResNet-50, $threads threads, images per second (median of $rounds alternating runs of 10 steps or 20 calls); PyTorch $version"
printf '%-28s %10s %14s %16s %8s %8s %16s\n' "" "Taper" "PyTorch NCHW" "PyTorch NHWC" "ratio" "to f32" "GFLOP/s (share)"
for problem in "${problems[@]}"; do
  read -r mode size batch precision <<<"$problem"
  precision=${precision:-f32}
  for ((round = 0; round < rounds; ++round)); do
    taper "$mode" "$size" "$batch" "$precision" >>"$work/taper.$problem"
    pytorch "$mode" "$size" "$batch" "$precision" contiguous >>"$work/nchw.$problem"
    pytorch "$mode" "$size" "$batch" "$precision" channels_last >>"$work/nhwc.$problem"
    if [ "$precision" != f32 ]; then taper "$mode" "$size" "$batch" f32 >>"$work/f32.$problem"; fi
  done
  python3 - "$work" "$problem" <<'PY'
import json, statistics, sys
work, problem = sys.argv[1:]
mode, size, batch, precision = [*problem.split(), "f32"][:4]
median = lambda name: statistics.median(map(float, open(f"{work}/{name}.{problem}")))
speed = {name: median(name) for name in ("taper", "nchw", "nhwc")}
to_f32 = "" if precision == "f32" else f"{speed['taper'] / median('f32'):.2f}x"
# Direct sums of the convolutions: 4.09e9 multiply-adds forward for an image of 224 pixels, twice that backward.
# Winograd needs fewer, so that the share can pass 100%.
gflops = speed["taper"] * 2 * 4.087 * (int(size) / 224) ** 2 * (3 if mode == "train" else 1)
product = max(b["GFLOP/s"] for b in json.load(open(f"{work}/ceiling.json"))["benchmarks"] if "/peak" not in b["name"])
print(f"{f'{mode} {batch} x {size} px, {precision}':28} {speed['taper']:10.1f} {speed['nchw']:14.1f} {speed['nhwc']:16.1f} "
      f"{speed['taper'] / max(speed['nchw'], speed['nhwc']):7.2f}x {to_f32:>8} {gflops:8.0f} ({100 * gflops / product:.0f}%)",
      flush=True)
PY
done
