#!/usr/bin/env python3
"""PyTorch's own allocator beside allocator_bench: the same block over and over, and the same recorded step.

  pytorch_allocator.py [--device cuda|cpu] [--trace FILE] [--seconds X] [--out FILE.json]

Measures ns per allocation and free through torch.empty, as a Python program pays them, and through the allocator's
own C++ interface (c10::Allocator), where this machine can compile an extension. Prints JSON, like Google
Benchmark's: {"context": ..., "benchmarks": [{"name", "ns_per_pair"}, ...]}. Exit code 77 without PyTorch or device.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

try:
    import torch
except ImportError as error:
    print(f"skipped: {error}", file=sys.stderr)
    sys.exit(77)

SIZES = (512, 64 * 1024, 4 * 1024 * 1024)
TRACE = pathlib.Path(__file__).resolve().parent.parent / "tests/data/resnet50_step.jsonl"

# The loops of allocator_bench on PyTorch's allocator; steps: (block, bytes) allocates, (block, -1) frees.
CPP = r"""
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>
#include <c10/core/Allocator.h>

static c10::Allocator* allocator(bool cuda) {
  return c10::GetAllocator(cuda ? c10::DeviceType::CUDA : c10::DeviceType::CPU);
}

double cached_ns(bool cuda, int64_t size, int64_t count) {
  c10::Allocator* const from = allocator(cuda);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < count; ++i) c10::DataPtr block = from->allocate(size);
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / double(count);
}

double replay_ns(bool cuda, const std::vector<std::pair<int64_t, int64_t>>& steps, int64_t blocks) {
  c10::Allocator* const from = allocator(cuda);
  std::vector<c10::DataPtr> live(blocks);
  const auto start = std::chrono::steady_clock::now();
  for (const auto& [block, size] : steps) {
    if (size < 0) live[block].clear();
    else live[block] = from->allocate(size);
  }
  live.clear();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}
"""


def median_of(measure, seconds):
    """The median of measure() over `seconds`, five runs at least, after one that warms up."""
    measure()
    values = []
    end = time.perf_counter() + seconds
    while len(values) < 5 or time.perf_counter() < end:
        values.append(measure())
    return statistics.median(values)


def empty_tensor_ns(device, size, count=1000):
    neighbours = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(3)]
    neighbours[1] = None  # a free block between two used ones, as in allocator_bench
    start = time.perf_counter_ns()
    for _ in range(count):
        torch.empty(size, dtype=torch.uint8, device=device)
    return (time.perf_counter_ns() - start) / count


def replay_ns(device, steps, blocks):
    live = [None] * blocks
    start = time.perf_counter_ns()
    for block, size in steps:
        live[block] = None if size < 0 else torch.empty(size, dtype=torch.uint8, device=device)
    live.clear()
    return time.perf_counter_ns() - start


def read_trace(path):
    """[(block, bytes, or -1 to free it)] and the number of blocks."""
    numbers = {}
    steps = []
    with open(path, encoding="utf-8") as file:
        for event in map(json.loads, file):
            block = numbers.setdefault(event["addr"], len(numbers))
            steps.append((block, event["size"] if event["action"] == "alloc" else -1))
    return steps, len(numbers)


def compile_loops(cuda):
    """Returns the C++ loops as a module. Throws without a compiler or a header."""
    from torch.utils import cpp_extension
    with tempfile.TemporaryDirectory() as folder:
        return cpp_extension.load_inline("taper_allocator_loops", CPP, functions=["cached_ns", "replay_ns"],
                                         build_directory=folder, with_cuda=False, extra_cflags=["-O2"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--trace", default=TRACE, help="default: the recorded step of ResNet-50")
    parser.add_argument("--seconds", type=float, default=1, help="time for each measurement")
    parser.add_argument("--no-cpp", action="store_true", help="torch.empty only")
    parser.add_argument("--out", help="write the JSON there instead of printing it")
    options = parser.parse_args()
    cuda = options.device == "cuda"
    if cuda and not torch.cuda.is_available():
        print("skipped: PyTorch sees no GPU", file=sys.stderr)
        sys.exit(77)

    results = []

    def add(name, ns):
        results.append({"name": name, "ns_per_pair": round(ns, 1)})

    steps, blocks = read_trace(options.trace)
    pairs = sum(size >= 0 for _, size in steps)
    for size in SIZES:
        add(f"torch.empty/{size}", median_of(lambda: empty_tensor_ns(options.device, size), options.seconds))
    add("torch.empty/resnet50_step",
        median_of(lambda: replay_ns(options.device, steps, blocks), options.seconds) / pairs)
    context = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if cuda else "cpu"}
    if not options.no_cpp:
        try:
            loops = compile_loops(cuda)
            for size in SIZES:
                add(f"c10::Allocator/{size}", median_of(lambda: loops.cached_ns(cuda, size, 10000), options.seconds))
            add("c10::Allocator/resnet50_step",
                median_of(lambda: loops.replay_ns(cuda, steps, blocks), options.seconds) / pairs)
        except Exception as error:  # whatever stops the compiler; the rest still stands
            lines = str(error).splitlines() or [repr(error)]
            context["c10::Allocator"] = "not measured: " + next((line for line in lines if "error: " in line), lines[0])
    text = json.dumps({"context": context, "benchmarks": results}, indent=1)
    if options.out:
        pathlib.Path(options.out).write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
