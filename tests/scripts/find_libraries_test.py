"""cmake/Find{CUBLASLT,CUDNN,CUDNNFrontend,NCCL}.cmake find NVIDIA's libraries where the toolkit, packages and wheels put
them.

  find_libraries_test.py CMAKE

The headers hold only a version: the libraries themselves are opened at run time.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CMAKE = sys.argv.pop(1)
MODULES = pathlib.Path(__file__).resolve().parents[2] / "cmake"

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(finds LANGUAGES NONE)
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF) # only what the test put there
set(CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH OFF)
list(APPEND CMAKE_MODULE_PATH {modules})
set(CUDAToolkit_VERSION_MAJOR 13)
set(CUDAToolkit_INCLUDE_DIRS {toolkit}/include)
set(CUDAToolkit_LIBRARY_DIR {toolkit}/lib64)
foreach(name CUBLASLT CUDNN CUDNNFrontend NCCL)
  find_package(${{name}} QUIET)
  message(NOTICE "${{name}} ${{${{name}}_FOUND}} ${{${{name}}_VERSION}} ${{${{name}}_INCLUDE_DIR}}")
endforeach()
"""

HEADERS = {
    "cublasLt.h": "",
    "cublas_api.h": "#define CUBLAS_VER_MAJOR 13\n#define CUBLAS_VER_MINOR 1\n#define CUBLAS_VER_PATCH 0\n",
    "cudnn_version.h": "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 19\n#define CUDNN_PATCHLEVEL 2\n",
    "cudnn_frontend_version.h": "#define CUDNN_FRONTEND_MAJOR_VERSION 1\n#define CUDNN_FRONTEND_MINOR_VERSION 32\n"
                                "#define CUDNN_FRONTEND_PATCH_VERSION 0\n",
    "nccl.h": "#define NCCL_MAJOR 2\n#define NCCL_MINOR 28\n#define NCCL_PATCH 9\n",
}


class FindLibrariesTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.toolkit = self.root / "toolkit"
        self.wheels = self.root / "site-packages" / "nvidia"

    def put(self, prefix, headers):
        for header in headers:
            path = prefix / "include" / header
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEADERS[header])

    def find(self, *arguments):
        """Returns {"CUDNN": "TRUE 9.19.2 /path"}, as CMake found them."""
        project = self.root / "project"
        project.mkdir(exist_ok=True)
        (project / "CMakeLists.txt").write_text(PROJECT.format(modules=MODULES, toolkit=self.toolkit))
        run = subprocess.run(
            [CMAKE, "-G", "Ninja", "-S", project, "-B", project / "build", "--log-level=NOTICE", "--fresh",
             f"-DTAPER_WHEELS_PYTHON={sys.executable}", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.wheels.parent)}, capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stderr)
        return dict(line.split(" ", 1) for line in run.stderr.splitlines() if line)

    def test_in_a_toolkit(self):
        self.put(self.toolkit, HEADERS)
        found = self.find()
        self.assertEqual(found["CUBLASLT"], f"TRUE 13.1.0 {self.toolkit}/include")
        self.assertEqual(found["CUDNN"], f"TRUE 9.19.2 {self.toolkit}/include")
        self.assertEqual(found["CUDNNFrontend"], f"TRUE 1.32.0 {self.toolkit}/include")
        self.assertEqual(found["NCCL"], f"TRUE 2.28.9 {self.toolkit}/include")

    def test_in_wheels(self):
        self.put(self.wheels / "cu13", ["cublasLt.h", "cublas_api.h"])
        self.put(self.wheels / "cudnn", ["cudnn_version.h"])
        self.put(self.wheels.parent, ["cudnn_frontend_version.h"])
        self.put(self.wheels / "nccl", ["nccl.h"])
        found = self.find()
        self.assertEqual(found["CUBLASLT"], f"TRUE 13.1.0 {self.wheels}/cu13/include")
        self.assertEqual(found["CUDNN"], f"TRUE 9.19.2 {self.wheels}/cudnn/include")
        self.assertEqual(found["CUDNNFrontend"], f"TRUE 1.32.0 {self.wheels.parent}/include")
        self.assertEqual(found["NCCL"], f"TRUE 2.28.9 {self.wheels}/nccl/include")

    def test_where_the_user_says(self):
        self.put(self.toolkit, ["nccl.h"])
        self.put(self.root / "own", ["nccl.h"])
        self.assertEqual(self.find(f"-DNCCL_ROOT={self.root}/own")["NCCL"], f"TRUE 2.28.9 {self.root}/own/include")

    def test_nowhere(self):
        found = self.find()
        for name in ("CUBLASLT", "CUDNN", "CUDNNFrontend", "NCCL"):
            self.assertTrue(found[name].startswith("FALSE"), found[name])


if __name__ == "__main__":
    unittest.main()
