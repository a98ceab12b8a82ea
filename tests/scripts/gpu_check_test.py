"""scripts/gpu_check.sh: a run over this build, and its judgement of fake programs.

  gpu_check_test.py BUILD
"""

import concurrent.futures
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(sys.argv.pop(1))
ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/gpu_check.sh"
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_results  # pylint: disable=wrong-import-position

# What resnet50_train --version prints where nothing is missing.
VERSION = """\
cat <<END
Taper 0.1.0
GPU: CUDA
CUDA runtime: 13.0
cuBLASLt: 13.1.0
cuDNN: ${CUDNN-9.19.0}
Device 0: Big One
CPU: avx2
END
"""

# The families of $FAMILIES: each does what its name says, after a sleep.
TESTS = """\
if [ "$2" = --list-tags ]; then for name in $FAMILIES; do echo "  1  [#gpu_${name}_test]"; done; exit; fi
for word in "$@"; do if [ "$before" = -o ]; then report=$word; fi; before=$word; done
printf '<?xml version="1.0"?><Catch><Group><TestCase name="adds" filename="two.cpp" line="3">' >"${report:=/dev/null}"
echo "$2" >>"$LOG"
sleep "${NAP:-0}"
success=true
case $2 in
  *fails*) success=false; status=1
    echo '<Info>n = 3</Info><Expression success="false" type="CHECK" filename="/a/two.cpp" line="7">
      <Original> a == b </Original><Expanded> 1 == 2 </Expanded></Expression>' >>"$report" ;;
  *hangs*) sleep 60 & echo $! >>"$LOG.sleepers"; wait ;;
  *leaves*) sleep 60 & echo $! >>"$LOG.sleepers" ;;
  *crashes*) kill -SEGV $$ ;;
  *loses*) echo 'the GPU was lost: an illegal memory access'; exit 3 ;;
  *ends*) echo 'some_bench: cuda:0 is lost to this process: an illegal memory access'; exit 1 ;;
esac
echo "<OverallResult success=\\"$success\\" durationInSeconds=\\"0.5\\"/></TestCase></Group></Catch>" >>"$report"
exit ${status:-0}
"""

# Runs the program after its own options, which begin with a dash or follow one.
SANITIZER = """\
while [ ! -x "$1" ]; do shift; done
"$@" || exit 99
"""

BENCHMARK = """\
for argument in "$@"; do
  case $argument in --benchmark_out=*) echo '{"benchmarks": [{"name": "cached", "real_time": 90}]}' >"${argument#*=}" ;; esac
done
"""


def alive(folder):
    """Returns the processes with the folder's name in their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass
    return found


def runs(process):
    """Whether the process of this number runs; a finished one that was not waited for does not."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def simulated():
    """Whether BUILD is for the simulated GPU."""
    version = subprocess.run([BUILD / "examples/resnet50_train", "--version"], stdout=subprocess.PIPE, text=True,
                             check=True)
    return "simulated" in version.stdout


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.out = self.folder / "out"
        self.env = {**os.environ, "LOG": str(self.folder / "log"), "TMPDIR": str(self.folder / "tmp")}
        (self.folder / "tmp").mkdir()

    def command(self, *arguments, out=None):
        return [str(word) for word in (SCRIPT, "--out", out or self.out, *arguments)]

    def run_check(self, *arguments, out=None, **env):
        result = subprocess.run(self.command(*arguments, out=out), capture_output=True, text=True,
                                env={**self.env, **env}, check=False)
        found = gpu_results.read(out or self.out) if (out or self.out).exists() else None
        return result, found

    def refused(self, says, *arguments, **env):
        start = time.monotonic()
        result, _ = self.run_check(*arguments, **env)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertRegex(result.stderr, says)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(os.listdir(self.folder / "tmp"), [])

    def program(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def pretend(self):
        """Makes a build for a real GPU, of fake programs, in folder/build, and a toolkit in folder/bin."""
        self.program("build/examples/resnet50_train", VERSION)
        self.program("build/tests/taper_tests", TESTS)
        self.program("build/bench/allocator_bench", BENCHMARK)
        self.program("bin/compute-sanitizer", SANITIZER)
        self.env["PATH"] = f"{self.folder}/bin:/usr/bin:/bin"  # few Pythons that may have NVIDIA's wheels
        return ["--build", self.folder / "build", "--quick"]

    def outcomes(self, results):
        return {name: record["result"] for name, record in results.steps.items() if name != "device"}

    # ---- judging ----

    def test_each_family_gets_its_own_word_and_the_others_go_on(self):
        start = time.monotonic()
        result, results = self.run_check(*self.pretend(), "--parts", "tests", "--limit", 1, "--jobs", 2,
                                         FAMILIES="fails hangs crashes loses ends leaves passes")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertLess(time.monotonic() - start, 20)
        self.assertEqual(self.outcomes(results), {
            "gpu_fails_test": "failed", "gpu_hangs_test": "timed out", "gpu_crashes_test": "crashed",
            "gpu_loses_test": "device lost", "gpu_ends_test": "device lost", "gpu_leaves_test": "passed", "gpu_passes_test": "passed"})
        first = {name: record["first_failure"] for name, record in results.steps.items()}
        self.assertEqual(first["gpu_fails_test"], "adds: two.cpp:7 CHECK a == b with 1 == 2 [n = 3]")
        self.assertEqual(first["gpu_hangs_test"], "stopped after 1 s; adds: it did not end")
        self.assertRegex(first["gpu_crashes_test"], "^SIGSEGV; adds: it did not end")
        self.assertRegex(first["gpu_loses_test"], "^the GPU was lost: an illegal memory access")
        self.assertRegex(first["gpu_ends_test"], "^some_bench: cuda:0 is lost to this process")
        self.assertEqual(results.steps["gpu_passes_test"]["cases"],
                         [{"name": "adds", "seconds": 0.5, "result": "passed", "message": ""}])
        self.assertEqual(results.reason, "done")
        page = (self.out / "summary.md").read_text(encoding="utf-8")
        self.assertIn(
            "- families of tests: 2 passed, 1 failed, 1 timed out, 1 crashed, 2 device lost; 2 of 7 test cases", page)
        self.assertIn("**gpu_fails_test** failed: adds: two.cpp:7", page)
        self.assertIn(page, result.stdout)  # returned even where no file is
        sleepers = (self.folder / "log.sleepers").read_text().split()
        self.assertEqual([runs(sleeper) for sleeper in sleepers], [False, False], "programs' own children live on")

    def test_a_gpu_that_is_gone_ends_the_run(self):
        arguments = self.pretend()
        self.program("build/examples/resnet50_train",
                     f'if grep -q loses "{self.folder}/log"; then exit 1; fi\n' + VERSION)
        (self.folder / "log").touch()
        result, results = self.run_check(*arguments, "--parts", "tests", "--jobs", 1, FAMILIES="passes loses later")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(self.outcomes(results), {"gpu_passes_test": "passed", "gpu_loses_test": "device lost"})
        self.assertEqual(results.reason, "device lost")
        self.assertEqual(gpu_results.not_run(results), ["gpu_later_test"])
        self.assertIn("no new process sees it", (self.out / "summary.md").read_text(encoding="utf-8"))

    def test_the_sanitizer_and_the_benchmarks(self):
        _, results = self.run_check(*self.pretend(), "--parts", "sanitizer,benchmarks", FAMILIES="fails passes profiler")
        outcomes = self.outcomes(results)
        self.assertEqual({name: outcome for name, outcome in outcomes.items() if "check_" in name}, {
            "memcheck_gpu_fails_test": "failed", "memcheck_gpu_passes_test": "passed",
            "racecheck_gpu_fails_test": "failed", "racecheck_gpu_passes_test": "passed"})
        self.assertEqual(results.steps["allocator_bench"]["data"]["benchmarks"], [{"name": "cached", "real_time": 90}])

    def test_wheels_libraries_come_first(self):
        arguments = self.pretend()
        self.program("bin/ldd", "echo 'libc.so.6 => /lib/libc.so.6'")  # nothing is missing
        for name in ("cuda_nvrtc/lib/libnvrtc.so.13", "cu13/lib/libcudart.so.13", "cudnn/lib/libcudnn.so.9"):
            path = self.folder / "site/nvidia" / name
            path.parent.mkdir(parents=True)
            path.touch()
        self.program("build/tests/taper_tests", TESTS.replace("exit ${status", 'echo "$LD_LIBRARY_PATH"\nexit ${status'))
        _, results = self.run_check(*arguments, "--parts", "tests", FAMILIES="passes", LD_LIBRARY_PATH="/mine",
                                    PYTHONPATH=str(self.folder / "site"))
        site = f"{self.folder}/site/nvidia"
        path = results.steps["gpu_passes_test"]["output"].strip()
        self.assertEqual(set(path.split(":")[:3]), {f"{site}/cuda_nvrtc/lib", f"{site}/cu13/lib", f"{site}/cudnn/lib"})
        self.assertEqual(path.split(":")[-1], "/mine")
        self.assertEqual(results.runs[0]["libraries"]["NVRTC"], f"{site}/cuda_nvrtc/lib/libnvrtc.so.13")

    def test_what_cannot_be_checked_gets_one_line(self):
        self.refused("no .*taper_tests.*gpu_pack", "--build", self.folder / "none")
        arguments = [*self.pretend(), "--parts", "tests"]
        self.refused("--parts: there is no magic", *arguments, "--parts", "magic")
        self.refused("--budget: -5 s is no time", *arguments, "--budget", -5)
        self.refused(r"--families: \( is no regular expression", *arguments, "--families", "(")
        self.refused("holds no run to go on with", *arguments, "--continue")
        self.refused("--families: no family of 1 matches conv", *arguments, "--families", "conv", FAMILIES="passes")
        self.refused("--only: there is no step magic", *arguments, "--only", "magic", FAMILIES="passes")
        self.refused("cuDNN is not on this machine", *arguments, CUDNN="not on this machine")
        self.refused("real GPU.*preset default", *arguments, "--device", "sim")
        self.program("build/examples/resnet50_train", VERSION.replace("Device 0: Big One\n", ""))
        self.refused("no GPU on this machine", *arguments)
        self.program("bin/ldd", "echo 'libcudart.so.13 => not found'")
        self.refused(r"cannot load libcudart\.so\.13:", *arguments)
        self.assertFalse(self.out.exists())

    # ---- budgets, and resuming ----

    def test_a_budget_ends_everything_and_continue_does_the_rest(self):
        families = [f"part{number}" for number in range(9)]
        arguments = [*self.pretend(), "--parts", "tests", "--jobs", 1]
        start = time.monotonic()
        result, results = self.run_check(*arguments, "--budget", 8.5, FAMILIES=" ".join(families), NAP="1")
        self.assertLess(time.monotonic() - start, 8.5)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)  # nothing failed
        self.assertEqual(results.reason, "budget")
        left = gpu_results.not_run(results)
        self.assertEqual(set(self.outcomes(results).values()), {"passed"})  # none started with too little time
        self.assertGreater(len(left), 0)
        self.assertLess(len(left), 9)
        self.assertIn(f"The budget of 8.5 s ended it. {len(left)} of",
                      (self.out / "summary.md").read_text(encoding="utf-8"))
        before = (self.folder / "log").read_text().split()
        result, results = self.run_check("--build", self.folder / "build", "--continue", FAMILIES=" ".join(families))
        self.assertEqual(results.reason, "done", result.stdout)
        self.assertEqual(set(self.outcomes(results).values()), {"passed"})
        again = (self.folder / "log").read_text().split()[len(before):]
        self.assertEqual(sorted(again), sorted(f"[#{name}]" for name in left))
        self.assertEqual(len(results.runs), 2)

    def test_what_the_budget_cuts_is_run_again(self):
        arguments = [*self.pretend(), "--parts", "tests", "--jobs", 2]
        _, results = self.run_check(*arguments, "--budget", 8, FAMILIES="passes hangs")
        self.assertEqual(self.outcomes(results), {"gpu_passes_test": "passed", "gpu_hangs_test": "out of time"})
        self.assertEqual(gpu_results.not_run(results), ["gpu_hangs_test"])
        text = (self.folder / "build/tests/taper_tests").read_text().replace("sleep 60", "sleep 00")
        (self.folder / "build/tests/taper_tests").write_text(text)
        result, _ = self.run_check(*arguments, "--continue", FAMILIES="passes hangs")
        self.assertEqual(result.returncode, 2)  # the programs are others
        self.assertRegex(result.stderr, "holds results of other programs")
        (self.folder / "build/tests/taper_tests").write_text(text.replace("sleep 00", "sleep 60"))
        _, results = self.run_check(*arguments, "--continue", "--limit", 1, FAMILIES="passes hangs")
        self.assertEqual(self.outcomes(results), {"gpu_passes_test": "passed", "gpu_hangs_test": "timed out"})

    def test_only(self):
        arguments = [*self.pretend(), "--parts", "tests"]
        self.run_check(*arguments, FAMILIES="passes fails")
        (self.folder / "log").unlink()
        _, results = self.run_check("--build", self.folder / "build", "--only", "FAILED", FAMILIES="passes fails")
        self.assertEqual((self.folder / "log").read_text(), "[#gpu_fails_test]\n")
        self.assertEqual(self.outcomes(results), {"gpu_passes_test": "passed", "gpu_fails_test": "failed"})
        _, results = self.run_check("--build", self.folder / "build", "--only", "gpu_passes_test",
                                    FAMILIES="passes fails")
        self.assertEqual((self.folder / "log").read_text(), "[#gpu_fails_test]\n[#gpu_passes_test]\n")
        self.assertEqual([run["plan"] for run in results.runs[1:]], [["gpu_fails_test"], ["gpu_passes_test"]])

    def test_killed_at_any_moment(self):
        arguments = [*self.pretend(), "--parts", "tests", "--jobs", 2]
        env = {"FAMILIES": "one fails two three four five six", "NAP": "0.1"}

        def kill_and_continue(seed):
            out = self.folder / f"out{seed}"
            wait = random.Random(seed)
            with subprocess.Popen(self.command(*arguments, out=out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env={**self.env, **env}) as process:
                while seed % 5 != 0 and not (out / gpu_results.FILE).exists():  # most moments are after its start
                    time.sleep(0.01)
                time.sleep(wait.uniform(0, 0.6))
                process.send_signal(signal.SIGKILL)
            begun = (out / gpu_results.FILE).exists() and gpu_results.lines(out)
            if begun:
                before = gpu_results.read(out)
                page = (out / "summary.md").read_text(encoding="utf-8") if (out / "summary.md").exists() else ""
                self.assertTrue(len(before.steps) < 3 or page.startswith("# Taper on Big One"), page)
            result, results = self.run_check(*(["--continue", "--jobs", "2", "--build", self.folder / "build"] if begun
                                               else arguments), out=out, **env)
            self.assertEqual(results.reason, "done", result.stdout + result.stderr)
            outcomes = self.outcomes(results)
            self.assertEqual(outcomes.pop("gpu_fails_test"), "failed")
            self.assertEqual(set(outcomes.values()), {"passed"})
            self.assertEqual(len(outcomes), 6)
            return bool(begun)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            begun = list(pool.map(kill_and_continue, range(20)))
        self.assertGreater(sum(begun), 10, "the kills came before the runs began")
        for _ in range(50):
            if not (left := alive(self.folder) + os.listdir(self.folder / "tmp")):
                break
            time.sleep(0.1)
        self.assertEqual(left, [])

    def test_a_kill_leaves_no_orphan(self):
        arguments = [*self.pretend(), "--parts", "tests", "--jobs", 2]
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.DEVNULL,
                              env={**self.env, "FAMILIES": "hangs passes"}) as process:
            sleepers = self.folder / "log.sleepers"
            for _ in range(100):
                if sleepers.exists() and sleepers.read_text().strip():
                    break
                time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
        sleeper = int(sleepers.read_text())
        for _ in range(50):
            if not runs(sleeper) and not alive(self.folder):
                break
            time.sleep(0.1)
        self.assertFalse(runs(sleeper))
        self.assertEqual(alive(self.folder), [])
        self.assertEqual(os.listdir(self.folder / "tmp"), [])

    def test_what_never_ends_is_not_tried_a_third_time(self):
        arguments = [*self.pretend(), "--parts", "tests"]
        self.run_check(*arguments, FAMILIES="passes later")
        path = self.out / gpu_results.FILE
        lines = [line for line in path.read_text().splitlines() if "later" not in line or '"run"' in line][:-1]
        start = '{"kind": "start", "name": "gpu_later_test"}'
        path.write_text("\n".join([*lines, start, start]) + '\n{"kind": "step", "na')  # killed twice, then mid-line
        result, results = self.run_check("--continue", FAMILIES="passes later")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(results.steps["gpu_later_test"]["first_failure"], "^started twice and never ended")
        self.assertEqual((self.folder / "log").read_text().count("later"), 1)

    def test_what_ran_beside_a_kill_is_tried_again_by_itself_after_the_others(self):
        arguments = [*self.pretend(), "--parts", "tests", "--jobs", 2]
        self.run_check(*arguments, "--budget", 1e-3, FAMILIES="first second third")
        path = self.out / gpu_results.FILE
        lines = path.read_text().splitlines()[:-1]  # without the last line
        path.write_text("\n".join([*lines, *(f'{{"kind": "start", "name": "gpu_{name}_test"}}' for name in
                                             ("first", "second"))]) + "\n")
        (self.folder / "log").write_text("")
        result, results = self.run_check("--continue", FAMILIES="first second third", NAP="0.3")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual((self.folder / "log").read_text().split(),
                         ["[#gpu_third_test]", "[#gpu_first_test]", "[#gpu_second_test]"])
        starts = [(line["kind"], line["name"]) for line in gpu_results.lines(self.out)[-7:-1]]
        self.assertEqual([kind for kind, _ in starts], ["start", "step"] * 3)  # never two at once
        self.assertEqual(results.unfinished, {})

    def test_whoever_stops_reading_ends_nothing(self):
        command = [SCRIPT, "--out", self.out, *map(str, self.pretend()), "--parts", "tests"]
        for pipe in ("| head -1", ">&-"):
            result = subprocess.run(["bash", "-c", f'set -o pipefail; "$@" {pipe}', "bash", *command], capture_output=True,
                                    text=True, env={**self.env, "FAMILIES": "one two three", "NAP": "0.2"}, check=False)
            self.assertEqual((result.returncode, result.stderr), (0, ""), pipe)
            self.assertEqual(gpu_results.read(self.out).reason, "done", pipe)

    def test_what_was_measured_is_kept_for_the_next_run(self):
        arguments = self.pretend()
        self.program("build/tests/taper_tests",
                     TESTS.replace("exit ${status", 'echo measured >>"$TAPER_ALGORITHM_CACHE"; exit ${status'))
        self.run_check(*arguments, "--parts", "tests", FAMILIES="one")
        self.assertEqual((self.out / "algorithms.json").read_text(), "measured\n")
        self.run_check("--only", "gpu_one_test", FAMILIES="one")
        self.assertEqual((self.out / "algorithms.json").read_text(), "measured\nmeasured\n")
        self.run_check(*arguments, "--parts", "tests", FAMILIES="one")  # anew
        self.assertEqual((self.out / "algorithms.json").read_text(), "measured\n")

    def test_interrupted(self):
        arguments = [*self.pretend(), "--parts", "tests"]
        with subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, text=True,
                              env={**self.env, "FAMILIES": "hangs passes"}) as process:
            while not (self.folder / "log.sleepers").exists():
                time.sleep(0.05)
            second, _ = self.run_check(*arguments, FAMILIES="passes")
            self.assertRegex(second.stderr, "another gpu_check.sh writes to")
            process.send_signal(signal.SIGTERM)
            self.assertIn("interrupted", process.communicate()[0])
        self.assertEqual(process.returncode, 1)
        results = gpu_results.read(self.out)
        self.assertEqual(results.reason, "interrupted")
        self.assertEqual(results.steps["gpu_hangs_test"]["result"], "out of time")

    # ---- this build ----

    def test_this_build(self):
        device = ["--device", "sim"] if simulated() else []
        start = time.monotonic()
        result, results = self.run_check("--build", BUILD, "--quick", "--budget", 12, *device)
        self.assertLess(time.monotonic() - start, 17)
        if not device and result.returncode == 2:
            self.skipTest(result.stderr)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(results.reason, "budget")
        for name in ("date", "commit", "command", "driver", "libraries", "device", "machine"):
            self.assertIn(name, results.runs[0])
        cases = results.steps["gpu_simt_test"]["cases"]
        self.assertGreater(len(cases), 5)
        self.assertEqual({(case["result"], case["seconds"] < 100) for case in cases}, {("passed", True)})

        ended = {name for name, record in results.steps.items() if record["result"] != "out of time"}
        result, results = self.run_check("--build", BUILD, "--continue", "--budget", 6)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        started = [line["name"] for line in gpu_results.lines(self.out) if line["kind"] == "start"]
        self.assertEqual({name for name in started if started.count(name) > 1} & ended, set())
        self.assertEqual(results.runs[1]["options"], results.runs[0]["options"])

    def test_what_this_build_measures(self):
        if not simulated():
            self.skipTest("a GPU's figures are none for a test")
        result, results = self.run_check("--build", BUILD, "--quick", "--device", "sim", "--only",
                                         "race_f32,layers_layer1,pytorch_layers_layer1,allocator_bench,pytorch_allocator")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        programs = {program["name"]: program for program in results.steps["race_f32"]["data"]["programs"]}
        self.assertGreater(programs["Taper"]["images_per_second"], 0)
        self.assertTrue(programs["Taper"]["kernels"])
        layer, = results.steps["layers_layer1"]["data"]["layers"]
        self.assertIn("implicit gemm", [way["name"] for way in layer["passes"]["forward"]["candidates"]])
        names = {run["name"] for run in results.steps["allocator_bench"]["data"]["benchmarks"]}
        self.assertIn("resnet50_step", names)
        pytorch = results.steps["pytorch_allocator"]
        if pytorch["result"] != "skipped":
            self.assertIn("torch.empty/resnet50_step", {run["name"] for run in pytorch["data"]["benchmarks"]})
            self.assertGreater(programs["PyTorch, channels last"]["images_per_second"], 0)
            self.assertGreater(results.steps["pytorch_layers_layer1"]["data"][layer["name"]]["forward"], 0)
        page = (self.out / "summary.md").read_text(encoding="utf-8")
        self.assertRegex(page, r"\| Taper \| f32 \| [0-9.]+ \|")
        self.assertRegex(page, r"\| layer1 3x3 64-64 \| 3 \| forward \| [0-9.]+ \|")


if __name__ == "__main__":
    unittest.main()
