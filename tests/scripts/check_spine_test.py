"""scripts/check_spine.py accepts a book that fits its tree, finds each kind of planted fault, and mends what it can."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/check_spine.py"
PAGE = "docs/0-the-spine.md"
TREE = {
    PAGE: "| 1 | `core/a.h` | first |\n| 2 | `ops/b.cpp` | second |\n\n```gdb\ncore/a.h  f, g\n3 files\n```\n\n"
          "```rooms\nops   core\n\ncore  -\n```\n\nSee [the tape](2-tape.md#engine) and `ops/`.\n",
    "docs/2-tape.md": "",
    "core/a.h": "#pragma once  // spine 1 (docs/0-the-spine.md)\n",
    "ops/b.cpp": '#include "taper/core/a.h"  // spine 2 (docs/0-the-spine.md)\n#include "taper/core/x.h"\n',
    "core/c.h": "#pragma once\n",
}
for header in ("core/a.h", "core/c.h"):
    TREE["include/taper/" + header] = ""


class CheckSpine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name, text in TREE.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run_script(self, *flags):
        """The exit code, and the lines after the list."""
        run = subprocess.run([sys.executable, SCRIPT, *flags, self.root], capture_output=True, text=True, check=False)
        lines = (run.stdout + run.stderr).splitlines()
        return run.returncode, lines[lines.index("2 files, 3 lines") + 1:]

    def assert_refused(self, name, text, *problems):
        self.write(name, text)
        self.assertEqual(self.run_script(), (1, list(problems)))

    def test_a_book_that_fits_passes(self):
        self.assertEqual(self.run_script(), (0, []))

    def test_a_lost_mark_fails_and_is_written(self):
        self.assert_refused("core/a.h", "#pragma once\n", f"core/a.h:1: is marked nothing, and listed as 1 in {PAGE}")
        self.assertEqual(self.run_script("--write"), (0, []))
        self.assertEqual((self.root / "core/a.h").read_text(encoding="utf-8"), TREE["core/a.h"])

    def test_a_mark_too_many_fails_and_is_removed(self):
        self.assert_refused("core/c.h", "#pragma once  // spine 3 (docs/0-the-spine.md)\n",
                            f"core/c.h:1: is marked 3, and listed as nothing in {PAGE}")
        self.assertEqual(self.run_script("--write"), (0, []))
        self.assertEqual((self.root / "core/c.h").read_text(encoding="utf-8"), TREE["core/c.h"])

    def test_a_number_out_of_order_fails(self):
        self.assert_refused(PAGE, TREE[PAGE].replace("| 1 | `core/a.h` | first |\n| 2 | `ops/b.cpp` | second |\n",
                                                     "| 2 | `ops/b.cpp` | second |\n| 1 | `core/a.h` | first |\n"),
                            f"{PAGE}: entry 1 of the list, ops/b.cpp, has the number 2",
                            f"{PAGE}: entry 2 of the list, core/a.h, has the number 1")

    def test_a_walk_that_leaves_the_list_fails(self):
        self.assert_refused(PAGE, TREE[PAGE].replace("core/a.h  f", "core/c.h  f"),
                            f"{PAGE}: the walk enters core/c.h, which is not in the list")

    def test_an_old_drawing_fails_and_is_drawn_again(self):
        self.assert_refused(PAGE, TREE[PAGE].replace("core  -", "core  base"),
                            f"{PAGE}: the rooms are drawn otherwise than by check_layers.py --draw")
        self.assertEqual(self.run_script("--write"), (0, []))
        self.assertEqual((self.root / PAGE).read_text(encoding="utf-8"), TREE[PAGE])

    def test_lost_paths_fail(self):
        self.assert_refused("README.md", "\nSee `core/gone.h`, `ops/FAMILY/` and `c10/core/x.h`.\n",
                            "README.md:2: core/gone.h is not there")
        self.assert_refused("README.md", "```sh\nls `core/gone.h`\n```\n[text](docs/3-gone.md)\n",
                            "README.md:4: docs/3-gone.md is not there")


if __name__ == "__main__":
    unittest.main()
