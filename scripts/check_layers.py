#!/usr/bin/env python3
"""Refuses an #include that runs upward between the rooms of the house, or closes a circle of folders, naming file and line.

    scripts/check_layers.py [--draw] [ROOT]

A room may include itself and the rooms below it: programs (examples, bench, tests) > nn > autograd > ops >
core. Within a room, too, arrows between folders run one way; --draw shows them. Beyond that:
- library code writes its own headers as "taper/ROOM/path.h", the only spelling that works once installed, and the path
  below include/ that the file has in the source tree, by the links there;
- heavy third-party headers (Eigen, JSON, JPEG, ...) stay in .cpp files, so that nobody else compiles them;
  headers in a folder cudnn/ are parts of the one .cpp file there;
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
    for path in sorted((root / "include/taper").glob("*.h")):
        if not path.is_symlink():
            yield f"include/taper/{path.name}:1: a copy; it should be a link to the file"
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
    """Returns what is wrong when file `name` of `room` includes `target`, or None."""
    if GPU_RUNTIME.match(target) and not name.startswith("core/gpu/"):
        return f"{target} may be included in core/gpu/ only; include taper/core/gpu/ headers instead"
    part_of_cpp = any(f"/{library}/" in name and target.startswith(library) for library in ("cudnn", "mpi"))
    if (HEAVY.match(target) and room in LIBRARY and name.endswith(HEADERS) and not part_of_cpp
            and not name.startswith("core/gpu/")):
        return f"{target} is too heavy for a header; include it in the .cpp file"

    if target.startswith("taper/"):
        links = root / "include"  # so that the path one reads is the path one opens
        if links.is_dir() and target != "taper/version.h" and not (links / target).is_file():
            return f"include/{target} is no file"
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


# ---- folders ----

def folders(root):
    """{folder: {folder that it includes: ['file:line', ...]}} of the library."""
    graph = {}
    for room in LIBRARY:
        for path in sorted((root / room).rglob("*")):
            if path.suffix not in SOURCES or not path.is_file():
                continue
            here = path.parent.relative_to(root).as_posix()
            includes = graph.setdefault(here, {})
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match or not match[2].startswith("taper/") or match[2].count("/") < 2:
                    continue
                there = match[2][len("taper/"):].rpartition("/")[0]
                if there != here:
                    includes.setdefault(there, []).append(f"{path.relative_to(root).as_posix()}:{number}")
    return graph


def below(graph, folder):
    """Returns all folders that can be reached from `folder`; a circle makes `folder` one of these."""
    seen, left = set(), list(graph.get(folder, ()))
    while left:
        folder = left.pop()
        if folder not in seen:
            seen.add(folder)
            left += graph.get(folder, ())
    return seen


def find_circles(root):
    """Yields "file:line: ..." for the includes between two folders, the fewer ones, that close a circle."""
    graph = folders(root)
    reached = {folder: below(graph, folder) for folder in graph}
    told = set()
    for here in sorted(graph):
        for there in sorted(graph[here], key=lambda folder: len(graph[here][folder])):
            circle = frozenset(folder for folder in reached[here] if here in reached.get(folder, ()))
            if there not in circle or circle in told:
                continue
            told.add(circle)
            weakest = min((len(places), a, b) for a in circle for b, places in graph[a].items() if b in circle)
            _, a, b = weakest
            for place in graph[a][b]:
                yield f"{place}: {a}/ may not include {b}/, which includes it: a circle of {', '.join(sorted(circle))}"


def draw(root):
    """Returns the folders, the highest first, each with the folders that it stands on directly."""
    graph = folders(root)
    reached = {folder: below(graph, folder) for folder in graph}
    floors = sorted(graph, key=lambda folder: (-FLOORS[folder.split("/")[0]], -len(reached[folder]), folder))
    width = max(map(len, floors), default=0)
    for folder in floors:
        direct = set(graph[folder])
        direct -= set().union(*(reached.get(other, set()) for other in direct))
        if folder != floors[0] and folder.split("/")[0] != room:
            yield ""
        room = folder.split("/")[0]
        yield f"{folder:{width}}  {', '.join(sorted(direct)) or '-'}"


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
    arguments = [argument for argument in sys.argv[1:] if argument != "--draw"]
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parent.parent
    problems = [*find_problems(root), *find_circles(root)]
    if "--draw" in sys.argv[1:]:
        print(*draw(root), sep="\n")
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
