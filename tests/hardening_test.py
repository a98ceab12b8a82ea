"""hardening_test.py PROGRAM...: what TAPER_HARDENING (cmake/TaperHardening.cmake) promises, as the programs have it."""

import re
import subprocess
import sys
import unittest

PROGRAMS = []


def readelf(what, program):
    return subprocess.run(["readelf", "--wide", what, program], stdout=subprocess.PIPE, text=True, check=True).stdout


class HardeningTest(unittest.TestCase):
    def each_has(self, what, pattern):
        for program in PROGRAMS:
            with self.subTest(program):
                self.assertTrue(re.search(pattern, readelf(what, program)), f"readelf {what} shows no {pattern}")

    def test_there_are_programs(self):
        self.assertTrue(PROGRAMS)

    def test_addresses_differ_from_run_to_run(self):
        self.each_has("--dynamic", r"\(FLAGS_1\).*\bPIE\b")

    def test_the_table_of_functions_is_filled_at_the_start_and_then_read_only(self):
        self.each_has("--dynamic", r"\(FLAGS_1\).*\bNOW\b")
        self.each_has("--program-headers", r"\bGNU_RELRO\b")

    def test_the_stack_cannot_be_run(self):
        self.each_has("--program-headers", r"\bGNU_STACK\b.* RW ")

    def test_the_stack_has_canaries(self):
        self.each_has("--dyn-syms", r"\b__stack_chk_fail@")

    def test_copies_and_prints_are_checked(self):
        self.each_has("--dyn-syms", r"\b__(mem|str|v?s?n?f?printf)\w*_chk@")


if __name__ == "__main__":
    PROGRAMS += sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
