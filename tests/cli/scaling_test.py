"""The benchmarks of data parallelism as a user meets them: short runs.

  scaling_test.py SCALING_MODEL DATA_PARALLEL_BENCH [MPIRUN]
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

MODEL, BENCH, *LAUNCHER = sys.argv[1:]
del sys.argv[1:]
SMALL = ["--arch", "resnet18", "--batch", "2", "--size", "32", "--threads", "1"]


def run(*command, code=0):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300)
    if done.returncode != code:
        raise AssertionError(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def in_ranks(*command):
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    return run(*LAUNCHER, "--oversubscribe", "--bind-to", "none", "-q", "-n", 2, *root, *command)


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class ScalingTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_a_saved_step_gives_the_table_again(self):
        files = [self.path(name) for name in ("step.json", "curves.svg", "timeline.svg", "first.json", "second.json")]
        step, curves, timeline, first, second = files
        run(MODEL, *SMALL, "--repeats", 1, "--save-step", step, "--curves", curves, "--timeline", timeline, "--json", first)
        run(MODEL, "--step", step, "--json", second)
        for row, again in zip(read(first)["rows"], read(second)["rows"], strict=True):
            self.assertEqual(row["gpus"], again["gpus"])
            self.assertAlmostEqual(row["step_ms"], again["step_ms"], places=6)
            self.assertTrue(0 < row["efficiency"] <= row["best_efficiency"] * 1.001 <= 1.001)
        self.assertEqual(len(read(first)["rows"]), 3 * 2 * 10)
        lines = [one for one in xml.etree.ElementTree.parse(curves).iter() if one.tag.endswith("polyline")]
        self.assertEqual(len(lines), 3 * 2)
        xml.etree.ElementTree.parse(timeline)

    def test_a_network_of_ones_own(self):
        step = self.path("step.json")
        run(MODEL, *SMALL, "--repeats", 1, "--save-step", step)
        done = run(MODEL, "--step", step, "--network", "mine:10,25,4,3,200", "--network", "25g", "--gpus", "4,8")
        self.assertIn("mine", done.stdout)
        self.assertIn("a step on 64 GPUs, mine, ring", done.stdout)
        wrong = run(MODEL, "--step", step, "--network", "mine:10", code=2)
        self.assertIn("scaling_model: --network mine:10: neither one of nvlink4+ndr", wrong.stderr)
        self.assertIn("cannot be read", run(MODEL, "--step", self.path("none"), code=2).stderr)

    def test_the_wrapper_alone(self):
        done = run(BENCH, *SMALL, "--rounds", 2, "--json", self.path("alone.json"))
        self.assertIn("with DistributedDataParallel / plain", done.stdout)
        self.assertEqual(len(read(self.path("alone.json"))["lines"]), 2)

    @unittest.skipUnless(LAUNCHER, "no mpirun")
    def test_ranks(self):
        report = self.path("ranks.json")
        in_ranks(BENCH, "--megabytes", 3, "--bucket-megabytes", 1.5, "--rounds", 3, "--json", report)
        self.assertEqual(read(report)["ranks"], 2)
        self.assertEqual(len(read(report)["lines"]), 2)
        done = in_ranks(MODEL, "--check", *SMALL, "--repeats", 1, "--json", report)
        self.assertEqual(done.stdout.count("2 ranks: latency"), 1)
        self.assertEqual([line["bucket_bytes"] >> 20 for line in read(report)["steps"]], [1, 5, 25, 1000])
        for line in read(report)["steps"]:
            self.assertLessEqual(line["link_beside_ms"], line["link_instead_ms"] * 1.000001)


if __name__ == "__main__":
    unittest.main()
