"""scripts/gpu_status.py: the pages of this checkout, and its use of results."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/gpu_status.py"
PAGE = "# Title\n\n<!-- scripts/gpu_status.py writes this -->\nold\n<!-- up to here -->\n\nThe end.\n"
PARTS = [{"part": "convolutions", "simulated": "tests pass", "compiled": "yes", "steps": ["conv_test", "conv_moments_test"],
          "until_then": "no plan has run"},
         {"part": "pooling", "simulated": "none", "compiled": "no", "steps": ["pool_test"]}]
RUN = {"kind": "run", "date": "2026-11-28T10:00:00+00:00", "commit": "0123456789abcdef", "command": "scripts/gpu_check.sh",
       "version": "Taper 0.1.0", "device": ["NVIDIA H200, compute capability 9.0, 143771 MiB"], "driver": "580.1",
       "libraries": {}, "machine": {}, "pack": "p1", "budget": None, "plan": []}


def step(name, result="passed", failure="", data=None):
    return {"kind": "step", "name": name, "part": "tests", "result": result, "seconds": 1, "exit_code": 0,
            "first_failure": failure, "output": "", "cases": [], "data": data or {}}


class GpuStatusTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        (self.root / "docs").mkdir()
        (self.root / "bench/results").mkdir(parents=True)
        (self.root / "docs/gpu_parts.json").write_text(json.dumps(PARTS))
        for page in ("docs/GPU_STATUS.md", "bench/results/README.md"):
            (self.root / page).write_text(PAGE)

    def result(self, name, *steps, **run):
        folder = self.root / "bench/results" / name
        folder.mkdir()
        lines = [{**RUN, **run}, *steps, {"kind": "end", "reason": "done"}]
        (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run_script(self, *arguments):
        return subprocess.run([SCRIPT, "--root", self.root, *arguments], capture_output=True, text=True, check=False)

    def pages(self):
        """Returns (the status page, the list of results) as the script writes them."""
        result = self.run_script()
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        texts = [(self.root / page).read_text() for page in ("docs/GPU_STATUS.md", "bench/results/README.md")]
        for text in texts:  # text around the marks stays
            self.assertTrue(text.startswith("# Title\n\n<!--") and text.endswith("-->\n\nThe end.\n"), text)
            self.assertNotIn("old", text)
        return texts

    def refused(self, says, *arguments):
        result = self.run_script(*arguments)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertRegex(result.stderr, says)

    def test_the_pages_of_this_checkout(self):
        result = subprocess.run([SCRIPT, "--check"], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_the_parts_of_this_checkout(self):
        """Each family that confirms a part is a test file; each test file of the GPU layer confirms some part."""
        parts = json.loads((ROOT / "docs/gpu_parts.json").read_text(encoding="utf-8"))
        named = {name for part in parts for name in part["steps"]}
        files = {path.stem for path in (ROOT / "tests").glob("*/*_test.c*")}
        self.assertEqual({name for name in named if name.endswith("_test")} - files, set())
        self.assertEqual({name for name in files if re.match("gpu_", name)} - named, set())
        ladders = {f"ladder_{path.stem}" for path in (ROOT / "bench/ladder").glob("*.cu")}
        self.assertEqual({name for name in named if name.startswith("ladder_")}, ladders)

    def test_without_results(self):
        status, index = self.pages()
        self.assertIn("| convolutions | tests pass | yes | not yet: no plan has run |\n", status)
        self.assertIn("| pooling | none | no | not yet |\n", status)
        self.assertIn("No speed on a GPU has been measured.\n", status)
        self.assertIn("Nothing has run on a GPU yet", index)

    def test_a_part_passes_with_all_its_steps(self):
        self.result("2026-11-28-h200", step("conv_test"), step("conv_moments_test"), step("pool_test", "skipped"))
        status, index = self.pages()
        self.assertIn("| convolutions | tests pass | yes | passed on NVIDIA H200, 2026-11-28, 01234567 |\n", status)
        self.assertIn("| pooling | none | no | not yet |\n", status)
        self.assertIn("| [2026-11-28-h200](2026-11-28-h200/summary.md) | NVIDIA H200 | 2026-11-28 | 01234567 | 2 | 0 |  | done |",
                      index)

    def test_half_a_part(self):
        self.result("2026-11-28-h200", step("conv_test"), step("conv_moments_test", "out of time"))
        self.assertIn("| passed on NVIDIA H200, 2026-11-28, 01234567; not yet: `conv_moments_test` |\n", self.pages()[0])

    def test_a_failure(self):
        self.result("2026-11-28-h200", step("conv_test"), step("conv_moments_test", "crashed", "at a.cpp:3\n1 | 2"))
        status, index = self.pages()
        self.assertIn("| failed on NVIDIA H200, 2026-11-28, 01234567: `conv_moments_test` crashed: at a.cpp:3 1 \\| 2 |\n",
                      status)
        self.assertIn("| 1 | 1 |", index)

    def test_the_newest_result_of_each_step_counts(self):
        self.result("2026-11-28-h200", step("conv_test", "failed", "1 == 2"), step("conv_moments_test"),
                    step("pool_test", "failed", "a"))
        self.result("2026-11-30-h100", step("conv_test"), date="2026-11-30T10:00:00+00:00", commit="abcdefabcdef-dirty",
                    device=["NVIDIA H100 80GB HBM3, compute capability 9.0, 81559 MiB"] * 2)
        status, index = self.pages()
        self.assertIn("| passed on NVIDIA H100 80GB HBM3, 2026-11-30, abcdefab-dirty; NVIDIA H200, 2026-11-28, 01234567 |\n",
                      status)
        self.assertIn("| failed on NVIDIA H200, 2026-11-28, 01234567: `pool_test` failed: a |\n", status)
        self.assertLess(index.index("2026-11-30-h100"), index.index("2026-11-28-h200"))

    def test_speeds(self):
        programs = [{"name": "Taper", "precision": "tf32", "images_per_second": 1500},
                    {"name": "PyTorch, channels last", "precision": "tf32", "images_per_second": 2000}]
        self.result("2026-11-28-h200", step("race_tf32", data={"programs": programs}))
        self.result("2026-11-29-h200", step("conv_test"), date="2026-11-29T10:00:00+00:00")
        status, index = self.pages()
        first = "[NVIDIA H200, 2026-11-28, 01234567](../bench/results/2026-11-28-h200/summary.md)"
        taper, pytorch = (f"| Taper | tf32 | 1500.0 | 0.75x | {first} |\n",
                          f"| PyTorch, channels last | tf32 | 2000.0 | 1.00x | {first} |\n")
        self.assertIn(taper + pytorch, status)
        self.assertIn("| 1 | 0 | tf32 0.75x | done |", index)

        # A later run replaces only what it timed.
        programs = [{"name": "Taper", "precision": "tf32", "images_per_second": 1600}]
        self.result("2026-11-30-h200", step("race_tf32", data={"programs": programs}), date="2026-11-30T10:00:00+00:00")
        status, _ = self.pages()
        self.assertIn("| Taper | tf32 | 1600.0 |", status)
        self.assertNotIn(taper, status)
        self.assertIn(pytorch, status)

    def test_check(self):
        self.refused("docs/GPU_STATUS.md is not what the results say", "--check")
        self.assertEqual((self.root / "docs/GPU_STATUS.md").read_text(), PAGE)
        self.pages()
        self.assertEqual(self.run_script("--check").returncode, 0)
        self.result("2026-11-28-h200", step("other_test"))
        self.refused("bench/results/README.md is not what the results say", "--check")

    def test_what_does_not_belong_there(self):
        self.result("2026-11-28-sim", step("conv_test"), device="simulated")
        self.refused("bench/results/2026-11-28-sim ran on the simulated GPU")
        (self.root / "bench/results/2026-11-28-sim").rename(self.root / "bench/results/mine")
        self.refused("bench/results/mine: a result's folder is named DATE-DEVICE")
        (self.root / "bench/results/mine/results.jsonl").unlink()
        (self.root / "bench/results/mine").rename(self.root / "bench/results/2026-11-28-h200")
        self.refused("2026-11-28-h200 is no result folder.*no results.jsonl")

    def test_a_page_without_marks(self):
        (self.root / "docs/GPU_STATUS.md").write_text("# Title\n")
        self.refused("GPU_STATUS.md: has no line <!-- scripts/gpu_status.py writes this -->")


if __name__ == "__main__":
    unittest.main()
