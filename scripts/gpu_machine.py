"""What gpu_check.sh needs: the programs, NVIDIA's libraries, the GPU under them, and Python with PyTorch."""

import datetime
import functools
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

from nvidia_libraries import library_folders, pythons, wheel_roots

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = ("cuBLASLt", "cuDNN")  # without them every speed is that of the own kernels
SAMPLES, SAMPLE_BYTES = 64, 65536


class CannotCheck(Exception):
    """Nothing can be checked; says why in one line."""


def output_of(*command, seconds=20, env=None):
    """Returns (exit code, what the command printed); 124 if it took longer than `seconds`, 127 if it does not exist."""
    try:
        result = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=seconds, env=env, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"nothing came back in {seconds} s"
    except OSError as error:
        return 127, str(error)
    return result.returncode, result.stdout.decode(errors="replace")


class Machine:
    """One build of the programs on this machine. Throws CannotCheck if they cannot work together."""

    def __init__(self, build, simulated):
        self.build = build.resolve()
        self.simulated = simulated
        self.tests_program = self.build / "tests/taper_tests"
        self.train_program = self.build / "examples/resnet50_train"
        for program in (self.tests_program, self.train_program):
            if not program.exists():
                raise CannotCheck(f"no {program}; build it here (cmake --preset cuda && cmake --build --preset cuda) "
                                  "or carry a build here (scripts/gpu_pack.sh), and name it with --build")
        self.env = dict(os.environ)
        if not simulated:
            self.find_libraries()
        self.version, self.libraries, self.devices = self.ask_version()

    @functools.cached_property
    def torch_python(self):
        """Returns a Python that has PyTorch, or this one."""
        ask = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
        return next((python for python in pythons() if output_of(python, "-c", ask)[0] == 0), sys.executable)

    def find_libraries(self):
        """Puts the folders of NVIDIA's wheels in front of LD_LIBRARY_PATH. Always does so: the loader finds
        linked libraries elsewhere too, but programs open cuDNN by name while they run, and cuDNN opens NVRTC so."""
        folders = library_folders(self.train_program)
        self.env["LD_LIBRARY_PATH"] = ":".join([*folders, self.env.get("LD_LIBRARY_PATH", "")]).strip(":")
        missing = re.findall(r"(\S+) => not found", output_of("ldd", self.train_program, env=self.env)[1])
        if missing:
            raise CannotCheck(
                f"cannot load {', '.join(missing)}: not in the system's folders, in LD_LIBRARY_PATH or in "
                "Python's packages (nvidia-cuda-runtime, nvidia-cublas, nvidia-cudnn-cu13, nvidia-nccl-cu13)")

    def env_of(self, program):
        """Returns the environment for a program. PyTorch's Python keeps the libraries that it comes with."""
        if str(program) != self.torch_python:
            return self.env
        return {**self.env, "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
                "TAPER_LIBRARY_PATH": self.env.get("LD_LIBRARY_PATH", "")}

    def ask_version(self):
        """Returns (Taper's version, {library: version}, [device]) as resnet50_train --version prints them."""
        code, output = output_of(self.train_program, "--version", env=self.env)
        if code != 0:
            raise CannotCheck(
                f"{self.train_program} does not run: {(output.strip().splitlines() or [f'exit code {code}'])[-1]}")
        lines = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
        lines.pop("CPU", None)
        simulated = lines.pop("GPU", "") == "simulated"
        if simulated and not self.simulated:
            raise CannotCheck(f"{self.build} is built for the simulated GPU; name a build for the real one with --build, "
                              "or give --device sim")
        if not simulated and self.simulated:
            raise CannotCheck(f"{self.build} is built for a real GPU; --device sim needs a build of the preset default")
        devices = [text for key, text in lines.items() if key.startswith("Device ")]
        libraries = {key: text for key, text in lines.items() if not key.startswith("Device ")}
        if not simulated:
            if not devices:
                raise CannotCheck(f"no GPU on this machine, or no driver for it (driver for CUDA: "
                                  f"{libraries.get('CUDA driver', 'none')}; the programs are for CUDA "
                                  f"{libraries.get('CUDA runtime', 'of an unknown version')})")
            for name in LIBRARIES:
                if not re.match(r"\d", libraries.get(name, "absent")):
                    raise CannotCheck(
                        f"{name} is {libraries.get(name, 'absent')}, so nothing measured here would count: it is "
                        "looked for in LD_LIBRARY_PATH, the system's folders and the packages nvidia-cublas and "
                        "nvidia-cudnn-cu13 of every Python here; a build needs its headers too")
            libraries["NVRTC"] = self.find_library("libnvrtc.so")
        return output.splitlines()[0], libraries, devices

    def find_library(self, name):
        """Returns the file that the loader would take for a library of that name, whatever its version."""
        for folder in self.env["LD_LIBRARY_PATH"].split(":"):
            if folder and (files := sorted(pathlib.Path(folder).glob(name + ".*"))):
                return str(files[0])
        known = re.search(rf"{re.escape(name)}\S* .*=> (\S+)", output_of("ldconfig", "-p")[1])
        return known[1] if known else "not found"

    def gpu_answers(self):
        """Returns whether a new process still sees the GPU."""
        return self.simulated or "\nDevice " in output_of(self.train_program, "--version", env=self.env)[1]

    def describe(self):
        """Returns the members of a "run" line that describe the machine; see gpu_results.py."""
        return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "commit": commit(), "version": self.version, "device": "simulated" if self.simulated else self.devices,
                "driver": "none" if self.simulated else self.ask_driver("driver_version"), "libraries": self.libraries,
                "library_path": self.env.get("LD_LIBRARY_PATH", ""),
                "machine": {"cpus": cpus(), "processor": processor_name(), "system": platform.platform()}}

    def ask_driver(self, what):
        code, output = output_of("nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits")
        return output.strip().splitlines()[0] if code == 0 and output.strip() else "unknown"

    def pack(self):
        """Returns an id of these programs of this commit: runs with equal ids have tried the same programs."""
        total = hashlib.sha256(commit().encode())
        for path in sorted([self.tests_program, self.train_program, *self.build.glob("bench/*")]):
            if path.is_file() and os.access(path, os.X_OK):
                size = path.stat().st_size
                total.update(f"{path.relative_to(self.build)} {size}\n".encode())
                with path.open("rb") as file:  # samples: the programs of a build with line information take gigabytes
                    for place in sorted({size * i // SAMPLES for i in range(SAMPLES)}):
                        file.seek(place)
                        total.update(file.read(SAMPLE_BYTES))
        return total.hexdigest()[:16]


def commit():
    if (ROOT / "COMMIT").exists():  # gpu_pack.sh wrote it
        return (ROOT / "COMMIT").read_text().strip()
    code, output = output_of("git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=40")
    return output.strip() if code == 0 else "unknown"


def cpus():
    return len(os.sched_getaffinity(0))


def processor_name():
    try:
        match = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.machine()


def find_tool(name):
    """Returns the path of a program of the CUDA toolkit, or None."""
    folders = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    folders += [str(path) for root in wheel_roots() for path in root.glob("*/bin")]
    return shutil.which(name, path=os.pathsep.join(folders))
