"""Fine-tuning and stronger augmentation with resnet50_train: weights of other classes, frozen parts, mixed images,
the evaluation of averages.

  fine_tuning_test.py RESNET50_TRAIN [TEST...]
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--image-size", "16", "--batch-size", "8", "--device", "cpu", "--progress", "off",
         "--deterministic"]
TENSORS = 122  # of ResNet-18


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300)


def read_safetensors(path):
    """Returns {name: bytes}."""
    with open(path, "rb") as file:
        content = file.read()
    size, = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    header.pop("__metadata__", None)
    return {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}


class FineTuningTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.shared.cleanup)
        # Two steps, so that the average is not the weights.
        result = run(*SMALL, "--max-steps", 2, "--ema", 0.9, "--checkpoint-dir", f"{cls.shared.name}/trained")
        assert result.returncode == 0, result.stderr
        cls.trained, cls.last_score = f"{cls.shared.name}/trained/last", cls.score(result)

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def score(result):
        """Returns loss, top1 and top5 of a validation, all three because one may be equal by chance."""
        lines = [line for line in result.stdout.splitlines() if "top1 " in line and "loss " in line]
        assert lines, result.stdout + result.stderr
        return dict(re.findall(r"(top1|top5|loss) +([\d.]+)", lines[-1]))  # "val loss" after the training's

    def done(self, *arguments):
        result = run(*SMALL, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def losses(self, *arguments, steps=2):
        self.done("--max-steps", steps, "--log", self.path("log.jsonl"), *arguments)
        with open(self.path("log.jsonl")) as file:
            return [json.loads(line)["loss"] for line in file]

    def refused(self, *arguments, says):
        result = run(*SMALL, *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, rf"\Aresnet50_train: [^\n]*{says}[^\n]*\n\Z")

    # ---- weights of other classes ----

    def test_a_frozen_head_has_no_learning_rate(self):
        result = run("--freeze", "fc", "--head-lr", "0.1")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--head-lr", result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)

    def test_a_head_of_other_classes_is_new(self):
        same = self.done("--max-steps", 1, "--pretrained", self.trained).stdout
        self.assertIn(f"pretrained: {TENSORS} of {TENSORS} tensors from {self.trained}/model.safetensors\n", same)
        other = self.done("--max-steps", 1, "--pretrained", self.trained, "--num-classes", 12).stdout
        self.assertIn(f"pretrained: {TENSORS - 2} of {TENSORS} tensors from {self.trained}/model.safetensors; fc.weight, "
                      "fc.bias are new: 10 classes there, 12 here\n", other)

    def test_what_is_taken_is_what_init_takes(self):
        for weights in (self.trained, f"{self.trained}/ema.safetensors"):
            self.assertEqual(self.losses("--pretrained", weights), self.losses("--init", weights))
        self.assertNotEqual(self.losses("--pretrained", weights), self.losses())

    def test_weights_for_as_many_other_classes_are_taken_with_a_line(self):
        line = "the last layer, fc, is taken as well, although the data set's class 'class 0' is none of the weights' 10 classes\n"
        for flag in ("--pretrained", "--init"):
            self.assertNotIn("is taken as well", self.done("--max-steps", 1, flag, self.trained).stdout)
            self.assertIn(line, self.done("--max-steps", 1, flag, self.trained, "--dataset", "synthetic", "--num-classes", 10).stdout)

    def test_weights_of_another_network_are_refused(self):
        self.refused("--arch", "resnet34", "--pretrained", self.trained, says="--pretrained .*: weights of a resnet18; give --arch resnet18")
        self.refused("--arch", "resnet50", "--pretrained", self.trained, "--num-classes", 12, says="--pretrained .*: weights of a resnet18; give --arch resnet18")
        self.refused("--arch", "resnet50", "--init", self.trained, says="--init .*: weights of a resnet18; give --arch resnet18")
        self.refused("--pretrained", self.trained, "--init", self.trained, says="--pretrained: .*--init; give one of the two")
        self.refused("--pretrained", self.trained, "--eval-only", "--init", "x", says="--pretrained")
        self.refused("--pretrained", self.path("none.pth"), says=r"none\.pth: cannot be read")
        self.refused("--pretrained", self.folder, says=r"/model\.safetensors: cannot be read")
        self.refused("--init", self.trained, "--num-classes", 12, says="--init .*: weights for 10 classes, and here are 12; --pretrained takes all but")
        self.refused("--pretrained", self.trained, "--log", f"{self.trained}/model.safetensors",
                     says="--log and --pretrained name the same file")

    # ---- frozen parts ----

    def tensors(self, *arguments):
        """Returns the tensors of two steps' model and optimiser."""
        folder = tempfile.mkdtemp(dir=self.folder)
        self.done("--max-steps", 2, "--init", self.trained, "--checkpoint-dir", folder, *arguments)
        return [read_safetensors(f"{folder}/last/{name}.safetensors") for name in ("model", "optimizer")]

    def test_what_is_frozen_stays_and_has_no_optimiser_state(self):
        before = read_safetensors(f"{self.trained}/model.safetensors")
        frozen = ("conv1.", "bn1.", "layer1.0.")
        for norms in ("off", "frozen", "all"):
            model, optimizer = self.tensors("--freeze", "conv1,bn1", "--freeze", "layer1.0", "--freeze-batch-norm", norms)
            for name, content in model.items():
                inside = name.startswith(frozen)
                if "running" in name or "num_batches" in name:
                    kept = norms == "all" or (norms == "frozen" and inside)
                else:
                    kept = inside
                self.assertEqual(content == before[name], kept, (norms, name))
            states = {name.split(".", 1)[1] for name in optimizer if name.startswith("exp_avg.")}
            self.assertEqual(states, {name for name in model if not name.startswith(frozen) and
                                      "running" not in name and "num_batches" not in name})

    def test_what_is_frozen_is_told(self):
        told = self.done("--max-steps", 1, "--freeze", "conv1,bn1", "--freeze-batch-norm", "frozen").stdout
        self.assertIn("frozen: conv1, bn1 (9536 of 11181642 parameters)\n1 batch norm keeps its statistics\n", told)
        told = self.done("--max-steps", 1, "--freeze-batch-norm", "all").stdout
        self.assertIn("\n20 batch norms keep their statistics\n", told)

    def test_names_that_cannot_be_frozen(self):
        choices = "choose from conv1, bn1, layer1, layer2, layer3, layer4, fc"
        for name in ("layer5", "layer", "layer1.2", "fc.weights", "LAYER1"):
            self.refused("--freeze", f"conv1,{name}", says=f"--freeze: .*'{name}'.*{choices}")
        self.refused("--freeze", "conv1,bn1,layer1,layer2,layer3", "--freeze", "layer4,fc", says="--freeze: all parameters")
        self.refused("--freeze-batch-norm", "frozen", says="--freeze-batch-norm: .*--freeze")
        self.refused("--freeze-batch-norm", "some", says="--freeze-batch-norm")
        self.refused("--freeze", "fc", "--eval-only", "--init", self.trained, says="--freeze: .*--eval-only")
        self.refused("--freeze-batch-norm", "all", "--eval-only", "--init", self.trained, says="--freeze-batch-norm: .*--eval-only")

    def test_a_run_goes_on_with_what_was_frozen(self):
        checkpoints = ["--checkpoint-dir", self.path("run")]
        self.done(*checkpoints, "--max-steps", 1, "--freeze", "conv1,bn1")
        self.refused(*checkpoints, "--resume", "auto", "--max-steps", 2, "--freeze", "conv1",
                     says=r"the frozen parts \(--freeze\) conv1: the checkpoint is of a run with bn1,conv1")
        self.refused(*checkpoints, "--resume", "auto", "--max-steps", 2, says=r"\(--freeze\) none")
        went_on = self.done(*checkpoints, "--resume", "auto", "--max-steps", 2, "--freeze", "bn1", "--freeze", "conv1").stdout
        self.assertIn("going on from", went_on)

    def test_pretrained_weights_are_where_a_run_began_not_where_it_goes_on(self):
        command = ["--checkpoint-dir", self.path("run"), "--resume", "auto", "--pretrained", self.trained, "--num-classes", 12]
        self.assertIn("pretrained:", self.done(*command, "--max-steps", 1).stdout)
        self.assertNotIn("pretrained:", self.done(*command, "--max-steps", 2).stdout)

    # ---- mixed images ----

    def test_augmentations_change_the_images_and_nothing_else_does(self):
        base = self.losses()
        flags = [["--mixup", 0.4], ["--cutmix", 1], ["--random-erasing", 1], ["--dropout", 0.5]]
        first = [self.losses(*flag)[0] for flag in flags]
        self.assertEqual(len({base[0], *first}), 5)
        self.assertEqual(base, self.losses("--mixup", 0, "--cutmix", 0, "--random-erasing", 0, "--dropout", 0))

    EVERYTHING = ["--mixup", 0.4, "--cutmix", 1, "--random-erasing", 0.5, "--dropout", 0.3, "--label-smoothing", 0.1,
                  "--accumulate", 2, "--amp", "bf16", "--seed", 5]

    def test_mixed_runs_are_repeatable_with_any_number_of_workers(self):
        first = self.losses(*self.EVERYTHING)
        for workers in (0, 3):
            self.assertEqual(first, self.losses(*self.EVERYTHING, "--workers", workers))
        self.assertNotEqual(first, self.losses(*self.EVERYTHING, "--seed", 6))

    def test_a_mixed_run_goes_on_to_the_bit(self):
        log, command = self.path("parts.jsonl"), [*self.EVERYTHING, "--checkpoint-dir", self.path("run"), "--resume", "auto",
                                                  "--schedule", "constant", "--warmup-epochs", 0]
        whole = self.losses(*self.EVERYTHING, "--schedule", "constant", "--warmup-epochs", 0, steps=4)
        for steps in (2, 4):
            self.done(*command, "--log", log, "--max-steps", steps)
        with open(log) as file:
            self.assertEqual([json.loads(line)["loss"] for line in file], whole)

    def test_odd_batches_and_a_batch_of_one(self):
        for size in (1, 7):
            losses = self.losses(*self.EVERYTHING, "--batch-size", size, "--image-size", 33)
            self.assertEqual(len(losses), 2)

    def test_a_gpu_mixes_as_the_cpu_does(self):
        flags = ["--mixup", 0.4, "--cutmix", 1, "--random-erasing", 0.5, "--freeze", "conv1,bn1,layer1",
                 "--freeze-batch-norm", "frozen", "--dataset", "synthetic", "--num-classes", 10, "--batch-size", 3,
                 "--lr", 0.01, "--tf32", "off"]
        cpu = self.losses(*flags)
        gpu = self.losses(*flags, "--device", "cuda")
        for a, b in zip(cpu, gpu):
            self.assertLess(abs(a - b), 1e-3 * a)

    def test_shares_that_are_none(self):
        self.refused("--mixup", -0.1, says="--mixup")
        self.refused("--cutmix", "nan", says="--cutmix")
        self.refused("--random-erasing", 1.1, says="--random-erasing")
        self.refused("--dropout", 1, says="--dropout")
        for flag in ("--mixup", "--cutmix", "--random-erasing"):
            self.refused(flag, 0.5, "--eval-only", "--init", self.trained, says=f"{flag}: .*--eval-only")

    # ---- what is evaluated ----

    def test_the_average_or_the_weights_are_validated(self):
        flags = ["--init", self.trained, "--max-steps", 2]
        plain = self.score(self.done(*flags))
        self.assertEqual(plain, self.score(self.done(*flags, "--ema", 0.9, "--eval-ema", "off")))
        averaged = self.score(self.done(*flags, "--ema", 0.9))
        self.assertNotEqual(plain, averaged)
        self.assertEqual(averaged, self.score(self.done(*flags, "--ema", 0.9, "--eval-ema", "on")))

    def test_eval_only_scores_the_average_of_a_checkpoint_or_its_weights(self):
        scores = {}
        for flags, file in ([["--eval-ema", "on"], "ema"], [[], "ema"], [["--eval-ema", "off"], "model"]):
            result = self.done("--eval-only", "--init", self.trained, *flags)
            self.assertIn(f"weights of {self.trained}/{file}.safetensors\n", result.stdout)
            scores[file] = self.score(result)
        self.assertNotEqual(scores["ema"], scores["model"])
        self.assertEqual(scores["ema"], self.last_score)  # as training said
        named = self.done("--eval-only", "--init", f"{self.trained}/model.safetensors")
        self.assertEqual(self.score(named), scores["model"])  # who names a file means it

    def test_an_average_that_is_none(self):
        self.refused("--eval-ema", "off", says="--eval-ema: needs an average: give --ema")
        self.refused("--ema", 0.9, "--eval-ema", "maybe", says="--eval-ema")
        self.refused("--eval-only", "--init", f"{self.trained}/model.safetensors", "--eval-ema", "on",
                     says="--eval-ema on: .*model.safetensors holds no moving average")


if __name__ == "__main__":
    unittest.main(verbosity=2)
