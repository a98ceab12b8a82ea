"""scripts/kernel_report.py and scripts/check_sass.py on output as nvcc 13 and cuobjdump print it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import check_sass  # noqa: E402
import kernel_report  # noqa: E402
from kernel_names import shorten  # noqa: E402

def compile_object(source, path):
    subprocess.run(["c++", "-x", "c++", "-c", "-o", path, "-"], input=source, text=True, check=True)


PTXAS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5spillIdEvPT_i' for 'sm_80'
ptxas info    : Function properties for _Z5spillIdEvPT_i
    1384 bytes stack frame, 2224 bytes spill stores, 2448 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 1384 bytes cumulative stack size, 364 bytes cmem[0]
ptxas info    : Compile time = 34.094 ms
ptxas info    : Compiling entry function '_Z5plainPf' for 'sm_80'
ptxas info    : Function properties for _Z5plainPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 4096 bytes smem, 360 bytes cmem[0]
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z5spillIdEvPT_i' for 'sm_90a'
ptxas info    : Function properties for _Z5spillIdEvPT_i
    96 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 96 bytes cumulative stack size
"""

SASS = """\
Fatbin elf code:
================
arch = sm_80
\tcode for sm_80
\t\tFunction : _Z8multiplyIfEvPT_
\t.headerflags\t@"EF_CUDA_TEXMODE_UNIFIED EF_CUDA_64BIT_ADDRESS EF_CUDA_SM80"
        /*0000*/                   MOV R1, c[0x0][0x28] ;                        /* 0x00000a0000017a02 */
                                                                                 /* 0x000fc40000000f00 */
        /*0010*/              @!P0 HMMA.16816.F32.BF16 R4, R8, R12, R4 ;         /* 0x0000000c0804723c */
        /*0020*/              @!PT LDS RZ, [RZ] ;                                /* 0x00000000fffff984 */
Fatbin elf code:
================
arch = sm_90a
\t\tFunction : _Z8multiplyIfEvPT_
        /*0000*/                   LDGSTS.E.BYPASS.128 [R9], desc[UR4][R2.64] ;  /* 0x0000000002097fae */
\t\tFunction : _Z5plainPf
        /*0000*/                   EXIT ;                                        /* 0x000000000000794d */
"""


class KernelReportTest(unittest.TestCase):
    def test_reads_what_ptxas_says(self):
        on_80, plain, on_90 = kernel_report.parse(PTXAS)
        self.assertEqual((on_80.name, on_80.arch, on_80.registers, on_80.shared, on_80.stack, on_80.spill_stores,
                          on_80.spill_loads), ("spill<double>", "sm_80", 32, 0, 1384, 2224, 2448))
        self.assertEqual((plain.name, plain.registers, plain.shared, plain.stack), ("plain", 10, 4096, 0))
        self.assertEqual((on_90.arch, on_90.registers, on_90.stack, on_90.spill_stores), ("sm_90a", 255, 96, 0))

    def test_the_table_has_a_line_for_each_kernel_and_architecture(self):
        lines = kernel_report.table(kernel_report.parse(PTXAS)).splitlines()
        self.assertEqual([line.split()[:3] for line in lines[1:]],
                         [["plain", "sm_80", "10"], ["spill<double>", "sm_80", "32"], ["spill<double>", "sm_90a", "255"]])

    def test_a_spill_needs_a_reason(self):
        kernels = kernel_report.parse(PTXAS)
        problem, = kernel_report.judge(kernels, [], "allowed_spills.txt")
        self.assertRegex(problem, r"spill<double> spills registers on sm_80: 2224 bytes stored, 2448 loaded")
        self.assertEqual(kernel_report.judge(kernels, [("spill<*>", "sm_80", "on purpose")], "allowed_spills.txt"), [])

    def test_a_reason_nobody_needs_is_refused(self):
        allowed = [("spill<*>", "*", "on purpose"), ("plain", "*", "was larger once")]
        problem, = kernel_report.judge(kernel_report.parse(PTXAS), allowed, "allowed_spills.txt")
        self.assertRegex(problem, "allows plain to spill")
        elsewhere = [*allowed[:1], ("plain", "sm_120", "not in this build")]
        self.assertEqual(kernel_report.judge(kernel_report.parse(PTXAS), elsewhere, "allowed_spills.txt"), [])

    def test_as_a_program(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "a.cu.o.ptxas").write_text(PTXAS)
            compile_object("int f() { return 1; }", folder / "a.cu.o")
            (folder / "objects.txt").write_text(f"{folder}/a.cu.o\n{folder}/host.cpp.o\n")
            allow = folder / "allow.txt"

            def run(objects):
                return subprocess.run([sys.executable, SCRIPTS / "kernel_report.py", "--allow", allow, "--out",
                                       folder / "report.txt", objects], stderr=subprocess.PIPE, text=True)

            allow.write_text("# none\n")
            result = run(f"@{folder}/objects.txt")
            self.assertEqual(result.returncode, 1)
            self.assertIn("spill<double>", result.stderr)
            self.assertIn("spill<double>", (folder / "report.txt").read_text())
            allow.write_text("spill<double> sm_80 64 running values, each used again after the loop\n")
            self.assertEqual(run(f"@{folder}/objects.txt").returncode, 0)
            allow.write_text("spill<double>\n")
            self.assertIn("allow.txt:1", run(f"@{folder}/objects.txt").stderr)
            self.assertIn("build it again", run(f"{folder}/unknown.cu.o").stderr)
            # nvcc's output for a __device__ function that host code calls.
            allow.write_text("spill<double> sm_80 64 running values, each used again after the loop\n")
            compile_object("#include <cstdlib>\nint f() { std::exit(1); }", folder / "a.cu.o")
            result = run(f"@{folder}/objects.txt")
            self.assertEqual(result.returncode, 1)
            self.assertIn("a.cu.o: host code calls a __device__ function", result.stderr)


class CheckSassTest(unittest.TestCase):
    def test_reads_the_instructions_of_each_kernel(self):
        self.assertEqual(check_sass.parse(SASS), {
            ("multiply<float>", "sm_80"): {"MOV", "HMMA", "LDS"},
            ("multiply<float>", "sm_90a"): {"LDGSTS"},
            ("plain", "sm_90a"): {"EXIT"}})

    def test_says_what_is_missing(self):
        kernels = check_sass.parse(SASS)
        self.assertEqual(check_sass.judge(kernels, [("multiply<*>", {"HMMA", "LDGSTS"})]), [
            "multiply<float> on sm_80 has no LDGSTS", "multiply<float> on sm_90a has no HMMA"])
        self.assertEqual(check_sass.judge(kernels, [("multiply<*>", {"HMMA|LDGSTS"})]), [])

    def test_a_line_that_fits_no_kernel_is_refused(self):
        problem, = check_sass.judge(check_sass.parse(SASS), [("gemm*", {"HMMA"})])
        self.assertRegex(problem, "gemm.* fits no kernel")


class KernelNamesTest(unittest.TestCase):
    def test_names_are_as_in_the_source(self):
        for declaration, name in [
            ("plain(float*)", "plain"),
            ("void taper::(anonymous namespace)::add<float, (int)4>(float*, int)", "taper::add<float, (int)4>"),
            ("void taper::fill<std::pair<int, long> >(std::pair<int, long>*)", "taper::fill<std::pair<int, long> >"),
            ("_Z3fooPf", "_Z3fooPf"),
        ]:
            self.assertEqual(shorten(declaration), name)


if __name__ == "__main__":
    unittest.main()
