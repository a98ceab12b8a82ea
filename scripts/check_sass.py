#!/usr/bin/env python3
"""Whether kernels became the machine instructions they were written for: tensor cores, asynchronous copies.

    scripts/check_sass.py --expect FILE PROGRAM_OR_OBJECT...

A line of FILE is KERNEL: INSTRUCTION..., the kernel's name as in kernel_report.txt, where * and ? may stand, and
instructions without their suffixes; A|B asks for either. Each kernel that matches must have the instructions on every
architecture it was compiled for, and each line must match a kernel. Exit code 1 if not, 77 without cuobjdump.
"""

import argparse
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys

from kernel_names import readable

ARCH = re.compile(r"^arch = (\w+)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)")


def parse(text):
    """{(kernel, architecture): names of its instructions, without suffixes} from `cuobjdump --dump-sass`."""
    found = {}
    arch = instructions = None
    for line in text.splitlines():
        if match := ARCH.match(line):
            arch = match[1]
        elif match := FUNCTION.match(line):
            instructions = found.setdefault((match[1], arch), set())
        elif instructions is not None and (match := INSTRUCTION.match(line)):
            instructions.add(match[1])
    names = readable(symbol for symbol, _ in found)
    kernels = {}
    for (symbol, arch), instructions in found.items():
        kernels.setdefault((names[symbol], arch), set()).update(instructions)
    return kernels


def judge(kernels, expected):
    """Returns what is missing, line by line. expected: [(kernel pattern, instructions)]."""
    problems = []
    for pattern, instructions in expected:
        fitting = [key for key in kernels if fnmatch.fnmatchcase(key[0], pattern)]
        if not fitting:
            problems.append(f"{pattern} fits no kernel of this build")
        for name, arch in sorted(fitting):
            problems += [f"{name} on {arch} has no {wanted.replace('|', ' or ')}" for wanted in sorted(instructions)
                         if not kernels[name, arch] & set(wanted.split("|"))]
    return problems


def read_expected(path):
    expected = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, colon, instructions = line.rpartition(": ")
        if not colon:
            sys.exit(f"{path}:{number}: a line is KERNEL: INSTRUCTION...")
        expected.append((pattern.strip(), set(instructions.split())))
    return expected


def tool_folders():
    """Returns where cuobjdump, and the nvdisasm that it calls, may be: PATH, beside nvcc, in NVIDIA's Python wheels."""
    folders = os.environ["PATH"].split(os.pathsep) + ["/usr/local/cuda/bin"]
    if nvcc := shutil.which("nvcc"):
        folders.append(str(pathlib.Path(nvcc).resolve().parent))
    try:
        import nvidia
        folders += [str(path) for root in nvidia.__path__ for path in pathlib.Path(root).glob("*/bin")]
    except ImportError:
        pass
    return os.pathsep.join(folders)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--expect", type=pathlib.Path, required=True)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()

    path = tool_folders()
    cuobjdump = shutil.which("cuobjdump", path=path)
    if not cuobjdump or not shutil.which("nvdisasm", path=path):
        print("skipped: no cuobjdump and nvdisasm; they come with the CUDA toolkit, or: "
              "pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")
        sys.exit(77)
    text = "".join(subprocess.run([cuobjdump, "--dump-sass", file], stdout=subprocess.PIPE, text=True, check=True,
                                  env={**os.environ, "PATH": path}).stdout for file in options.files)
    kernels = parse(text)
    problems = judge(kernels, read_expected(options.expect))
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"{len(kernels)} kernels looked at")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
