#!/usr/bin/env python3
"""Refuses an #include that runs upward between the rooms of the house, naming file and line.

    scripts/check_layers.py [ROOT]

A room may include itself and the rooms below it: programs (examples, bench, tests) > nn > autograd > ops >
core. Beyond that:
- library code writes its own headers as "taper/ROOM/path.h", the only spelling that works once installed;
- heavy third-party headers (Eigen, JSON, JPEG, ...) stay in .cpp files, so that nobody else compiles them;
  headers named X_cudnn.h are parts of the one .cpp file that compiles cuDNN's;
- the CUDA runtime and the fibers that simulate it are seen by core/gpu/ alone.
"""

import pathlib
import re
import sys

FLOORS = {"core": 0, "ops": 1, "autograd": 2, "nn": 3, "examples": 4, "bench": 4, "tests": 4}
LIBRARY = ("core", "ops", "autograd", "nn")
HEADERS = (".h", ".cuh")
SOURCES = HEADERS + (".cpp", ".cu")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
HEAVY = re.compile(r"^(Eigen/|unsupported/Eigen/|nlohmann/|CLI/|catch2/|benchmark/|boost/|jpeglib\.h|jerror\.h|"
                   r"turbojpeg\.h|png\.h|zlib\.h|minizip/|mpi\.h|cudnn|cublas|nccl)")
GPU_RUNTIME = re.compile(r"^(cuda\.h|cuda_[a-z0-9_]*\.h|device_launch_parameters\.h|cooperative_groups|"
                         r"boost/context/)")


def find_problems(root):
    """Yields "file:line: what is wrong" for every include that breaks a rule."""
    for room in FLOORS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                name = path.relative_to(root).as_posix()
                for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                    match = INCLUDE.match(line)
                    problem = match and judge(root, name, room, quoted=match[1] == '"', target=match[2])
                    if problem:
                        yield f"{name}:{number}: {problem}"


def judge(root, name, room, quoted, target):
    """What is wrong with file `name` of `room` including `target`, or None."""
    if GPU_RUNTIME.match(target) and not name.startswith("core/gpu/"):
        return f"{target} may be included in core/gpu/ only; include taper/core/gpu/ headers instead"
    part_of_cpp = name.endswith("_cudnn.h") and target.startswith("cudnn")
    if (HEAVY.match(target) and room in LIBRARY and name.endswith(HEADERS) and not part_of_cpp
            and not name.startswith("core/gpu/")):
        return f"{target} is too heavy for a header; include it in the .cpp file"

    if target.startswith("taper/"):
        return judge_floor(room, target, included_room(target))
    if not quoted:
        return None
    if room in LIBRARY:
        return f'"{target}" must be written "taper/ROOM/path.h"'
    here = (root / name).parent
    for path in (here / target, root / target):
        if path.is_file():
            return judge_floor(room, target, path.resolve().relative_to(root.resolve()).parts[0])
    return None


def included_room(target):
    """The room of "taper/ROOM/path.h"."""
    parts = target.split("/")
    if len(parts) > 2:
        return parts[1]
    # The build writes taper/version.h, which includes nothing; taper/taper.h includes every room.
    return "core" if target == "taper/version.h" else "examples"


def judge_floor(room, target, target_room):
    if target_room not in FLOORS:
        return f"{target} is in no room; there are {', '.join(FLOORS)}"
    if FLOORS[target_room] > FLOORS[room]:
        return f"{room}/ may not include {target}: {target_room}/ is above it"
    return None


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    problems = list(find_problems(root))
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
