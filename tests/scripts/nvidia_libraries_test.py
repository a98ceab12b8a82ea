"""scripts/with_nvidia_libraries.sh: which folders it prepends to LD_LIBRARY_PATH."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/with_nvidia_libraries.sh"


class NvidiaLibrariesTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        (self.folder / "bin").mkdir()

    def write(self, path, text, mode=0o755):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def python(self, name, *libraries):
        """Makes a Python for PATH whose packages have these libraries, NAME/nvidia/LIBRARY. python3 runs the script."""
        for library in libraries:
            self.write(f"{name}/nvidia/{library}", "library")
        self.write(f"{name}/python3",
                   f'#!/bin/sh\n[ "$1" = -c ] || exec {sys.executable} "$@"\necho {self.folder}/{name}/nvidia\n')

    def library_path(self, *pythons, program="program", before=""):
        """Returns the program's LD_LIBRARY_PATH: only the folders under self.folder, relative to it."""
        self.write("program", "#!/bin/sh\n# libcudart.so.13\necho $LD_LIBRARY_PATH\n")
        path = os.pathsep.join([*(f"{self.folder}/{name}" for name in pythons), os.environ["PATH"]])
        result = subprocess.run([SCRIPT, self.folder / program], stdout=subprocess.PIPE, text=True, check=True,
                                env={**os.environ, "PATH": path, "LD_LIBRARY_PATH": before})
        return [folder.removeprefix(f"{self.folder}/") for folder in result.stdout.strip().split(":")
                if folder.startswith(f"{self.folder}/") or folder == before]

    def test_all_wheels_of_all_pythons(self):
        self.python("one", "cu13/lib/libcublasLt.so.13", "cudnn/lib/libcudnn.so.9", "cudnn/include/cudnn.h")
        self.python("two", "cuda_nvrtc/lib/libnvrtc.so.12", "empty/lib/README")
        self.assertEqual(self.library_path("one", "two", before="/before"),
                         ["one/nvidia/cu13/lib", "one/nvidia/cudnn/lib", "two/nvidia/cuda_nvrtc/lib", "/before"])

    def test_wheels_of_the_programs_cuda_come_first(self):
        self.python("cuda12", "cuda_runtime/lib/libcudart.so.12", "cudnn/lib/libcudnn.so.9")
        self.python("cuda13", "cu13/lib/libcudart.so.13", "cudnn/lib/libcudnn.so.9")
        self.assertEqual(self.library_path("cuda12", "cuda13"),
                         ["cuda13/nvidia/cu13/lib", "cuda13/nvidia/cudnn/lib",
                          "cuda12/nvidia/cuda_runtime/lib", "cuda12/nvidia/cudnn/lib"])

    def test_a_python_that_does_not_run_is_left_out(self):
        self.python("one", "cudnn/lib/libcudnn.so.9")
        self.write("broken/python", "#!/nonexistent/sh\n")
        self.write("failing/nvidia/cudnn/lib/libcudnn.so.9", "library")
        self.write("failing/python", f"#!/bin/sh\necho {self.folder}/failing/nvidia\nexit 1\n")
        self.assertEqual(self.library_path("one", "broken", "failing", before="/before"), ["one/nvidia/cudnn/lib", "/before"])

    def test_arguments_and_exit_code_pass(self):
        result = subprocess.run([SCRIPT, "sh", "-c", 'echo "$1"; exit 7', "sh", "two words"], stdout=subprocess.PIPE, text=True,
                                check=False)
        self.assertEqual((result.returncode, result.stdout), (7, "two words\n"))
        result = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 2)
        self.assertRegex(result.stderr, "^usage: with_nvidia_libraries.sh PROGRAM")


if __name__ == "__main__":
    unittest.main()
