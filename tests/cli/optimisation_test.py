"""resnet50_train's optimisers, groups of parameters and schedules, as a user meets them.

  optimisation_test.py RESNET50_TRAIN [TEST...]
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--batch-size", "4", "--image-size", "16", "--progress", "off", "--deterministic", "--seed", "5",
         "--device", "cpu"]
STEPS = 4  # in an epoch of images()


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300)


def png(path, color):
    """Writes an image of 16 x 16 equal pixels."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress((b"\0" + bytes(color) * 16) * 16)) + chunk(b"IEND", b""))


def images(root):
    """Fills a folder with two classes of eight images each."""
    for number, name in enumerate(("cat", "dog")):
        os.makedirs(f"{root}/{name}")
        for i in range(8):
            png(f"{root}/{name}/{i}.png", (90 * number + 20 * i, 100, 250 - 90 * number))
    return root


class OptimisationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.images = images(cls.folder.name + "/images")
        cls.addClassCleanup(cls.folder.cleanup)

    def records(self, *arguments):
        """Returns what was printed, and the log."""
        log = self.folder.name + "/log.jsonl"
        result = run(*SMALL, "--dataset", "imagefolder", "--data", self.images, "--log", log, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(log) as file:
            return result.stdout, [json.loads(line) for line in file]

    def rates(self, *arguments):
        return [record["lr"] for record in self.records("--lr", 1e-3, *arguments)[1]]

    def assert_close(self, rates, expected):
        self.assertEqual(len(rates), len(expected))
        for step, (lr, wanted) in enumerate(zip(rates, expected), 1):
            self.assertAlmostEqual(lr / wanted, 1, places=6, msg=f"step {step}: {lr} is not {wanted}")

    def refused(self, *arguments, says):
        result = run(*SMALL, *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        lines = result.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertRegex(lines[0], says)

    # ---- the command line ----

    def test_help_names_every_flag(self):
        text = run("--help").stdout
        for flag in ("--optimizer --head-lr --layer-decay --momentum --nesterov --decay-norms --schedule --milestones "
                     "--lr-gamma --lr-power --min-lr --patience").split():
            self.assertRegex(text, rf"{flag}\b")

    def test_wrong_flags_get_one_line_with_their_name(self):
        self.refused("--optimizer", "adagrad", says="--optimizer.*adagrad")
        self.refused("--schedule", "linear", says="--schedule.*linear")
        self.refused("--decay-norms", "no", says="--decay-norms")
        self.refused("--head-lr", "0", says="--head-lr")
        self.refused("--layer-decay", "1.5", says="--layer-decay")
        self.refused("--momentum", "0.5", says="--momentum.*sgd and lars, not adamw")  # the optimiser of the digits
        self.refused("--optimizer", "lamb", "--nesterov", says="--nesterov.*sgd and lars, not lamb")
        self.refused("--optimizer", "sgd", "--momentum", "0", "--nesterov", says="--nesterov.*needs --momentum above 0")
        for flag, value, schedules in (("--milestones", "3", "step"), ("--lr-gamma", "0.5", "step, exponential, plateau"),
                                       ("--lr-power", "2", "polynomial"),
                                       ("--min-lr", "1e-5", "cosine, polynomial, plateau"), ("--patience", "2", "plateau")):
            for schedule in "cosine step exponential polynomial plateau constant".split():
                if schedule not in schedules.split(", "):
                    self.refused("--schedule", schedule, flag, value, says=f"{flag}.*--schedule {schedules}, not {schedule}")
        self.refused("--schedule", "plateau", "--lr-gamma", "1", says="--lr-gamma.*below 1")
        step = ["--schedule", "step", "--epochs", "9", "--milestones"]
        self.refused(*step, "3,x", says="--milestones.*'x'")
        self.refused(*step, "3,", says="--milestones.*''")
        self.refused(*step, "6,3", says="--milestones.*'6,3' does not rise")
        self.refused(*step, "3,3", says="--milestones.*does not rise")
        self.refused(*step, "0", says="--milestones.*'0'")
        self.refused(*step, "3,9", says="--milestones.*9 is not within the run of 9 epochs")
        self.refused(*step, "1,3", says="--milestones.*1 lies in the warm-up of 1 epochs")
        self.refused("--min-lr", "0.1", "--lr", "0.01", says="--min-lr 0.1 is not below the peak learning rate, 0.01")

    # ---- optimisers ----

    def test_every_optimiser_learns_in_a_way_of_its_own(self):
        ends = {}
        for optimizer in ("sgd", "adam", "adamw", "lamb", "lars"):
            printed, records = self.records("--optimizer", optimizer, "--epochs", 6)
            self.assertRegex(printed, rf"{optimizer} lr \S+ cosine")
            losses = [record["loss"] for record in records]
            self.assertLess(sum(losses[-8:]), sum(losses[:8]), (optimizer, losses))
            ends[optimizer] = losses[-1]
        self.assertEqual(len(set(ends.values())), 5, ends)

    def test_flags_change_what_they_name(self):
        def end(*flags):
            return self.records("--max-steps", 4, "--warmup-epochs", 0, *flags)[1][-1]["loss"]
        for optimizer, changes in {"sgd": [["--nesterov"], ["--momentum", 0.5], ["--decay-norms", "off"], ["--layer-decay", 0.5],
                                           ["--head-lr", 0.5], ["--weight-decay", 0.2]],
                                   "lars": [["--nesterov"], ["--momentum", 0.5], ["--decay-norms", "on"],
                                            ["--weight-decay", 0.2]],
                                   "adam": [["--weight-decay", 0.2]],
                                   "lamb": [["--weight-decay", 0.2], ["--decay-norms", "on"], ["--layer-decay", 0.5]]}.items():
            flags = ["--optimizer", optimizer, "--lr", 0.1]
            base = end(*flags)
            self.assertEqual(base, end(*flags))
            for change in changes:
                self.assertNotEqual(base, end(*flags, *change), (optimizer, change))

    def test_the_header_says_how_many_groups_there_are(self):
        def header(*flags):
            return re.search(r"lr \S+ cosine(.*)\n", self.records("--max-steps", 1, *flags)[0])[1]
        self.assertEqual(header(), "")
        self.assertEqual(header("--decay-norms", "off"), ", 2 parameter groups")
        self.assertEqual(header("--optimizer", "lamb"), ", 2 parameter groups")  # whose norms do not decay
        self.assertEqual(header("--optimizer", "lars", "--decay-norms", "on"), "")
        self.assertEqual(header("--head-lr", 0.1), ", 2 parameter groups")
        self.assertEqual(header("--layer-decay", 0.8), ", 10 parameter groups")  # the stem, 8 blocks, the head
        self.assertEqual(header("--layer-decay", 0.8, "--decay-norms", "off"), ", 20 parameter groups")

    def test_mixed_precision_and_a_gpu_go_with_the_new_optimisers(self):
        for optimizer in ("adam", "lamb", "lars"):
            losses = {}
            for device in ("cpu", "cuda"):
                _, records = self.records("--batch-size", 2, "--optimizer", optimizer, "--max-steps", 2, "--device", device,
                                          "--amp", "fp16", "--decay-norms", "off", "--warmup-epochs", 0)
                losses[device] = records[-1]["loss"]
            self.assertAlmostEqual(losses["cuda"], losses["cpu"], delta=0.05 * losses["cpu"], msg=optimizer)

    # ---- schedules ----

    def test_polynomial_and_cosine_end_at_the_least_rate(self):
        flags = ["--max-steps", 10, "--warmup-epochs", 0, "--min-lr", 1e-4, "--epochs", 5]
        line = self.rates(*flags, "--schedule", "polynomial")
        self.assert_close(line, [1e-4 + 9e-4 * (1 - step / 10) for step in range(10)])
        square = self.rates(*flags, "--schedule", "polynomial", "--lr-power", 2)
        self.assert_close(square, [1e-4 + 9e-4 * (1 - step / 10) ** 2 for step in range(10)])
        cosine = self.rates(*flags, "--schedule", "cosine")
        self.assertAlmostEqual(cosine[5], 5.5e-4)
        self.assertGreater(cosine[-1], 1e-4)

    def test_exponential_falls_by_its_factor_in_each_epoch_or_to_a_hundredth(self):
        flags = ["--schedule", "exponential", "--max-steps", 10, "--warmup-epochs", 0]
        self.assert_close(self.rates(*flags), [1e-3 * 0.01 ** (step / 10) for step in range(10)])
        self.assert_close(self.rates(*flags, "--lr-gamma", 0.5), [1e-3 * 0.5 ** (step / STEPS) for step in range(10)])

    def test_milestones_are_epochs_of_the_run(self):
        rates = self.rates("--schedule", "step", "--epochs", 4, "--milestones", "2,3", "--lr-gamma", 0.5)
        self.assert_close(rates[STEPS:], [1e-3] * STEPS + [5e-4] * STEPS + [2.5e-4] * STEPS)
        self.assertEqual(rates[:STEPS], sorted(rates[:STEPS]))  # the warm-up
        self.assertLess(rates[0], 2e-5)

    def test_a_plateau_lowers_the_rate_after_epochs_without_a_lower_loss(self):
        flags = ["--schedule", "plateau", "--epochs", 10, "--patience", 1, "--lr-gamma", 0.5]
        for validation in (["--val", self.images], []):
            printed, records = self.records(*flags, *validation, "--lr", 0.05)  # too large: the loss goes up and down
            losses = [float(loss) for loss in re.findall(r"val loss (\S+)" if validation else r"  loss (\S+)", printed)]
            self.assertEqual(len(losses), 10, printed)
            rates = [record["lr"] for record in records]
            expected, best, bad = 0.05, losses[0], 0  # of the first epoch, which is the warm-up
            for epoch in range(1, 10):
                self.assert_close(rates[STEPS * epoch:STEPS * (epoch + 1)], [expected] * STEPS)
                if losses[epoch] < best * 0.9999:
                    best, bad = losses[epoch], 0
                else:
                    bad += 1
                if bad > 1:
                    expected, bad = expected * 0.5, 0
            self.assertLess(rates[-1], 0.05, losses)


if __name__ == "__main__":
    unittest.main(verbosity=2)
