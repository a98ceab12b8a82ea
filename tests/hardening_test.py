"""hardening_test.py PROGRAM...: what TAPER_HARDENING (cmake/TaperHardening.cmake) promises, as the programs have it."""

import re
import subprocess
import sys
import unittest

PROGRAMS = []


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


class HardeningTest(unittest.TestCase):
    def each(self):
        self.assertTrue(PROGRAMS)
        for program in PROGRAMS:
            with self.subTest(program):
                yield program

    def test_addresses_differ_from_run_to_run(self):
        for program in self.each():
            self.assertRegex(readelf("--dynamic", program), r"\(FLAGS_1\).*\bPIE\b")

    def test_all_of_the_table_of_functions_is_filled_at_the_start_and_then_read_only(self):
        for program in self.each():
            self.assertRegex(readelf("--dynamic", program), r"\(FLAGS_1\).*\bNOW\b")
            self.assertRegex(readelf("--program-headers", program), r"\bGNU_RELRO\b")

    def test_no_memory_is_both_written_and_run(self):
        for program in self.each():
            headers = readelf("--program-headers", program)
            self.assertRegex(headers, r"\bGNU_STACK\b.* RW ")
            self.assertNotRegex(headers, r"\bLOAD\b.* RWE ")

    def test_the_stack_has_canaries(self):
        for program in self.each():
            self.assertRegex(readelf("--dyn-syms", program), r"\b__stack_chk_fail@")

    def test_copies_and_prints_are_checked(self):
        for program in self.each():
            checked = set(re.findall(r"\b__(\w+)_chk@", readelf("--dyn-syms", program)))
            self.assertTrue(checked & {"fprintf", "snprintf"}, checked)
            self.assertTrue(checked & {"memcpy", "memmove", "memset"}, checked)


if __name__ == "__main__":
    PROGRAMS += sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
