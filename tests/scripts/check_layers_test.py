"""scripts/check_layers.py finds each kind of planted violation, with its file and line, and nothing else."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/check_layers.py"


def check(files, *flags):
    """Returns (exit code, output) of the script for a tree of `files`, a dictionary of path to text."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        run = subprocess.run([sys.executable, SCRIPT, *flags, root], capture_output=True, text=True, check=False)
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
                             '#include "taper/autograd/derivatives/conv.h"\n#include <taper/core/tensor.h>\n'
                             "#include <nlohmann/json.hpp>\n#include <vector>\n")
        self.assert_accepted("examples/quickstart.cpp", "#include <taper/taper.h>\n#include <CLI/CLI.hpp>\n")
        self.assert_accepted("core/gpu/fiber.h", "#include <boost/context/fiber.hpp>\n")
        self.assert_accepted("nn/report/summary.cpp", '#include "taper/version.h"\n')

    def test_upward_includes_fail(self):
        for room, above in (("core", "ops"), ("ops", "autograd"), ("autograd", "nn"), ("core", "nn")):
            self.assert_refused(f"{room}/a/b.cpp", f'#include <vector>\n#include "taper/{above}/x.h"\n',
                                f"{room}/a/b.cpp:2")
        self.assert_refused("ops/conv/gpu/candidates.cu", '\n\n# include <taper/autograd/tape/node.h>\n',
                            "ops/conv/gpu/candidates.cu:3")
        self.assert_refused("nn/module.h", '#include "taper/taper.h"\n', "nn/module.h:1")
        self.assert_refused("nn/module.h", '#include "taper/tests/tool.h"\n', "nn/module.h:1")

    def test_other_spellings_do_not_help(self):
        self.assert_refused("core/x.cpp", '#include "../ops/copy.h"\n', "core/x.cpp:1")
        self.assert_refused("core/x.cpp", '#include "tensor.h"\n', "core/x.cpp:1")

    def test_the_path_one_reads_is_the_path_one_opens(self):
        link = {"include/taper/core/tensor.h": "", "core/tensor.h": ""}  # a folder works like a link to one
        self.assertEqual(check({**link, "core/x.cpp": '#include "taper/core/tensor.h"\n#include "taper/version.h"\n'}), (0, ""))
        self.assertEqual(check({**link, "core/x.cpp": '#include "taper/core/tensors.h"\n'}),
                         (1, "core/x.cpp:1: include/taper/core/tensors.h is no file\n"))

    def test_include_holds_links_and_no_copies(self):
        self.assertEqual(check({"include/taper/taper.h": "", "taper.h": ""}),
                         (1, "include/taper/taper.h:1: a copy; it should be a link to the file\n"))

    def test_unknown_rooms_fail(self):
        self.assert_refused("nn/x.cpp", '#include "taper/attic/x.h"\n', "nn/x.cpp:1")

    def test_heavy_headers_stay_out_of_headers(self):
        for header in ("Eigen/Core", "nlohmann/json.hpp", "jpeglib.h", "png.h"):
            self.assert_refused("ops/x.h", f"#include <{header}>\n", "ops/x.h:1")
            self.assert_accepted("ops/x.cpp", f"#include <{header}>\n")
            self.assert_refused("ops/cudnn/x.h", f"#include <{header}>\n", "ops/cudnn/x.h:1")
        self.assert_refused("ops/x.h", "#include <cudnn_frontend.h>\n", "ops/x.h:1")
        self.assert_accepted("ops/cudnn/x.h", "#include <cudnn_frontend.h>\n")

    def test_a_circle_of_folders_is_refused_at_its_weakest_arrow(self):
        files = {"ops/a/x.cpp": '#include "taper/ops/b/x.h"\n#include "taper/ops/b/y.h"\n',
                 "ops/b/x.h": '#include "taper/ops/c/x.h"\n\n#include "taper/ops/c/y.h"\n',
                 "ops/c/x.h": '\n#include "taper/ops/a/x.h"\n', "core/x.h": ""}
        code, output = check(files)
        self.assertEqual(code, 1)
        self.assertEqual(output, "ops/c/x.h:2: ops/c/ may not include ops/a/, which includes it: "
                         "a circle of ops/a, ops/b, ops/c\n")
        del files["ops/c/x.h"]
        self.assertEqual(check(files), (0, ""))
        # A folder and a folder inside it count as two.
        code, output = check({"nn/x.h": '#include "taper/nn/a/x.h"\n', "nn/a/x.h": '#include "taper/nn/x.h"\n'})
        self.assertEqual((code, len(output.splitlines())), (1, 1))

    def test_the_drawing_has_each_folder_on_what_it_stands_on(self):
        code, output = check({"nn/x.h": '#include "taper/ops/a/x.h"\n#include "taper/core/x.h"\n',
                              "ops/a/x.h": '#include "taper/core/x.h"\n', "core/x.h": "", "core/a/x.h": ""}, "--draw")
        self.assertEqual((code, output), (0, "nn      ops/a\n\nops/a   core\n\ncore    -\ncore/a  -\n"))

    def test_cuda_runtime_stays_in_core_gpu(self):
        for name in ("ops/x.cpp", "ops/x.cu", "nn/x.h", "tests/x.cpp", "core/x.cpp"):
            self.assert_refused(name, "#include <cuda_runtime.h>\n", f"{name}:1")
        self.assert_accepted("core/gpu/cuda/runtime.cpp", "#include <cuda_runtime_api.h>\n")


if __name__ == "__main__":
    unittest.main()
