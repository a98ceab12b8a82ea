"""Checkpoints of resnet50_train as a user meets them: stopping, going on, other options, and what is refused.

  checkpoint_test.py RESNET50_TRAIN [TEST...]
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--batch-size", "8", "--accumulate", "2", "--image-size", "16", "--epochs", "2",
         "--max-steps", "100", "--optimizer", "sgd", "--progress", "off", "--device", "cpu", "--deterministic"]


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *SMALL, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, **options)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def lines_in(path):
    return read(path).count(b"\n") if os.path.exists(path) else 0


def page_data(path):
    """Returns what a page of --report shows, but for the time when it was written."""
    data = json.loads(read(path).split(b'id="data">')[1].split(b"</script>")[0])
    del data["written"]
    return data


class CheckpointTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, *arguments):
        return subprocess.Popen([PROGRAM, *SMALL, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)

    def stop_at(self, step, with_signal, *arguments):
        """Sends a signal once the log has a line for `step`. Returns the exit code, stdout and stderr."""
        process = self.start("--log", self.path("log"), *arguments)
        before = time.time()
        while lines_in(self.path("log")) < step and process.poll() is None:
            self.assertLess(time.time() - before, 200)
            time.sleep(0.01)
        process.send_signal(with_signal)
        out, errors = process.communicate(timeout=100)
        return process.returncode, out, errors

    def assert_refused(self, result, *parts):
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        for part in parts:
            self.assertIn(part, result.stderr)

    def test_a_run_that_is_killed_and_stopped_ends_with_the_bits_of_one_that_was_not(self):
        recipe = ["--ema", "0.9", "--amp", "fp16", "--label-smoothing", "0.1", "--clip-grad", "1", "--max-steps", "24",
                  "--optimizer", "lamb", "--head-lr", "0.02", "--dropout", "0.2", "--mixup", "0.2", "--cutmix", "1",
                  "--random-erasing", "0.5"]
        whole = run(*recipe, "--log", self.path("whole.log"), "--checkpoint-dir", self.path("whole"))
        self.assertEqual(whole.returncode, 0, whole.stderr)
        parts = [*recipe, "--checkpoint-dir", self.path("parts"), "--save-every", "3", "--resume", "auto"]
        code, *_ = self.stop_at(8, signal.SIGKILL, *parts)
        self.assertEqual(code, -signal.SIGKILL)
        code, out, errors = self.stop_at(16, signal.SIGTERM, *parts)
        self.assertEqual(code, 75, errors)
        self.assertIn("going on from " + self.path("parts", "step-0000000"), out)
        self.assertIn("the same command with --resume auto goes on", out)
        last = run(*parts, "--log", self.path("log"), "--summary", self.path("summary"))
        self.assertEqual(last.returncode, 0, last.stderr)
        self.assertEqual(read(self.path("log")), read(self.path("whole.log")))
        for name in ("model", "ema", "optimizer"):
            self.assertEqual(read(self.path("parts/last", name + ".safetensors")),
                             read(self.path("whole/last", name + ".safetensors")), name)
        with open(self.path("summary")) as file:
            summary = json.load(file)
        self.assertEqual(summary["steps"], 24)
        self.assertEqual(summary["checkpoint"], self.path("parts/step-00000024"))
        self.assertEqual(summary["checkpoints_failed"], 0)
        self.assertGreater(summary["checkpoint_wait_seconds"], 0)
        # Once more: nothing is left to do, and nothing changes.
        again = run(*parts, "--log", self.path("log"))
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("nothing is left to do", again.stdout)
        self.assertEqual(read(self.path("log")), read(self.path("whole.log")))

    def test_every_signal_that_asks_for_an_end_saves(self):
        for number, which in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)):
            folder = self.path(which.name)
            code, out, errors = self.stop_at(1, which, "--checkpoint-dir", folder)
            self.assertEqual(code, 75, errors)
            self.assertEqual(len([name for name in os.listdir(folder) if name.startswith("step-")]), 1, number)
            os.remove(self.path("log"))
        code, out, _ = self.stop_at(1, signal.SIGTERM)  # without checkpoints there is nothing to go on from
        self.assertEqual(code, 130)
        self.assertNotIn("--resume", out)

    def test_max_minutes_ends_with_a_checkpoint(self):
        result = run("--checkpoint-dir", self.path("c"), "--max-minutes", "0.03")
        self.assertEqual(result.returncode, 75, result.stderr)
        self.assertIn("interrupted after", result.stdout)
        self.assertTrue(os.path.exists(self.path("c/last/model.safetensors")))
        result = run("--max-minutes", "0.03")
        self.assertEqual(result.returncode, 130, result.stderr)

    def test_minutes_and_steps_between_checkpoints(self):
        result = run("--checkpoint-dir", self.path("c"), "--save-every", "0.001m", "--keep", "100", "--max-steps", "6")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertGreater(len(os.listdir(self.path("c"))), 3)
        result = run("--checkpoint-dir", self.path("d"), "--save-every", "2", "--keep", "100", "--max-steps", "5")
        names = sorted(name for name in os.listdir(self.path("d")) if name.startswith("step-"))
        self.assertEqual(names, ["step-00000002", "step-00000004", "step-00000005"])
        self.assertEqual(os.readlink(self.path("d/last")), "step-00000005")
        self.assertEqual(os.readlink(self.path("d/best")), "step-00000005")

    def test_other_options_are_told_and_what_cannot_be_is_refused(self):
        first = run("--checkpoint-dir", self.path("c"), "--max-steps", "2", "--lr", "0.1", "--amp", "fp16")
        self.assertEqual(first.returncode, 0, first.stderr)
        second = run("--checkpoint-dir", self.path("c"), "--resume", "auto", "--max-steps", "3", "--lr", "0.2", "--ema",
                     "0.5", "--log", self.path("log"), "--schedule", "constant", "--warmup-epochs", "0")
        self.assertEqual(second.returncode, 0, second.stderr)
        change = next(line for line in second.stdout.splitlines() if line.startswith("with other options than before: "))
        for part in ("--lr 0.2 (was 0.1)", "--amp left out (was fp16)", "--ema 0.5 (was not given)",
                     "--max-steps 3 (was 2)"):
            self.assertIn(part, change)
        self.assertNotIn("--arch", change)
        self.assertIn("the checkpoint has no ema: it starts anew", second.stdout)
        with open(self.path("log")) as file:
            self.assertEqual([(line["step"], line["lr"]) for line in map(json.loads, file)], [(3, 0.2)])
        go_on = ["--checkpoint-dir", self.path("c"), "--resume", "auto", "--log", self.path("log")]
        before = read(self.path("log"))
        for flags, message in (
            (["--arch", "resnet34"], "--arch resnet34: the checkpoint is of a run with resnet18"),
            (["--optimizer", "adamw"], "--optimizer adamw: the checkpoint is of a run with sgd"),
            (["--num-classes", "11"], "the network's classes 11: the checkpoint is of a run with 10"),
            (["--accumulate", "1"], "times --accumulate) 8: the checkpoint is of a run with 16"),
        ):
            self.assert_refused(run(*go_on, *flags), "--resume " + self.path("c/step-00000003"), message)
        self.assertEqual(read(self.path("log")), before)
        # Batches of another size make the same steps.
        result = run(*go_on, "--accumulate", "1", "--batch-size", "16", "--max-steps", "4")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_wrong_flags(self):
        self.assert_refused(run("--save-every", "3"), "--save-every", "belongs to --checkpoint-dir")
        self.assert_refused(run("--keep", "3"), "--keep", "belongs to --checkpoint-dir")
        self.assert_refused(run("--resume", "auto"), "--resume", "--checkpoint-dir")
        self.assert_refused(run("--resume", self.path("none")), "--resume", "there is no checkpoint")
        for value in ("0", "-3", "3x", "m", "0m", "nanm", "1e9m"):
            self.assert_refused(run("--checkpoint-dir", self.path("c"), "--save-every=" + value), "--save-every")
        self.assert_refused(run("--checkpoint-dir", self.path("c"), "--keep", "0"), "--keep")
        self.assert_refused(run("--max-minutes", "0"), "--max-minutes")
        self.assert_refused(run("--checkpoint-dir="), "--checkpoint-dir")
        self.assert_refused(run("--eval-only", "--init", "x", "--checkpoint-dir", "c"), "--checkpoint-dir", "--eval-only")
        self.assert_refused(run("--checkpoint-dir", PROGRAM), "--checkpoint-dir", "cannot be made")
        self.assertFalse(os.path.exists(self.path("c")))

    def test_two_runs_do_not_share_a_folder(self):
        first = self.start("--checkpoint-dir", self.path("c"), "--log", self.path("log"))
        while lines_in(self.path("log")) < 1 and first.poll() is None:
            time.sleep(0.01)
        self.assert_refused(run("--checkpoint-dir", self.path("c"), "--resume", "auto"), self.path("c"),
                            "saves its checkpoints there; name another folder")
        first.send_signal(signal.SIGTERM)
        first.communicate()
        self.assertEqual(first.returncode, 75)
        self.assert_refused(run("--checkpoint-dir", self.path("c")), "an earlier run's checkpoints are there",
                            "--resume auto")

    def test_a_damaged_checkpoint_is_passed_over(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "3", "--save-every", "1")
        with open(self.path("c/last/model.safetensors"), "r+b") as file:
            file.seek(100000)
            file.write(b"!")
        result = run("--checkpoint-dir", self.path("c"), "--max-steps", "3", "--resume", "auto")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("step-00000003/model.safetensors: damaged: its checksum is wrong", result.stdout)
        self.assertIn("going on from " + self.path("c/step-00000002"), result.stdout)
        with open(self.path("c/last/checkpoint.json")) as file:
            files = json.load(file)["content"]["files"]
        for name, entry in files.items():
            self.assertEqual(zlib.crc32(read(self.path("c/last", name))), entry["crc32"])
        self.assert_refused(run("--resume", self.path("c/step-00000003")), "--resume", "damaged")

    def test_a_damaged_checkpoint_gives_no_weights(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "1", "--ema", "0.5")
        good = run("--eval-only", "--init", self.path("c/best"))
        self.assertEqual(good.returncode, 0, good.stderr)
        os.remove(self.path("c/best/ema.safetensors"))
        self.assert_refused(run("--eval-only", "--init", self.path("c/best")), "ema.safetensors")
        self.assertEqual(run("--eval-only", "--init", self.path("c/best"), "--eval-ema", "off").returncode, 0)
        with open(self.path("c/last/model.safetensors"), "r+b") as file:
            file.seek(100000)
            file.write(b"!!")
        for flags in (["--eval-only", "--eval-ema", "off", "--init"], ["--pretrained"], ["--init"]):
            self.assert_refused(run(*flags, self.path("c/last")), "model.safetensors: damaged")
        self.assert_refused(run("--init", self.path("c")), "a folder of checkpoints; name one of them")

    def test_eval_only_says_what_plays_no_part(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "1")
        result = run("--eval-only", "--init", self.path("c/last"), "--dropout", "0.5")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("--eval-only does not train: no effect has --dropout, --epochs, --max-steps, --accumulate, --optimizer\n",
                      result.stdout)
        self.assert_refused(run("--eval-only", "--init", self.path("c/last"), "--log", self.path("log")),
                            "--log: records training steps")
        score = result.stdout.splitlines()[-1]
        bare = subprocess.run([PROGRAM, "--eval-only", "--init", self.path("c/last"), "--device", "cpu"], stdout=subprocess.PIPE,
                              text=True)
        self.assertEqual(bare.stdout.splitlines()[-1], score)  # resnet18 and 16 pixels, as the checkpoint says
        self.assertNotIn("no effect", bare.stdout)

    def test_a_folder_that_a_dead_link_promises(self):
        os.symlink(self.path("gone"), self.path("link"))
        self.assert_refused(run("--checkpoint-dir", self.path("link")), "link: a link that leads nowhere")

    def test_a_damaged_list_of_files_is_told_and_a_checkpoint_holds_no_other(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "3", "--save-every", "1")
        for step, text in enumerate(("", "hello", '{"content": '), 4):
            with open(self.path("c/last/checkpoint.json"), "w") as file:
                file.write(text)
            result = run("--checkpoint-dir", self.path("c"), "--resume", "auto", "--max-steps", step, "--save-every", "1")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("checkpoint.json: damaged, or of another program: parse error at line 1", result.stdout)
        self.assert_refused(run("--checkpoint-dir", self.path("c/last"), "--resume", "auto"),
                            "--checkpoint-dir: ", "c/last: is a checkpoint; name the folder that it lies in")

    def test_another_runs_checkpoints_are_not_replaced(self):
        run("--checkpoint-dir", self.path("a"), "--max-steps", "1")
        run("--checkpoint-dir", self.path("b"), "--max-steps", "3", "--save-every", "1")
        before = sorted(os.listdir(self.path("b")))
        self.assert_refused(run("--checkpoint-dir", self.path("b"), "--resume", self.path("a"), "--keep", "1"),
                            "an earlier run's checkpoints are there")
        self.assertEqual(sorted(os.listdir(self.path("b"))), before)
        back = run("--checkpoint-dir", self.path("b"), "--resume", self.path("b/step-00000001"), "--max-steps", "2")
        self.assertEqual(back.returncode, 0, back.stderr)
        self.assertIn("the checkpoints after it, up to " + self.path("b/step-00000003"), back.stdout)
        newest = run("--checkpoint-dir", self.path("b"), "--resume", self.path("b/last"), "--max-steps", "3")
        self.assertEqual(newest.returncode, 0, newest.stderr)
        self.assertNotIn("the checkpoints after it", newest.stdout)

    def test_a_log_that_does_not_fit(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "3", "--log", self.path("log"))
        go_on = ["--checkpoint-dir", self.path("c"), "--resume", "auto", "--max-steps", "4"]
        with open(self.path("notes"), "w") as file:
            file.write("dear diary\n")
        self.assert_refused(run(*go_on, "--log", self.path("notes")), "notes: line 1 is of no log of steps")
        self.assertEqual(read(self.path("notes")), b"dear diary\n")
        run("--max-steps", "3", "--seed", "1", "--log", self.path("others"))
        others = read(self.path("others"))
        self.assert_refused(run(*go_on, "--log", self.path("others")), "another run's log: its loss in step 1 is")
        self.assertEqual(read(self.path("others")), others)
        with open(self.path("log")) as file:
            lines = file.readlines()
        step = '{"step":%d,"epoch":0,"loss":0.5}\n'
        first_of_others = others.decode().splitlines(True)[0]
        for name, text, says in (("shorter", first_of_others, "another run's log: its loss in step 1 is"),
                                 ("later", step % 100 + step % 101, "another run's log: it has step 101, and not 3"),
                                 ("no step 3", lines[0] + step % 4, "another run's log: it has step 4, and not 3"),
                                 ("torn", lines[0] + '{"st\n' + lines[2], "line 2 is of no log of steps"),
                                 ("reversed", "".join(lines[::-1]), "line 2 has step 2, after step 3")):
            with open(self.path(name), "w") as file:
                file.write(text)
            self.assert_refused(run(*go_on, "--log", self.path(name)), says)
            self.assertEqual(read(self.path(name)).decode(), text)
        with open(self.path("blank"), "w") as file:
            file.write(lines[0] + "\n" + lines[1] + lines[2] + step % 4 + '{"step"')
        result = run(*go_on, "--log", self.path("blank"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("lacks", result.stdout)
        kept = read(self.path("blank")).decode().splitlines(True)
        self.assertEqual(kept[:4], [lines[0], "\n", lines[1], lines[2]])
        self.assertEqual([json.loads(line)["step"] for line in kept[4:]], [4])
        go_on[-1] = "5"
        self.assertNotIn("lacks", run(*go_on, "--log", "/dev/stdout").stdout)
        go_on[-1] = "6"
        with open(self.path("log"), "w") as file:
            file.write(lines[0])
        result = run(*go_on, "--log", self.path("log"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"{self.path('log')} lacks steps 2 to 5", result.stdout)

    def test_a_finished_run_leaves_its_page_and_scores(self):
        command = ["--checkpoint-dir", self.path("c"), "--resume", "auto", "--max-steps", "2", "--report", self.path("r.html"),
                   "--summary", self.path("s.json")]
        run(*command)
        page = page_data(self.path("r.html"))
        self.assertEqual(page["state"], "finished")
        with open(self.path("s.json")) as file:
            top1 = json.load(file)["top1"]
        with open(self.path("r.html"), "w") as file:
            file.write("lost")
        again = run(*command)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(page_data(self.path("r.html")), page)  # with the confusion matrix and the mistakes
        with open(self.path("s.json")) as file:
            self.assertEqual(json.load(file)["top1"], top1)

    def test_the_page_of_a_run_that_goes_on_has_all_its_steps_and_epochs(self):
        command = ["--checkpoint-dir", self.path("c"), "--resume", "auto", "--report", self.path("page")]
        run(*command, "--max-steps", "2")
        with open(self.path("page"), "w") as file:
            file.write("lost")
        result = run(*command, "--max-steps", "3")
        self.assertEqual(result.returncode, 0, result.stderr)
        data = page_data(self.path("page"))
        self.assertEqual(data["steps"]["step"], [1, 2, 3])
        self.assertEqual([epoch["epoch"] for epoch in data["epochs"]], [1])
        self.assertEqual(data["epochs"][0]["step"], 3)
        run(*command[:4], "--max-steps", "4")  # without a page
        run(*command, "--max-steps", "5")
        self.assertEqual(page_data(self.path("page"))["steps"]["step"], [1, 2, 3, 4, 5])

    def test_a_checkpoint_continues_elsewhere(self):
        run("--checkpoint-dir", self.path("c"), "--max-steps", "2")
        result = run("--checkpoint-dir", self.path("d"), "--resume", self.path("c/last"), "--max-steps", "3")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(os.readlink(self.path("d/last")), "step-00000003")
        result = run("--resume", self.path("c"), "--max-steps", "3", "--dtype", "f64")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("--dtype f64 (was not given)", result.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["-v"] + sys.argv[1:])
