"""scripts/gpu_steps.py, gpu_read.py: which steps there are, and how programs' output is read."""

import json
import pathlib
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_read  # pylint: disable=wrong-import-position
import gpu_steps  # pylint: disable=wrong-import-position

FAMILIES = [
    "conv_test", "conv_candidates_test", "gpu_profiler_test", "gpu_simt_test", "gpu_runtime_test", "resnet50_norm_test"
]


def plan(help_text="{f32,tf32}", **options):
    """Returns the steps for a build with FAMILIES on a real GPU, by name, in their order."""
    chosen = {"parts": list(gpu_steps.PARTS), "quick": False, "families": None, "batch": 128, "compile": False,
              "limit": None, "budget": None, **options}
    with tempfile.TemporaryDirectory() as name:
        build = pathlib.Path(name)
        (build / "bench").mkdir()
        for bench in ("kernel_bench", "allocator_bench", "gemm_bench", "loader_bench", "checkpoint_bench"):
            (build / "bench" / bench).touch()
        machine = types.SimpleNamespace(build=build, env={}, simulated=False, tests_program="taper_tests",
                                        torch_python="python3",
                                        train_program="resnet50_train")
        tags = "\n".join(f"  1  [#{family}]" for family in FAMILIES)
        with mock.patch.object(gpu_steps, "output_of", lambda *words, env: (0, tags if "--list-tags" in words
                                                                                          else help_text)), \
                mock.patch.object(gpu_steps, "find_tool", lambda name: name):
            return {step.name: step for step in gpu_steps.plan(machine, types.SimpleNamespace(**chosen), build)}


class GpuStepsTest(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name, "report.xml")
            path.write_text('<?xml version="1.0"?><Catch><Group>' + text)
            return gpu_read.read_cases(path)

    def test_the_most_telling_come_first(self):
        steps = plan()
        order = list(steps)
        self.assertEqual(order[:2], ["gpu_runtime_test", "gpu_simt_test"])
        self.assertEqual(len(set(order)), len(order))
        self.assertTrue(all("/" not in name for name in order))
        places = [order.index(name) for name in (
            "oracle_conv", "conv_candidates_test", "resnet50_norm_test", "conv_test", "training_digits",
            "parity_32px", "step_f32", "step_tf32", "ceilings", "race_tf32", "race_bf16", "race_fp16",
            "benchmark_mode", "layers_conv1", "pytorch_layers_conv1", "parity_64px", "resnet50_train",
            "memcheck_gpu_simt_test", "racecheck_gpu_simt_test", "kernel_bench", "allocator_bench",
            "gemm_bench")]
        self.assertEqual(places, sorted(places))
        self.assertNotIn("loader_bench", order)
        self.assertNotIn("checkpoint_bench", order)  # has options of its own, not Google Benchmark's
        self.assertIn("memcheck_gpu_simt_test", order)
        self.assertNotIn("memcheck_gpu_profiler_test", order)
        for step in steps.values():
            self.assertEqual(step.alone, step.part in ("race", "benchmarks") or "parity" in step.name
                             or "digits" in step.name or step.name == "gpu_runtime_test")
            self.assertLess(step.estimate, step.limit + 1)

    def test_families_wait_for_their_oracle_and_know_their_time(self):
        steps = plan()
        self.assertEqual(steps["conv_test"].after, ("oracle_conv",))
        self.assertEqual(steps["gpu_simt_test"].after, ())
        self.assertEqual(steps["resnet50_norm_test"].env["TAPER_TEST_SECONDS"], "{most}")
        self.assertEqual(steps["resnet50_norm_test"].skip_code, 77)
        self.assertNotIn("TAPER_TEST_SECONDS", steps["gpu_simt_test"].env)

    def test_an_oracle_whose_answers_the_pack_has_is_not_asked(self):
        with tempfile.TemporaryDirectory() as name, mock.patch.object(gpu_steps, "ROOT", pathlib.Path(name)) as root:
            for path in ("tests/oracle/conv_oracle.py", "tests/oracle/gpu_simt_oracle.py",
                         "tests/oracle_answers/conv/DONE"):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).touch()
            steps = plan()
            self.assertEqual([step for step in steps if step.startswith("oracle_")], ["oracle_gpu_simt"])
            self.assertEqual(steps["conv_test"].after, ())
            self.assertEqual(steps["conv_test"].env["TAPER_ORACLE_DIR"], root / "tests/oracle_answers")
            self.assertEqual(steps["gpu_simt_test"].after, ("oracle_gpu_simt",))

    def test_choices(self):
        self.assertEqual(list(plan(parts=["tests"], families="^conv_test")), ["oracle_conv", "conv_test"])
        self.assertNotIn("parity_32px", plan(quick=True))
        self.assertNotIn("conv_test", plan(quick=True))
        self.assertEqual(plan(parts=["tests"], limit=7.)["conv_test"].limit, 7)
        self.assertNotIn("--compile", plan()["race_bf16"].command)
        self.assertIn("--compile", plan(compile=True)["race_bf16"].command)

    def test_what_resnet50_step_offers_is_used(self):
        now, later = plan(), plan("--precision {f32,tf32,bf16,fp16} --benchmark-seconds FLOAT")
        self.assertIn("--taper", now["race_tf32"].command)
        self.assertNotIn("--taper", now["race_bf16"].command)
        self.assertIn("--taper", later["race_bf16"].command)
        self.assertNotIn("--benchmark-seconds", now["benchmark_mode"].command)
        self.assertIn("--benchmark-seconds", later["benchmark_mode"].command)

    def test_cases_of_a_whole_report(self):
        found = self.read(
            '<TestCase name="adds" filename="a.cpp" line="1"><Warning>\n left out\n 2 </Warning>'
            '<OverallResult success="true" durationInSeconds="0.25"/></TestCase>'
            '<TestCase name="divides"><Section name="by zero"><Info> n = 0 </Info>'
            '<Expression success="false" type="CHECK" filename="/b/a.cpp" line="9"><Original> 1 / n == 0 </Original>'
            '<Expanded> 1 / n == 0 </Expanded><Exception filename="/b/a.cpp" line="9"> no\n way </Exception></Expression>'
            '<Expression success="false" type="CHECK" filename="/b/a.cpp" line="10"><Original> n </Original>'
            '<Expanded> 0 </Expanded></Expression></Section>'
            '<OverallResult success="false" durationInSeconds="1"/></TestCase></Group></Catch>')
        self.assertEqual(found["cases"], [
            {"name": "adds", "seconds": 0.25, "result": "passed", "message": "left out 2"},
            {"name": "divides", "seconds": 1, "result": "failed",
             "message": "a.cpp:9 CHECK 1 / n == 0 threw no way [n = 0] (and 1 more)"}])
        self.assertTrue(found["first_failure"].startswith("divides: a.cpp:9"))

    def test_cases_of_a_report_that_breaks_off(self):
        found = self.read('<TestCase name="adds"><OverallResult success="true"/></TestCase><TestCase name="hangs"><Sec')
        self.assertEqual([(case["name"], case["result"]) for case in found["cases"]], [("adds", "passed"),
                                                                                       ("hangs", "failed")])
        self.assertEqual(found["first_failure"], "hangs: it did not end")
        found = self.read(
            '<TestCase name="hangs"><Expression success="false" type="CHECK" filename="a.cpp" line="9"><Original>n'
            '</Original><Expanded>0</Expanded></Expression><Sec')
        self.assertEqual(found["first_failure"], "hangs: a.cpp:9 CHECK n with 0; it did not end")
        self.assertEqual(gpu_read.read_cases(pathlib.Path("/none.xml")), {"cases": [], "first_failure": ""})

    def test_a_benchmark_that_was_stopped_keeps_what_it_measured(self):
        whole = {"context": {"num_cpus": 2}, "benchmarks": [{"name": "a", "real_time": 1.5}, {"name": "b", "real_time": 2.5}]}
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "b.json")
            text = json.dumps(whole, indent=1)
            path.write_text(text, encoding="utf-8")
            self.assertEqual(gpu_read.read_benchmarks(path)["data"], whole)
            path.write_text(text[:text.find('"b"') + 12], encoding="utf-8")
            self.assertEqual(gpu_read.read_benchmarks(path)["data"]["benchmarks"], whole["benchmarks"][:1])
            path.write_text(text[:20], encoding="utf-8")
            self.assertEqual(gpu_read.read_benchmarks(path)["data"], {})

    def test_blocks(self):
        text = 'warning\n{"images_per_second": 3}\n{"images_per_second": 1}\n{"images_per_second": 2}\n{"loss": 1}\n{"pe'
        data = gpu_read.read_blocks(text)["data"]
        self.assertEqual((data["images_per_second"], data["loss"], len(data["blocks"])), (2, 1, 3))

    def test_parity(self):
        lines = ("step  1  taper 2.3  pytorch 2.3  difference 1.0e-06  allowed 1e-05\n"
                 "step 10  taper 2.5  pytorch 2.0  difference {}  allowed 5e-02\n")
        self.assertEqual(gpu_read.read_parity(lines.format("1.0e-02"))["first_failure"], "")
        self.assertEqual(gpu_read.read_parity(lines.format("2.5e-01"))["first_failure"],
            "step 10: losses 2.5 and PyTorch's 2.0 differ by 2.5e-01, allowed 5e-02")
        self.assertIn("step 10", gpu_read.read_parity(lines.format("nan"))["first_failure"])

    def test_training_and_race(self):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name, "file.json")
            path.write_text(json.dumps({"top1": 0.79}))
            self.assertEqual(gpu_read.read_training(path, 0.8)["first_failure"], "top1 0.79 is below 0.8")
            self.assertFalse(gpu_read.read_training(path, 0.7)["first_failure"])
            programs = [{"name": "PyTorch", "precision": "bf16", "trouble": "failed: no memory"},
                        {"name": "Taper", "precision": "bf16", "trouble": "skipped: none"}]
            path.write_text(json.dumps({"programs": programs}))
            self.assertNotIn("first_failure", gpu_read.read_race(path))
            programs[1]["trouble"] = "failed: no memory"
            path.write_text(json.dumps({"programs": programs}))
            self.assertEqual(gpu_read.read_race(path)["first_failure"], "Taper, bf16: failed: no memory")


if __name__ == "__main__":
    unittest.main()
