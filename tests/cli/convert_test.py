"""taper-convert as a user meets it, with PyTorch at the other end where there is one.

  convert_test.py TAPER_CONVERT RESNET50_TRAIN [TEST...]
"""
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile

try:
    import torch
except ImportError:
    torch = None

CONVERT, TRAIN = sys.argv.pop(1), sys.argv.pop(1)
DATA = pathlib.Path(__file__).resolve().parent.parent / "data/pytorch"


def read_safetensors(path):
    """Returns {name: (dtype, shape, bytes)}."""
    with open(path, "rb") as file:
        content = file.read()
    size, = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8:8 + size]), content[8 + size:]
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()}


class ConvertTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def convert(self, *arguments, code=0):
        result = subprocess.run([CONVERT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=60)
        self.assertEqual(result.returncode, code, result.stderr)
        if code == 0:
            self.assertEqual(result.stderr, "")
        else:
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"\Ataper-convert: [^\n]+\n\Z")
        return result.stdout + result.stderr

    def test_lists_a_checkpoint(self):
        for name in ("checkpoint-1.13.pth", "checkpoint-2-old.pth"):
            listed = self.convert(DATA / name)
            for line in (r"epoch +7", r"best +0\.25", r"arch +'größe'", r"nothing +None", r"resumed +True", r"shape\.1 +2",
                         r"names\.1\.0 +'b'", r"names\.2 +\[\]", r"state_dict\.module\.weight +f32  \[1, 2\]  sum 2",
                         r"optimizer\.state\.0\.momentum_buffer +f32  \[1, 2\]  sum 2", r"optimizer\.param_groups\.0\.lr +0\.5",
                         r"4 tensors of 6 elements, 24 bytes"):
                self.assertRegex(listed, f"(?m)^{line}$")

    def test_a_checkpoint_becomes_safetensors_and_a_state_dict(self):
        printed = self.convert(DATA / "checkpoint-2.pth", self.path("w.safetensors"))
        self.assertIn("left out: ", printed)
        self.assertIn("'optimizer'", printed)
        expected = {"weight": ("F32", [1, 2], struct.pack("<2f", 0.5, 1.5)), "bias": ("F32", [1], struct.pack("<f", 2.5))}
        self.assertEqual(read_safetensors(self.path("w.safetensors")), expected)
        self.assertEqual(self.convert(self.path("w.safetensors"), self.path("w.pth")), "")
        self.assertEqual(self.convert(self.path("w.pth"), self.path("again.safetensors")), "")
        self.assertEqual(read_safetensors(self.path("again.safetensors")), expected)
        self.assertRegex(self.convert(self.path("w.safetensors")), r"(?m)^weight +f32  \[1, 2\]  sum 2$")
        self.assertRegex(self.convert(DATA / "protocol4-2.pth", self.path("x.safetensors")), "left out: 'int8', of dtype int8")
        self.convert(self.path("w.safetensors"), self.path("e.safetensors"), "--strip-prefix", "wei")
        self.assertEqual(sorted(read_safetensors(self.path("e.safetensors"))), ["bias", "ght"])

    def test_the_folder_of_a_checkpoint_is_its_model(self):
        folder = self.path("step-20")
        os.mkdir(folder)
        self.assertIn("step-20/model.safetensors: cannot be read", self.convert(folder, code=1))
        self.convert(DATA / "checkpoint-2.pth", f"{folder}/model.safetensors")
        self.assertRegex(self.convert(folder), r"(?m)^weight +f32  \[1, 2\]  sum 2$")
        self.convert(folder, self.path("w.pth"))
        self.assertRegex(self.convert(self.path("w.pth")), r"(?m)^weight +f32  \[1, 2\]  sum 2$")

    def test_an_archive_is_a_plain_zip_file(self):
        self.convert(DATA / "views-1.13-old.pth", self.path("v.pth"))
        with zipfile.ZipFile(self.path("v.pth")) as archive:
            self.assertIsNone(archive.testzip())  # checksums, too
            self.assertEqual(archive.namelist()[:2], ["archive/data.pkl", "archive/byteorder"])
            for member in archive.infolist():
                self.assertEqual(member.compress_type, zipfile.ZIP_STORED)

    def test_mistakes(self):
        self.assertIn("none.pth: cannot be read", self.convert(self.path("none.pth"), code=1))
        self.assertIn("IN is required", self.convert(code=2))
        self.assertIn("ends with none of", self.convert(DATA / "views-2.pth", self.path("out.bin"), code=2))
        self.assertIn("--strip is not known", self.convert(DATA / "views-2.pth", "--strip", "x", code=2))
        self.assertIn("cannot be written", self.convert(DATA / "views-2.pth", self.path("no/out.pth"), code=1))
        self.assertIn("dtype int8", self.convert(DATA / "protocol4-2.pth", self.path("x.pth"), code=1))
        with zipfile.ZipFile(self.path("evil.pth"), "w") as archive:
            archive.writestr("a/data.pkl", f"\x80\x02cos\nsystem\nX".encode("latin1") + struct.pack("<I", 14) + b"touch executed\x85R.")
        self.assertIn("wants os.system", self.convert(self.path("evil.pth"), code=1))
        self.assertEqual(os.listdir(self.folder), ["evil.pth"])
        self.assertIn("Exit codes", self.convert("--help"))
        self.assertRegex(self.convert("--version"), r"\ATaper \d")

    @unittest.skipIf(torch is None, "no PyTorch")
    def test_pytorch_reads_what_was_converted_bit_by_bit(self):
        torch.manual_seed(1)
        base = torch.randn(50)
        saved = {"view": base[3:30:2], "same": base, "matrix": base[10:22].view(3, 4).t(), "empty": torch.empty(0, 3),
                 "scalar": torch.tensor(5), "flag": torch.tensor([True, False]), "expanded": base[:1].expand(4),
                 "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
                 "bytes": torch.arange(7, dtype=torch.uint8)}  # fmt: skip
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32):
            saved[str(dtype)] = (torch.randn(5, 7) * 100).to(dtype)
        saved["not a number"] = torch.tensor([float("nan"), float("inf"), -0.0])
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        saved = {"model": saved, "optimizer": optimizer.state_dict(), "epoch": 3, "ratio": 0.1, "name": "größe",
                 "none": None, "yes": True, "negative": [-1, -(1 << 40), (1, (2, (3, 4, 5, 6)))], 7: {}}

        def check(a, b):
            if isinstance(a, torch.Tensor):
                self.assertEqual((a.dtype, a.shape, a.stride()), (b.dtype, b.shape, b.stride()))
                bits = [x.contiguous().flatten().view(torch.uint8) if x.dim() and x.numel() else x for x in (a, b)]
                self.assertTrue(torch.equal(*bits))
                return
            self.assertIs(type(a), type(b))
            if isinstance(a, dict):
                self.assertEqual(list(a), list(b))
                for key in a:
                    check(a[key], b[key])
            elif isinstance(a, (list, tuple)):
                self.assertEqual(len(a), len(b))
                for x, y in zip(a, b):
                    check(x, y)
            else:
                self.assertEqual(a, b)

        for zipped in (True, False):
            torch.save(saved, self.path("in.pth"), _use_new_zipfile_serialization=zipped)
            self.convert(self.path("in.pth"), self.path("out.pth"))
            # PyTorch 1.13, for which weights_only was new, knows no numbers with a point there, not even its own.
            loaded = torch.load(self.path("out.pth"), weights_only=not torch.__version__.startswith("1.13"))
            check(loaded, saved)
            del saved["optimizer"], saved["ratio"]
            torch.save(saved, self.path("in.pth"), _use_new_zipfile_serialization=zipped)
            self.convert(self.path("in.pth"), self.path("out.pth"))
            check(torch.load(self.path("out.pth"), weights_only=True), saved)
            saved |= {"optimizer": optimizer.state_dict(), "ratio": 0.1}
            weights = loaded["model"]
            self.assertEqual(weights["view"].storage().data_ptr(), weights["same"].storage().data_ptr())
            self.convert(self.path("in.pth"), self.path("out.safetensors"))
            tensors = read_safetensors(self.path("out.safetensors"))
            self.assertEqual(sorted(tensors), sorted(saved["model"]))
            for name, (_, shape, data) in tensors.items():
                self.assertEqual(shape, list(saved["model"][name].shape))
                bits = saved["model"][name].contiguous().reshape(-1).view(torch.uint8).numpy() if data else b""
                self.assertEqual(data, bytes(bits), name)

    @unittest.skipIf(torch is None, "no PyTorch")
    def test_a_model_scores_alike_from_every_kind_of_file(self):
        try:
            from torchvision.models import resnet18
        except ImportError:
            self.skipTest("no torchvision")
        torch.manual_seed(2)
        state = resnet18(num_classes=10).state_dict()
        torch.save(state, self.path("new.pth"))
        torch.save({"state_dict": {"module." + name: x for name, x in state.items()}, "epoch": 1}, self.path("old.pth"),
                   _use_new_zipfile_serialization=False)
        self.convert(self.path("new.pth"), self.path("w.safetensors"))
        os.rename(self.path("new.pth"), self.path("w.bin"))  # the name does not matter
        scores = set()
        for name in ("w.safetensors", "w.bin", "old.pth"):
            subprocess.run([TRAIN, "--arch", "resnet18", "--device", "cpu", "--eval-only", "--init", self.path(name),
                            "--progress", "off", "--summary", self.path("summary.json")], check=True, stdout=subprocess.DEVNULL)
            with open(self.path("summary.json")) as file:
                summary = json.load(file)
            scores.add((summary["top1"], summary["top5"]))
        self.assertEqual(len(scores), 1, scores)
        with open(self.path("cut.pth"), "wb") as cut, open(self.path("w.bin"), "rb") as whole:
            cut.write(whole.read()[:100000])
        failed = subprocess.run([TRAIN, "--arch", "resnet18", "--device", "cpu", "--eval-only", "--init", self.path("cut.pth")],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(failed.returncode, 2)
        self.assertRegex(failed.stderr, r"\A[^\n]*cut\.pth: [^\n]*\n\Z")


if __name__ == "__main__":
    unittest.main()
