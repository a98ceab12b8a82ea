"""scripts/gpu_race.py: programs that take turns, and what it makes of their figures."""

import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_race  # pylint: disable=wrong-import-position

# Says that it is ready, answers each line with the next of SPEEDS, and sums up; writes its name into a log each time.
PROGRAM = """
import sys
print('{"ready": true}', flush=True)
for speed, _ in zip([SPEEDS], sys.stdin):
    print("NAME", file=open("LOG", "a"))
    if speed == 0: sys.exit("out of luck")
    print('{"images_per_second": %d}' % speed, flush=True)
print('{"peak_memory_bytes": 1073741824}', flush=True)
"""


class GpuRaceTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.log = pathlib.Path(temporary.name, "log")

    def racer(self, name, speeds):
        text = PROGRAM.replace("SPEEDS", speeds).replace("NAME", name).replace("LOG", str(self.log))
        return gpu_race.Racer(name, "f32", [sys.executable, "-c", text])

    def race(self, *racers, rounds=3):
        said = []
        gpu_race.race(racers, rounds, os.environ, say=lambda text, flush: said.append(text))
        return said

    def test_programs_take_turns_and_the_median_counts(self):
        one, two = self.racer("one", "10, 90, 20, 1"), self.racer("two", "5, 5, 5, 1")
        self.race(one, two)
        self.assertEqual(self.log.read_text().split(), ["one", "two"] * 3)
        self.assertEqual((one.speed(), two.speed()), (20, 5))
        self.assertEqual(one.record()["peak_memory_bytes"], 1 << 30)
        self.assertNotIn("trouble", one.record())

    def test_one_that_dies_leaves_the_others_running(self):
        dying, well = self.racer("dying", "7, 0"), self.racer("well", "1, 2, 3, 4")
        self.race(dying, well)
        self.assertEqual(dying.trouble, "failed: out of luck")
        self.assertEqual((dying.speed(), well.speed()), (7, 2))

    def test_one_that_cannot_start_says_why(self):
        skipped = gpu_race.Racer("skipped", "f32", [sys.executable, "-c",
                                                    "import sys; print('skipped: no GPU', file=sys.stderr); sys.exit(77)"])
        said = self.race(skipped)
        self.assertEqual(skipped.trouble, "skipped: no GPU")
        self.assertIn("skipped: no GPU", said[0])
        self.assertEqual(skipped.record()["images_per_second"], 0)

    def test_silence_is_ended(self):
        silent = gpu_race.Racer("silent", "f32", [sys.executable, "-c", "import time; time.sleep(60)"])
        before, gpu_race.READY_SECONDS = gpu_race.READY_SECONDS, 0.5
        self.addCleanup(setattr, gpu_race, "READY_SECONDS", before)
        self.race(silent)
        self.assertEqual(silent.trouble, "nothing heard for 0.5 s")
        self.assertIsNotNone(silent.process.returncode)

    def test_ratios_on_the_page(self):
        ceilings = {"flops": {"f32": 48.6e12, "bf16": 4e14}, "bytes_per_second": 4e12}
        programs = [{"name": "Taper", "precision": "f32", "images_per_second": 1500, "peak_memory_bytes": 3 << 30,
                     "seconds_per_op": 2e-6},
                    {"name": "PyTorch, channels last", "precision": "f32", "images_per_second": 1000}]
        table = "\n".join(gpu_race.race_table(programs, ceilings))
        self.assertIn("| Taper | f32 | 1500.0 | 1.50x | 75% | 3.00 GiB | 2.00 us |", table)
        measured = {"ms": 0.5, "pytorch_ms": 0.75, "candidates": [
            {"name": "implicit gemm", "ms": 0.8}, {"name": "cudnn 9.19.0 engine 3", "ms": 0.5},
            {"name": "cudnn 9.19.0 engine 4", "rejected": "out of memory"}]}
        layer = {"name": "a layer", "count": 2, "flops": 4e10, "bytes": 1e9,  # 0.1 ms of arithmetic, 0.25 ms of memory
                 "passes": dict.fromkeys(gpu_race.PASSES, measured)}
        table = "\n".join(gpu_race.layer_table({"dtype": "bf16", "layers": [layer]}, ceilings))
        self.assertIn("| a layer | 2 | forward | 0.800 | 0.500 | 0.500 | 0.750 | 1.50x | 0.250 | 50% |", table)
        self.assertIn("3.00 ms, PyTorch 4.50 ms", table)


if __name__ == "__main__":
    unittest.main()
