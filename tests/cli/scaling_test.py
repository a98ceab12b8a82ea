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


def in_ranks(*command, code=0):
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    return run(*LAUNCHER, "--oversubscribe", "--bind-to", "none", "-q", "-n", 2, *root, *command, code=code)


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
        done = run(MODEL, "--step", step, "--network", "mine:10,25,4,3,200", "--network", "25g", "--gpus", "3",
                   "--gpus", "4,8")
        self.assertEqual(done.stdout.count(" ring "), 4)
        self.assertIn("mine", done.stdout)
        self.assertIn("a step on 64 GPUs, mine, ring", done.stdout)
        self.assertIn("mine: described on the command line", done.stdout)
        self.assertIn("cannot be read", run(MODEL, "--step", self.path("none"), code=2).stderr)

    def refuse(self, start, *command, launch=run):
        """One line that begins so, and nothing measured or printed."""
        done = launch(*command, code=2)
        name = os.path.basename(command[0])
        self.assertEqual(done.stdout, "")
        self.assertIn(f"{name}: {start}", done.stderr)
        if launch is run:
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_wrong_networks_are_refused_before_the_work(self):
        for network in ("mine:10", ":10,25", "mine:10,25,4,3,200,0", "mine:1e308,1e-308"):
            self.refuse(f"--network {network}: neither one of nvlink4+ndr", MODEL, "--network", network)
        nodes = (MODEL, "--network", "my:10,25,3,3,200", "--gpus")
        self.refuse("--gpus: 8 GPUs do not fill nodes of 3, as my has them", *nodes, "3,8")
        self.refuse("--timeline-gpus: 64 GPUs do not fill nodes of 3", *nodes, "3,9")

    def test_flags_without_use_are_refused(self):
        for flag in ("--step", "--save-step", "--network", "--gpus", "--bucket", "--timeline-gpus", "--curves", "--timeline"):
            self.refuse(f"{flag}: is not for --check", MODEL, "--check", flag, "25g" if flag == "--network" else 8)
        self.refuse("--check: needs ranks", MODEL, "--check")
        self.refuse("--batch: is of a step that is measured", MODEL, "--step", self.path("step.json"), "--batch", 2)
        self.refuse("--megabytes: is for several ranks, under mpirun", BENCH, "--megabytes", 2)

    def test_wrong_command_lines_are_refused_in_one_line(self):
        for program in MODEL, BENCH:
            self.refuse("--batch: '0' is not a whole number from 1 to", program, "--batch", 0)
            self.refuse("--threads: '-1' is not a whole number", program, "--threads", -1)
            self.refuse("--arch: resnet17 not in", program, "--arch", "resnet17")
            self.refuse("--bath is not known; did you mean --batch?", program, "--bath", 2)
            self.refuse("--json needs a value", program, "--json")
        self.refuse("--gpus: '' is not a whole number", MODEL, "--gpus", "8,,16")
        self.refuse("--bucket: '0' is not a number", MODEL, "--bucket", 0)
        self.refuse("--bucket-megabytes: '1e-6' is not a number from 0.001", BENCH, "--bucket-megabytes", "1e-6")
        self.refuse("--megabytes: '1e-7' is not a number from 0.001", BENCH, "--megabytes", "1e-7")

    def test_the_wrapper_alone(self):
        done = run(BENCH, *SMALL, "--rounds", 9, "--rounds", 2, "--json", self.path("alone.json"))
        self.assertIn("; 2 rounds of 1 steps", done.stdout)
        self.assertIn("with DistributedDataParallel / plain", done.stdout)
        self.assertEqual(len(read(self.path("alone.json"))["lines"]), 2)

    @unittest.skipUnless(LAUNCHER, "no mpirun")
    def test_ranks(self):
        report = self.path("ranks.json")
        done = in_ranks(BENCH, "--megabytes", 3, "--bucket-megabytes", 1.5, "--rounds", 3, "--json", report)
        self.assertIn("3 MB in 2 buckets, 2 ranks", done.stdout)
        self.assertIn("; 3 rounds", done.stdout)
        self.assertEqual(read(report)["ranks"], 2)
        self.assertEqual(len(read(report)["lines"]), 2)
        done = in_ranks(MODEL, "--check", *SMALL, "--repeats", 1, "--json", report)
        self.assertEqual(done.stdout.count("2 ranks: latency"), 1)
        self.assertEqual([line["bucket_bytes"] >> 20 for line in read(report)["steps"]], [1, 5, 25, 1000])
        for line in read(report)["steps"]:
            self.assertLessEqual(line["link_beside_ms"], line["link_instead_ms"] * 1.000001)

    @unittest.skipUnless(LAUNCHER, "no mpirun")
    def test_ranks_refuse_what_one_process_does(self):
        self.refuse("mpirun: is for --check", MODEL, *SMALL, launch=in_ranks)
        self.refuse("--device: is for a run without mpirun", BENCH, "--device", "cpu", launch=in_ranks)
        self.refuse("--bucket-megabytes: 100 MB in buckets of 0.001 MB are 100000 all-reduces", BENCH,
                    "--bucket-megabytes", 0.001, launch=in_ranks)


if __name__ == "__main__":
    unittest.main()
