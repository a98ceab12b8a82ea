"""The folders with the libraries of NVIDIA's Python wheels, of every Python on this machine.

  nvidia_libraries.py [PROGRAM]     prints them with colons between, as LD_LIBRARY_PATH wants them

cuDNN, cuBLASLt and the NVRTC that cuDNN looks for are opened by name while a program runs; the loader does not look into
site-packages/nvidia/*/lib by itself. The wheels of CUDA 12 and 13 both have a libcudnn.so.9, so the Pythons whose wheels
have the CUDA runtime that PROGRAM is linked with come first.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ASK = "import importlib.util as u; s = u.find_spec('nvidia'); print(*(s.submodule_search_locations if s else ()), sep='\\n')"
SECONDS = 20
USUAL_FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/conda/bin", "/opt/venv/bin", "/venv/bin")


def pythons():
    """Returns the paths of all Pythons in PATH and in the usual folders, the one that runs this first."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *USUAL_FOLDERS]
    paths = [sys.executable, *(shutil.which(name, path=folder) for folder in folders for name in ("python3", "python"))]
    return list(dict.fromkeys(path for path in paths if path))


def wheel_roots():
    """Returns the folders .../site-packages/nvidia of all Pythons."""
    running = []
    for python in pythons():
        try:
            running.append(subprocess.Popen([python, "-c", ASK], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True))
        except OSError:
            continue  # a broken link, another machine's program
    roots = []
    for process in running:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        roots += output.splitlines() if process.returncode == 0 else []
    return [pathlib.Path(root) for root in dict.fromkeys(roots)]


def cuda_runtime(program):
    """Returns the CUDA runtime that the program names, "libcudart.so.13"; None if it names none or cannot be read."""
    path = shutil.which(program)
    try:
        match = re.search(rb"libcudart\.so\.\d+", pathlib.Path(path).read_bytes()) if path else None
    except OSError:
        match = None
    return match and match[0].decode()


def library_folders(program=None):
    """Returns the wheels' folders with libraries, those that suit the program first."""
    roots = wheel_roots()
    runtime = cuda_runtime(program) if program else None
    if runtime:
        roots.sort(key=lambda root: not any(root.glob(f"*/lib/{runtime}*")))
    return list(dict.fromkeys(str(path.parent) for root in roots for path in sorted(root.glob("*/lib/lib*.so*"))))


if __name__ == "__main__":
    print(":".join(library_folders(*sys.argv[1:2])))
