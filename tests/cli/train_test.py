"""resnet50_train as a user meets it: exit codes, one-line errors, logs, summaries, determinism, interruption.

  train_test.py RESNET50_TRAIN [TEST...]
"""
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--batch-size", "8", "--progress", "off"]
ON_CPU = ["--device", "cpu"]


def run(*arguments, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, **options)


def default_device():
    """Returns the GPU if there is a real one, else the CPU."""
    gpu, *rest = run("--version").stdout.splitlines()[1:]
    return "cuda:0" if gpu == "GPU: CUDA" and any(line.startswith("Device 0: ") for line in rest) else "cpu"


def png(path, width=32, height=32, color=(200, 30, 60), channels=3):
    """Writes a plain image; 1 channel is gray, 3 RGB, 4 RGBA."""
    kind = {1: 0, 3: 2, 4: 6}[channels]
    pixel = bytes((list(color) + [128])[:channels])
    rows = b"".join(b"\0" + pixel * width for _ in range(height))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


class TrainTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.addCleanup(self.temporary.cleanup)

    def path(self, name):
        return os.path.join(self.folder, name)

    def images(self, classes=("cat", "dog"), count=8):
        root = self.path("images")
        for number, name in enumerate(classes):
            os.makedirs(f"{root}/{name}")
            for i in range(count):
                png(f"{root}/{name}/{i}.png", color=(90 * number + i, 100, 250 - 90 * number))
        return root

    def refused(self, *arguments, says, code=2):
        result = run(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        lines = result.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertRegex(lines[0], says)
        return lines[0]

    # ---- the command line ----

    def test_help_names_every_flag_and_gives_examples(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0)
        for flag in ("--dataset --data --val --arch --image-size --resize --num-classes --epochs --max-steps --batch-size "
                     "--accumulate --optimizer --lr --momentum --weight-decay --schedule --warmup-epochs --label-smoothing "
                     "--ema --clip-grad --device --benchmark --deterministic --tf32 --seed --workers --threads --augment --shuffle --init "
                     "--pretrained --freeze --freeze-batch-norm --dropout --mixup --cutmix --random-erasing --eval-ema "
                     "--eval-only --log --summary --profile --memory-report --progress --cuda-graph").split():
            self.assertRegex(result.stdout, rf"{flag}\b")
        self.assertIn("Examples:", result.stdout)

    def test_version_names_the_gpu_of_the_build_and_the_level_of_the_cpu(self):
        result = run("--version")
        self.assertEqual(result.returncode, 0)
        version, gpu, *libraries, cpu = result.stdout.splitlines()
        self.assertRegex(version, r"^Taper \d+\.\d+\.\d+$")
        if gpu == "GPU: simulated":
            self.assertEqual(libraries, [])
        else:
            self.assertEqual(gpu, "GPU: CUDA")
            names = [line.split(": ")[0] for line in libraries]
            self.assertEqual(names[:5], ["CUDA runtime", "CUDA driver", "cuBLASLt", "cuDNN", "NCCL"])
            self.assertEqual(names[5:], [f"Device {i}" for i in range(len(names) - 5)])
        self.assertRegex(cpu, "^CPU: (baseline|avx2|avx512|avx512-bf16|amx)$")

    def test_a_cpu_of_a_lower_level_can_be_asked_for(self):
        def with_level(level, *arguments):
            return run(*arguments, env={**os.environ, "TAPER_CPU": level})

        self.assertIn("\nCPU: baseline\n", with_level("baseline", "--version").stdout)
        for flags in (["--version"], ["--epochs", "1"]):
            refused = with_level("sse9", *flags)
            self.assertEqual((refused.returncode, refused.stdout, refused.stderr),
                             (2, "", "resnet50_train: TAPER_CPU: 'sse9' is none of baseline, avx2, avx512, avx512-bf16, "
                                     "amx\n"))
        best = run("--version").stdout.splitlines()[-1].removeprefix("CPU: ")
        self.assertEqual(with_level("", "--version").stdout.splitlines()[-1], f"CPU: {best}")  # as if it were not set
        if best != "amx":
            refused = with_level("amx", "--version")
            self.assertEqual((refused.returncode, refused.stderr),
                             (2, f"resnet50_train: TAPER_CPU: 'amx' is more than this CPU has, which is {best}\n"))

    def test_bad_flags_get_one_line_with_their_name(self):
        self.refused("--no-such-flag", says="--no-such-flag")
        self.refused("--arch", "resnet51", says="--arch.*resnet51")
        self.refused("--epochs", "0", says="--epochs")
        self.refused("--epochs", "many", says="--epochs")
        self.refused("--lr", "-1", says="--lr")
        self.refused("--batch-size", says="--batch-size needs a value .see --help")
        self.refused("--shuffle", "maybe", says="--shuffle")
        self.refused("--tf32", "maybe", says="--tf32")
        self.refused("--amp", "f16", says="--amp.*f16")
        self.refused("--amp", "bf16", "--dtype", "f64", says="--amp.*--dtype f64")
        self.refused("--device", "tpu", says="--device.*tpu")
        self.refused("--device", "cuda:99", says="--device.*99")
        self.refused("--eval-only", says="--eval-only.*--init")
        self.refused("--benchmark", "--deterministic", says="--benchmark.*--deterministic")
        self.refused("--data", self.folder, says="--data.*imagefolder")
        self.refused(*ON_CPU, "--memory-report", self.path("m.html"), says="--memory-report.*--device cuda")
        self.refused("--profile", self.path("p.json"), "--eval-only", "--init", "x", says="--profile.*--eval-only")
        self.refused("--dataset", "imagefolder", says="--data")
        self.refused("--image-size", "64", "--resize", "32", says="resize")
        self.refused("--num-classes", "5", says="--num-classes 5.*10 classes")

    # ---- files and folders ----

    def test_folders_that_cannot_be_used(self):
        def imagefolder(folder):
            return ["--dataset", "imagefolder", "--data", folder]
        self.refused(*imagefolder(self.path("nowhere")), says="nowhere")
        os.makedirs(self.path("empty"))
        self.refused(*imagefolder(self.path("empty")), says="empty")
        root = self.images()
        os.makedirs(f"{root}/owl")
        self.refused(*imagefolder(root), says="owl")

    def test_weights_that_cannot_be_used(self):
        self.refused("--init", self.path("none.safetensors"), says="none.safetensors")
        with open(self.path("bad.safetensors"), "wb") as file:
            file.write(b"\xff" * 64)
        self.refused("--init", self.path("bad.safetensors"), says="bad.safetensors")
        header = json.dumps({"conv1.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        with open(self.path("other.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + b"\0" * 4)
        self.refused(*SMALL, "--init", self.path("other.safetensors"), says=r"--init.*missing.*conv1\.weight': got \[1\]")
        with open(self.path("weights.pth"), "wb") as file:
            file.write(b"PK\3\4\0\0\x08\x08\0\0" + b"\0" * 64)
        self.refused("--init", self.path("weights.pth"), says=r"weights\.pth: a zip archive without its directory")

    def test_a_log_that_cannot_be_written_is_refused_before_training(self):
        self.refused(*SMALL, "--log", self.path("no/folder/log.jsonl"), says="no/folder/log.jsonl")
        self.refused(*SMALL, "--summary", self.path("no/folder/s.json"), says="no/folder/s.json")
        self.refused(*SMALL, "--profile", self.path("no/folder/p.json"), says="no/folder/p.json")

    def test_broken_images_are_counted_or_refused(self):
        root = self.images()
        with open(f"{root}/cat/0.png", "rb") as file:
            whole = file.read()
        with open(f"{root}/cat/cut.png", "wb") as file:
            file.write(whole[:40])
        with open(f"{root}/dog/text.jpg", "w") as file:
            file.write("not an image")
        arguments = ["--dataset", "imagefolder", "--data", root, "--val", root, "--image-size", 32, *SMALL, "--epochs", 1,
                     *ON_CPU]  # on a GPU, a library's refusals may be among the warnings
        result = run(*arguments, "--summary", self.path("s.json"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("2 unreadable images", result.stderr)
        self.assertIn("cut.png", result.stderr)
        with open(self.path("s.json")) as file:
            summary = json.load(file)
        self.assertEqual(summary["unreadable_pictures"], 2)
        self.assertRegex("\n".join(summary["unreadable_first"]), r"cut\.png: .*cut short")
        self.refused(*arguments, "--strict-data", says="cut.png|text.jpg", code=1)

    def test_broken_images_are_told_after_the_first_epoch_and_when_a_run_fails(self):
        root = self.images()
        with open(f"{root}/dog/0-text.jpg", "w") as file:
            file.write("not an image")
        arguments = ["--dataset", "imagefolder", "--data", root, "--image-size", 32, "--shuffle", "off", *SMALL, *ON_CPU]
        told = [self.path("told"), *arguments, "--epochs", 3]
        with open(told[0], "w+") as both:
            subprocess.run([PROGRAM, *map(str, told[1:])], stdout=both, stderr=both, timeout=300, check=True)
            both.seek(0)
            text = both.read()
        self.assertRegex(text, r"(?s)epoch 1/3.*1 unreadable image was left out:\n  .*text\.jpg: not a JPEG.*epoch 2/3")
        self.assertEqual(text.count("text.jpg"), 1)
        failed = run(*arguments, "--epochs", 3, "--lr", 1e30, "--optimizer", "sgd", "--warmup-epochs", 0)
        self.assertEqual(failed.returncode, 1)
        self.assertIn("1 unreadable image was left out:", failed.stderr)

    def test_what_a_folder_holds_besides_images_is_told(self):
        root = self.images()
        for name in ("cat/._0.png", "cat/a.webp", "dog/b.webp", "dog/c.bmp", "notes.txt"):
            with open(f"{root}/{name}", "w") as file:
                file.write("x")
        for name in (".ipynb_checkpoints", "__MACOSX"):
            os.makedirs(f"{root}/{name}")
        result = run("--dataset", "imagefolder", "--data", root, "--image-size", 32, *SMALL, "--max-steps", 1, *ON_CPU)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertIn("2 classes", result.stdout)
        self.assertEqual(result.stdout.count("passed over in "), 1)
        self.assertIn(f"passed over in {root}: 3 hidden, 2 .webp, 1 .bmp, 1 .txt\n", result.stdout)

    def test_links_to_nothing_are_unreadable_images(self):
        root = self.images()
        os.symlink("gone.png", f"{root}/cat/link.png")
        arguments = ["--dataset", "imagefolder", "--data", root, "--image-size", 32, "--shuffle", "off", *SMALL,
                     "--epochs", 1, *ON_CPU]
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stderr, r"1 unreadable image was left out:\n  .*link\.png: no such file")
        self.refused(*arguments, "--strict-data", says=r"link\.png: no such file", code=1)

    def test_a_class_without_a_readable_image_is_refused_before_training(self):
        root = self.images()
        for i in range(8):
            with open(f"{root}/dog/{i}.png", "w") as file:
                file.write("RIFF....WEBP")
        arguments = ["--image-size", 32, *SMALL, *ON_CPU, "--dataset", "imagefolder"]
        says = r"class 'dog': none of its 8 images can be read; the first: .*dog/0\.png: .*WebP; convert"
        self.refused(*arguments, "--data", root, says=says)
        good = self.path("good")
        os.rename(root, good)
        bad = self.images()
        for name in ("cat", "dog"):
            for i in range(8):
                os.truncate(f"{bad}/{name}/{i}.png", 0)
        self.refused(*arguments, "--data", bad, "--val", good, says="class 'cat'.*empty file")

    def test_names_from_files_never_steer_the_terminal(self):
        steering = "\x1b[31m\u202e\x9b1m\n\x7f"
        weights = json.dumps({"a" + steering: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
                             ensure_ascii=False).encode()
        names = {"weights": self.path("w.safetensors")}
        with open(names["weights"], "wb") as file:
            file.write(struct.pack("<Q", len(weights)) + weights + b"\0" * 4)
        root = os.fsencode(self.path("data" + steering))
        for kind in (b"cat", b"dog" + steering.encode() + b"\x9b\xff"):
            os.makedirs(root + b"/" + kind)
            for i in range(8):
                png(root + b"/" + kind + b"/%d.png" % i)
            for name in (b"bad" + steering.encode() + b"\x9b.png", b"other." + steering.encode() + b"\x9b"):
                with open(root + b"/" + kind + b"/" + name, "wb") as file:
                    file.write(b"no image")
        empty = os.fsencode(self.path("empty" + steering))
        os.makedirs(empty + b"/class" + steering.encode())
        folder = ["--dataset", "imagefolder", "--image-size", "32", *SMALL, *ON_CPU, "--epochs", "1", "--data"]
        for arguments in ([*folder, root, "--val", root, "--summary", self.path("s.json")], [*folder, root, "--strict-data"],
                          [*folder, empty], [*folder, root + b"/cat"], [*folder, b"gone" + steering.encode() + b"\xff"],
                          ["--init", names["weights"]], ["--init", b"gone" + steering.encode()],
                          ["gone" + steering], ["--arch", steering], ["--log", b"/gone/" + steering.encode()]):
            result = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
            for stream in (result.stdout, result.stderr):
                text = stream.decode()  # fails unless it is UTF-8
                self.assertNotRegex(text, r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", arguments)
            if result.returncode != 0:
                self.assertEqual(result.stderr.count(b"\n"), 1, result.stderr)
        with open(self.path("s.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["unreadable_pictures"], 2)

    def test_gray_and_transparent_images_are_converted(self):
        root = self.images()
        png(f"{root}/cat/gray.png", channels=1)
        png(f"{root}/dog/clear.png", channels=4)
        result = run("--dataset", "imagefolder", "--data", root, "--image-size", 32, *SMALL, "--epochs", 1, "--strict-data")
        self.assertEqual(result.returncode, 0, result.stderr)

    # ---- the files of a run ----

    def records(self, *arguments):
        log = self.path("log.jsonl")
        result = run(*SMALL, "--log", log, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(log) as file:
            return [json.loads(line) for line in file]

    def test_log_and_summary(self):
        records = self.records("--max-steps", 5, "--lr", 0.01, "--warmup-epochs", 0, "--schedule", "constant", "--summary",
                               self.path("s.json"))  # on the default device
        self.assertEqual([record["step"] for record in records], [1, 2, 3, 4, 5])
        for record in records:
            self.assertEqual(set(record), {"step", "epoch", "loss", "lr", "images_per_second", "device_memory_bytes"})
            self.assertEqual(record["lr"], 0.01)
            self.assertGreater(record["images_per_second"], 0)
            self.assertGreater(record["device_memory_bytes"], 4 * 11_000_000)
        with open(self.path("s.json")) as file:
            summary = json.load(file)
        self.assertEqual(summary["final_loss"], records[-1]["loss"])
        self.assertEqual(summary["parameters"], 11_181_642)  # ResNet-18 with 10 classes
        self.assertEqual((summary["device"], summary["dtype"]), (default_device(), "f32"))
        self.assertTrue(0 <= summary["top1"] <= summary["top5"] <= 1)
        self.assertGreater(summary["peak_memory_bytes"], 4 * 11_000_000)
        self.assertRegex(summary["version"], r"^\d+\.\d+\.\d+$")

    def profile(self, *arguments):
        """Returns what --profile printed, and the trace."""
        path = self.path("p.json")
        result = run(*SMALL, "--workers", 1, "--profile", path, *arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(path) as file:
            return result.stdout, json.load(file)["traceEvents"]

    def test_a_profile_shows_five_steps_after_the_first_three(self):
        printed, events = self.profile("--max-steps", 10, "--threads", 2, *ON_CPU)
        self.assertRegex(printed, r"profile of steps 4 to 8 in .*p\.json.*perfetto")
        bars = [event for event in events if event["ph"] == "X"]
        self.assertEqual([bar["name"] for bar in bars if bar["cat"] == "step"], [f"step {i}" for i in range(4, 9)])
        for name in ("next batch", "load sample", "conv2d", "batch_norm", "cross_entropy", "cross_entropy backward",
                     "conv2d backward", "conv2d_backward_weight", "AdamW step", "adamw_update"):
            self.assertIn(name, {bar["name"] for bar in bars})
        tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
        self.assertEqual(set(tracks.values()), {"main", "data loader 1", "compute 1"})
        for tid in tracks:  # bars of a thread lie inside or beside each other
            open_bars = []
            for bar in sorted((b for b in bars if b["tid"] == tid), key=lambda b: (b["ts"], -b["dur"])):
                while open_bars and open_bars[-1] <= bar["ts"] + 1e-4:
                    open_bars.pop()
                end = bar["ts"] + bar["dur"]
                if open_bars:
                    self.assertLessEqual(end, open_bars[-1] + 1e-3, bar)
                open_bars.append(end)
        curve = [event["args"]["allocated"] for event in events if event["ph"] == "C"]
        self.assertGreater(max(curve), min(curve))
        self.assertGreater(min(curve), 4 * 11_000_000)  # the weights stay

    def test_a_profile_of_a_short_run_takes_what_there_is(self):
        printed, events = self.profile("--max-steps", 2)
        self.assertIn("profile of steps 1 to 2", printed)
        self.assertEqual(sum(event.get("cat") == "step" for event in events), 2)

    def test_schedules_and_warm_up(self):
        epoch = ["--max-steps", 12, "--lr", 1e-3]
        cosine = [record["lr"] for record in self.records(*epoch, "--warmup-epochs", 0)]
        self.assertAlmostEqual(cosine[0], 1e-3)
        self.assertAlmostEqual(cosine[6], 5e-4)
        self.assertEqual(cosine, sorted(cosine, reverse=True))
        step = [record["lr"] for record in self.records(*epoch, "--schedule", "step", "--warmup-epochs", 0)]
        for lr, expected in zip(step, [1e-3] * 4 + [1e-4] * 4 + [1e-5] * 4):
            self.assertAlmostEqual(lr, expected)
        warm = [record["lr"] for record in self.records(*epoch, "--warmup-epochs", 0.05)]  # 9 of 179 steps
        self.assertEqual(warm[:9], sorted(warm[:9]))
        self.assertLess(warm[0], 2e-5)
        self.assertAlmostEqual(warm[9], 1e-3)

    def losses(self, *arguments):
        """Results are equal bits every time; on a GPU only if asked for."""
        return [record["loss"] for record in self.records("--max-steps", 3, "--deterministic", *arguments)]

    def test_flags_change_what_they_name(self):
        base = self.losses("--optimizer", "sgd", "--seed", 5)
        self.assertEqual(base, self.losses("--optimizer", "sgd", "--seed", 5))
        for flags in (["--seed", 6], ["--shuffle", "off"], ["--augment", "off"], ["--label-smoothing", 0.1],
                      ["--zero-init-residual", "off"], ["--image-size", 40]):
            self.assertNotEqual(base[0], self.losses("--optimizer", "sgd", "--seed", 5, *flags)[0], flags)
        for flags in (["--lr", 0.5], ["--optimizer", "adamw"], ["--clip-grad", 1e-3], ["--momentum", 0],
                      ["--weight-decay", 0.5], ["--warmup-epochs", 0]):
            other = self.losses("--optimizer", "sgd", "--seed", 5, *flags)
            self.assertEqual(base[0], other[0], flags)
            self.assertNotEqual(base[2], other[2], flags)

    def test_accumulating_two_batches_shows_both_and_steps_once(self):
        twice = self.records("--max-steps", 2, "--accumulate", 2, "--batch-size", 4, "--shuffle", "off", "--augment", "off")
        self.assertEqual(len(twice), 2)
        once = self.records("--max-steps", 1, "--batch-size", 4, "--shuffle", "off", "--augment", "off")
        self.assertNotEqual(once[0]["loss"], twice[0]["loss"])

    def test_mixed_precision_follows_f32(self):
        common = ["--max-steps", 8, "--lr", 0.001, "--seed", 3, "--image-size", 16]
        exact = self.records(*common)
        for amp in ("bf16", "fp16"):
            summary = self.path(f"{amp}.json")
            records = self.records(*common, "--amp", amp, "--summary", summary)
            for ours, theirs in zip(records, exact):
                self.assertAlmostEqual(ours["loss"], theirs["loss"], delta=0.1 * exact[0]["loss"])
            self.assertNotEqual([record["loss"] for record in records], [record["loss"] for record in exact])
            self.assertEqual("scale" in records[0], amp == "fp16")  # bf16 needs none
            with open(summary) as file:
                summary = json.load(file)
            self.assertEqual((summary["amp"], summary["dtype"]), (amp, "f32"))
            self.assertEqual(summary.get("skipped_updates"), 0 if amp == "fp16" else None)

    def test_updates_that_overflow_are_skipped_and_counted(self):
        # Steps this large overflow f16's activations, and so every gradient.
        arguments = ["--max-steps", 6, "--amp", "fp16", "--lr", 1000, "--optimizer", "sgd", "--warmup-epochs", 0,
                     "--image-size", 16, "--augment", "off"]
        summary = self.path("s.json")
        result = run(*SMALL, *arguments, "--log", self.path("log.jsonl"), "--summary", summary)
        with open(self.path("log.jsonl")) as file:
            records = [json.loads(line) for line in file]
        skipped = sum(record["skipped"] for record in records)
        self.assertGreater(skipped, 0, records)
        self.assertLess(records[-1]["scale"], records[0]["scale"])
        with open(summary) as file:
            self.assertEqual(json.load(file)["skipped_updates"], skipped)
        self.assertRegex(result.stdout, rf"{skipped} of {len(records)} updates were skipped")

    def test_averaged_weights_are_what_is_validated(self):
        def score(*flags):
            result = run(*SMALL, "--max-steps", 6, "--deterministic", "--summary", self.path("s.json"), *flags)
            found = re.search(r"val loss .* top5 \S+", result.stdout)
            return found[0]  # all three: one may be equal by chance
        self.assertNotEqual(score(), score("--ema", 0.9))

    def test_deterministic_logs_are_the_same_bits(self):
        def log(*flags):
            path = self.path("log.jsonl")
            result = run(*SMALL, "--deterministic", "--seed", 3, "--max-steps", 4, "--log", path, *flags)
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(path, "rb") as file:
                return file.read()
        for device in sorted({"cpu", default_device()}):
            first = log("--device", device)
            self.assertEqual(first, log("--device", device))
            for flags in (["--workers", 0], ["--workers", 3], ["--threads", 1], ["--threads", 3]):
                self.assertEqual(first, log("--device", device, *flags), (device, flags))
        self.assertEqual(log(*ON_CPU), log(*ON_CPU, "--tf32", "on"))  # only affects GPUs

    def test_interrupting_ends_with_the_summary_so_far(self):
        path, log = self.path("s.json"), self.path("log.jsonl")
        process = subprocess.Popen([PROGRAM, *SMALL, "--epochs", "1000", "--summary", path, "--log", log],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.time() + 120
        while time.time() < deadline and not (os.path.exists(log) and os.path.getsize(log) > 0):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("interrupted after", output)
        with open(path) as file:
            summary = json.load(file)
        self.assertTrue(summary["interrupted"])
        self.assertGreaterEqual(summary["steps"], 1)

    def test_progress_is_drawn_when_asked_for_and_silent_otherwise(self):
        drawn = run("--arch", "resnet18", "--batch-size", 8, "--max-steps", 2, "--progress", "on")
        for part in ("\x1b[K", "loss", "img/s", "mem", "2/2"):
            self.assertIn(part, drawn.stderr)
        self.assertEqual(run("--arch", "resnet18", "--batch-size", 8, "--max-steps", 2, *ON_CPU).stderr, "")

    def test_a_gpu_computes_what_the_cpu_does(self):
        losses = {}
        for device in ("cpu", "cuda"):
            log, summary = self.path(f"{device}.jsonl"), self.path(f"{device}.json")
            result = run("--dataset", "synthetic", "--num-classes", 10, "--image-size", 32, "--batch-size", 4, "--lr", 0.01,
                         "--max-steps", 2, "--device", device, "--tf32", "off", "--log", log, "--summary", summary,
                         "--progress", "off")
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(log) as lines:
                losses[device] = [json.loads(line)["loss"] for line in lines]
            with open(summary) as file:
                self.assertEqual(json.load(file)["device"], {"cpu": "cpu", "cuda": "cuda:0"}[device])
        self.assertEqual(len(losses["cuda"]), 2)
        for cpu, gpu in zip(losses["cpu"], losses["cuda"]):
            self.assertLess(abs(gpu - cpu), 1e-3 * abs(cpu))

    def test_a_gpu_run_with_everything_on(self):
        report, profile = self.path("memory.html"), self.path("profile.json")
        flags = ["--dataset", "synthetic", "--num-classes", 10, "--image-size", 32, "--arch", "resnet18", "--batch-size", 2,
                 "--max-steps", 3, "--device", "cuda", "--optimizer", "adamw", "--ema", 0.9, "--clip-grad", 1,
                 "--accumulate", 2, "--label-smoothing", 0.1, "--deterministic", "--progress", "off"]
        logs = []
        for number in range(2):
            log = self.path(f"{number}.jsonl")
            result = run(*flags, "--log", log, *(["--memory-report", report, "--profile", profile] if number else []))
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(log) as file:
                logs.append(file.read())
        self.assertEqual(logs[0], logs[1])  # --deterministic: byte for byte, watched or not
        with open(profile) as file:
            names = {event.get("name") for event in json.load(file)["traceEvents"]}
        self.assertTrue({"conv2d", "batch_norm", "cross_entropy"} <= names, names)
        with open(report) as file:
            self.assertIn("conv2d", file.read())

    def test_replayed_steps_have_the_losses_of_others(self):
        flags = ["--dataset", "synthetic", "--num-classes", 10, "--image-size", 32, "--arch", "resnet18", "--batch-size", 2,
                 "--max-steps", 5, "--device", "cuda", "--amp", "bf16", "--dropout", 0.3, "--ema", 0.9, "--clip-grad", 1,
                 "--deterministic", "--progress", "off"]
        losses, summary = [], self.path("summary")
        for more in [], ["--cuda-graph"]:
            log = self.path("log")
            result = run(*flags, *more, "--log", log, "--summary", summary)
            self.assertEqual(result.returncode, 0, result.stderr)
            with open(log) as file:
                losses.append([json.loads(line)["loss"] for line in file])
            with open(summary) as file:
                self.assertEqual(json.load(file)["replayed_steps"], 3 if more else None)
        self.assertEqual(losses[0], losses[1])
        self.assertRegex(result.stdout, r"cuda graph: 3 of 5 steps were replayed, from 1 graph, the last one of \d+ kernels, copies and fills")
        short = run(*flags, "--cuda-graph", "--max-steps", 2)
        self.assertIn("cuda graph: no step was replayed", short.stdout)
        self.refused("--cuda-graph", *ON_CPU, says="--cuda-graph: needs --device cuda")
        self.refused("--cuda-graph", "--device", "cuda", "--oom", "split", says="--cuda-graph: excludes --oom split")

    def test_synthetic_images(self):
        records = self.records("--dataset", "synthetic", "--image-size", 32, "--num-classes", 7, "--max-steps", 2)
        self.assertEqual(len(records), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
