"""cpu_levels_test.py BUILD PROGRAM...: one program for every CPU (cmake/TaperCpuLevels.cmake): code for some CPUs alone is
reached by way of the tables of kernels, and by no other. Exit code 77 without objdump and nm."""

import pathlib
import re
import shutil
import subprocess
import sys
import unittest

LEVELS = ("baseline", "avx2", "avx512")
BUILD = pathlib.Path()
PROGRAMS = []
# Instructions of AVX and later begin with v, but for these, which every CPU has; those of BMI and others that
# x86-64-v3 brings. (tzcnt and lzcnt run as bsf and bsr on older CPUs.)
NEWER = re.compile(r"^(?!ver[rw]\b)(v\w+|k\w+[bwdq]|andn|bextr|bls(i|msk|r)|bzhi|mulx|pdep|pext|rorx|s(ar|hl|hr)x|movbe|"
                   r"tdp\w+|tile\w+|ldtilecfg|sttilecfg)$")


def tool(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def newer_functions(file):
    """{(member of an archive, address, name): an instruction} of the functions with instructions that not every CPU has."""
    found, function, member = {}, ("", ""), ""
    with subprocess.Popen(["objdump", "--disassemble", "--no-show-raw-insn", "--wide", file], stdout=subprocess.PIPE,
                          text=True) as process:
        for line in process.stdout:
            if line.startswith(" "):
                instruction = line.partition("\t")[2].split(None, 1)
                if instruction and NEWER.match(instruction[0]):
                    found.setdefault((member, *function), line.strip())
            elif line.endswith(">:\n"):
                function = line.split(None, 1)[0], line.split("<", 1)[1].rstrip(">:\n")
            elif ":     file format" in line:
                member = line.split(":")[0]
    if process.returncode != 0:
        raise OSError(f"objdump cannot read {file}")
    return found


def symbols(file):
    """[(address, kind, name)] of what `file` defines."""
    lines = tool("nm", "--defined-only", file).splitlines()
    return [line.split(None, 2) for line in lines if len(line.split()) == 3]


class CpuLevelsTest(unittest.TestCase):
    def test_a_level_shows_its_table_alone(self):
        for level in LEVELS:
            object_file = BUILD / f"ops/cpu_kernels_{level}.o"
            kinds = {name: kind for _, kind, name in symbols(object_file)}
            shown = {name for name, kind in kinds.items() if kind.isupper() or kind in "uvw"}
            self.assertEqual(shown, {f"taper_cpu_kernels_{level}"})
            # What several levels have of their own must not change, or each would know its own part.
            state = [name for name, kind in kinds.items() if kind in "bBsScC"]
            self.assertEqual([name for name in state if "manage_caching_sizes" not in name], [],
                             "kernels that keep state belong in a file that is compiled once")

    def test_a_level_runs_nothing_before_it_is_chosen(self):
        for level in LEVELS:
            sections = tool("objdump", "--section-headers", BUILD / f"ops/cpu_kernels_{level}.o")
            self.assertNotRegex(sections, r"\.(init_array|ctors|preinit_array)")

    def test_libraries_are_for_every_cpu_but_for_the_levels(self):
        for room in ("core", "ops", "autograd", "nn"):
            found = newer_functions(BUILD / room / f"libtaper_{room}.a")
            self.assertEqual({key: line for key, line in found.items() if not key[0].startswith("cpu_kernels_")}, {})

    def test_the_levels_are_what_they_are_named_for(self):
        self.assertEqual(newer_functions(BUILD / "ops/cpu_kernels_baseline.o"), {})
        for level in ("avx2", "avx512"):
            self.assertGreater(len(newer_functions(BUILD / f"ops/cpu_kernels_{level}.o")), 100)

    def test_programs_call_code_for_some_cpus_by_the_tables_alone(self):
        for program in PROGRAMS:
            local = {int(address, 16) for address, kind, _ in symbols(program) if kind == "t"}
            shared = {int(address, 16) for address, kind, _ in symbols(program) if kind in "TWVu"}
            for _, address, name in newer_functions(program):
                self.assertIn(int(address, 16), local, name)
                self.assertNotIn(int(address, 16), shared, name)


if __name__ == "__main__":
    if shutil.which("objdump") is None or shutil.which("nm") is None:
        sys.exit(77)
    BUILD, *PROGRAMS = map(pathlib.Path, sys.argv[1:])
    unittest.main(argv=sys.argv[:1])
