"""scripts/gpu_page.py: what the page shows for the steps' measurements."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_page  # pylint: disable=wrong-import-position
import gpu_results  # pylint: disable=wrong-import-position

CEILINGS = {"flops": {"f32": 48.6e12, "bf16": 4e14}, "bytes_per_second": 4e12, "versions": {"torch": "2.11"}}
RUN = {"device": ["Big One"], "driver": "580", "libraries": {"cuDNN": "9.19.0"}, "version": "Taper 0.1.0", "commit": "abc",
       "date": "today", "command": "scripts/gpu_check.sh", "machine": {"cpus": 16, "processor": "fast"}, "budget": 290,
       "plan": []}


def step(name, result="passed", part="race", **more):
    return {"name": name, "part": part, "result": result, "seconds": 3, "first_failure": "", "output": "", "cases": [],
            "data": {}, **more}


def page(*steps, reason="done", **run):
    return gpu_page.text(gpu_results.Results([{**RUN, **run}], {one["name"]: one for one in steps}, {}, reason))


class GpuPageTest(unittest.TestCase):
    def test_header_and_verdict(self):
        text = page(step("ceilings", data=CEILINGS),
                    step("a_test", part="tests", cases=[
                        *[{"name": "adds", "result": "passed", "message": "no oracle"}] * 2,
                        {"name": "many", "result": "passed", "message": "checked 5; left out 2 (TAPER_TEST_SECONDS)"}]),
                    step("b_test", "failed", part="tests", first_failure="adds: two.cpp:7\n  CHECK"),
                    step("oracle_c", "skipped", part="tests", output="begun\nno torch\n"),
                    step("training_digits", part="tests", data={"top1": 0.975, "images_per_second": 8000}),
                    step("parity_32px", part="tests", data={"steps": [
                        {"step": 1, "difference": 1e-6, "allowed": 1e-5},
                        {"step": 2, "difference": 2e-4, "allowed": 3e-4}]}))
        for words in ("# Taper on Big One", "driver 580; cuDNN 9.19.0; PyTorch's torch 2.11.", "16 CPUs, fast.",
                      "- families of tests: 1 passed, 1 failed; 3 of 3 test cases passed", "- tests: 2 passed, 1 skipped",
                      "- **b_test** failed: adds: two.cpp:7 CHECK", "- skipped: oracle_c (no torch)",
                      "- a_test: checked 5; left out 2 (",
                      "- training on the digits: top1 97.50%, 8000 pictures/s, 3 s",
                      "- parity with PyTorch: passed; of 2 losses step 2 is the farthest off, 2.0e-04 of 3e-04 allowed",
                      "Nothing: every step has ended."):
            self.assertIn(words, text)

    def test_race_and_benchmark_mode(self):
        programs = [{"name": "Taper", "precision": "f32", "images_per_second": 1500, "peak_memory_bytes": 3 << 30,
                     "seconds_per_op": 2e-6},
                    {"name": "PyTorch, channels last", "precision": "f32", "images_per_second": 1000},
                    {"name": "PyTorch, channels last, graph", "precision": "f32", "images_per_second": 0,
                     "trouble": "failed: no"}]
        text = page(step("ceilings", data=CEILINGS), step("step_tf32", data={"images_per_second": 1250}),
                    step("race_f32", data={"batch": 128, "size": 224, "steps": 10, "together": True, "programs": programs}),
                    step("benchmark_mode", data={"images_per_second": 2500, "blocks": [],
                                                 "benchmark": {"problems": 7, "seconds": 2.5, "left_out": 0}}))
        for words in ("| Taper | f32 | 1500.0 | 1.50x | 75% | 3.00 GiB | 2.00 us |",
                      "| PyTorch, channels last, graph | f32 | failed: no |  |  |  |  |",
                      "| Taper, by itself | tf32 | 1250.0 |",
                      "a copy moves 4.00 TB/s", "TFLOP/s: f32 49, bf16 400.", "128 pictures of 224 px",
                      "tf32: 2500.0 pictures/s, 2.00x of the heuristic's 1250.0; 3 s with all its measuring; "
                      "7 problems; 2.5 seconds; 0 left out."):
            self.assertIn(words, text)

    def test_kernels(self):
        kernels = [{"kernel": f"kernel{i}", "op": "relu", "calls": 2, "seconds": 1e-3 / (i + 1)} for i in range(12)]
        kernels[1]["bytes"] = 1e9  # in 0.5 ms: half of 4 TB/s
        text = page(step("ceilings", data=CEILINGS), step("step_tf32", data={"images_per_second": 1, "kernels": kernels}))
        self.assertIn("## The 10 heaviest kernels of one step, tf32", text)
        self.assertIn("| kernel0 | relu | 2 |  | 1.000 | 32.2% |  |", text)
        self.assertIn("| kernel1 | relu | 2 | 1000.0 | 0.500 | 16.1% | 50% |", text)
        self.assertIn("| 2 others | | 4 | | 0.174 | 5.6% | |", text)

    def test_layers(self):
        measured = {"ms": 0.5, "candidates": [
            {"name": "implicit gemm", "ms": 0.8}, {"name": "cudnn 9.19.0 engine 3", "ms": 0.5},
            {"name": "cudnn 9.19.0 engine 4", "rejected": "out of memory"}]}
        layer = {"name": "a layer", "count": 2, "flops": 4e10, "bytes": 1e9,  # 0.1 ms of arithmetic, 0.25 ms of memory
                 "passes": dict.fromkeys(gpu_page.PASSES, measured)}
        text = page(step("ceilings", data=CEILINGS),
                    step("layers_layer1", data={"dtype": "bf16", "batch": 8, "layers": [layer]}),
                    step("pytorch_layers_layer1", data={"a layer": dict.fromkeys(gpu_page.PASSES, 0.75)}))
        self.assertIn("| a layer | 2 | forward | 0.800 | 0.500 | 0.500 | 0.750 | 1.50x | 0.250 | 50% |", text)
        self.assertIn("3.00 ms, PyTorch 4.50 ms", text)

    def test_what_was_not_run(self):
        plan = ["done_test", "cut_test", "later_test"]
        steps = [step("done_test"), step("cut_test", "out of time")]
        self.assertIn("The budget of 290 s ended it. 2 of 3 steps: cut_test, later_test.",
                      page(*steps, reason="budget", plan=plan))
        self.assertIn("It is still running, or was killed. 2 of 3 steps", page(*steps, reason=None, plan=plan))

    def test_a_strange_record_costs_its_section_alone(self):
        text = page(step("step_tf32", data={"kernels": [{"kernel": "no seconds"}], "images_per_second": 5}))
        self.assertIn("(kernel_section could not be written: KeyError: 'seconds')", text)
        self.assertIn("| Taper, by itself | tf32 | 5.0 |", text)
        self.assertIn("Nothing: every step has ended.", text)

    def test_the_page_is_replaced_at_once(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for _ in range(2):
                gpu_page.write(folder, gpu_results.Results([RUN], {}, {}, "done"))
            self.assertEqual([path.name for path in folder.iterdir()], ["summary.md"])


if __name__ == "__main__":
    unittest.main()
