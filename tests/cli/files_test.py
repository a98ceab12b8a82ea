"""What programs do with unusable files, streams, signals and numbers.

  files_test.py RESNET50_TRAIN TAPER_ALGORITHMS OTHER_PROGRAM [TEST...]
"""
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TRAIN, ALGORITHMS, OTHER = sys.argv.pop(1), sys.argv.pop(1), sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--batch-size", "8", "--image-size", "8", "--progress", "off", "--device", "cpu",
         "--workers", "0"]
ONE_STEP = SMALL + ["--max-steps", "1"]
SYNTHETIC = ["--dataset", "synthetic", "--num-classes", "10"]  # without validation, which takes longest
# The uid of an unprivileged user, since root may do everything.
NOBODY = 65534


def run(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 300, **options}
    return subprocess.run([*map(str, arguments)], **options)


def resnet18_weights(path, bias):
    """Writes a ResNet-18 for ten classes, all zeros except the last layer's bias, in a sparse file."""
    shapes = {"conv1.weight": [64, 3, 7, 7], "fc.weight": [10, 512], "fc.bias": [10]}

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = [channels]
        shapes[f"{name}.num_batches_tracked"] = []

    norm("bn1", 64)
    before = 64
    for layer, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            shapes[f"{name}.conv1.weight"] = [channels, before, 3, 3]
            shapes[f"{name}.conv2.weight"] = [channels, channels, 3, 3]
            norm(f"{name}.bn1", channels)
            norm(f"{name}.bn2", channels)
            if before != channels:
                shapes[f"{name}.downsample.0.weight"] = [channels, before, 1, 1]
                norm(f"{name}.downsample.1", channels)
            before = channels
    header, end = {}, 0
    for name, shape in sorted(shapes.items(), key=lambda item: item[1] != []):  # eight-byte elements first
        size = 8 if shape == [] else 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "I64" if shape == [] else "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        file.seek(8 + len(text) + header["fc.bias"]["data_offsets"][0])
        file.write(struct.pack("<10f", *[bias] * 10))


class FilesTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text="what was there before"):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def summary(self, name="s.json"):
        return json.loads(self.read(name))

    def refused(self, *arguments, says, **options):
        result = run(TRAIN, *arguments, **options)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertLess(len(result.stderr), 250)
        self.assertRegex(result.stderr, says)
        self.assertEqual(result.stdout, "")
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".tmp")], [])

    # ---- outputs that cannot be written ----

    def test_what_would_fail_at_the_end_is_refused_at_the_start(self):
        os.mkdir(self.path("folder"))
        os.symlink(self.path("nowhere/x"), self.path("dangling"))
        os.symlink("circle", self.path("circle"))
        os.symlink("folder", self.path("link"))
        for flag in ("--summary", "--profile", "--log"):
            for name in ("folder", "folder/", "link", "circle", "nowhere/x", "new/", "dangling"):
                with self.subTest(flag=flag, name=name):
                    self.refused(*ONE_STEP, flag, self.path(name), says=name)

    @unittest.skipIf(os.geteuid() != 0, "needs two users")
    def test_a_file_of_somebody_else_in_a_sticky_folder_is_refused_at_the_start(self):
        os.chmod(self.folder, 0o1777)
        for flag in ("--summary", "--profile"):
            self.refused(*ONE_STEP, flag, self.write("roots.json"), says="roots.json.*not permitted", user=NOBODY)
        os.mkdir(self.path("read_only"))
        self.refused(*ONE_STEP, "--summary", self.path("read_only/s.json"), says="ermission denied", user=NOBODY)

    def test_nothing_is_touched_before_all_is_checked(self):
        old = self.write("old.jsonl")
        self.refused(*ONE_STEP, "--log", old, "--profile", self.path("nowhere/p"), says="nowhere/p")
        self.refused(*ONE_STEP, "--log", old, "--summary", self.path("nowhere/p"), says="nowhere/p")
        self.refused(*ONE_STEP, "--log", old, "--init", self.path("none.st"), says="none.st")
        self.assertEqual(self.read("old.jsonl"), "what was there before")

    def test_one_file_for_two_flags_is_refused(self):
        x = self.write("x")
        os.symlink("x", self.path("link"))
        os.link(x, self.path("other_name"))
        os.symlink(self.folder, self.path("here"))
        for flags in (["--log", x, "--summary", x], ["--summary", x, "--profile", self.path("link")],
                      ["--log", self.path("other_name"), "--profile", x], ["--init", x, "--log", x],
                      ["--init", self.path("link"), "--summary", x],
                      ["--summary", self.path("new"), "--log", self.path("here/new")]):
            with self.subTest(flags=flags):
                self.refused(*ONE_STEP, *flags, says="--.* and --.* name the same file")
        self.assertEqual(self.read("x"), "what was there before")

    def test_two_runs_on_one_log(self):
        log = self.path("log.jsonl")
        first = subprocess.Popen([TRAIN, *SMALL, "--epochs", "1000", "--log", log], stdout=subprocess.DEVNULL)
        self.addCleanup(first.kill)
        self.wait_for_log(log)
        self.refused(*ONE_STEP, "--log", log, says="log.jsonl.*is writing it")
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(120), 130)
        steps = [json.loads(line)["step"] for line in self.read("log.jsonl").splitlines()]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))

    def wait_for_log(self, log):
        deadline = time.time() + 120
        while time.time() < deadline and not (os.path.exists(log) and os.path.getsize(log) > 0):
            time.sleep(0.02)

    # ---- outputs that are not plain files ----

    def test_streams_and_links_stay_what_they_are(self):
        os.mkfifo(self.path("pipe"))
        os.makedirs(self.path("runs"))
        self.write("runs/p.json", "old")
        os.chmod(self.path("runs/p.json"), 0o640)
        os.symlink("runs/p.json", self.path("p.json"))
        os.symlink("runs/new.jsonl", self.path("l.jsonl"))
        got = []
        reader = threading.Thread(target=lambda: got.append(self.read("pipe")))
        reader.start()
        result = run(TRAIN, *ONE_STEP, *SYNTHETIC, "--summary", self.path("pipe"), "--profile", self.path("p.json"), "--log",
                     self.path("l.jsonl"))
        if stat.S_ISFIFO(os.stat(self.path("pipe")).st_mode):
            reader.join(60)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(json.loads(got[0])["ended"], "finished")
        self.assertTrue(os.path.islink(self.path("p.json")) and os.path.islink(self.path("l.jsonl")))
        self.assertIn("traceEvents", json.loads(self.read("runs/p.json")))
        self.assertEqual(os.stat(self.path("runs/p.json")).st_mode & 0o777, 0o640)
        self.assertEqual(json.loads(self.read("runs/new.jsonl"))["step"], 1)

    @unittest.skipIf(os.geteuid() != 0, "makes devices")
    def test_devices_stay_devices(self):
        null = self.path("null")
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        for flag in ("--summary", "--profile", "--log"):
            self.assertEqual(run(TRAIN, *ONE_STEP, *SYNTHETIC, flag, null).returncode, 0)
            self.assertTrue(stat.S_ISCHR(os.stat(null).st_mode), flag)

    def test_standard_output_can_be_named(self):
        with open(self.path("out"), "w") as out:  # an open file must not be replaced
            result = run(TRAIN, *ONE_STEP, *SYNTHETIC, "--summary", "/dev/stdout", "--log", "/dev/stdout", stdout=out)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = self.read("out").splitlines()
        self.assertIn("parameters", lines[0])
        self.assertIn('{"step":1,', "".join(line[:10] for line in lines))
        self.assertIn('  "ended": "finished",', lines)

    # ---- standard streams ----

    def test_closed_standard_streams_lend_their_numbers_to_no_file(self):
        log, summary = self.path("log.jsonl"), self.path("s.json")
        for closed in (">&-", "<&- >&- 2>&-"):
            result = run("sh", "-c", f'"$0" "$@" {closed}', TRAIN, *ONE_STEP, *SYNTHETIC, "--log", log, "--summary", summary)
            self.assertEqual(result.returncode, 0)
            self.assertEqual([json.loads(line)["step"] for line in self.read("log.jsonl").splitlines()], [1])
            self.assertEqual(self.summary()["steps"], 1)

    def test_output_that_is_lost_is_said(self):
        environment = {**os.environ, "TAPER_ALGORITHM_CACHE": self.path("cache.json")}
        for program in ([TRAIN, "--help"], [TRAIN, "--version"], [TRAIN, *ONE_STEP, *SYNTHETIC], [ALGORITHMS],
                        [ALGORITHMS, "--help"], [ALGORITHMS, "--version"], [OTHER]):
            with self.subTest(program=program), open("/dev/full", "w") as full:
                result = run(*program, stdout=full, env=environment)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, r"^\S+: standard output could not be written.*\n$")

    def test_a_reader_that_goes_away_ends_nothing(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = run(TRAIN, *ONE_STEP, "--summary", self.path("s.json"), stdout=writer)
        os.close(writer)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual(self.summary()["ended"], "finished")

    # ---- a full disk ----

    def test_a_full_disk_does_not_end_training(self):
        for flag in ("--log", "--profile"):
            with self.subTest(flag=flag):
                result = run(TRAIN, *SMALL, *SYNTHETIC, "--max-steps", 8, "--summary", self.path("s.json"), flag, self.full())
                self.assertEqual(result.returncode, 1)
                at_once, at_the_end = result.stderr.splitlines()
                self.assertRegex(at_once, "full: cannot be written: No space left.*training goes on")
                self.assertRegex(at_the_end, "full: cannot be written: No space left on device$")
                summary = self.summary()
                self.assertEqual((summary["ended"], summary["steps"]), ("finished", 8))
                self.assertRegex(summary["errors"][0], "full: cannot be written")

    def full(self):
        """/dev/full, or this test's own copy where devices can be made."""
        path = self.path("full")
        if os.geteuid() != 0:
            return "/dev/full"
        if not os.path.exists(path):
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        return path

    def test_a_limit_for_files_is_a_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        result = run(TRAIN, *SMALL, *SYNTHETIC, "--max-steps", 12, "--log", self.path("l.jsonl"), "--summary", self.path("s"),
                     preexec_fn=limit)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, "l.jsonl: cannot be written: File too large; training goes on")
        steps = [json.loads(line)["step"] for line in self.read("l.jsonl").splitlines()]  # whole lines only
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".tmp")], [])

    # ---- signals ----

    def interrupted(self, *signals, flags=(), summary="s.json", **options):
        """Sends the signals after training has begun."""
        log = self.path("l.jsonl")
        process = subprocess.Popen([TRAIN, *SMALL, "--epochs", "1000", "--log", log, "--summary", self.path(summary), *flags],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        self.addCleanup(process.kill)
        self.wait_for_log(log)
        for number in signals:
            process.send_signal(number)
        output, _ = process.communicate(timeout=120)
        os.unlink(log)
        return process.returncode, output

    def test_signals_end_with_a_summary(self):
        for number in (signal.SIGHUP, signal.SIGTERM):
            code, output = self.interrupted(number)
            self.assertEqual(code, 130)
            self.assertIn("interrupted after", output)
            self.assertNotIn("epoch", output)  # no epoch is complete
            self.assertEqual((self.summary()["ended"], self.summary()["interrupted"]), ("interrupted", True))

    def test_a_second_signal_ends_at_once(self):
        # One step takes longer than two signals.
        flags = ["--arch", "resnet152", "--batch-size", "64", "--image-size", "64"]
        log = self.path("l.jsonl")
        for number in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen([TRAIN, *SMALL, *flags, "--log", log], stdout=subprocess.DEVNULL)
            self.addCleanup(process.kill)
            while not os.path.exists(log):  # signals are caught from here on
                time.sleep(0.02)
            time.sleep(0.5)
            process.send_signal(number)
            time.sleep(0.1)
            process.send_signal(number)
            self.assertEqual(process.wait(60), -number)
            os.unlink(log)

    def test_a_signal_at_the_start_ends_at_once(self):
        process = subprocess.Popen([TRAIN, *SMALL, "--arch", "resnet152", "--summary", self.path("s.json")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.05)
        process.terminate()
        self.assertEqual(process.wait(60), -signal.SIGTERM)
        process.communicate()

    def test_what_the_caller_ignores_stays_ignored(self):
        code, _ = self.interrupted(signal.SIGHUP, flags=["--max-steps", "3"],
                                   preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        self.assertEqual((code, self.summary()["ended"]), (0, "finished"))

    def test_an_interrupted_validation_keeps_the_score_before(self):
        process = subprocess.Popen([TRAIN, *SMALL, "--batch-size", "64", "--epochs", "100", "--progress", "on", "--summary",
                                    self.path("s.json")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.kill)
        seen = b""
        while b"validation" not in seen.partition(b"epoch   1/100")[2].partition(b"\n")[2]:  # the second one
            seen += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130)
        self.assertIsNotNone(self.summary()["top1"])

    # ---- failing runs ----

    def failed(self, *flags, ended, says, program=TRAIN, **options):
        result = run(program, *flags, "--summary", self.path("s.json"), **options)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertRegex(result.stderr, says)
        summary = self.summary()
        self.assertEqual(summary["ended"], ended)
        self.assertRegex(summary["errors"][0], says)
        self.assertIsNone(summary["top1"])
        return result.stderr

    def test_nan_is_said(self):
        wild = [*SMALL, "--lr", "1e30", "--warmup-epochs", 0]
        self.failed(*wild, "--max-steps", 1, ended="nan", says="validation loss became .*smaller --lr")
        self.failed(*wild, *SYNTHETIC, "--max-steps", 9, ended="nan", says="the loss became .* in step .*smaller --lr")
        resnet18_weights(self.path("nan.st"), float("nan"))
        for flags in (["--eval-only"], ["--max-steps", 2]):
            error = self.failed(*SMALL, "--init", self.path("nan.st"), *flags, ended="nan",
                                says=r"loss.*nan.*--init .*nan.st, fc.bias holds NaN")
            self.assertNotIn("--lr", error)
        resnet18_weights(self.path("zero.st"), 0)
        self.assertEqual(run(TRAIN, *SMALL, "--init", self.path("zero.st"), "--eval-only").returncode, 0)

    def test_out_of_memory_is_said(self):
        gpu = run(TRAIN, "--version").stdout.splitlines()[1]
        if gpu != "GPU: simulated":
            self.skipTest("memory cannot be limited")
        flags = ["--arch", "resnet18", "--batch-size", 2, "--image-size", 8, "--device", "cuda", "--max-steps", 2, "--progress",
                 "off", "--profile", self.path("p.json"), "--memory-report", self.path("m.html")]
        for limit in (20 << 20, 110 << 20):  # while the model moves; in the first step
            self.failed(*flags, ended="out of memory", says="out of memory|memory", env={**os.environ, "TAPER_SIM_MEMORY": str(limit)})
            self.assertIn("<html", self.read("m.html"))
            os.unlink(self.path("m.html"))
        self.assertIn("traceEvents", json.loads(self.read("p.json")))

    def test_data_that_fails_is_said(self):
        os.makedirs(self.path("data/a"))
        self.png(self.path("data/a/good.png"))
        self.write("data/a/x\n\x1b[31m.png")
        flags = [*SMALL, "--dataset", "imagefolder", "--data", self.path("data")]
        result = run(TRAIN, *flags, "--strict-data", "--summary", self.path("s.json"))
        self.assertEqual(result.returncode, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)  # one line, whatever the name
        self.assertIn(r"x\x0a\x1b[31m.png", result.stderr)
        self.assertEqual(self.summary()["ended"], "error")

    # ---- the command line ----

    def test_numbers_that_are_none(self):
        for flag, values in {
                "--lr": ["0,1", "nan", "inf", "-1", "0", "1e400", "", "1x"],
                "--weight-decay": ["nan", "-1", "inf"], "--clip-grad": ["nan", "inf", "-1"], "--momentum": ["1.5", "nan"],
                "--warmup-epochs": ["1e18", "nan", "-1"], "--ema": ["1", "nan"], "--label-smoothing": ["2", "nan"],
                "--benchmark-seconds": ["0", "nan", "inf"],
                "--seed": ["99999999999999999999", "18446744073709551616", "-1", "", "1.5"],
                "--epochs": ["0", "1e3", "99999999999999999999", "2.5"], "--max-steps": ["0"], "--batch-size": ["0", "x"],
                "--threads": ["0", "1 2"], "--workers": ["-1"], "--image-size": ["7"], "--num-classes": ["0"]}.items():
            for value in values:
                with self.subTest(flag=flag, value=value):
                    self.refused(flag, value, says=f"^resnet50_train: {flag}: .*(number|below 1)")
        self.assertRegex(run(TRAIN, "--lr", "0,1").stderr, "'0,1' is not a number above 0")

    def test_flags_without_a_value(self):
        for arguments, says in {("--summary=", "--max-steps", "1"): "--summary: there is nothing behind the =",
                                ("--summary", ""): "--summary: needs the name of a file"}.items():
            result = run(TRAIN, *SMALL, *arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(says, result.stderr)

    def test_unknown_flags(self):
        self.refused("--no-such-flag", "x", says=r"^resnet50_train: --no-such-flag is not known \(see --help\)$")
        self.refused("--epoch", "3", says=r"--epoch is not known; did you mean --epochs\?")
        self.refused("--batchsize=3", says=r"--batchsize is not known; did you mean --batch-size\?")
        self.refused("--save", "x", says=r"--save is not known \(see")
        self.refused("-x", says=r"-x is not known \(see")
        self.refused("--epochs", "3", "4", says="'4' belongs to no flag")
        result = run(ALGORITHMS, "--clera")
        self.assertEqual(result.returncode, 2)
        self.assertIn("did you mean --clear?", result.stderr)

    # ---- the schedule follows the data ----

    def lrs(self, *flags):
        result = run(TRAIN, *SMALL, *SYNTHETIC, "--log", self.path("l.jsonl"), "--schedule", "constant", *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout, [json.loads(line)["lr"] for line in self.read("l.jsonl").splitlines()]

    def images(self, count):
        for name in ("a", "b"):
            os.makedirs(self.path(f"data/{name}"))
            for i in range(count // 2):
                self.png(self.path(f"data/{name}/{i}.png"))
        return ["--dataset", "imagefolder", "--data", self.path("data"), "--epochs", "1", "--optimizer", "sgd", "--schedule",
                "constant", "--log", self.path("l.jsonl"), *SMALL]

    def png(self, path):
        import zlib
        rows = b"".join(b"\0" + b"\x40\x80\xc0" * 8 for _ in range(8))

        def chunk(name, data):
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        with open(path, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
                       chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))

    def test_lr_follows_the_batch_that_is_used(self):
        flags = self.images(20)
        for more, images in ((["--batch-size", 1000], 20), (["--batch-size", 4, "--accumulate", 10], 20),
                               (["--batch-size", 4, "--accumulate", 2], 8)):
            result = run(TRAIN, *flags, *more)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn(f"steps of {images} images", result.stdout)
            self.assertAlmostEqual(json.loads(self.read("l.jsonl").splitlines()[0])["lr"], 0.1 * images / 256)

    def test_a_short_step_schedule_starts_at_its_peak(self):
        for steps, expected in ((1, [1]), (2, [1, 0.1]), (3, [1, 0.1, 0.01]), (4, [1, 1, 0.1, 0.01])):
            _, lrs = self.lrs("--schedule", "step", "--warmup-epochs", 0, "--lr", 1e-3, "--max-steps", steps)
            for lr, factor in zip(lrs, expected, strict=True):
                self.assertAlmostEqual(lr, 1e-3 * factor)


if __name__ == "__main__":
    unittest.main(verbosity=2)
