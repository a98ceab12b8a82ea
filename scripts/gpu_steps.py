"""The steps of gpu_check.sh, the most valuable first."""

import json
import os
import re

from gpu_machine import ROOT, CannotCheck, find_tool, output_of
from gpu_read import json_lines, read_benchmarks, read_blocks, read_cases, read_json, read_parity, read_race, read_training
from gpu_run import Step

PARTS = ("tests", "race", "sanitizer", "benchmarks")
# What the rest of the GPU code stands on.
FIRST = ("gpu_runtime_test", "gpu_simt_test", "gpu_half_test", "gpu_mma_test")
# Families that test the GPU layer itself: what --quick runs.
GPU_FAMILY = re.compile(r"gpu_\w+_test")
# Families in which vendors' libraries compile many plans.
COMPILING = re.compile(r"resnet50_\w+_test|cudnn_\w+_test|\w+_candidates_test|conv_(test|moments_test|prologue_test)")
COMPILING_LIMIT = 120  # seconds
# Not for compute-sanitizer: CUPTI excludes it, and millions of operations take it too long.
NOT_FOR_SANITIZER = re.compile(r"gpu_(profiler|\w*allocator\w*|training|libraries|shared_library)_test")
# These measure the CPU; the CPU of a GPU machine is not the question here.
# On an H200: kernel_bench has 182 benchmarks, gemm_bench measures all of the library's algorithms first.
BENCHMARK_SECONDS = {"kernel_bench": 60, "gemm_bench": 90, "allocator_bench": 10}
CPU_BENCHMARKS = {"algorithm_mode_bench", "checkpoint_bench", "conv_bench", "data_parallel_bench", "inference_bench",
                  "loader_bench", "op_overhead_bench"}
# These compare the device's free memory before and after, which other processes change.
WATCHES_MEMORY = ("gpu_runtime_test",)
STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")
LEAST_TOP1 = 0.8  # of three epochs on the digits


def plan(machine, options, scratch):
    """Returns all steps, in the order of their value."""
    parts = {"tests": tests, "race": race, "benchmarks": benchmarks, "sanitizer": sanitizer}
    found = families(machine, options)
    steps = [step for name in PARTS if name in options.parts for step in parts[name](machine, options, scratch, found)]
    return sorted(steps,
                  key=lambda step: PARTS.index("race") if step.name in AFTER_RACE else PARTS.index(step.part) - 0.5)


# ---- tests ----

AFTER_RACE = ("parity_64px", "resnet50_train")  # of the tests, what teaches least beside the rest


def families(machine, options):
    """Returns the names of the test files in taper_tests that --quick and --families leave."""
    code, output = output_of(machine.tests_program, "-#", "--list-tags", env=machine.env)
    found = re.findall(r"\[#(\w+)\]", output)
    if not found:
        raise CannotCheck(f"{machine.tests_program} lists no tests: exit code {code}, {output.strip()[-200:]}")
    if options.families:
        kept = [name for name in found if re.search(options.families, name)]
        if not kept:
            raise CannotCheck(f"--families: no family of {len(found)} matches {options.families}")
        return kept
    return [name for name in found if not options.quick or GPU_FAMILY.fullmatch(name)]


def tests(machine, options, scratch, found):
    answers = ROOT / "tests/oracle_answers"  # gpu_pack.sh may have brought some
    limit, estimate = (600, 1) if machine.simulated else (60, 3)
    limit = options.limit or limit
    compiling = [name for name in found if COMPILING.fullmatch(name)]
    order = [name for name in FIRST if name in found]
    order += [name for name in found if name not in FIRST and name not in compiling] + compiling
    steps = []
    for family in order:
        report = scratch / f"{family}.xml"
        after = ()
        subject = family.removesuffix("_test")
        oracle = answers if (answers / subject / "DONE").exists() else scratch / "oracle"
        script = ROOT / f"tests/oracle/{subject}_oracle.py"
        if script.exists() and oracle != answers:
            name = f"oracle_{subject}"
            steps.append(Step(name, "tests", [machine.torch_python, ROOT / "tests/oracle/make.py", script, oracle / subject],
                              limit=120, estimate=4, skip_code=77, provides=True))
            after = (name,)
        command = [machine.tests_program, "-#", f"[#{family}]", "-w", "NoTests", "-r", "xml", "-d", "yes", "-o", report]
        env = {"TAPER_TEST_DATA": ROOT / "tests/data", "TAPER_ORACLE_DIR": oracle}
        if family in compiling:  # those that go through many problems end in that time by themselves
            env["TAPER_TEST_SECONDS"] = "{most}"
        most = max(limit, COMPILING_LIMIT) if family in compiling and not options.limit else limit
        steps.append(Step(family, "tests", command, limit=most, after=after, env=env, file=report, skip_code=77,
                          alone=family in WATCHES_MEMORY and not machine.simulated,
                          estimate=20 if family in compiling and not machine.simulated else estimate,
                          measure=lambda output, file: read_cases(file)))
    # Those without an oracle first, then each behind its own.
    steps.sort(key=lambda step: (step.name not in FIRST, step.name in compiling, bool(step.after) or step.provides))
    return steps if options.quick or options.families else steps + whole_trainings(machine, scratch)


def whole_trainings(machine, scratch):
    """resnet50_train as people call it: on the digits, beside PyTorch, and all that its test tries."""
    program, summary = machine.train_program, scratch / "training.json"
    if machine.simulated:  # to try this script
        settings = ["--device", "cpu", "--arch", "resnet18", "--max-steps", 4]
    else:
        settings = ["--device", "cuda", "--epochs", 3]
    steps = [Step("training_digits", "tests", [program, *settings, "--progress", "off", "--summary", summary], limit=120,
                  estimate=15, alone=True, file=summary,
                  measure=lambda output, file: read_training(file, 0 if machine.simulated else LEAST_TOP1))]
    for size, rate in ((32, 0.01), (64, 0.001)):
        command = [machine.torch_python, ROOT / "tests/parity/parity.py", program, scratch / f"parity_{size}",
                   "--size", size, "--lr", rate, *([] if machine.simulated else ["--device", "cuda"])]
        steps.append(Step(f"parity_{size}px", "tests", command, limit=300 if machine.simulated else 90, estimate=20,
                          alone=True, skip_code=77, measure=lambda output, _: read_parity(output)))
    return steps + [Step("resnet50_train", "tests", [machine.torch_python, ROOT / "tests/cli/train_test.py", program],
                         env={"LD_LIBRARY_PATH": machine.env.get("LD_LIBRARY_PATH", "")},
                         limit=1200 if machine.simulated else 300, estimate=60)]


# ---- the race ----

def race(machine, options, scratch, _):
    program = machine.build / "bench/resnet50_step"
    help_text = output_of(program, "--help", env=machine.env)[1]
    size, batch, steps = (32, 2, 1) if machine.simulated else (224, options.batch, 10)
    shape = ["--device", "cuda", "--batch", batch, "--size", size, "--steps", steps]
    small = ["--arch", "resnet18", "--warmup", 1] if machine.simulated else []
    blocks = ["--blocks", 3]
    estimate, pytorch = (2, "cpu") if machine.simulated else (10, "cuda")

    def step(name, *words, **more):
        return Step(name, "race", [program, *shape, *small, *blocks, *words], alone=True,
                    **{"limit": 60, "estimate": estimate, "measure": lambda output, _: read_blocks(output), **more})

    found = [step(f"step_{precision}", "--precision", precision, "--no-benchmark", "--kernels")
             for precision in (("f32",) if machine.simulated else ("f32", "tf32"))]
    if not machine.simulated:
        command = [machine.torch_python, ROOT / "bench/pytorch_resnet50.py", "--ceilings"]
        found.append(Step("ceilings", "race", command, limit=60, estimate=12, alone=True, skip_code=77,
                          measure=lambda output, _: {"data": json_lines(output)[-1]}))
    taper = {name for name in ("f32", "tf32", "bf16", "fp16") if re.search(rf"\b{name}\b", help_text)}
    for precision in ("f32",) if machine.simulated else ("tf32", "bf16", "fp16"):
        report = scratch / f"race_{precision}.json"
        compiled = options.compile and precision == "bf16"
        command = [machine.torch_python, ROOT / "scripts/gpu_race.py", precision, "--json", report, "--seconds", "{seconds}",
                   "--pytorch-device", pytorch, "--batch", batch, "--size", size, "--steps", steps,
                   "--rounds", 2 if machine.simulated else 3 if options.quick else 7]
        command += ["--taper", program] if precision in taper else []
        command += ["--small"] if machine.simulated else []
        command += ["--compile"] if compiled else []
        # A sixth of the budget, so that all three races are run in it.
        limit = 600 if machine.simulated else max(40, min(120, (options.budget or 720) / 6))
        found.append(Step(f"race_{precision}", "race", command, limit=limit + 420 * compiled,
                          estimate=8 if machine.simulated else 30, alone=True, after=("ceilings",), file=report,
                          measure=lambda _, file: read_race(file)))
    if not options.quick:
        budget = ["--benchmark-seconds", "{most}"] if "--benchmark-seconds" in help_text else []
        precision = "f32" if machine.simulated else "tf32"
        found.append(step("benchmark_mode", "--precision", precision, "--benchmark", *budget,
                          measure=lambda output, _: read_blocks(output, precision=precision),
                          limit=600 if machine.simulated else 150 if budget else 400,
                          estimate=4 if machine.simulated else 60))
    return found + layers(machine, options, scratch, pytorch, batch, size)


def layers(machine, options, scratch, pytorch, batch, size):
    """Each stage of ResNet-50 by itself, so that a limit costs one of them, and PyTorch's time for it."""
    dtype = "f32" if machine.simulated else "bf16"
    quick = ["--repeats", 1] if options.quick or machine.simulated else []
    found = []
    for stage in ["layer1 3x3"] if machine.simulated else STAGES[:2] if options.quick else STAGES:
        name = stage.split()[0]
        measured, beside = scratch / f"layers_{name}.json", scratch / f"pytorch_layers_{name}.json"
        found.append(Step(f"layers_{name}", "race",
                          [machine.build / "bench/resnet50_layers", "--device", "cuda", "--batch", batch, "--size", size,
                           "--dtype", dtype, "--json", measured, "--filter", stage, *quick],
                          limit=120, estimate=4 if machine.simulated else 15, alone=True, file=measured,
                          measure=lambda _, file: read_json(file)))

        def bring(results, name=name, measured=measured):
            data = results.steps.get(f"layers_{name}", {}).get("data")  # perhaps from the run before
            measured.write_text(json.dumps(data), encoding="utf-8")
            return "" if data else "there are no layers to measure"

        command = [machine.torch_python, ROOT / "bench/pytorch_layers.py", measured, "--out", beside, "--device", pytorch]
        found.append(Step(f"pytorch_layers_{name}", "race", command, limit=60, estimate=4 if machine.simulated else 10,
                          alone=True, after=(f"layers_{name}",), skip_code=77, file=beside, prepare=bring,
                          measure=lambda _, file: read_json(file)))
    return found


# ---- benchmarks, and the sanitizer ----

def benchmarks(machine, options, scratch, _):
    seconds = 0.01 if options.quick or machine.simulated else 0.1
    found = {path.name for path in machine.build.glob("bench/*_bench")} - CPU_BENCHMARKS
    first = [name for name in ("kernel_bench", "allocator_bench") if name in found]
    steps = []
    for name in first + sorted(found - set(first)):
        report = scratch / f"{name}.json"
        steps.append(Step(name, "benchmarks", [machine.build / "bench" / name, f"--benchmark_out={report}",
                                               "--benchmark_out_format=json", f"--benchmark_min_time={seconds}"],
                          limit=600, estimate=5 if machine.simulated else BENCHMARK_SECONDS.get(name, 5), alone=True,
                          file=report, env={"TAPER_TEST_DATA": ROOT / "tests/data"},
                          measure=lambda _, file: read_benchmarks(file)))
    ladders = [] if options.quick else sorted(machine.build.glob("bench/ladder_*"))
    for path in (path for path in ladders if path.is_file() and os.access(path, os.X_OK)):
        report = scratch / f"{path.name}.json"
        steps.append(
            Step(path.name,
                 "benchmarks", [path, "--json", report],
                 limit=300,
                 estimate=5,
                 alone=True,
                 file=report,
                 measure=lambda _, file: read_json(file)))
    report = scratch / "pytorch_allocator.json"
    steps.append(Step("pytorch_allocator", "benchmarks",
                      [machine.torch_python, ROOT / "bench/pytorch_allocator.py", "--out", report, "--device",
                       "cpu" if machine.simulated else "cuda",
                       *(["--no-cpp", "--seconds", 0.01] if options.quick else [])],
                      limit=300, estimate=5, alone=True, skip_code=77, file=report,
                      measure=lambda _, file: read_json(file)))
    return steps


def sanitizer(machine, options, _, found):
    """compute-sanitizer over the small families of the GPU's own tests. The simulated GPU checks memory and races itself."""
    tool = None if machine.simulated else find_tool("compute-sanitizer")
    if not tool:
        why = "the simulated GPU checks memory and races itself" if machine.simulated else "no compute-sanitizer here"
        return [Step("sanitizer", "sanitizer", [], limit=1, estimate=0, prepare=lambda _: why)]
    small = [name for name in found if GPU_FAMILY.fullmatch(name) and not NOT_FOR_SANITIZER.fullmatch(name)]
    # Tests ask for impossible things on purpose: an API error that the test expects is none.
    more = {"memcheck": ["--report-api-errors", "no"], "racecheck": []}
    return [Step(f"{kind}_{family}", "sanitizer",
                 [tool, "--tool", kind, "--error-exitcode", 99, *more[kind], machine.tests_program, "-#", f"[#{family}]"],
                 limit=150, estimate=20, env={"TAPER_TEST_DATA": ROOT / "tests/data"})
            for kind in more for family in small]
