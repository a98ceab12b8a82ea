"""taper-predict as a user meets it, with PyTorch's softmax beside it where there is one.

  predict_test.py TAPER_PREDICT RESNET50_TRAIN [TEST...]
"""
import array
import csv
import io
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

try:
    import torch
    from PIL import Image
    from torchvision import models, transforms
except ImportError:
    torch = None

PREDICT, TRAIN = sys.argv.pop(1), sys.argv.pop(1)
CLASSES = ["bee", "cat", "größe, \"quoted\"", "a\x1bb\nc"]


def png(path, seed, size=40):
    """Writes an image of coloured squares."""
    draw = random.Random(seed)
    squares = [[bytes(draw.randrange(256) for _ in range(3)) for _ in range(5)] for _ in range(5)]
    rows = b"".join(b"\0" + b"".join(squares[5 * y // size][5 * x // size] for x in range(size)) for y in range(size))

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def resnet18(classes, seed=1):
    """Returns {name: (shape, values)} of a network with random weights."""
    draw = random.Random(seed)
    noise = array.array("f", (draw.uniform(-1, 1) for _ in range(9973)))
    tensors = {}

    def add(name, shape, scale, shift=0.0):
        count = math.prod(shape)
        part = array.array("f", (shift + scale * x for x in noise[:min(count, len(noise))]))
        tensors[name] = (shape, (part * (count // len(part) + 1))[:count])

    def conv(name, outputs, inputs, side):
        add(name + ".weight", [outputs, inputs, side, side], (6 / (inputs * side * side)) ** 0.5)

    def norm(name, channels):
        add(name + ".weight", [channels], 0.2, 1)
        add(name + ".bias", [channels], 0.2)
        add(name + ".running_mean", [channels], 0.2)
        add(name + ".running_var", [channels], 0.5, 1)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            conv(name + ".conv1", width, inputs, 3)
            norm(name + ".bn1", width)
            conv(name + ".conv2", width, width, 3)
            norm(name + ".bn2", width)
            if inputs != width:
                conv(name + ".downsample.0", width, inputs, 1)
                norm(name + ".downsample.1", width)
            inputs = width
    add("fc.weight", [classes, 512], 0.05)
    add("fc.bias", [classes], 0.05)
    return tensors


def save_safetensors(path, tensors, metadata=None):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += values.tobytes()
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def described(names=CLASSES, size=32, resize=36):
    return {"arch": "resnet18", "image_size": str(size), "resize": str(resize), "class_names": json.dumps(names)}


class PredictTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.shared = temporary.name
        cls.weights = os.path.join(cls.shared, "w.safetensors")
        save_safetensors(cls.weights, resnet18(4), described())

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def images(self, count=9):
        """Writes images in two folders, one below the other. Returns their paths in the order of a listing."""
        os.makedirs(self.path("images/more"))
        paths = [self.path(f"images/{'more/' if i >= count // 2 else ''}{i}.png") for i in range(count)]
        for i, path in enumerate(paths):
            png(path, i)
        return paths

    def run_program(self, *arguments, code=0, weights=None, **options):
        result = subprocess.run([PREDICT, "--weights", weights or self.weights, "--device", "cpu", *arguments], timeout=300,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def predict(self, *arguments, **options):
        """Returns the lines of --format jsonl as objects, and the lines on standard error."""
        result = self.run_program("--format", "jsonl", *arguments, **options)
        return [json.loads(line) for line in result.stdout.splitlines()], result.stderr.decode().splitlines()

    def refused(self, *arguments, says, code=2, weights=None):
        result = self.run_program(*arguments, code=code, weights=weights)
        self.assertEqual(result.stdout, b"")
        self.assertRegex(result.stderr.decode(), r"\Ataper-predict: [^\n]+\n\Z")
        self.assertRegex(result.stderr.decode(), says)

    # ---- what goes in ----

    def test_folders_images_and_lists_in_their_order(self):
        paths = self.images()
        folder = os.path.dirname(paths[0])
        lines, errors = self.predict(paths[5], folder, paths[2])
        self.assertEqual([line["image"] for line in lines], [paths[5], *paths, paths[2]])
        self.assertEqual(errors, [])
        for ending in ("\n", "\r\n"):
            with open(self.path("list"), "w", newline="") as file:
                file.write(ending.join([paths[3], "", folder, paths[1]]))
            lines, _ = self.predict("--list", self.path("list"), paths[0])
            self.assertEqual([line["image"] for line in lines], [paths[0], paths[3], *paths, paths[1]])
        lines, _ = self.predict("--list", "-", input=b"%s\n%s\n" % (paths[1].encode(), paths[0].encode()))
        self.assertEqual([line["image"] for line in lines], [paths[1], paths[0]])
        lines, _ = self.predict("--list", "-", "--null", input=b"%s\0%s\0" % (paths[1].encode(), paths[0].encode()))
        self.assertEqual([line["image"] for line in lines], [paths[1], paths[0]])

    def test_images_that_cannot_be_read_are_told_and_the_others_predicted(self):
        paths = self.images()
        for name in (paths[0], paths[4]):
            with open(name, "wb") as file:
                file.write(b"no image")
        missing = self.path("missing.png")
        for batch_size in ("1", "3", "100"):
            lines, errors = self.predict(*paths, missing, "--batch-size", batch_size, code=1)
            self.assertEqual([line["image"] for line in lines], paths[1:4] + paths[5:])
            self.assertEqual(errors, [f"taper-predict: {paths[0]}: not a JPEG or PNG image",
                                      f"taper-predict: {paths[4]}: not a JPEG or PNG image",
                                      f"taper-predict: {missing}: no such file"])
        lines, errors = self.predict(missing, paths[0], code=1)
        self.assertEqual((lines, len(errors)), ([], 2))

    def test_what_a_folder_holds_besides_images_is_said(self):
        paths = self.images()
        with open(self.path("images/notes.txt"), "w"):
            pass
        lines, errors = self.predict(self.path("images"))
        self.assertEqual(len(lines), len(paths))
        self.assertEqual(errors, [f"taper-predict: passed over in {self.path('images')}: 1 .txt"])

    # ---- what comes out ----

    def test_a_batch_of_any_size_gives_equal_answers(self):
        paths = self.images(13)
        expected, _ = self.predict(*paths, "--batch-size", "13")
        for arguments in (["1"], ["2", "--workers", "0"], ["5", "--threads", "1"], ["32", "--workers", "7"]):
            lines, _ = self.predict(*paths, "--batch-size", *arguments)
            for line, known in zip(lines, expected, strict=True):
                self.assertEqual(line["image"], known["image"])
                for one, other in zip(line["predictions"], known["predictions"], strict=True):
                    self.assertEqual((one["class"], one["index"]), (other["class"], other["index"]))
                    self.assertAlmostEqual(one["probability"], other["probability"], delta=1e-5)

    def test_probabilities_are_sorted_and_sum_to_one(self):
        for line in self.predict(*self.images())[0]:
            probabilities = [one["probability"] for one in line["predictions"]]
            self.assertEqual(probabilities, sorted(probabilities, reverse=True))
            self.assertAlmostEqual(sum(probabilities), 1, delta=1e-6)
            self.assertEqual(sorted(one["index"] for one in line["predictions"]), [0, 1, 2, 3])
            for one in line["predictions"]:
                self.assertEqual(one["class"], CLASSES[one["index"]])

    def test_the_formats_agree(self):
        paths = self.images()
        lines, _ = self.predict(*paths, "--top", "2")
        rows = list(csv.reader(io.StringIO(self.run_program(*paths, "--top", "2", "--format", "csv").stdout.decode(), newline="")))
        self.assertEqual(rows[0], ["image", "rank", "class", "index", "probability"])
        table = self.run_program(*paths, "--top", "2").stdout.decode().splitlines()
        self.assertRegex(table[0], r"^image +probability  class$")
        for i, line in enumerate(lines):
            self.assertEqual(len(line["predictions"]), 2)
            for rank, one in enumerate(line["predictions"], start=1):
                row = rows[2 * i + rank]
                self.assertEqual(row[:4], [line["image"], str(rank), one["class"], str(one["index"])])
                self.assertAlmostEqual(float(row[4]), one["probability"], delta=1e-7)
                text = table[2 * i + rank]
                self.assertTrue(text.startswith(line["image"] if rank == 1 else " "), text)
                self.assertIn(f"  {100 * one['probability']:.2f}%  ", " " + text)
                self.assertTrue(text.isprintable(), text)

    def test_progress_goes_to_standard_error(self):
        paths = self.images()
        quiet = self.run_program(*paths)
        shown = self.run_program(*paths, "--progress", "on", "--batch-size", "4")
        self.assertEqual((quiet.stderr, len(quiet.stdout.splitlines())), (b"", len(shown.stdout.splitlines())))
        self.assertRegex(shown.stderr, rb"images  \[#+-*\]  9/9")
        self.assertNotIn(b"\r", shown.stdout)

    def test_names_of_any_bytes(self):
        names = [b"plain.png", b"a,b.png", b'a"b.png', b"a\nb.png", b"\xff\xfe.png", b"\x1b[31mred.png", "größe \u202e.png".encode()]
        folder = os.fsencode(self.path("names"))
        os.mkdir(folder)
        for i, name in enumerate(names):
            png(os.path.join(folder, name), i)
        names.sort()
        lines, errors = self.predict(os.fsdecode(folder))
        self.assertEqual(errors, [])
        found = [bytes.fromhex(line["image_hex"]) if "image_hex" in line else line["image"].encode() for line in lines]
        self.assertEqual([os.path.basename(name) for name in found], names)
        csv_bytes = self.run_program(os.fsdecode(folder), "--format", "csv", "--top", "1").stdout
        rows = list(csv.reader(io.StringIO(csv_bytes.decode("utf-8", "surrogateescape"), newline="")))
        self.assertEqual([os.path.basename(os.fsencode(row[0])) for row in rows[1:]], names)
        table = self.run_program(os.fsdecode(folder), "--top", "1").stdout.decode()
        self.assertTrue(all(line.isprintable() for line in table.splitlines()), table)
        self.assertEqual(len(table.splitlines()), 1 + len(names))

    def test_a_file_is_written_whole_or_not_at_all(self):
        paths = self.images()
        with open(self.path("out"), "w") as file:
            file.write("old")
        self.assertEqual(self.run_program(*paths, "--out", self.path("out"), "--format", "csv").stdout, b"")
        with open(self.path("out"), "rb") as file:
            self.assertEqual(file.read(), self.run_program(*paths, "--format", "csv").stdout)
        self.refused(paths[0], "--out", self.path("none/out"), says="none/out: cannot be written")
        broken = resnet18(4)
        broken["fc.bias"] = (broken["fc.bias"][0], array.array("f", [math.nan] * 4))
        save_safetensors(self.path("nan.safetensors"), broken, described())
        self.refused(paths[0], "--out", self.path("out"), weights=self.path("nan.safetensors"), code=1, says="NaN")
        with open(self.path("out"), "rb") as file:
            self.assertEqual(file.read(), self.run_program(*paths, "--format", "csv").stdout)
        self.assertEqual(sorted(os.listdir(self.folder)), ["images", "nan.safetensors", "out"])

    # ---- the weights ----

    def test_a_checkpoint_has_averaged_weights_or_not(self):
        paths = self.images(3)
        os.mkdir(self.path("checkpoint"))
        self.refused(paths[0], weights=self.path("checkpoint"), says="checkpoint: .*model.safetensors")
        save_safetensors(self.path("checkpoint/model.safetensors"), resnet18(4), described())
        expected, _ = self.predict(*paths)
        self.assertEqual(self.predict(*paths, weights=self.path("checkpoint"))[0], expected)
        save_safetensors(self.path("checkpoint/ema.safetensors"), resnet18(4, seed=2), described())
        averaged, _ = self.predict(*paths, weights=self.path("checkpoint/ema.safetensors"))
        self.assertNotEqual(averaged, expected)
        self.assertEqual(self.predict(*paths, weights=self.path("checkpoint"))[0], averaged)
        self.assertEqual(self.predict(*paths, "--eval-ema", "off", weights=self.path("checkpoint"))[0], expected)

    def test_a_file_without_a_description(self):
        paths = self.images(3)
        plain = self.path("plain.safetensors")
        save_safetensors(plain, resnet18(4))
        expected, _ = self.predict(*paths)
        with open(self.path("names"), "w") as file:
            file.write("".join(f"{json.dumps(name)}\n" for name in CLASSES))
        lines, _ = self.predict(*paths, "--image-size", "32", "--resize", "36", "--classes", self.path("names"), weights=plain)
        for line in expected:
            for one in line["predictions"]:
                one["class"] = json.dumps(one["class"])
        self.assertEqual(lines, expected)
        lines, _ = self.predict(*paths, weights=plain)
        self.assertEqual({one["class"] for line in lines for one in line["predictions"]}, {f"class {i}" for i in range(4)})
        self.assertEqual(lines, self.predict(*paths, "--image-size", "224", "--resize", "256", weights=plain)[0])
        self.assertNotEqual(lines, self.predict(*paths, "--image-size", "32", weights=plain)[0])

    def test_the_command_line_overrides_the_file(self):
        paths = self.images(3)
        save_safetensors(self.path("other"), resnet18(4), described(size=64, resize=64, names=["x", "y", "z", "u"]))
        wanted, _ = self.predict(*paths, "--image-size", "64", "--resize", "64")
        found, _ = self.predict(*paths, weights=self.path("other"))
        for line, other in zip(wanted, found, strict=True):
            self.assertEqual([one["probability"] for one in line["predictions"]],
                             [one["probability"] for one in other["predictions"]])
        save_safetensors(self.path("few"), resnet18(4), described(names=["x"]))
        lines, _ = self.predict(*paths, weights=self.path("few"))
        self.assertEqual({one["class"] for one in lines[0]["predictions"]}, {"x", "class 1", "class 2", "class 3"})

    def test_the_accuracy_is_that_of_eval_only(self):
        for i in range(24):
            os.makedirs(self.path(f"val/{'abcd'[i % 4]}"), exist_ok=True)
            png(self.path(f"val/{'abcd'[i % 4]}/{i}.png"), i)
        save_safetensors(self.path("w"), resnet18(4), described(names=list("abcd")))
        score = [TRAIN, "--device", "cpu", "--eval-only", "--init", self.path("w"), "--dataset", "imagefolder", "--val",
                 self.path("val"), "--batch-size", "7", "--progress", "off", "--summary", self.path("summary")]
        # The file says what the command line does not: resnet18, 32 pixels out of 36.
        for amp, flags in (("off", []), ("bf16", ["--arch", "resnet18", "--image-size", "32", "--resize", "36"])):
            subprocess.run([*score, *flags, "--amp", amp], check=True, stdout=subprocess.DEVNULL)
            with open(self.path("summary")) as file:
                expected = json.load(file)["top1"]
            lines, _ = self.predict(self.path("val"), "--batch-size", "7", "--amp", amp, "--top", "1", weights=self.path("w"))
            right = sum(line["predictions"][0]["class"] == os.path.basename(os.path.dirname(line["image"])) for line in lines)
            self.assertEqual(right / 24, expected)
            self.assertTrue(0 < right < 24)
        save_safetensors(self.path("w"), resnet18(4), described(names=list("abdc")))
        failed = subprocess.run(score, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(failed.returncode, 2)
        self.assertEqual(failed.stderr, f"resnet50_train: --init {self.path('w')}: class 2 is called 'c' in the data "
                                        "set and 'd' in the weights\n")
        save_safetensors(self.path("w"), resnet18(4), described(names=list("abcd")))
        os.makedirs(self.path("val/e"))
        png(self.path("val/e/0.png"), 0)
        failed = subprocess.run(score, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("w: the data set's class 'e' is none of the weights' 4 classes\n", failed.stderr)
        shutil.rmtree(self.path("val/b"))
        failed = subprocess.run(score, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("w: the data set lacks the weights' class 'b'\n", failed.stderr)

    def test_the_simulated_gpu_agrees_with_the_cpu(self):
        if not subprocess.run([TRAIN, "--version"], stdout=subprocess.PIPE, text=True).stdout.count("GPU: simulated"):
            self.skipTest("no simulated GPU")
        paths = self.images(3)
        with open(paths[1], "wb"):
            pass
        expected, _ = self.predict(*paths, code=1)
        lines, errors = self.predict(*paths, "--device", "cuda", "--batch-size", "1", code=1)
        self.assertEqual(errors, [f"taper-predict: {paths[1]}: empty file"])
        for line, known in zip(lines, expected, strict=True):
            self.assertEqual(line["image"], known["image"])
            for one, other in zip(line["predictions"], known["predictions"], strict=True):
                self.assertEqual(one["index"], other["index"])
                self.assertAlmostEqual(one["probability"], other["probability"], delta=1e-5)

    @unittest.skipIf(torch is None, "no PyTorch, torchvision and PIL")
    def test_the_probabilities_are_those_of_pytorch(self):
        paths = self.images(5)
        read = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                                   transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
        images = torch.stack([read(Image.open(path).convert("RGB")) for path in paths])
        for make, classes in ((models.resnet18, 7), (models.resnet50, 1000)):
            torch.manual_seed(3)
            model = make(num_classes=classes).eval()
            for name, buffer in model.named_buffers():
                if name.endswith("running_var"):
                    buffer.uniform_(0.5, 2)
            torch.save({"state_dict": {"module." + name: x for name, x in model.state_dict().items()}}, self.path("w.pth"))
            with torch.no_grad():
                expected = torch.softmax(model(images), 1)
            lines, errors = self.predict(*paths, "--top", str(classes), weights=self.path("w.pth"))
            self.assertEqual(errors, [])
            for line, row in zip(lines, expected, strict=True):
                self.assertEqual(line["predictions"][0]["index"], int(row.argmax()))
                for one in line["predictions"]:
                    self.assertAlmostEqual(one["probability"], float(row[one["index"]]), delta=2e-5)

    # ---- mistakes ----

    def test_mistakes(self):
        paths = self.images(2)
        image, folder = paths[0], self.path("empty")
        os.mkdir(folder)
        self.refused(says="IMAGE.*--list")
        self.refused("", says="IMAGE")
        self.refused(image, "--null", says="--null.*--list")
        self.refused(image, "--top", "0", says="--top")
        self.refused(image, "--format", "xml", says="--format")
        self.refused(image, "--image-size", "64", "--resize", "32", says="--resize")
        self.refused(image, "--resize", "16", says="shorter side is 16 cannot be cropped to 32; a larger --resize")
        self.refused(image, "--batch-sise", "3", says="did you mean --batch-size")
        self.refused(image, "--device", "tpu", says="--device")
        self.refused(image, "--list", self.path("none"), says="none: cannot be read")
        self.refused(folder, says="no .jpg, .jpeg or .png image")
        self.refused(image, "--arch", "resnet50", says="w.safetensors: .*layer1.0.conv3")
        self.refused(image, weights=self.path("none"), says="none: cannot be read")
        self.refused(image, weights=image, says="0.png: not a safetensors file")
        with open(self.path("names"), "w") as file:
            file.write("a\nb\n")
        self.refused(image, "--classes", self.path("names"), says="--classes .*: 2 names, but the network has 4 outputs")
        tensors = resnet18(4)
        save_safetensors(self.path("many"), tensors, described(names=list("abcde")))
        self.refused(image, weights=self.path("many"), says="many: .*5 classes.*4 outputs")
        save_safetensors(self.path("size"), tensors, described(size=0))
        self.refused(image, weights=self.path("size"), says="size: .*image_size '0'")
        save_safetensors(self.path("huge"), tensors, described(size=65536, resize=65536))
        self.refused(image, weights=self.path("huge"), says="huge: .*65536")
        save_safetensors(self.path("arch"), tensors, described() | {"arch": "\x1b" * 1000})
        self.refused(image, weights=self.path("arch"), says=r"arch: '\\x1b.{,200} is not an architecture")
        for name in ("layer1.0.conv2.weight", "fc.weight", "layer4.1.conv1.weight"):
            save_safetensors(self.path("part"), {other: x for other, x in tensors.items() if other != name})
            self.refused(image, weights=self.path("part"), says="part: .*not those of a ResNet")
        help_text = subprocess.run([PREDICT, "--help"], stdout=subprocess.PIPE, text=True).stdout
        for text in ("Examples:", "Exit codes", "--weights", "--eval-ema", "--list", "--null", "--format", "jsonl", "--out", "--amp"):
            self.assertIn(text, help_text)


if __name__ == "__main__":
    unittest.main()
