"""scripts/gpu_race.py: programs that take turns."""

import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
import gpu_race  # pylint: disable=wrong-import-position

# Reports that it is ready, answers each line with the next of SPEEDS, and sums up. Logs its name each time.
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

    def race(self, *racers, rounds=3, seconds=60):
        gpu_race.race_together(racers, rounds, gpu_race.Clock(seconds), lambda: None)

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
        skipped = gpu_race.Racer(
            "skipped", "f32",
            [sys.executable, "-c", "import sys; print('skipped: no GPU', file=sys.stderr); sys.exit(77)"])
        self.race(skipped)
        self.assertEqual(skipped.trouble, "skipped: no GPU")
        self.assertEqual(skipped.record()["images_per_second"], 0)

    def test_silence_is_ended(self):
        silent = gpu_race.Racer("silent", "f32", [sys.executable, "-c", "import time; time.sleep(60)"])
        self.race(silent, seconds=0.5)
        self.assertRegex(silent.trouble, "nothing heard for 0.[0-9]+ s")
        self.assertIsNotNone(silent.process.returncode)

    def test_memory_decides_whether_all_stay_alive(self):
        racers = [self.racer(name, "1") for name in ("one", "two")]
        self.assertAlmostEqual(gpu_race.needed_gib(racers, 256), 2 * (0.12 * 256 + 3))
        self.assertLess(gpu_race.needed_gib(racers, 128), 78)  # an H100's
        self.assertGreater(gpu_race.needed_gib([*racers, self.racer("three", "1")], 256), 78)

    def test_one_at_a_time_each_turn_starts_its_program_anew(self):
        alive = self.log.with_name("alive")
        text = PROGRAM.replace("SPEEDS", "1, 2, 3, 4").replace("LOG", str(self.log)).replace(
            "import sys", f"import sys, os; os.mkdir('{alive}')") + f"os.rmdir('{alive}')\n"  # fails beside another
        one, two = (gpu_race.Racer(name, "f32", [sys.executable, "-c", text.replace("NAME", name)])
                    for name in ("one", "two"))
        gpu_race.race_one_at_a_time([one, two], 2, gpu_race.Clock(60), lambda: None)
        self.assertEqual(self.log.read_text().split(), (["one"] * 3 + ["two"] * 3) * 2)
        self.assertEqual([block["images_per_second"] for block in two.blocks], [1, 2, 3] * 2)
        self.assertEqual((one.trouble, two.trouble), ("", ""))

    def test_no_round_begins_that_would_end_too_late(self):
        slow = self.racer("slow", "1, 2, 3, 4, 5, 6, 7, 8")
        slow.command[-1] = slow.command[-1].replace("    print(", "    import time; time.sleep(1)\n    print(", 1)
        start = time.monotonic()
        gpu_race.race_together([slow], 8, gpu_race.Clock(gpu_race.FINISH_SECONDS + 3.5), lambda: None)
        self.assertLess(time.monotonic() - start, 8)
        self.assertTrue(1 <= len(slow.blocks) <= 3, slow.blocks)
        late = self.racer("late", "1, 2, 3")
        gpu_race.race_together([late], 3, gpu_race.Clock(gpu_race.FINISH_SECONDS), lambda: None)
        self.assertEqual(len(late.blocks), 1)
        self.assertIn("peak_memory_bytes", slow.summary)

    def test_each_round_is_kept(self):
        kept = []
        one = self.racer("one", "1, 2, 3, 4")
        gpu_race.race_together([one], 3, gpu_race.Clock(60), lambda: kept.append((len(one.blocks), bool(one.summary))))
        self.assertEqual(kept, [(1, False), (2, False), (3, False), (3, True)])


if __name__ == "__main__":
    unittest.main()
