"""THIRD_PARTY_NOTICES.md names everything that the build finds or a program opens, and LICENSE names who owns Taper."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTICES = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
ROOMS = ("core", "ops", "autograd", "nn", "examples", "bench", "cmake", "tests")


def files(*patterns):
    """Returns our files, without build folders'."""
    yield ROOT / "CMakeLists.txt"
    for room in ROOMS:
        for pattern in patterns:
            yield from (ROOT / room).rglob(pattern)


def found_packages():
    names = set()
    for path in files("CMakeLists.txt", "*.cmake", "*.cmake.in"):
        code = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        names.update(re.findall(r"\b(?:find_package|find_dependency)\(\s*(\w+)", code))
    return names - {"Taper"}


def opened_libraries():
    """Returns the libraries in SharedLibrary({"libNAME.so.N"}) outside the tests."""
    names = set()
    for path in [*files("*.cpp"), *files("*.h")]:
        if not path.is_relative_to(ROOT / "tests"):
            names.update(re.findall(r'SharedLibrary \w+\(\{"(\w+)\.so', path.read_text(encoding="utf-8")))
    return names


class NoticesTest(unittest.TestCase):
    def test_the_table_names_what_the_build_finds_and_what_programs_open(self):
        rows = re.findall(r"^\| ([^|]+) \|", NOTICES, re.MULTILINE)
        named = {word for row in rows for word in re.findall(r"[\w.]+", row)}
        found = found_packages() | opened_libraries()
        self.assertLessEqual({"JPEG", "PNG", "fmt", "Boost", "CUDNNFrontend", "libopenblas"}, found)  # the search works
        self.assertEqual(found - named, set(), "these are in no row of THIRD_PARTY_NOTICES.md")

    def test_what_is_compiled_in_has_its_licence_text(self):
        for project in ("JSON for Modern C++", "Eigen", "CLI11", "{fmt}", "Boost.Context", "libjpeg-turbo", "libpng", "zlib",
                        "cudnn-frontend"):
            with self.subTest(project):
                section = re.search(rf"^## [^\n]*{re.escape(project)}.*?(?=^## |\Z)", NOTICES, re.MULTILINE | re.DOTALL)
                self.assertIsNotNone(section)
                self.assertRegex(section[0].lower(), r"copyright")
        self.assertIn("based in part on the work of the Independent JPEG Group", NOTICES)

    def test_the_licence_names_its_owner(self):
        self.assertRegex((ROOT / "LICENSE").read_text(encoding="utf-8"), r"\n   Copyright 20\d\d The Taper Authors\n")


if __name__ == "__main__":
    unittest.main()
