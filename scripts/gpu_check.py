"""The work of gpu_check.sh, which says how to call it."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

import gpu_race

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("tests", "sanitizer", "benchmarks", "race")
# Families that test the GPU layer itself: small enough for compute-sanitizer, and what --quick runs. The allocator's
# million random operations are not small.
GPU_FAMILY = re.compile(r"gpu_\w+_test")
TOO_LONG_FOR_SANITIZER = re.compile(r"gpu_allocator\w*_test")
# These measure the CPU; the CPU of a GPU machine is not the question here.
CPU_BENCHMARKS = {"algorithm_mode_bench", "conv_bench", "inference_bench", "loader_bench"}
TAIL = 4000  # characters kept of a failed program's output


class CannotCheck(Exception):
    """Nothing can be checked, and why, in one line."""


class Check:
    def __init__(self, options):
        self.options = options
        self.build = options.build.resolve()
        self.tests_program = self.build / "tests/taper_tests"
        self.train_program = self.build / "examples/resnet50_train"
        self.env = dict(os.environ)
        self.failed = 0
        self.report = {}
        for program in (self.tests_program, self.train_program):
            if not program.exists():
                raise CannotCheck(f"no {program}; build it here (cmake --preset cuda && cmake --build --preset cuda) "
                                  "or carry a build here (scripts/gpu_pack.sh), and name it with --build")

    # ---- running ----

    def run(self, *command, timeout=600, env=None):
        """(exit code, output, seconds) of the command; 124 where it took longer than `timeout`."""
        start = time.perf_counter()
        try:
            result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                    timeout=timeout, env={**self.env, **(env or {})}, check=False)
            code, output = result.returncode, result.stdout
        except subprocess.TimeoutExpired as error:
            code, output = 124, (error.stdout or b"") + f"\nstopped after {timeout} s\n".encode()
        except OSError as error:
            code, output = 127, str(error).encode()
        return code, output.decode(errors="replace"), round(time.perf_counter() - start, 2)

    def step(self, name, *command, skip_code=None, timeout=600, env=None):
        """Runs one step, says how it went, and returns its record for the report."""
        code, output, seconds = self.run(*command, timeout=timeout, env=env)
        record = {"name": name, "result": "passed" if code == 0 else "skipped" if code == skip_code else "failed",
                  "seconds": seconds}
        if record["result"] == "failed":
            self.failed += 1
            record.update(exit_code=code, output=output[-TAIL:])
        elif record["result"] == "skipped":
            record["reason"] = (output.strip().splitlines() or [""])[-1]
        print(f"{record['result']:8}{name}  {seconds:.1f} s", flush=True)
        if record["result"] == "failed":
            print("        " + output.strip()[-1500:].replace("\n", "\n        "), flush=True)
        return record

    # ---- what the programs stand on ----

    def find_libraries(self):
        """Puts the wheels' folders into LD_LIBRARY_PATH if the programs' libraries are not found without."""
        missing = self.missing_libraries()
        if missing:
            folders = sorted({str(path.parent) for root in wheel_roots() for path in root.glob("*/lib/lib*.so*")})
            self.env["LD_LIBRARY_PATH"] = ":".join(folders + [self.env.get("LD_LIBRARY_PATH", "")]).strip(":")
            missing = self.missing_libraries()
        if missing:
            raise CannotCheck(f"cannot load {', '.join(missing)}: not in the system's folders, in LD_LIBRARY_PATH or in "
                              "Python's packages (nvidia-cuda-runtime, nvidia-cublas, nvidia-cudnn-cu13, nvidia-nccl-cu13)")

    def missing_libraries(self):
        _, output, _ = self.run("ldd", self.train_program)
        return re.findall(r"(\S+) => not found", output)

    def describe(self):
        """The machine, the build and the libraries under it. Throws CannotCheck if they cannot work together."""
        code, output, _ = self.run(self.train_program, "--version")
        if code != 0:
            raise CannotCheck(f"{self.train_program} does not run: {output.strip().splitlines()[-1]}")
        lines = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
        simulated = lines.pop("GPU", "") == "simulated"
        if simulated and self.options.device == "gpu":
            raise CannotCheck(f"{self.build} is built for the simulated GPU; name a build for the real one with --build, "
                              "or give --device sim")
        if not simulated and self.options.device == "sim":
            raise CannotCheck(f"{self.build} is built for a real GPU; --device sim needs a build of the preset default")
        devices = [text for key, text in lines.items() if key.startswith("Device ")]
        if not simulated and not devices:
            raise CannotCheck("no GPU on this machine, or no driver for it")
        return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "commit": self.commit(),
                "command": " ".join(["scripts/gpu_check.sh", *sys.argv[1:]]),
                "version": output.splitlines()[0],
                "device": "simulated" if simulated else devices,
                "driver": self.driver(),
                "libraries": {key: text for key, text in lines.items() if not key.startswith("Device ")},
                "machine": {"cpus": os.cpu_count(), "processor": processor_name(), "system": platform.platform()}}

    def commit(self):
        if (ROOT / "COMMIT").exists():  # gpu_pack.sh wrote it
            return (ROOT / "COMMIT").read_text().strip()
        code, output, _ = self.run("git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=40")
        return output.strip() if code == 0 else "unknown"

    def driver(self):
        code, output, _ = self.run("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        return output.strip().splitlines()[0] if code == 0 and output.strip() else "unknown"

    # ---- the parts ----

    def families(self):
        """The names of the test files in taper_tests."""
        _, output, _ = self.run(self.tests_program, "-#", "--list-tags")
        found = re.findall(r"\[#(\w+)\]", output)
        if not found:
            raise CannotCheck(f"{self.tests_program} lists no tests: {output.strip()[-200:]}")
        return [name for name in found if not self.options.quick or GPU_FAMILY.fullmatch(name)]

    def tests(self):
        records = []
        python = torch_python()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.env["TAPER_TEST_DATA"] = str(ROOT / "tests/data")
            if not self.options.quick:
                self.env["TAPER_ORACLE_DIR"] = f"{folder}/oracle"
                for script in sorted((ROOT / "tests/oracle").glob("*_oracle.py")):
                    oracle = script.stem.removesuffix("_oracle")
                    records.append(self.step(f"oracle_{oracle}", python, ROOT / "tests/oracle/make.py", script,
                                             folder / "oracle" / oracle, skip_code=77))
            for family in self.families():
                report = folder / f"{family}.xml"
                record = self.step(family, self.tests_program, "-#", f"[#{family}]", "-w", "NoTests", "-r", "junit",
                                   "-o", report)
                record["cases"] = read_cases(report)
                records.append(record)
                for case in record["cases"]:
                    if case["result"] == "failed":
                        print(f"        {case['name']}: {case['message']}", flush=True)
            if not self.options.quick:
                records.append(self.step("resnet50_train", sys.executable, ROOT / "tests/cli/train_test.py",
                                         self.train_program, timeout=1200))
                for size, rate in ((32, 0.01), (64, 0.001)):
                    records.append(self.step(f"parity_{size}px", python, ROOT / "tests/parity/parity.py",
                                             self.train_program, folder / f"parity_{size}", "--size", size, "--lr", rate,
                                             skip_code=77, timeout=1200))
        return records

    def sanitizer(self):
        """compute-sanitizer over the GPU's own tests, or why not."""
        tool = find_tool("compute-sanitizer")
        if self.options.device == "sim":
            return "not run: the simulated GPU checks memory and races itself"
        if not tool:
            return "not run: no compute-sanitizer here"
        records = []
        for kind in ("memcheck", "racecheck"):
            for family in self.families():
                if GPU_FAMILY.fullmatch(family) and not TOO_LONG_FOR_SANITIZER.fullmatch(family):
                    # Tests ask for impossible things on purpose: an API error that the test expects is none.
                    records.append(self.step(
                        f"{kind} {family}", tool, "--tool", kind, "--error-exitcode", 99,
                        *(["--report-api-errors", "no"] if kind == "memcheck" else []),
                        self.tests_program, "-#", f"[#{family}]"))
        return records

    def benchmarks(self):
        """{program: what Google Benchmark measured, or a ladder printed}, with PyTorch's allocator beside ours."""
        results = {}
        with tempfile.TemporaryDirectory() as name:
            report = pathlib.Path(name, "report.json")
            seconds = 0.01 if self.options.quick else 0.5
            for program in sorted(self.build.glob("bench/*_bench")):
                if program.name not in CPU_BENCHMARKS:
                    report.unlink(missing_ok=True)
                    record = self.step(program.name, program, f"--benchmark_out={report}", "--benchmark_out_format=json",
                                       f"--benchmark_min_time={seconds}")
                    results[program.name] = {**record, **(json.loads(report.read_text()) if report.exists() else {})}
            for program in [] if self.options.quick else sorted(self.build.glob("bench/ladder_*")):
                report.unlink(missing_ok=True)
                record = self.step(program.name, program, "--json", report)
                results[program.name] = {**record, **(json.loads(report.read_text()) if report.exists() else {})}
            report.unlink(missing_ok=True)
            record = self.step(
                "pytorch_allocator", torch_python(), ROOT / "bench/pytorch_allocator.py", "--out", report,
                "--device", "cpu" if self.options.device == "sim" else "cuda",
                *(["--no-cpp", "--seconds", 0.01] if self.options.quick else []), skip_code=77)
            results["pytorch_allocator"] = {**record, **(json.loads(report.read_text()) if report.exists() else {})}
        return results

    def race(self):
        return gpu_race.run(self, self.report, torch_python())


def read_cases(path):
    """[{name, seconds, result, message}] of a JUnit file; empty if the program died before it was written."""
    try:
        cases = xml.parse(path).getroot().iter("testcase")
    except (OSError, xml.ParseError):
        return []
    records = []
    for case in cases:
        trouble = case.find("failure")
        trouble = case.find("error") if trouble is None else trouble
        record = {"name": case.get("name"), "seconds": float(case.get("time", 0)),
                  "result": "passed" if trouble is None else "failed"}
        if trouble is not None:
            record["message"] = (trouble.get("message") or "") + (trouble.text or "").rstrip()[-TAIL:]
        records.append(record)
    return records


def pythons():
    return [path for path in dict.fromkeys((sys.executable, shutil.which("python3"), "/usr/bin/python3"))
            if path and os.path.exists(path)]


def torch_python():
    """A Python that has PyTorch, or this one."""
    for python in pythons():
        if subprocess.run([python, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"],
                          check=False).returncode == 0:
            return python
    return sys.executable


def wheel_roots():
    """The folders .../site-packages/nvidia of every Python here."""
    roots = []
    for python in pythons():
        result = subprocess.run([python, "-c", "import nvidia; print(*nvidia.__path__, sep='\\n')"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
        roots += [pathlib.Path(line) for line in result.stdout.splitlines()]
    return roots


def find_tool(name):
    folders = [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    folders += [str(path) for root in wheel_roots() for path in root.glob("*/bin")]
    return shutil.which(name, path=os.pathsep.join(folders))


def processor_name():
    try:
        match = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.machine()


def read_options():
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu_check", help="folder for gpu_check.json")
    parser.add_argument("--build", type=pathlib.Path, help="default: build/cuda, or build/default for the simulated GPU")
    parser.add_argument("--device", choices=["gpu", "sim"], default="gpu")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, with commas: " + ", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="the GPU layer's own tests, and short benchmarks")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"--parts: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options.build = options.build or ROOT / ("build/default" if options.device == "sim" else "build/cuda")
    return options


def main():
    options = read_options()
    try:
        check = Check(options)
        check.find_libraries()
        report = check.report = check.describe()
        options.out.mkdir(parents=True, exist_ok=True)
        where = "the simulated GPU" if options.device == "sim" else ", ".join(report["device"])
        print(f"{report['version']} at {report['commit']} on {where}", flush=True)
        for part in PARTS:
            if part in options.parts:
                print(f"==> {part}", flush=True)
                report[part] = getattr(check, part)()
                if isinstance(report[part], str):
                    print(report[part], flush=True)
    except (CannotCheck, OSError) as error:
        print(f"gpu_check.sh: {error}", file=sys.stderr)
        sys.exit(2)
    report["failed"] = check.failed
    path = options.out / "gpu_check.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{check.failed} failed; results in {path}")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
