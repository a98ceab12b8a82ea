"""resnet50_train --oom: what is said where memory is short, and that nothing changes where it is not.

  oom_test.py RESNET50_TRAIN [TEST...]

That split batches train as accumulated ones do is for tests/nn/batch_splitter_test.cpp and tests/sim/sim_split_test.cpp to show.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--image-size", "16", "--batch-size", "8", "--max-steps", "1", "--progress", "off", "--deterministic"]


def run(*arguments, **environment):
    return subprocess.run([PROGRAM, *SMALL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                          env={**os.environ, **environment})


class OomTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def test_where_memory_suffices_nothing_changes(self):
        logs = {}
        for choice in ("off", "split"):
            result = run("--device", "cpu", "--oom", choice, "--log", self.path(choice))
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertNotIn("does not fit", result.stdout)
            with open(self.path(choice)) as file:
                logs[choice] = file.read()
        self.assertEqual(logs["off"], logs["split"])

    def test_other_words_are_refused(self):
        result = run("--oom", "halve")
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertRegex(result.stderr, r"\A[^\n]*--oom[^\n]*halve[^\n]*\n\Z")
        self.assertRegex(run("--help").stdout, r"--oom\b")

    def test_if_a_single_image_does_not_fit_the_error_says_so(self):
        if "GPU: simulated" not in run("--version").stdout:
            self.skipTest("no simulated GPU")
        for choice, says in (("off", r"cuda:0: cannot allocate"),
                             ("split", r"(not even one image at a time fits|2 images at a time do not fit) ?[:(].*cuda:0: cannot allocate")):
            # The weights fit, their gradients do not.
            result = run("--device", "cuda", "--dataset", "synthetic", "--num-classes", "10", "--oom", choice, "--summary",
                         self.path("summary"), TAPER_SIM_MEMORY="75000000")
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, rf"\Aresnet50_train: {says}[^\n]*\n\Z")
            with open(self.path("summary")) as file:
                self.assertEqual(json.load(file)["ended"], "out of memory")


if __name__ == "__main__":
    unittest.main()
