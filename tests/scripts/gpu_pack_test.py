"""scripts/gpu_pack.sh: the packing, over a build of fake programs."""

import contextlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_pack  # noqa: E402

UNPACK = "import tarfile; tarfile.open('pack.tar.xz').extractall()"  # as gpu_pack.sh says

# Names the libraries like a program for CUDA, and sees no GPU.
PROGRAM = """\
#!/bin/sh
# libcudart.so.13 libcudnn.so.9 libcublasLt.so.13
if [ "$*" = --version ]; then printf 'Taper 0.1.0\\nGPU: CUDA\\ncuBLASLt: 13.1.0\\ncuDNN: 9.19.0\\n'; exit; fi
echo "$(basename "$0") $* with $TAPER_TEST_DATA"
"""

# Stands for Python with torch: answers of 5 bytes, but conv's are large and norm's cannot be made.
ORACLE_PYTHON = """\
#!/bin/sh
case $3 in *norm) echo "norm_oracle.py skipped: no torch"; exit 77 ;; esac
mkdir -p "$3"
case $3 in *conv) head -c 8000001 /dev/zero >"$3/x" ;; *) echo answ >"$3/x" ;; esac
"""


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@unittest.skipUnless((ROOT / ".git").exists(), "not a checkout")
class GpuPackTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.build = self.folder / "build"
        self.out = self.folder / "pack.tar.xz"
        for program in gpu_pack.PROGRAMS:
            write_program(self.build / program, PROGRAM)
        write_program(self.build / "lib/libfmt.so.9", "library")
        (self.build / "kernel_report.txt").write_text("kernel  registers\n")
        self.python = self.folder / "oracle_python"
        write_program(self.python, ORACLE_PYTHON)

    def pack(self, *arguments, python=None):
        return subprocess.run([ROOT / "scripts/gpu_pack.sh", "--no-build", self.build, "--oracle-python", python or self.python,
                               self.out, *arguments], capture_output=True, text=True, check=False)

    def refused(self, says, *arguments):
        result = self.pack(*arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertRegex(result.stderr, says)
        self.assertEqual(list(self.folder.glob("pack*")), [])

    def unpack(self):
        """Packs, unpacks into an empty folder as a person would, and returns the pack's folder."""
        result = self.pack()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(UNPACK, result.stdout)
        empty = self.folder / "elsewhere"
        empty.mkdir()
        shutil.move(self.out, empty)
        subprocess.run([sys.executable, "-W", "ignore", "-c", UNPACK], cwd=empty, check=True)
        pack, = (path for path in empty.iterdir() if path.is_dir())
        return pack

    def test_the_pack_has_what_gpu_check_needs(self):
        shutil.copy("/bin/true", self.build / "bench/kernel_bench")  # stripped, with symbols or without
        pack = self.unpack()
        for program in gpu_pack.PROGRAMS:
            self.assertTrue(os.access(pack / "build/cuda" / program, os.X_OK), program)
        self.assertEqual(subprocess.run([pack / "build/cuda/bench/kernel_bench"], check=False).returncode, 0)
        for name in ("LICENSE", "THIRD_PARTY_NOTICES.md", "nn/data/digits.LICENSE.md", "run", "build/cuda/lib/libfmt.so.9", "build/cuda/kernel_report.txt", "scripts/gpu_check.py",
                     "scripts/gpu_results.py", "scripts/gpu_compare.py", "tests/data/resnet50_step.jsonl", "tests/oracle/make.py",
                     "tests/parity/parity.py", "tests/cli/train_test.py", "bench/pytorch_resnet50.py",
                     "tests/oracle_answers/loss/x"):
            self.assertTrue((pack / name).is_file(), name)
        for name in ("conv", "norm"):  # one too large, one not made
            self.assertFalse((pack / "tests/oracle_answers" / name).exists(), name)
        described = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=40"], stdout=subprocess.PIPE,
                                   text=True, check=True)
        self.assertEqual((pack / "COMMIT").read_text(), described.stdout)

    def test_without_a_gpu_the_pack_says_so(self):
        pack = self.unpack()
        result = subprocess.run(["scripts/gpu_check.sh"], cwd=pack, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertRegex(result.stderr, "no GPU")
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)

    def test_run_in_the_pack(self):
        pack = self.unpack()
        result = subprocess.run([pack / "run", "resnet50_train", "--epochs", "1 2"], cwd="/", stdout=subprocess.PIPE, text=True,
                                check=True)
        self.assertEqual(result.stdout, f"resnet50_train --epochs 1 2 with {pack}/tests/data\n")
        for arguments in ([], ["resnet51_train"]):
            result = subprocess.run([pack / "run", *arguments], capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 2)
            self.assertRegex(result.stderr, "usage.*taper_tests resnet50_train.*kernel_bench")

    def test_the_same_files_make_the_same_archive(self):
        self.pack()
        first = self.out.read_bytes()
        for path in self.build.rglob("*"):
            os.utime(path, (1, 1))
        self.pack()
        self.assertEqual(self.out.read_bytes(), first)
        with tarfile.open(self.out) as archive:
            self.assertEqual({(member.uid, member.gid, member.uname) for member in archive}, {(0, 0, "")})
            self.assertEqual(archive.getnames(), sorted(archive.getnames()))

    def test_without_torch_the_answers_stay_behind(self):
        for python, says in (("/nonexistent/python3", "none travel: .*nonexistent"), ("/bin/false", None)):
            result = self.pack(python=python)
            if says:
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertRegex(result.stdout, says)
            else:
                self.assertEqual(result.returncode, 2)
                self.assertRegex(result.stderr, r"_oracle\.py: failed")

    def test_what_travels_and_what_does_not_is_said(self):
        output = self.pack().stdout
        self.assertRegex(output, r"too large.*: conv \(8 MB\)\n")
        self.assertRegex(output, r"norm: does not travel: norm_oracle.py skipped: no torch")
        self.assertRegex(output, r"pack\.tar\.xz: 0\.\d MB, \d+ files, packed in \d+ s")

    def test_a_pack_over_the_limit_is_none(self):
        with mock.patch.object(gpu_pack, "LIMIT_BYTES", 1000), contextlib.redirect_stdout(io.StringIO()):
            with self.assertRaisesRegex(gpu_pack.CannotPack, r"^0\.\d MB, and a pack may have 0\.001 .*the largest.* \d\.\d MB"):
                gpu_pack.pack(self.out, self.build, {})
        self.assertEqual(list(self.folder.glob("pack*")), [])

    def test_a_build_that_will_not_do_gets_one_line(self):
        step = self.build / "bench/resnet50_step"
        step.write_text(PROGRAM.replace("libcudnn", "libcadnn"))
        self.refused("resnet50_step is built without cuDNN, whose headers")
        step.write_text(PROGRAM.replace("libcublasLt", ""))
        self.refused("resnet50_step is built without cuBLASLt, whose headers")
        step.write_text("#!/bin/sh\n")
        self.refused("resnet50_step is built for the simulated GPU")
        step.unlink()
        self.refused("no .*bench/resnet50_step; scripts/gpu_pack.sh without --no-build builds it")

    def test_without_nvcc(self):
        with mock.patch.object(gpu_pack.shutil, "which", return_value=None):
            with self.assertRaisesRegex(gpu_pack.CannotPack, "^no nvcc in PATH"):
                gpu_pack.find_nvcc()

    def test_architectures(self):
        self.assertEqual(gpu_pack.architectures("90a"), "90a-real")
        self.assertEqual(gpu_pack.architectures("90a,80"), "90a-real;80-real")
        for text in ("sm_90", "90a,", "90a;80"):
            with self.assertRaisesRegex(gpu_pack.CannotPack, re.escape(f"--arch {text}: ")):
                gpu_pack.architectures(text)


if __name__ == "__main__":
    unittest.main()
