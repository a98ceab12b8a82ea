#!/usr/bin/env python3
"""Compares two result folders of gpu_check.sh: what works now and did not, or the other way round, and how much faster it is.

  scripts/gpu_compare.py OLD NEW [--markdown] [--fail-on-regression X]

Speeds have two ratios: new to old, and that of Taper's lead over PyTorch in the same run (eager, channels last, the same
precision), which is what counts where the devices differ. Exit codes: 0; 1 with --fail-on-regression if a step that passed
failed or was not run, or if a speed fell by more than the part X (0.05 is 5%) or was not measured; 2 if one of the two is no
result folder.
"""

import argparse
import pathlib
import sys
import typing

import gpu_results

PYTORCH = "PyTorch, channels last"  # what gpu_race.py compares with
PRECISIONS = ("bf16", "fp16", "tf32", "f32")  # the heaviest kernels are those of the first that both runs have
KERNELS = 15
DIFFER = ("date", "commit", "command", "version", "driver", "pack", "budget")


class NoResults(Exception):
    """The folder is not a result folder; says why in one line."""


class Table(typing.NamedTuple):
    title: str
    head: tuple
    rows: list
    words: int = 1  # that many columns on the left hold words, the others numbers
    below: str = ""


def load(folder):
    try:
        results = gpu_results.read(folder)
    except FileNotFoundError:
        raise NoResults(f"{folder} is no result folder of gpu_check.sh: it has no {gpu_results.FILE}") from None
    except (OSError, ValueError) as error:
        raise NoResults(f"{folder} is no result folder of gpu_check.sh: {error}") from None
    if not results.runs:
        raise NoResults(f"{folder} is no result folder of gpu_check.sh: no run has written to it")
    return results


# ---- what a folder says ----

def device(run):
    """"NVIDIA H200" of "NVIDIA H200, compute capability 9.0, 143771 MiB", which changes with the driver."""
    where = run["device"]
    return "the simulated GPU" if where == "simulated" else ", ".join(dict.fromkeys(name.split(",")[0] for name in where))


def data(results, name):
    return results.steps.get(name, {}).get("data") or {}


class Speed(typing.NamedTuple):
    pictures: float  # a second
    to_pytorch: typing.Optional[float]  # pictures by PyTorch's, in the same run


def speeds(results):
    """{(program, precision): Speed} of all training steps that were timed."""
    found = {}
    for name in results.steps:
        if name.startswith("step_"):
            found["Taper, by itself", name.removeprefix("step_")] = data(results, name).get("images_per_second")
        elif name == "benchmark_mode":
            measured = data(results, name)
            found["Taper, benchmark mode", measured.get("precision", "tf32")] = measured.get("images_per_second")
        elif name.startswith("race_"):
            for program in data(results, name).get("programs", ()):
                found[program["name"], program["precision"]] = program.get("images_per_second")
    found = {key: pictures for key, pictures in found.items() if pictures}
    return {(name, precision): Speed(pictures, over(pictures, found.get((PYTORCH, precision))))
            for (name, precision), pictures in found.items()}


def kernels(results):
    """{precision: {(kernel, op): seconds in one step}}"""
    found = {}
    for name in results.steps:
        programs = [data(results, name)] if name.startswith("step_") else [
            program for program in data(results, name).get("programs", ()) if program["name"] == "Taper"]
        for program in programs:
            times = {}
            for row in program.get("kernels") or ():
                key = row["kernel"], row["op"]
                times[key] = times.get(key, 0) + row["seconds"]
            if times:
                found[name.split("_")[1]] = times
    return found


def layers(results):
    """{(layer, pass): (times it occurs in a step, ms, PyTorch's ms or None)}"""
    found = {}
    for step in results.steps:
        if step.startswith("layers_"):
            pytorch = data(results, f"pytorch_{step}")
            for layer in data(results, step).get("layers", ()):
                for name, measured in layer["passes"].items():
                    found[layer["name"], name] = layer["count"], measured["ms"], pytorch.get(layer["name"], {}).get(name)
    return found


# ---- the comparison ----

def over(numerator, denominator):
    return numerator / denominator if numerator and denominator else None


def times(value):
    return f"{value:.2f}x" if value else ""


def heading(old, new):
    before, after = device(old.runs[-1]), device(new.runs[-1])
    if before == after:
        return f"Both runs on {after}."
    return f"DIFFERENT DEVICES: {before} before, {after} now. Only ratios to PyTorch compare."


def differences(old, new):
    before, after = old.runs[-1], new.runs[-1]

    def row(name, one, other):
        return [[name, str(one), str(other)]] if one != other else []

    rows = row("device", *("; ".join(run["device"]) if run["device"] != "simulated" else "simulated" for run in (before, after)))
    for name in DIFFER:
        rows += row(name, before.get(name), after.get(name))
    for name in dict.fromkeys([*before["libraries"], *after["libraries"]]):
        rows += row(name, before["libraries"].get(name, "none"), after["libraries"].get(name, "none"))
    for name in dict.fromkeys([*before["machine"], *after["machine"]]):
        rows += row(name, before["machine"].get(name), after["machine"].get(name))
    return Table("What differs", ("", "old", "new"), rows, words=3)


def results_table(old, new):
    """Returns the steps whose result changed, and how many steps only one of the two has run."""
    rows = []
    for name, record in new.steps.items():
        before = old.steps.get(name, {"result": ""})["result"]
        if before and before != record["result"]:
            rows.append([name, before, record["result"], " ".join(record["first_failure"].split())[:200]])
    counts = [sum(record["result"] == "passed" for record in results.steps.values()) for results in (old, new)]
    failed = [len(results.failed()) for results in (old, new)]
    below = f"{counts[0]} steps passed and {failed[0]} failed before; {counts[1]} passed and {failed[1]} failed now."
    for title, these, others in (("Run now only", new, old), ("Run before only", old, new)):
        if alone := [name for name in these.steps if name not in others.steps]:
            listed = ", ".join(f"{name} ({these.steps[name]['result']})" for name in alone[:12])
            below += f"\n{title}: {listed}{f' and {len(alone) - 12} more' if len(alone) > 12 else ''}."
    return Table("Steps whose result changed", ("step", "old", "new", "first failure"), rows, words=4, below=below)


def newly_failed(old, new):
    return [record["name"] for record in new.failed() if old.steps.get(record["name"], {}).get("result") == "passed"]


def change(old, new, key):
    """Returns how the speed of a program changed: by the ratio to PyTorch if both runs have one, else by the speed itself if
    both ran on one device, else None."""
    before, after = speeds(old).get(key), speeds(new).get(key)
    if not before or not after:
        return None
    if before.to_pytorch and after.to_pytorch:
        return after.to_pytorch / before.to_pytorch
    return after.pictures / before.pictures if device(old.runs[-1]) == device(new.runs[-1]) else None


def speed_table(old, new):
    before, after = speeds(old), speeds(new)
    rows = []
    for key in dict.fromkeys([*after, *before]):
        one, other = before.get(key), after.get(key)
        rows.append([*key, *(f"{speed.pictures:.1f}" if speed else "" for speed in (one, other)),
                     times(one and other and other.pictures / one.pictures),
                     *(times(speed and speed.to_pytorch) for speed in (one, other)),
                     times(one and other and over(other.to_pytorch, one.to_pytorch))])
    return Table("Training steps of ResNet-50, pictures/s",
                 ("program", "precision", "old", "new", "new/old", "old/PyTorch", "new/PyTorch", "change of it"), rows, words=2)


def kernel_table(old, new):
    before, after = kernels(old), kernels(new)
    precision = next((name for name in PRECISIONS if name in before and name in after), None)
    if precision is None:
        return None
    before, after = before[precision], after[precision]
    heaviest = sorted({*before, *after}, key=lambda key: -max(before.get(key, 0), after.get(key, 0)))[:KERNELS]
    pairs = [(*key, before.get(key), after.get(key)) for key in heaviest]
    pairs.append(("all", "", sum(before.values()), sum(after.values())))
    rows = [[kernel[:60], op, *(f"{seconds * 1e3:.3f}" if seconds else "" for seconds in (one, other)), times(over(one, other))]
            for kernel, op, one, other in pairs]
    return Table(f"The heaviest kernels of one step, {precision}, ms", ("kernel", "op", "old", "new", "old/new"), rows, words=2)


def layer_table(old, new):
    before, after = layers(old), layers(new)
    both = [key for key in after if key in before]
    if not both:
        return None
    rows, sums = [], [0, 0]
    for key in both:
        (count, one, one_pytorch), (_, other, other_pytorch) = before[key], after[key]
        sums = [sums[0] + count * one, sums[1] + count * other]
        rows.append([*key, f"{one:.3f}", f"{other:.3f}", times(over(one, other)), times(over(one_pytorch, one)),
                     times(over(other_pytorch, other))])
    rows.append(["all, as often as they occur", "", f"{sums[0]:.3f}", f"{sums[1]:.3f}", times(over(*sums)), "", ""])
    return Table("Convolutions, ms", ("layer", "pass", "old", "new", "old/new", "PyTorch/old", "PyTorch/new"), rows, words=2)


def regressions(old, new, allowed):
    """Returns one line for each step that passed and fails now, and for each of Taper's speeds that fell by more than
    `allowed` or is not known now. One more line is for all steps that passed and were not run: they may have got worse."""
    found = [f"{name} passed before and {new.steps[name]['result']} now" for name in newly_failed(old, new)]
    now = speeds(new)
    for key in (key for key in speeds(old) if key[0].startswith("Taper")):
        changed = change(old, new, key)
        if changed is not None and changed < 1 - allowed:
            found.append(f"{key[0]}, {key[1]}: {100 * (1 - changed):.1f}% slower, {100 * allowed:g}% are allowed")
        elif key not in now:
            found.append(f"{key[0]}, {key[1]}: was measured before and was not now")
    passed = [name for name, record in old.steps.items() if record["result"] == "passed"]
    absent = [name for name in passed if new.steps.get(name, {"result": "out of time"})["result"] in ("out of time", "skipped")]
    if absent:
        listed = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        found.append(f"{len(absent)} of {len(passed)} steps that passed were not run now: {listed}")
    return found


# ---- showing it ----

def text_table(table):
    widths = [max(len(row[column]) for row in [table.head, *table.rows]) for column in range(len(table.head))]

    def line(row):
        return "  ".join(cell.ljust(width) if column < table.words else cell.rjust(width)
                         for column, (cell, width) in enumerate(zip(row, widths))).rstrip()

    return [line(table.head), line(["-" * width for width in widths]), *map(line, table.rows)]


def markdown_table(table):
    rule = ["---" if column < table.words else "---:" for column in range(len(table.head))]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [table.head, rule, *table.rows]]


def page(old, new, markdown):
    lines = [heading(old, new), ""]
    for make_table in (differences, results_table, speed_table, kernel_table, layer_table):
        table = make_table(old, new)
        if table is None or not (table.rows or table.below):
            continue
        lines += [f"## {table.title}" if markdown else table.title, ""]
        lines += (markdown_table(table) if markdown else text_table(table)) + [""] if table.rows else []
        lines += [table.below, ""] if table.below else []
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD", type=pathlib.Path)
    parser.add_argument("new", metavar="NEW", type=pathlib.Path)
    parser.add_argument("--markdown", action="store_true", help="tables for a Markdown file")
    parser.add_argument("--fail-on-regression", metavar="X", type=float,
                        help="exit code 1 if a step that passed fails or is not there, or a speed fell by more than this part")
    options = parser.parse_args()
    try:
        old, new = load(options.old), load(options.new)
    except NoResults as error:
        print(f"gpu_compare.py: {error}", file=sys.stderr)
        sys.exit(2)
    print(page(old, new, options.markdown), end="")
    if options.fail_on_regression is not None:
        found = regressions(old, new, options.fail_on_regression)
        print("\n" + "\n".join(f"REGRESSION: {line}" for line in found) if found else "\nNo regression.")
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
