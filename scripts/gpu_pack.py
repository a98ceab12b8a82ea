"""The work of gpu_pack.sh, which says how to call it."""

import argparse
import contextlib
import io
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOP = "taper"  # the archive's one folder
LIMIT_BYTES = 25_000_000  # of the archive
ANSWERS_LIMIT_BYTES = 8_000_000  # of one oracle's answers: random numbers, which do not compress
LADDERS = tuple(f"bench/ladder_{path.stem}" for path in sorted((ROOT / "bench/ladder").glob("*.cu")))
# On these gpu_check.sh compares the vendors' libraries with Taper's own kernels.
WITH_LIBRARIES = ("tests/taper_tests", "examples/resnet50_train", "bench/resnet50_step", "bench/resnet50_layers")
PROGRAMS = (*WITH_LIBRARIES, "examples/taper-algorithms", "bench/algorithm_bench", "bench/allocator_bench",
            "bench/gemm_bench", "bench/kernel_bench", *LADDERS)
LIBRARIES = {"cuDNN": b"libcudnn.so.", "cuBLASLt": b"libcublasLt.so."}  # the names that they are opened by
TRACKED = ("scripts/*", "tests/*.py", "tests/data/*", "bench/*.py", "LICENSE",
           "THIRD_PARTY_NOTICES.md", "nn/data/digits.LICENSE.md")
# The programs share most of their code, so the window is wide enough for all of them.
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 << 20}]
USAGE = """\
On the GPU machine, with Python 3, a driver for CUDA 13, and PyTorch for CUDA 13 or NVIDIA's libraries alone:
  python3 -c "import tarfile; tarfile.open('{name}').extractall()"
  cd {top}
  scripts/gpu_check.sh --out result
(./run resnet50_train --device cuda runs one program.)"""


class CannotPack(Exception):
    """There is no pack; says why in one line."""


def say(text):
    print(text, flush=True)


def output_of(*command):
    result = subprocess.run([str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, check=False)
    if result.returncode != 0:
        raise CannotPack(f"{command[0]}: {(result.stderr.strip().splitlines() or ['failed'])[-1]}")
    return result.stdout


# ---- building ----

def find_nvcc():
    nvcc = shutil.which("nvcc", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    if nvcc is None:
        raise CannotPack("no nvcc in PATH or /usr/local/cuda/bin; install the CUDA toolkit 13, or pack another machine's "
                         "build with --no-build")
    return nvcc


def architectures(text):
    """Returns CMake's list for "90a,80"."""
    names = text.split(",")
    if not all(re.fullmatch(r"\d+[af]?", name) for name in names):
        raise CannotPack(f"--arch {text}: compute capabilities such as 90a or 90a,80")
    return ";".join(f"{name}-real" for name in names)


def build(options):
    """Builds the preset gpu-pack's programs; returns the folder."""
    environment = {"CUDACXX": find_nvcc(), **os.environ}
    frontend = subprocess.run([ROOT / "scripts/cudnn_frontend.sh"], stdout=subprocess.PIPE, text=True, check=False)
    configure = ["cmake", "--preset", "gpu-pack", f"-DCMAKE_CUDA_ARCHITECTURES={architectures(options.arch)}",
                 f"-DCUDNNFrontend_ROOT={frontend.stdout.strip()}"]
    say("==> configuring build/gpu-pack for " + options.arch)
    result = subprocess.run(configure, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            check=False)
    if result.returncode != 0:
        print(result.stdout, file=sys.stderr)
        raise CannotPack("CMake cannot configure the preset gpu-pack; see above")
    if lacking := re.search(r"Building without (?:cuDNN|cuBLASLt).*", result.stdout):
        raise CannotPack(lacking[0])
    say("==> building build/gpu-pack")
    targets = [pathlib.PurePath(program).name.replace("-", "_") for program in PROGRAMS]
    targets += ["taper_travelling_libraries", "kernel_report"]
    jobs = ["--parallel", str(options.jobs)] if options.jobs else []
    start = time.perf_counter()
    if subprocess.run(["cmake", "--build", "--preset", "gpu-pack", *jobs, "--target", *targets], cwd=ROOT,
                      check=False).returncode != 0:
        raise CannotPack("the build failed; see above")
    say(f"built in {time.perf_counter() - start:.0f} s")
    return ROOT / "build/gpu-pack"


def check_programs(folder):
    """Raises CannotPack unless all programs are here, made for CUDA, and those that need them know cuDNN and cuBLASLt."""
    for program in PROGRAMS:
        if not (folder / program).is_file():
            raise CannotPack(f"no {folder / program}; scripts/gpu_pack.sh without --no-build builds it")
    for program in WITH_LIBRARIES:
        content = (folder / program).read_bytes()
        if b"libcudart.so." not in content:
            raise CannotPack(f"{folder / program} is built for the simulated GPU")
        if lacking := [name for name, text in LIBRARIES.items() if text not in content]:
            raise CannotPack(f"{folder / program} is built without {' and '.join(lacking)}, whose headers CMake did not find")


def make_answers(folder, python):
    """Returns {name: folder} of PyTorch's answers that are small enough to carry; prints which are not."""
    names = [path.stem.removesuffix("_oracle") for path in sorted((ROOT / "tests/oracle").glob("*_oracle.py"))]
    found, large = {}, []
    say("==> PyTorch's answers for the tests")
    for name in names:
        command = [python, ROOT / "tests/oracle/make.py", ROOT / f"tests/oracle/{name}_oracle.py", folder / name]
        try:
            result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    check=False)
        except OSError as error:
            say(f"none travel: {error}")
            return {}
        if result.returncode == 77:
            say(f"{name}: does not travel: {(result.stdout.strip().splitlines() or [''])[0]}")
        elif result.returncode != 0:
            raise CannotPack(f"tests/oracle/{name}_oracle.py: {(result.stdout.strip().splitlines() or ['failed'])[-1]}")
        else:
            size = sum(path.stat().st_size for path in (folder / name).rglob("*"))
            if size <= ANSWERS_LIMIT_BYTES:
                found[name] = folder / name
            else:
                large.append(f"{name} ({size / 1e6:.0f} MB)")
    say(f"{len(found)} of {len(names)} travel: {', '.join(found)}")
    if large:
        say(f"too large, left to the GPU machine's PyTorch: {', '.join(large)}")
    return found


# ---- packing ----

def stripped(path, folder):
    """Returns a copy without symbols, if the file is a program for this system; else its path."""
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return path
    copy = folder / f"{path.parent.name}-{path.name}"
    output_of("strip", "-o", copy, path)
    return copy


def contents(build_folder, answers, temporary):
    """Returns {name in the archive: path or text}."""
    files = {}
    for name in output_of("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *TRACKED).splitlines():
        if (ROOT / name).is_file():
            files[name] = ROOT / name
    for program in PROGRAMS:
        files[f"build/cuda/{program}"] = stripped(build_folder / program, temporary)
    for path in [*build_folder.glob("lib/*"), build_folder / "kernel_report.txt"]:
        if path.is_file():
            files[f"build/cuda/{path.relative_to(build_folder)}"] = path
    for name, folder in answers.items():
        files.update({f"tests/oracle_answers/{name}/{path.relative_to(folder)}": path
                      for path in folder.rglob("*") if path.is_file()})
    files["run"] = files.pop("scripts/pack_run.sh")
    files["COMMIT"] = output_of("git", "describe", "--always", "--dirty", "--abbrev=40")
    return files


def write_archive(out, files):
    """Writes equal bytes for equal files: sorted, without owners, at the commit's time."""
    moment = int(output_of("git", "log", "-1", "--format=%ct"))
    with lzma.open(out, "wb", filters=XZ) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, source in sorted(files.items()):
            member = tarfile.TarInfo(f"{TOP}/{name}")
            executable = isinstance(source, pathlib.Path) and os.access(source, os.X_OK)
            member.mtime, member.mode = moment, 0o755 if executable else 0o644
            content = source.read_bytes() if isinstance(source, pathlib.Path) else source.encode()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pack(out, build_folder, answers):
    part = out.with_name(out.name + ".part")
    start = time.perf_counter()
    say(f"==> packing {out}")
    try:
        with tempfile.TemporaryDirectory() as temporary:
            files = contents(build_folder, answers, pathlib.Path(temporary))
            write_archive(part, files)
            size = part.stat().st_size
            if size > LIMIT_BYTES:
                sizes = {name: source.stat().st_size for name, source in files.items() if isinstance(source, pathlib.Path)}
                largest = sorted(sizes, key=sizes.get)[:-4:-1]
                raise CannotPack(f"{size / 1e6:.1f} MB, and a pack may have {LIMIT_BYTES / 1e6:g} (LIMIT_BYTES in "
                                 "scripts/gpu_pack.py); the largest files before compression: "
                                 + ", ".join(f"{name} {sizes[name] / 1e6:.1f} MB" for name in largest))
            part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    say(f"{out}: {size / 1e6:.1f} MB, {len(files)} files, packed in {time.perf_counter() - start:.0f} s")
    say(USAGE.format(name=out.name, top=TOP))


def read_options():
    parser = argparse.ArgumentParser(prog="gpu_pack.sh")
    parser.add_argument("out", metavar="OUT.tar.xz", type=pathlib.Path)
    parser.add_argument("--arch", default="90a", help="compute capabilities, 90a,80 for example (90a)")
    parser.add_argument("--jobs", type=int, help="processes of the build (one for each processor)")
    parser.add_argument("--no-build", metavar="BUILD", type=pathlib.Path, help="pack the programs of this build")
    parser.add_argument("--oracle-python", default="/usr/bin/python3", help="a Python with torch, torchvision and PIL")
    options = parser.parse_args()
    if not options.out.name.endswith(".tar.xz"):
        parser.error(f"{options.out}: the name of the archive ends in .tar.xz")
    return options


def main():
    options = read_options()
    try:
        with contextlib.suppress(FileExistsError):
            options.out.parent.mkdir(parents=True)
        folder = options.no_build.resolve() if options.no_build else build(options)
        check_programs(folder)
        pack(options.out, folder, make_answers(folder / "oracle_answers", options.oracle_python))
    except (CannotPack, OSError) as error:
        print(f"gpu_pack.sh: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
