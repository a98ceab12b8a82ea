"""scripts/check_layers.py finds each kind of planted violation, with its file and line, and nothing else."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/check_layers.py"


def check(files):
    """(exit code, output) of the script over a tree that holds `files`, a dictionary of path to text."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        run = subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, check=False)
        return run.returncode, run.stdout + run.stderr


class CheckLayers(unittest.TestCase):
    def assert_refused(self, name, text, position):
        code, output = check({name: text})
        self.assertEqual(code, 1, output)
        self.assertTrue(output.startswith(position + ": "), output)
        self.assertEqual(len(output.splitlines()), 1, output)

    def assert_accepted(self, name, text):
        self.assertEqual(check({name: text}), (0, ""))

    def test_downward_and_level_includes_pass(self):
        self.assert_accepted("nn/layers/conv.cpp", '#include "taper/nn/layers/conv.h"\n'
                             '#include "taper/autograd/conv.h"\n#include <taper/core/tensor.h>\n'
                             "#include <nlohmann/json.hpp>\n#include <vector>\n")
        self.assert_accepted("examples/quickstart.cpp", "#include <taper/taper.h>\n#include <CLI/CLI.hpp>\n")
        self.assert_accepted("core/gpu/fiber.h", "#include <boost/context/fiber.hpp>\n")
        self.assert_accepted("nn/report/summary.cpp", '#include "taper/version.h"\n')

    def test_upward_includes_fail(self):
        for room, above in (("core", "ops"), ("ops", "autograd"), ("autograd", "nn"), ("core", "nn")):
            self.assert_refused(f"{room}/a/b.cpp", f'#include <vector>\n#include "taper/{above}/x.h"\n',
                                f"{room}/a/b.cpp:2")
        self.assert_refused("ops/conv/conv2d.cu", '\n\n# include <taper/autograd/node.h>\n',
                            "ops/conv/conv2d.cu:3")
        self.assert_refused("nn/module.h", '#include "taper/taper.h"\n', "nn/module.h:1")
        self.assert_refused("nn/module.h", '#include "taper/tests/tool.h"\n', "nn/module.h:1")

    def test_other_spellings_do_not_help(self):
        self.assert_refused("core/x.cpp", '#include "../ops/copy.h"\n', "core/x.cpp:1")
        self.assert_refused("core/x.cpp", '#include "tensor.h"\n', "core/x.cpp:1")

    def test_unknown_rooms_fail(self):
        self.assert_refused("nn/x.cpp", '#include "taper/attic/x.h"\n', "nn/x.cpp:1")

    def test_heavy_headers_stay_out_of_headers(self):
        for header in ("Eigen/Core", "nlohmann/json.hpp", "jpeglib.h", "png.h"):
            self.assert_refused("ops/x.h", f"#include <{header}>\n", "ops/x.h:1")
            self.assert_accepted("ops/x.cpp", f"#include <{header}>\n")
            self.assert_refused("ops/x_cudnn.h", f"#include <{header}>\n", "ops/x_cudnn.h:1")
        self.assert_refused("ops/x.h", "#include <cudnn_frontend.h>\n", "ops/x.h:1")
        self.assert_accepted("ops/x_cudnn.h", "#include <cudnn_frontend.h>\n")

    def test_cuda_runtime_stays_in_core_gpu(self):
        for name in ("ops/x.cpp", "ops/x.cu", "nn/x.h", "tests/x.cpp", "core/x.cpp"):
            self.assert_refused(name, "#include <cuda_runtime.h>\n", f"{name}:1")
        self.assert_accepted("core/gpu/cuda_runtime.cpp", "#include <cuda_runtime_api.h>\n")


if __name__ == "__main__":
    unittest.main()
