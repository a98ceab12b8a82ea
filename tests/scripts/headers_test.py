#!/usr/bin/env python3
"""Every installed header compiles by itself: headers_test.py CMAKE BUILD_FOLDER.

Each is compiled alone, without making code. A few headers that nearly all include would take most of the time. So the
headers that reach these get them precompiled; none gets what it does not include itself.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

# Slow headers, the slowest list first: a header gets the first list that it includes completely.
SLOW = (("taper/core/tensor.h", "taper/core/gpu/simt.h"), ("taper/core/tensor.h",), ("fmt/format.h",))


def includes_of(path):
    """Returns what a header includes directly."""
    return re.findall(r'^#include [<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.M)


def reaches(include, name, wanted):
    """Whether the header called name below `include` includes `wanted`, itself or through others."""
    seen, left = set(), [name]
    while left:
        path = include / left.pop()
        if not path.exists():
            continue
        found = set(includes_of(path))
        if wanted in found:
            return True
        left += found - seen
        seen |= found
    return False


def compiler_of(build, include):
    """Returns the command that compiles a file of the top room, without its files, with headers from `include`."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"].endswith("/nn/module.cpp"):
            words = shlex.split(entry["command"])
            kept = words[words[0].endswith("ccache"):words.index("-o")]
            kept = [word for word in kept if not (word.startswith("-I") and word.endswith("/include"))]
            return [*kept, "-O0", "-Wno-unknown-pragmas", f"-I{include}"]
    sys.exit(f"headers_test: {build} compiles no nn/module.cpp")


def main():
    cmake, build = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([cmake, "--install", build, "--prefix", folder, "--component", "headers"], check=True,
                       stdout=subprocess.DEVNULL)
        include = next(pathlib.Path(folder).glob("include*"))
        compiler = compiler_of(build, include)
        prefixes = {}
        for i, slow in enumerate(SLOW):
            prefixes[slow] = pathlib.Path(folder) / f"slow{i}.h"
            prefixes[slow].write_text("".join(f"#include <{name}>\n" for name in slow), encoding="utf-8")
            subprocess.run([*compiler, "-x", "c++-header", prefixes[slow], "-o", f"{prefixes[slow]}.gch"], check=True)

        def complaint(name):
            reached = [slow for slow in SLOW if all(reaches(include, name, each) for each in slow)]
            known = ["-include", str(prefixes[reached[0]])] if reached else []
            run = subprocess.run([*compiler, "-fsyntax-only", *known, "-x", "c++", "-"], text=True, capture_output=True,
                                 input=f"#include <{name}>\n", check=False)
            return f"{name}:\n{run.stderr}" if run.returncode != 0 else None

        headers = sorted(str(path.relative_to(include)) for ending in ("h", "cuh") for path in include.rglob(f"*.{ending}"))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            complaints = [text for text in pool.map(complaint, headers) if text]
    for text in complaints:
        print(text)
    print(f"{len(headers)} headers, {len(complaints)} do not compile by themselves")
    sys.exit(1 if complaints or not headers else 0)


if __name__ == "__main__":
    main()
