"""A run as those see it who watch it: TensorBoard's event files, the page of --report, and an early end.

  watching_test.py RESNET50_TRAIN [TEST...]

Event files are read by a small reader of this file. The package tensorboard, if it is there, reads them as well.
"""
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = sys.argv.pop(1)
SMALL = ["--arch", "resnet18", "--image-size", 8, "--batch-size", 128, "--device", "cpu", "--progress", "off"]


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300)


# ---- a reader of event files ----

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def records(path, check_up_to=4096):
    """Yields the records of a TFRecord file. Checks the checksums of those that are not too long for Python."""
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        length, = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at:at + 8]), "checksum of a length"
        record = data[at + 12:at + 12 + length]
        assert len(record) == length, "the file ends within a record"
        if length <= check_up_to:
            assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(record), "checksum of a record"
        yield record
        at += length + 16


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """Returns a message of Protocol Buffers as {field number: [raw values]}."""
    result, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            value, at = data[at:at + (8 if kind == 1 else 4)], at + (8 if kind == 1 else 4)
        result.setdefault(key >> 3, []).append(value)
    return result


class Events:
    """All events of one file."""

    def __init__(self, path):
        self.scalars, self.histograms, self.images, self.texts, self.plugins = {}, {}, {}, {}, {}
        self.starts, self.graph, self.version = [], None, None
        for record in records(path):
            event = fields(record)
            step = event.get(2, [0])[0]
            if 3 in event:
                self.version = event[3][0]
            if 7 in event:
                assert fields(event[7][0]) == {1: [1]}  # SessionLog.START
                self.starts.append(step)
            if 4 in event:
                self.graph = [fields(node) for node in fields(event[4][0])[1]]
            for value in fields(event[5][0]).get(1, []) if 5 in event else []:
                self.add(step, fields(value))

    def add(self, step, value):
        tag = value[1][0].decode()
        if 2 in value:
            self.scalars.setdefault(tag, []).append((step, struct.unpack("<f", value[2][0])[0]))
        elif 5 in value:
            self.histograms.setdefault(tag, []).append((step, fields(value[5][0])))
        elif 4 in value:
            self.images.setdefault(tag, []).append((step, fields(value[4][0])))
        else:
            plugin = fields(fields(value[9][0])[1][0])
            if plugin[1] == [b"text"]:
                self.texts.setdefault(tag, []).append(fields(value[8][0])[8][0].decode())
            else:
                self.plugins.setdefault(tag, []).append(fields(plugin[2][0]))


def doubles(packed):
    return struct.unpack(f"<{len(packed) // 8}d", packed)


def setting_value(value):
    value = fields(value)
    return (struct.unpack("<d", value[2][0])[0] if 2 in value else value[3][0].decode() if 3 in value else bool(value[4][0]))


class WatchingTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)

    def path(self, name):
        return os.path.join(self.temporary.name, name)

    def event_files(self, name="events"):
        return sorted(glob.glob(self.path(name) + "/events.out.tfevents.*"))

    def test_event_files_hold_the_run(self):
        log = self.path("log.jsonl")
        result = run(*SMALL, "--epochs", 2, "--tensorboard", self.path("events"), "--log", log, "--seed", 3,
                     "--threads", 2)
        self.assertEqual(result.returncode, 0, result.stderr)
        file, = self.event_files()
        self.assertRegex(os.path.basename(file), r"^events\.out\.tfevents\.\d{10}\.[\w-]+\.\d+\.\d+$")
        events = Events(file)
        self.assertEqual(events.version, b"brain.Event:2")
        self.assertEqual(events.starts, [1])
        with open(log) as lines:
            steps = [json.loads(line) for line in lines]
        last = steps[-1]["step"]
        for tag, field in (("train/loss", "loss"), ("learning_rate", "lr"),
                           ("speed/images_per_second", "images_per_second"), ("device/memory_bytes", "device_memory_bytes")):
            self.assertEqual([step for step, _ in events.scalars[tag]], list(range(1, last + 1)))
            for (_, value), line in zip(events.scalars[tag], steps):
                self.assertAlmostEqual(value, line[field], delta=abs(line[field]) * 1e-6)
        top1 = events.scalars["validation/top1"]
        self.assertEqual([step for step, _ in top1], [last // 2, last])
        self.assertRegex(result.stdout, f"top1 {100 * top1[-1][1]:.2f}%")
        self.assertEqual({"validation/loss", "validation/top1", "validation/top5", "train/epoch_loss", "train/epoch",
                          "gradients/not_finite"} - events.scalars.keys(), set())
        self.assertEqual(events.scalars["gradients/not_finite"][-1][1], 0)
        self.check_histograms(events)
        self.check_images(events)
        self.check_table_of_runs(events)
        self.check_graph(events)
        self.check_with_tensorboard(events)

    def check_histograms(self, events):
        self.assertEqual(len(events.histograms), 2 * 62)  # ResNet-18 has 62 parameters, each with a gradient
        for tag, found in events.histograms.items():
            self.assertEqual(len(found), 2, tag)
            for _, histogram in found:
                limits, counts = doubles(histogram[6][0]), doubles(histogram[7][0])
                self.assertEqual(list(limits), sorted(set(limits)), tag)
                self.assertEqual(sum(counts), struct.unpack("<d", histogram[3][0])[0], tag)
        conv = events.histograms["parameters/conv1.weight"][-1][1]
        self.assertEqual(struct.unpack("<d", conv[3][0])[0], 64 * 3 * 7 * 7)

    def check_images(self, events):
        for tag in ("validation/samples", "validation/confusion"):
            self.assertEqual(len(events.images[tag]), 2)
            image = events.images[tag][-1][1]
            png = image[4][0]
            self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(struct.unpack(">II", png[16:24]), (image[2][0], image[1][0]))  # width, height
            self.assertEqual(struct.unpack(">I", png[-4:])[0], zlib.crc32(b"IEND"))
        lines = events.texts["validation/predictions"][-1].splitlines()
        self.assertEqual(len(lines), 2 + 16)
        self.assertEqual(lines[0], "| image | class | prediction | probability |")

    def check_table_of_runs(self, events):
        session = fields(events.plugins["_hparams_/session_start_info"][0][3][0])
        settings = {fields(entry)[1][0].decode(): setting_value(fields(entry)[2][0]) for entry in session[1]}
        self.assertEqual(settings["arch"], "resnet18")
        self.assertEqual(settings["lr"], 0.001)
        self.assertEqual(settings["epochs"], 2)
        self.assertEqual(settings["seed"], 3)
        self.assertEqual(settings["threads"], "2")  # given, and not among the usual
        self.assertFalse({"log", "tensorboard", "progress"} & settings.keys())  # where to write is no setting
        experiment = fields(events.plugins["_hparams_/experiment"][0][2][0])
        self.assertEqual({fields(info)[1][0].decode() for info in experiment[4]}, set(settings))
        scores = {fields(fields(info)[1][0])[2][0].decode() for info in experiment[5]}
        self.assertTrue(scores <= events.scalars.keys(), scores)
        self.assertEqual(fields(events.plugins["_hparams_/session_end_info"][0][4][0])[1], [1])  # success

    def check_graph(self, events):
        nodes = {node[1][0].decode(): node for node in events.graph}
        self.assertEqual(len(nodes), len(events.graph))  # names are unique
        for node in events.graph:
            for source in node.get(3, []):
                self.assertIn(source.decode().split(":")[0], nodes)
        self.assertEqual(sum(node[2] == [b"Parameter"] for node in events.graph), 62)
        convolution = nodes["layer1/0/conv1/conv2d"]
        self.assertIn(b"layer1/0/conv1/weight", convolution[3])
        self.assertIn(b"bn1/running_mean", nodes["bn1/batch_norm"][3])
        self.assertTrue(any(node[2] == [b"cross_entropy"] for node in events.graph))
        self.assertFalse(any(b"backward" in node[2][0] for node in events.graph))

    def accumulator(self):
        """Returns what TensorBoard reads in the folder; None without the package."""
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            return None
        kinds = ("scalars", "histograms", "images", "tensors", "compressedHistograms")
        return EventAccumulator(self.path("events"), size_guidance=dict.fromkeys(kinds, 0)).Reload()

    def check_with_tensorboard(self, events):
        found = self.accumulator()
        if found is None:
            return
        tags = found.Tags()
        for kind, ours in (("scalars", events.scalars), ("histograms", events.histograms), ("images", events.images)):
            self.assertEqual(set(tags[kind]), set(ours))
        self.assertEqual(set(tags["tensors"]), {*events.texts, *events.plugins})
        for tag, values in events.scalars.items():
            self.assertEqual([(event.step, event.value) for event in found.Scalars(tag)], values)
        for tag, values in events.histograms.items():
            self.assertEqual([tuple(event.histogram_value.bucket) for event in found.Histograms(tag)],
                             [doubles(histogram[7][0]) for _, histogram in values])
        self.assertEqual([node.name for node in found.Graph().node], [node[1][0].decode() for node in events.graph])

    def test_a_second_run_in_the_folder_takes_the_place_of_the_first(self):
        for steps in (3, 2):
            result = run(*SMALL, "--max-steps", steps, "--tensorboard", self.path("events"), "--seed", steps)
            self.assertEqual(result.returncode, 0, result.stderr)
            time.sleep(1)  # files of one second have no order
        first, second = sorted(map(Events, self.event_files()), key=lambda events: -len(events.scalars["train/loss"]))
        self.assertEqual([first.starts, second.starts], [[1], [1]])  # TensorBoard forgets older steps from there on
        accumulator = self.accumulator()
        if accumulator is not None:
            self.assertEqual([(event.step, event.value) for event in accumulator.Scalars("train/loss")],
                             second.scalars["train/loss"])

    def test_a_run_that_is_killed_leaves_every_step(self):
        log = self.path("log.jsonl")
        arguments = [*SMALL, "--epochs", 100, "--tensorboard", self.path("events"), "--log", log]
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.DEVNULL)
        try:
            for _ in range(1000):
                time.sleep(0.05)
                if os.path.exists(log) and os.path.getsize(log) > 1500:
                    break
        finally:
            process.kill()
            process.wait()
        with open(log) as lines:
            logged = sum(1 for _ in lines)
        events = Events(self.event_files()[0])  # whole records only
        self.assertGreater(logged, 5)
        self.assertGreaterEqual(len(events.scalars["train/loss"]), logged - 1)  # the log is written first

    def test_without_a_validation_set(self):
        page = self.path("page.html")
        result = run(*SMALL, "--dataset", "synthetic", "--num-classes", 5, "--max-steps", 2, "--amp", "bf16",
                     "--tensorboard", self.path("events"), "--report", page)
        self.assertEqual(result.returncode, 0, result.stderr)
        events = Events(self.event_files()[0])
        self.assertNotIn("validation/top1", events.scalars)
        self.assertEqual(events.images, {})
        names = [node[1][0].decode() for node in events.graph]
        self.assertIn("layer1/0/conv1/conv2d", names)  # though it reads autocast's copy of the weight
        data = self.page_data(page)
        self.assertNotIn("confusion", data)
        self.assertEqual(data["steps"]["step"], [1, 2])

    def page_data(self, path):
        with open(path, encoding="utf-8") as file:
            page = file.read()
        begin = '<script type="application/json" id="data">'
        start = page.index(begin) + len(begin)
        return json.loads(page[start:page.index("</script>", start)])

    def test_the_page_shows_the_run(self):
        page, summary = self.path("page.html"), self.path("summary.json")
        result = run(*SMALL, "--epochs", 2, "--report", page, "--summary", summary)
        self.assertEqual(result.returncode, 0, result.stderr)
        data = self.page_data(page)
        with open(summary) as file:
            results = json.load(file)
        self.assertEqual(data["state"], "finished")
        self.assertEqual(data["title"], "resnet18 on digits")
        self.assertEqual(data["epochs"][-1]["top1"], results["top1"])
        self.assertEqual(data["steps"]["step"][-1], results["steps"])
        self.assertEqual(data["steps"]["loss"][-1], results["final_loss"])
        self.assertEqual(sum(count for _, _, count in data["confusion"]), 360)
        right = sum(count for label, predicted, count in data["confusion"] if label == predicted)
        self.assertAlmostEqual(right / 360, results["top1"])
        self.assertEqual(len(data["mistakes"]), min(24, 360 - right))
        self.assertEqual(dict(data["settings"])["arch"], "resnet18")
        self.assertIn("Taper", dict(data["versions"]))

    def test_an_early_end(self):
        summary = self.path("summary.json")
        # Without learning no score is better than the first.
        result = run(*SMALL, "--epochs", 9, "--early-stop", 2, "--lr", 1e-30, "--warmup-epochs", 0, "--summary", summary)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"(?m)^stopped early: 2 epochs without a better top1 than the [\d.]+% of epoch \d$")
        with open(summary) as file:
            results = json.load(file)
        self.assertEqual(results["ended"], "stopped early")
        self.assertLess(results["steps"], 9 * 11)

    def test_refusals(self):
        with open(self.path("file"), "w") as file:
            file.write("kept")
        weights = ["--eval-only", "--init", self.path("file")]
        for flags, words in (
                (["--early-stop", 0], "--early-stop: '0' is not a whole number from 1"),
                (["--early-stop", 2, "--dataset", "synthetic"], "--early-stop: looks at the score on a validation set"),
                (["--early-stop", 2, *weights], "--early-stop: ends a training"),
                (["--tensorboard", self.path("events"), *weights], "--tensorboard: shows a training"),
                (["--report", self.path("page"), *weights], "--report: shows a training"),
                (["--tensorboard", ""], "--tensorboard: needs the name of a folder"),
                (["--report", ""], "--report: needs the name of a file"),
                (["--tensorboard", self.path("file")], "the folder cannot be made"),
                (["--report", self.path("none/page")], "none/page: cannot be written"),
                (["--report", self.path("page"), "--log", self.path("page")], "--log and --report name the same file")):
            result = run(*SMALL, *flags)
            self.assertEqual(result.returncode, 2, (flags, result.stderr))
            self.assertIn(words, result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertEqual(os.listdir(self.temporary.name), ["file"])
        with open(self.path("file")) as file:
            self.assertEqual(file.read(), "kept")


if __name__ == "__main__":
    unittest.main(verbosity=2)
