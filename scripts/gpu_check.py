"""The work of gpu_check.sh, which says how to call it."""

import time

START = time.monotonic()  # the budget counts from here

# pylint: disable=wrong-import-position
import argparse
import os
import pathlib
import shlex
import re
import shutil
import signal
import sys

import gpu_page
import gpu_results
import gpu_steps
from gpu_machine import ROOT, CannotCheck, Machine, cpus
from gpu_run import ALGORITHMS, Keeper, Log, Runner, pending_of

HELP = """\
All that this machine's GPU says about Taper, without a network: the tests, a training, parity with PyTorch, ResNet-50's
step beside PyTorch's, benchmark mode, convolutions one by one, compute-sanitizer, the benchmarks; the most telling first.
DIR/results.jsonl gets a line for each step as it ends, DIR/summary.md is the page to read: both are whole at any moment,
so a kill loses only what was running. Everything takes 30 to 60 minutes; --budget 290 brings what matters in under five.

  scripts/gpu_check.sh --budget 290 --out DIR       the most valuable steps that fit, and what was left out
  scripts/gpu_check.sh --out DIR --continue         goes on with the rest
  scripts/gpu_check.sh --out DIR --only FAILED      once more what failed, crashed or took too long
  scripts/gpu_check.sh --parts tests --families "conv|matmul"
"""
EPILOG = """\
The programs come from --build, made here or carried here by scripts/gpu_pack.sh. Exit codes: 0 nothing failed (a budget
may have left steps out), 1 something failed or it was interrupted, 2 nothing could be checked (no GPU, no cuDNN, no
programs)."""
# What a later --continue or --only takes from the run that it goes on with, and what they are without one.
KEPT = {"device": "gpu", "build": None, "parts": ",".join(gpu_steps.PARTS), "quick": False, "families": None, "batch": 128,
        "compile": False, "limit": None, "jobs": None}


class Output:
    """Standard output. Its reader may close it, which does not end the run."""

    def __init__(self, stream):
        self.stream = stream or open(os.devnull, "w", encoding="utf-8")  # pylint: disable=consider-using-with

    def attempt(self, call, *arguments):
        try:
            call(*arguments)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def write(self, text):
        self.attempt(self.stream.write, text)

    def flush(self):
        self.attempt(self.stream.flush)

    def isatty(self):
        return self.stream.isatty()


class Progress:
    """A line for each step that ends; on a terminal also a line that says what runs."""

    def __init__(self, count):
        self.count, self.done, self.shown = count, 0, 0.
        self.terminal = sys.stdout.isatty()

    def ended(self, record, left):
        self.done += 1
        self.clear()
        remaining = f", {left:.0f} s left" if left < 1e6 else ""
        print(f"[{self.done}/{self.count}] {record['result']:8} {record['name']}  {record['seconds']:.1f} s{remaining}",
              flush=True)
        if record["result"] in gpu_results.FAILED:
            print("        " + gpu_page.one_line(record["first_failure"], 500), flush=True)

    def running(self, names, left):
        if self.terminal and time.monotonic() > self.shown + 0.5:
            self.shown = time.monotonic()
            remaining = f", {left:.0f} s left" if left < 1e6 else ""
            words = f"[{self.done}/{self.count}] running {', '.join(names)}{remaining}"
            print("\r\x1b[K" + words[:shutil.get_terminal_size().columns - 1], end="", flush=True)

    def clear(self):
        if self.terminal:
            print("\r\x1b[K", end="")


def read_options():
    parser = argparse.ArgumentParser(prog="scripts/gpu_check.sh", description=HELP, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="of the whole call; default: none")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu_check", metavar="DIR",
                        help="default: build/gpu_check; an earlier run's results there go, but for --continue and --only")
    parser.add_argument("--continue", dest="go_on", action="store_true",
                        help="go on where the last run in DIR stopped, with its options and the same programs")
    parser.add_argument("--only", metavar="FAILED|NAME,...", help="what failed in DIR, or these steps")
    parser.add_argument("--parts", help="which of " + ",".join(gpu_steps.PARTS))
    parser.add_argument("--families", metavar="REGEX", help="of the tests and the sanitizer, only families that it finds")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of a family of tests; default: 60, simulated 600")
    parser.add_argument("--quick", action="store_true", default=None,
                        help="the GPU layer's own tests, and short benchmarks")
    parser.add_argument("--batch", type=int, help="images of a step in the race; default: 128")
    parser.add_argument("--compile", action="store_true", default=None, help="torch.compile too, which takes minutes")
    parser.add_argument("--build", type=os.path.abspath, metavar="DIR",
                        help="default: build/cuda, or build/default for the simulated GPU")
    parser.add_argument("--device", choices=["gpu", "sim"],
                        help="sim: the simulated GPU, to try this script; default: gpu")
    parser.add_argument("--jobs", type=int, help="tests side by side; default: half as many as CPUs, at most 8")
    return parser.parse_args()


def complete(options, before):
    """Takes options that were not given from the run before, or from the defaults. Throws CannotCheck for wrong ones."""
    for name, default in KEPT.items():
        if getattr(options, name) is None:
            setattr(options, name, before["options"].get(name, default) if before else default)
    for name in ("limit", "jobs", "batch"):
        if (value := getattr(options, name)) is not None and not 0 < value < float("inf"):
            raise CannotCheck(f"--{name}: {value:g} is not above 0")
    options.kept = {name: getattr(options, name) for name in KEPT}
    options.parts = options.parts.split(",")
    if unknown := set(options.parts) - set(gpu_steps.PARTS):
        raise CannotCheck(f"--parts: there is no {', '.join(sorted(unknown))}; there are {', '.join(gpu_steps.PARTS)}")
    if options.budget is not None and not 0 < options.budget < float("inf"):
        raise CannotCheck(f"--budget: {options.budget:g} s is no time")
    try:
        re.compile(options.families or "")
    except re.error as error:
        raise CannotCheck(f"--families: {options.families} is no regular expression: {error}") from None
    options.build = pathlib.Path(options.build or ROOT / ("build/default" if options.device == "sim" else "build/cuda"))
    options.jobs = options.jobs or max(1, min(8, cpus() // 2))


def earlier(options):
    """Returns the Results in --out that --continue or --only continue; None where the run begins anew."""
    if not options.go_on and not options.only:
        return None
    try:
        results = gpu_results.read(options.out)
    except FileNotFoundError:
        results = None
    except ValueError as error:
        raise CannotCheck(str(error)) from None
    if not results or not results.runs:
        if options.go_on or options.only == "FAILED":
            raise CannotCheck(f"{options.out} holds no run to go on with")
        return None
    if "options" not in results.runs[0]:
        raise CannotCheck(f"{options.out} does not say how its run was called: give another --out")
    return results


def wanted_of(options, plan, results):
    """Returns the names of the steps that this call should run."""
    names = [step.name for step in plan]
    if not options.only:
        return [name for name in names if results.steps.get(name, {"result": "out of time"})["result"] == "out of time"]
    wanted = [record["name"] for record in results.failed()] if options.only == "FAILED" else options.only.split(",")
    if unknown := [name for name in wanted if name not in names]:
        raise CannotCheck(
            f"--only: there is no step {', '.join(unknown)}; the last ones of {len(names)} are {', '.join(names[-8:])}")
    return wanted


def record(log, results, name, part, result, first_failure, data):
    """Records a step that is not a separate program."""
    line = {"kind": "step", "name": name, "part": part, "result": result, "seconds": round(time.monotonic() - START, 2),
            "exit_code": None, "first_failure": first_failure, "output": "", "cases": [], "data": data}
    log.add(**line)
    results.steps[name] = line
    results.unfinished.pop(name, None)


def beware_of_unfinished(names, log, results, plan):
    """Tries a step that was running when a run ended once more, alone and after all others, since it may only have
    run beside the step at fault. If that ends a run too, the step has failed. Returns the names of the steps that are left."""
    left = []
    for step in plan:
        started = results.unfinished.get(step.name, 0)
        if started >= 2:
            record(log, results, step.name, step.part, "failed", "started twice and never ended, the second time alone", {})
        elif step.name in names:
            left.append(step.name)
            step.alone = step.alone or started == 1
    plan.sort(key=lambda step: results.unfinished.get(step.name, 0) == 1)
    return left


def check(options, keeper):
    """Runs the steps and returns the Results. Throws CannotCheck."""
    before = earlier(options)
    complete(options, before.runs[0] if before else None)
    machine = Machine(options.build, simulated=options.device == "sim")
    pack = machine.pack()
    if before and before.runs[-1]["pack"] != pack:
        raise CannotCheck(f"{options.out} holds results of other programs (commit {before.runs[-1]['commit']}, pack "
                          f"{before.runs[-1]['pack']}; these are pack {pack}): give another --out")
    results = before._replace(reason=None) if before else gpu_results.Results([], {}, {}, None)
    plan = gpu_steps.plan(machine, options, keeper.scratch)
    wanted = wanted_of(options, plan, results)
    options.out.mkdir(parents=True, exist_ok=True)
    log = Log(options.out, anew=before is None)
    if before is None:
        (options.out / ALGORITHMS).unlink(missing_ok=True)
    run = {"kind": "run", **machine.describe(), "command": " ".join(["scripts/gpu_check.sh", *sys.argv[1:]]),
           "pack": pack, "budget": options.budget, "options": options.kept, "plan": wanted}
    log.add(**run)
    results.runs.append(run)
    if "device" not in results.steps:  # its step is over: without one this line is not reached
        record(log, results, "device", "tests", "passed", "",
               {"devices": machine.devices, "libraries": machine.libraries})
    if not options.only:
        wanted = beware_of_unfinished(wanted, log, results, plan)
    steps = pending_of(plan, wanted, results)
    where = "the simulated GPU" if machine.simulated else ", ".join(machine.devices)
    print(f"{run['version']} at {run['commit']} on {where}: {len(steps)} steps, {options.jobs} tests side by side",
          flush=True)

    progress = Progress(len(steps))
    deadline = START + options.budget if options.budget else float("inf")
    runner = Runner(machine, keeper, log, results, options.out, options.jobs, deadline)

    def ended(line):
        gpu_page.write(options.out, results)
        progress.ended(line, runner.left())

    runner.on_end = ended
    runner.on_wait = lambda: progress.running([run.step.name for run in runner.running], runner.left())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, runner.interrupt)
    gpu_page.write(options.out, results)
    reason = runner.run(steps)
    progress.clear()
    log.add(kind="end", reason=reason)
    results = results._replace(reason=reason)
    gpu_page.write(options.out, results)
    return results


def main():
    sys.stdout = Output(sys.stdout)
    options = read_options()
    keeper = Keeper()
    try:
        results = check(options, keeper)
    except (CannotCheck, OSError) as error:
        print(f"gpu_check.sh: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before there was anything to write down
        print("gpu_check.sh: interrupted", file=sys.stderr)
        sys.exit(1)
    finally:
        keeper.close()
    print("\n" + gpu_page.text(results))
    failed, not_run = results.failed(), gpu_results.not_run(results)
    words = {"done": "", "budget": "; the budget is spent", "interrupted": "; interrupted",
             "device lost": "; the GPU is gone: no new process sees it"}[results.reason]
    print(f"{len(failed)} failed, {len(not_run)} not run{words}; read {options.out / gpu_page.PAGE}"
          + (f", go on with scripts/gpu_check.sh --out {shlex.quote(str(options.out))} --continue" if not_run else ""))
    sys.exit(1 if failed or results.reason in ("interrupted", "device lost") else 0)


if __name__ == "__main__":
    main()
