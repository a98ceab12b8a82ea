# Stops at the first multiplication of model(x), on the CPU and on the simulated GPU, and prints the files that the walk
# passed on its way there; see 0-the-spine.md. The tests build these files once more for the chapter, with debugging
# information and without an optimiser, which would leave calls out:
# debug: nn/layer.cpp
# debug: nn/layers/conv_batch_norm.cpp
# debug: autograd/derivatives/conv.cpp
# debug: ops/conv/conv2d.cpp
# debug: ops/algorithms/algorithm_cache.cpp
# debug: ops/conv/cpu/algorithms.cpp
# debug: ops/conv/cpu/implicit_gemm.cpp
# debug: core/base/parallel.cpp
# debug: ops/gemm/cpu/gemm_kernel.cpp
# debug: ops/conv/gpu/algorithms.cu
# debug: ops/conv/gpu/implicit_gemm_moments.cu
set pagination off
set style enabled off
set confirm off
set print inferior-events off
set environment TAPER_SIM_SEED 0

python
import re

import gdb


def stop_at(function, command="continue"):
    gdb.execute(f"tbreak {function}", to_string=True)
    gdb.breakpoints()[-1].silent = True
    gdb.execute(command, to_string=True)


def file_of(frame):
    table = frame.find_sal().symtab
    return re.sub(r".*/(?=(core|ops|autograd|nn|docs)/)", "", table.filename) if table else "?"


def name_of(frame):
    name, before = frame.name() or "?", None
    while name != before:  # without template arguments and parameters
        before, name = name, re.sub(r"<[^<>]*>|\([^()]*\)", "", name)
    name = re.sub(r"taper::|ops::|gpu::|detail::", "", name).lstrip(":")
    return "a lambda" if name in ("operator", "_FUN") or "{lambda" in name else name.replace("operator", "operator()")


def walk(outermost):
    """Prints the frames from `outermost` to here, a line for each file that they enter. Returns the files."""
    frame, steps = gdb.newest_frame(), []
    while frame is not None:
        file, name = file_of(frame), name_of(frame)
        if not file.startswith("/"):  # else the standard library's
            if not steps or steps[0][0] != file:
                steps.insert(0, (file, []))
            if name not in steps[0][1]:
                steps[0][1].insert(0, name)
        if name == outermost:
            break
        frame = frame.older()
    for file, names in steps:
        print(f"{file:36}{', '.join(names)}")
    return {file for file, _ in steps}


def count(files):
    floor = sum(file.startswith("core/base/") for file in files)
    page = sum(file.startswith("docs/") for file in files)
    print(f"{len(files)} files: {len(files) - floor - page} of the walk, {floor} of core/base, {page} of this page")
end

echo \n(1) on the CPU\n
python stop_at("multiply_tile", "run > /dev/null")
python count(walk("Layer::operator()"))

echo \n(2) on the GPU: the host launches\n
python stop_at("launch_gemm")
python stop_at("taper::gpu::launch")
python host = walk("Layer::operator()")

echo \n(3) on the GPU: a thread of the kernel multiplies\n
python stop_at("multiply")
python kernel = walk("gemm_simt")
python count(host | kernel)
kill
