#!/usr/bin/env python3
"""Registers, shared memory and spills of every kernel, as ptxas reported them; fails on a spill without a reason,
and on host code that calls what only the device has.

    scripts/kernel_report.py --allow FILE [--out FILE] OBJECT...

Reads OBJECT.ptxas, which cmake/record_ptxas.sh wrote beside each OBJECT while nvcc compiled it. An OBJECT that is
not from a .cu file is left out, and an argument @FILE stands for the lines of FILE. Exit code 1 if a kernel spills
registers to memory and no line of the --allow file says why it may, or if such a line is not needed any more.

A line of the --allow file is KERNEL ARCHITECTURE REASON: the kernel's name as the report shows it and the
architecture, both may have * and ?, and the reason in words. # begins a comment.

In a template nvcc lets host code call a __device__ function without a word, and makes the call end the program:
the host's body of such a function is exit(1). So no OBJECT may refer to exit.
"""

import argparse
import dataclasses
import fnmatch
import pathlib
import re
import subprocess
import sys

from kernel_names import readable


@dataclasses.dataclass
class Usage:
    """What one kernel, compiled for one architecture, takes."""
    symbol: str
    arch: str
    registers: int = 0
    shared: int = 0  # bytes, static
    stack: int = 0  # bytes per thread; arrays that registers cannot hold, and spills
    spill_stores: int = 0
    spill_loads: int = 0
    name: str = ""


COMPILING = re.compile(r"Compiling entry function '(\S+)' for '(\w+)'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def parse(text):
    """Returns the Usage of each kernel in the output of `nvcc -Xptxas -v`. A function that a kernel calls counts with it."""
    kernels = []
    for line in text.splitlines():
        if match := COMPILING.search(line):
            kernels.append(Usage(*match.groups()))
        elif not kernels:
            continue
        elif match := STACK.search(line):
            stack, stores, loads = map(int, match.groups())
            kernels[-1].stack += stack
            kernels[-1].spill_stores += stores
            kernels[-1].spill_loads += loads
        elif match := USED.search(line):
            kernels[-1].registers = int(match[1])
            if shared := SHARED.search(line):
                kernels[-1].shared = int(shared[1])
    names = readable(kernel.symbol for kernel in kernels)
    for kernel in kernels:
        kernel.name = names[kernel.symbol]
    return kernels


def read_allowed(path):
    """[(kernel pattern, architecture pattern, reason)] of an --allow file."""
    allowed = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        # A name may hold spaces between < and >: the architecture is the first word that looks like one.
        match = re.fullmatch(r"(\S.*?)\s+(sm_\w+\*?|\*)\s+(\S.*)", line.strip())
        if not match:
            sys.exit(f"{path}:{number}: a line is KERNEL ARCHITECTURE REASON, with sm_90a or * for the architecture")
        allowed.append(match.groups())
    return allowed


def judge(kernels, allowed, where):
    """Returns what is wrong, line by line. `where` names the list of allowed spills."""
    problems = []
    used = set()
    for kernel in kernels:
        if kernel.spill_stores or kernel.spill_loads:
            entries = [entry for entry in allowed if fnmatch.fnmatchcase(kernel.name, entry[0])
                       and fnmatch.fnmatchcase(kernel.arch, entry[1])]
            used.update(entries)
            if not entries:
                problems.append(f"{kernel.name} spills registers on {kernel.arch}: {kernel.spill_stores} bytes stored, "
                                f"{kernel.spill_loads} loaded; give it fewer live values, or say in {where} why it may")
    architectures = {kernel.arch for kernel in kernels}
    for entry in allowed:
        if entry not in used and fnmatch.filter(architectures, entry[1]):
            problems.append(f"{where} allows {entry[0]} to spill on {entry[1]}, which it does not; remove the line")
    return problems


def calls_device_code(path):
    """Returns whether the object's host code calls a __device__ function."""
    symbols = subprocess.run(["nm", "--undefined-only", "--format=posix", path], capture_output=True, text=True, check=True)
    return any(line.split()[0] == "exit" for line in symbols.stdout.splitlines())


def table(kernels):
    """Returns the report, one line for each kernel and architecture."""
    rows = [("kernel", "arch", "registers", "shared", "stack", "spill stores", "spill loads")]
    rows += [(k.name, k.arch, str(k.registers), str(k.shared), str(k.stack), str(k.spill_stores), str(k.spill_loads))
             for k in sorted(kernels, key=lambda k: (k.name, k.symbol, k.arch))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([f"{row[0]:<{widths[0]}}", f"{row[1]:<{widths[1]}}"] +
                               [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]) for row in rows)


def main():
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", description=__doc__.splitlines()[0])
    parser.add_argument("--allow", type=pathlib.Path, required=True, help="spills that have a reason")
    parser.add_argument("--out", type=pathlib.Path, help="where to write the table; default: print it")
    parser.add_argument("objects", nargs="*", type=pathlib.Path)
    options = parser.parse_args()

    kernels, problems = [], []
    for path in options.objects:
        if path.name.endswith(".cu.o"):
            log = path.with_name(path.name + ".ptxas")
            if not log.exists():
                sys.exit(f"{log} is missing: {path.name} was not compiled through cmake/record_ptxas.sh; build it again")
            kernels += parse(log.read_text())
            if calls_device_code(path):
                problems.append(f"{path}: host code calls a __device__ function, which would end the program: "
                                "make the function __host__ __device__")
    report = table(kernels)
    if options.out:
        options.out.write_text(report + "\n")
    else:
        print(report)
    problems += judge(kernels, read_allowed(options.allow), options.allow.name)
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
