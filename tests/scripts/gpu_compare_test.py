"""scripts/gpu_compare.py: two result folders side by side."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/gpu_compare.py"

RUN = {"kind": "run", "date": "2026-11-28T10:00:00+00:00", "commit": "aaaa", "command": "scripts/gpu_check.sh",
       "version": "Taper 0.1.0", "device": ["NVIDIA H200, compute capability 9.0, 143771 MiB"], "driver": "580.1",
       "libraries": {"cuBLASLt": "13.1.0", "cuDNN": "9.19.0"}, "machine": {"cpus": 16}, "pack": "p1", "budget": None, "plan": []}


def step(name, result="passed", data=None, failure=""):
    return {"kind": "step", "name": name, "part": "tests", "result": result, "seconds": 1, "exit_code": 0,
            "first_failure": failure, "output": "", "cases": [], "data": data or {}}


def race(precision, taper, pytorch, graph=0):
    return step(f"race_{precision}", data={"precision": precision, "programs": [
        {"name": "Taper", "precision": precision, "images_per_second": taper},
        {"name": "PyTorch, channels last", "precision": precision, "images_per_second": pytorch},
        {"name": "PyTorch, channels last, graph", "precision": precision, "images_per_second": graph}]})


def kernel_step(precision, pictures, **seconds):
    return step(f"step_{precision}", data={"images_per_second": pictures, "kernels": [
        {"kernel": kernel, "op": "conv2d", "calls": 2, "seconds": value / 2}
        for kernel, value in seconds.items() for _ in range(2)]})


def layer_steps(ms, pytorch_ms):
    return [step("layers_layer1", data={"batch": 128, "dtype": "bf16", "layers": [
                {"name": "layer1 3x3", "count": 3, "passes": {"forward": {"ms": ms, "candidates": []}}}]}),
            step("pytorch_layers_layer1", data={"layer1 3x3": {"forward": pytorch_ms}})]


class GpuCompareTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)

    def write(self, name, *steps, **run):
        (self.folder / name).mkdir(exist_ok=True)
        lines = [{**RUN, **run}, *steps, {"kind": "end", "reason": "done"}]
        (self.folder / name / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def compare(self, *arguments, code=0):
        result = subprocess.run([SCRIPT, self.folder / "old", self.folder / "new", *map(str, arguments)], capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result.stdout if code < 2 else result.stderr

    def row(self, output, *words):
        """Returns the cells after the words of the only line that begins with them."""
        line, = (line for line in output.splitlines() if re.split(r"  +", line)[:len(words)] == list(words))
        return re.split(r"  +", line)[len(words):]

    def test_what_differs(self):
        self.write("old", step("conv_test"))
        self.write("new", step("conv_test"), commit="bbbb", device=["NVIDIA H200, compute capability 9.0, 143167 MiB"],
                   libraries={"cuBLASLt": "13.1.0", "cuDNN": "9.20.0"})
        output = self.compare()
        self.assertEqual(output.splitlines()[0], "Both runs on NVIDIA H200.")
        self.assertEqual(self.row(output, "commit"), ["aaaa", "bbbb"])
        self.assertEqual(self.row(output, "device")[0], RUN["device"][0])
        self.assertEqual(self.row(output, "cuDNN"), ["9.19.0", "9.20.0"])
        self.assertNotIn("cuBLASLt", output)
        self.assertNotIn("result changed\n\nstep", output)
        self.assertIn("1 steps passed and 0 failed before; 1 passed and 0 failed now.", output)

    def test_another_device_is_said_first(self):
        self.write("old", race("tf32", 1000, 2000))
        self.write("new", race("tf32", 600, 1000), device=["NVIDIA H100, compute capability 9.0, 81559 MiB"])
        output = self.compare("--fail-on-regression", 0.05)  # slower, but on another device faster relative to PyTorch
        self.assertRegex(output.splitlines()[0], "^DIFFERENT DEVICES: NVIDIA H200 before, NVIDIA H100 now")
        self.assertEqual(self.row(output, "Taper", "tf32"), ["1000.0", "600.0", "0.60x", "0.50x", "0.60x", "1.20x"])
        self.write("old", kernel_step("f32", 1000, gemm=1))
        self.write("new", kernel_step("f32", 600, gemm=1), device=["NVIDIA H100, compute capability 9.0, 81559 MiB"])
        self.compare("--fail-on-regression", 0.05)  # nothing to compare with

    def test_families_that_changed(self):
        self.write("old", step("conv_test"), step("pool_test", "failed", failure="pool_test.cpp:3: 1 == 2"), step("norm_test"),
                   step("gone_test"))
        self.write("new", step("conv_test", "device lost", failure="illegal address"), step("pool_test"), step("norm_test"),
                   step("new_test", "skipped"))
        output = self.compare()
        self.assertEqual(self.row(output, "conv_test"), ["passed", "device lost", "illegal address"])
        self.assertEqual(self.row(output, "pool_test"), ["failed", "passed"])
        self.assertFalse(re.search("^norm_test", output, re.MULTILINE))
        self.assertIn("Run now only: new_test (skipped).", output)
        self.assertIn("Run before only: gone_test (passed).", output)
        self.assertRegex(self.compare("--fail-on-regression", 0.5, code=1),
                         "REGRESSION: conv_test passed before and device lost now\n"
                         "REGRESSION: 1 of 3 steps that passed were not run now: gone_test\n$")

    def test_a_later_line_counts_and_half_a_line_does_not(self):
        self.write("old", step("conv_test", "failed"), step("conv_test"))
        self.write("new", step("conv_test"))
        with (self.folder / "new/results.jsonl").open("a") as file:
            file.write(json.dumps(step("conv_test", "failed"))[:40])
        self.assertNotIn("conv_test", self.compare())

    def test_a_speed_that_fell(self):
        self.write("old", race("tf32", 1000, 2000), kernel_step("f32", 100, gemm=1))
        self.write("new", race("tf32", 940, 2000), kernel_step("f32", 80, gemm=1))
        self.compare("--fail-on-regression", 0.25)
        output = self.compare("--fail-on-regression", 0.05, code=1)
        self.assertIn("REGRESSION: Taper, tf32: 6.0% slower, 5% are allowed\n", output)
        self.assertIn("REGRESSION: Taper, by itself, f32: 20.0% slower, 5% are allowed\n", output)
        self.write("new", race("tf32", 1000, 2300))  # Taper is as fast as before, PyTorch faster
        output = self.compare("--fail-on-regression", 0.05, code=1)
        self.assertRegex(output, r"Taper, tf32: 13\.0% slower")
        self.assertIn("REGRESSION: Taper, by itself, f32: was measured before and was not now\n", output)
        self.assertIn("REGRESSION: 1 of 2 steps that passed were not run now: step_f32\n", output)
        self.write("new", race("tf32", 1000, 1500), kernel_step("f32", 100, gemm=1))
        self.assertIn("No regression.", self.compare("--fail-on-regression", 0.05))
        self.write("old", race("tf32", 1000, 1500, graph=2500))
        self.write("new", race("tf32", 1000, 1500, graph=1500))  # PyTorch's speed is not Taper's
        self.assertIn("No regression.", self.compare("--fail-on-regression", 0.05))

    def test_kernels_and_layers(self):
        self.write("old", kernel_step("tf32", 100, gemm=0.004, copy=0.001, gone=0.002), *layer_steps(0.5, 0.4))
        self.write("new", kernel_step("tf32", 100, gemm=0.002, copy=0.001), *layer_steps(0.25, 0.4))
        output = self.compare()
        self.assertEqual(self.row(output, "gemm", "conv2d"), ["4.000", "2.000", "2.00x"])
        self.assertEqual(self.row(output, "gone", "conv2d"), ["2.000"])
        self.assertIn("one step, tf32, ms", output)
        self.assertEqual(self.row(output, "layer1 3x3", "forward"), ["0.500", "0.250", "2.00x", "0.80x", "1.60x"])
        self.assertEqual(self.row(output, "all, as often as they occur"), ["1.500", "0.750", "2.00x"])

    def test_markdown(self):
        self.write("old", race("tf32", 1000, 2000), step("a_test"))
        self.write("new", race("tf32", 1500, 2000), step("a_test", "failed", failure="a | b"))
        output = self.compare("--markdown")
        self.assertIn("| program | precision | old | new |", output)
        self.assertIn("| --- | --- | ---: | ---: |", output)
        self.assertIn("| Taper | tf32 | 1000.0 | 1500.0 | 1.50x | 0.50x | 0.75x | 1.50x |", output)
        self.assertIn("| a_test | passed | failed | a \\| b |", output)

    def test_what_is_no_result_folder_gets_one_line(self):
        self.write("old", step("conv_test"))
        for content, says in ((None, "it has no results.jsonl"), ("{}\n", "not a line of gpu_check.sh"),
                              ("[1]\n", "not a line of gpu_check.sh"), ('{"kind": "run"}\n', "it has no date, commit"),
                              ("hello\n", "results.jsonl:1: "), ("", "no run has written to it")):
            if content is not None:
                (self.folder / "new").mkdir(exist_ok=True)
                (self.folder / "new/results.jsonl").write_text(content)
            error = self.compare(code=2)
            self.assertEqual(len(error.splitlines()), 1, error)
            self.assertRegex(error, f"gpu_compare.py: .*/new is no result folder of gpu_check.sh: .*{says}")


if __name__ == "__main__":
    unittest.main()
