"""scripts/gpu_check.sh: a quick run over this build, and its judgement of programs that only pretend.

  gpu_check_test.py BUILD
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop(1))
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/gpu_check.sh"

VERSION = """\
cat <<END
Taper 0.1.0
GPU: CUDA
CUDA runtime: 13.0
$DEVICES
END
"""

# Two families, of which gpu_two_test fails, also under compute-sanitizer.
TESTS = """\
case "$*" in
  *--list-tags*) echo '  1  [#gpu_one_test]'; echo '  3  [#gpu_two_test]'; exit ;;
  *gpu_two_test*) inside='<failure message="1 == 2">at two.cpp:7</failure>'; status=1 ;;
esac
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then
    echo "<testsuites><testsuite><testcase name='adds' time='0.5'>$inside</testcase></testsuite></testsuites>" >"$2"
  fi
  shift
done
exit ${status:-0}
"""

# Runs the program behind its own options, all of which begin with a dash or follow one.
SANITIZER = """\
while [ ! -x "$1" ]; do shift; done
"$@" || exit 99
"""

BENCHMARK = """\
for argument in "$@"; do
  case $argument in --benchmark_out=*) echo '{"benchmarks": [{"name": "cached", "real_time": 90}]}' >"${argument#*=}" ;; esac
done
"""


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def run_check(self, *arguments, **env):
        result = subprocess.run([SCRIPT, "--out", self.folder / "out", *map(str, arguments)], capture_output=True,
                                text=True, env={**os.environ, **env}, check=False)
        report = self.folder / "out/gpu_check.json"
        return result, json.loads(report.read_text()) if report.exists() else None

    def refused(self, says, *arguments, **env):
        result, report = self.run_check(*arguments, **env)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertRegex(result.stderr, says)
        self.assertIsNone(report)

    def program(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def pretend(self):
        """A build for a real GPU whose programs only pretend, in folder/build."""
        self.program("build/examples/resnet50_train", VERSION)
        self.program("build/tests/taper_tests", TESTS)
        self.program("build/bench/allocator_bench", BENCHMARK)
        self.program("bin/compute-sanitizer", SANITIZER)
        return ["--build", self.folder / "build", "--quick"]

    def test_this_build(self):
        device = ["--device", "sim"] if "simulated" in subprocess.run(
            [BUILD / "examples/resnet50_train", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout else []
        result, report = self.run_check("--build", BUILD, "--quick", *device)
        if not device and result.returncode == 2 and "no GPU" in result.stderr:
            self.skipTest("a build for a real GPU, and none here")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(report["failed"], 0)
        for name in ("date", "commit", "command", "driver", "libraries", "device", "machine"):
            self.assertIn(name, report)
        families = {record["name"]: record for record in report["tests"]}
        self.assertIn("gpu_simt_test", families)
        for name, record in families.items():
            self.assertTrue(record["cases"], name)
            self.assertEqual({case["result"] for case in record["cases"]}, {"passed"}, name)
        names = {run["name"] for run in report["benchmarks"]["allocator_bench"]["benchmarks"]}
        self.assertIn("resnet50_step", names)
        pytorch = report["benchmarks"]["pytorch_allocator"]
        if pytorch["result"] != "skipped":
            self.assertIn("torch.empty/resnet50_step", {run["name"] for run in pytorch["benchmarks"]})

        steps = {record["name"]: record for record in report["race"]["programs"]}
        self.assertGreater(steps["Taper"]["images_per_second"], 0)
        self.assertTrue(steps["Taper"]["kernels"])
        layer, = report["race"]["layers"]["layers"]
        self.assertIn("implicit gemm", [way["name"] for way in layer["passes"]["forward"]["candidates"]])
        if pytorch["result"] != "skipped":
            self.assertGreater(steps["PyTorch, channels last"]["images_per_second"], 0)
            self.assertGreater(layer["passes"]["forward"]["pytorch_ms"], 0)
        page = (self.folder / "out/race.md").read_text(encoding="utf-8")
        self.assertRegex(page, r"\| Taper \| f32 \| [0-9.]+ \|")

    def test_failures_are_told_with_their_place(self):
        result, report = self.run_check(*self.pretend(), "--parts", "tests,sanitizer", DEVICES="Device 0: Big One",
                                        PATH=f"{self.folder}/bin:{os.environ['PATH']}")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("1 == 2at two.cpp:7", result.stdout)
        self.assertEqual(report["device"], ["Big One"])
        self.assertEqual([(record["name"], record["result"]) for record in report["tests"]],
                         [("gpu_one_test", "passed"), ("gpu_two_test", "failed")])
        self.assertEqual([(record["name"], record["result"]) for record in report["sanitizer"]],
                         [("memcheck gpu_one_test", "passed"), ("memcheck gpu_two_test", "failed"),
                          ("racecheck gpu_one_test", "passed"), ("racecheck gpu_two_test", "failed")])
        self.assertEqual(report["failed"], 3)
        self.assertNotIn("benchmarks", report)

    def test_what_benchmarks_write_is_kept(self):
        _, report = self.run_check(*self.pretend(), "--parts", "benchmarks", DEVICES="Device 0: Big One")
        self.assertEqual(report["benchmarks"]["allocator_bench"]["benchmarks"], [{"name": "cached", "real_time": 90}])

    def test_what_cannot_be_checked_gets_one_line(self):
        self.refused("no .*taper_tests.*gpu_pack", "--build", self.folder / "none")
        self.refused("no GPU on this machine", *self.pretend())
        self.refused("real GPU.*preset default", *self.pretend(), "--device", "sim", DEVICES="Device 0: Big One")
        self.program("bin/ldd", "echo 'libcudnn.so.9 => not found'")
        self.refused(r"cannot load libcudnn\.so\.9:", *self.pretend(), PATH=f"{self.folder}/bin:{os.environ['PATH']}")


if __name__ == "__main__":
    unittest.main()
