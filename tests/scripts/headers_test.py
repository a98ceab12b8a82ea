#!/usr/bin/env python3
"""Every installed header compiles by itself: headers_test.py BUILD_FOLDER.

Each is read alone, without making code. Most of that time would go into <fmt/format.h>, which core/error.h brings to
nearly all of them, so those that reach it get it precompiled; the others get nothing that they do not ask for.
"""

import concurrent.futures
import functools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ("core", "ops", "autograd", "nn")
SLOW = "fmt/format.h"


def installed_headers():
    """The names of what cmake/TaperInstall.cmake installs, as programs include them."""
    names = ["taper.h"]
    for room in ROOMS:
        names += [str(path.relative_to(ROOT)) for ending in ("*.h", "*.cuh") for path in (ROOT / room).rglob(ending)]
    return sorted(names)


@functools.lru_cache(maxsize=None)
def includes_of(name):
    """What a header of Taper includes itself."""
    path = ROOT / name
    return re.findall(r'^#include [<"]([^>"]+)[>"]', path.read_text(), re.M) if path.exists() else []


def reaches(name, wanted):
    """Whether a header of Taper includes `wanted`, itself or through others."""
    seen, left = set(), [name]
    while left:
        for found in includes_of(left.pop()):
            if found == wanted:
                return True
            if found.startswith("taper/") and found not in seen:
                seen.add(found)
                left.append(found.removeprefix("taper/"))
    return False


def compiler_of(build):
    """The command that compiles a file of the top room, without its files."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"].endswith("/nn/module.cpp"):
            words = shlex.split(entry["command"])
            compiler = words.index("-o")
            kept = [word for word in words[:compiler] if not word.startswith("-Wno-unknown")]
            return [word for word in kept if "ccache" not in os.path.basename(word)] + ["-O0", "-Wno-unknown-pragmas"]
    sys.exit(f"headers_test: {build} compiles no nn/module.cpp")


def main():
    build = pathlib.Path(sys.argv[1])
    compiler = compiler_of(build)
    with tempfile.TemporaryDirectory() as folder:
        prefix = pathlib.Path(folder) / "slow.h"
        prefix.write_text(f"#include <{SLOW}>\n")
        subprocess.run([*compiler, "-x", "c++-header", str(prefix), "-o", f"{prefix}.gch"], check=True)

        def complaint(name):
            known = ["-include", str(prefix)] if reaches(name, SLOW) else []
            run = subprocess.run([*compiler, "-fsyntax-only", *known, "-x", "c++", "-"], text=True, capture_output=True,
                                 input=f'#include "taper/{name}"\n', check=False)
            return f"{name}:\n{run.stderr}" if run.returncode != 0 else None

        headers = installed_headers()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            complaints = [text for text in pool.map(complaint, headers) if text]
    for text in complaints:
        print(text)
    print(f"{len(headers)} headers, {len(complaints)} do not compile by themselves")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
