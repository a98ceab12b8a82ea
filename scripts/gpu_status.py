#!/usr/bin/env python3
"""Writes what has run on which GPU into docs/GPU_STATUS.md and bench/results/README.md, between the marks that both have.

  scripts/gpu_status.py            from docs/gpu_parts.json and the result folders in bench/results
  scripts/gpu_status.py --check    writes nothing, fails if the pages are not what this script makes

docs/gpu_parts.json says for each part which steps of gpu_check.sh confirm it. Of each step the newest result counts.
"""

import argparse
import json
import pathlib
import re
import sys

import gpu_compare
import gpu_results

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- scripts/gpu_status.py writes this -->", "<!-- up to here -->"
FOLDER = re.compile(r"\d{4}-\d\d-\d\d-[\w.-]+")  # DATE-DEVICE


class Wrong(Exception):
    """The pages cannot be made, or are not what they should be; says why in one line."""


def read_folders(root):
    """[(folder, Results)] of bench/results, the oldest run first."""
    found = []
    for folder in sorted(path for path in (root / "bench/results").iterdir() if path.is_dir()):
        name = folder.relative_to(root)
        if not FOLDER.fullmatch(folder.name):
            raise Wrong(f"{name}: a result's folder is named DATE-DEVICE, as 2026-11-28-h200")
        try:
            results = gpu_compare.load(folder)
        except gpu_compare.NoResults as error:
            raise Wrong(str(error)) from None
        if results.runs[-1]["device"] == "simulated":
            raise Wrong(f"{name} ran on the simulated GPU, whose results do not belong there")
        found.append((folder, results))
    return sorted(found, key=lambda pair: pair[1].runs[-1]["date"])


def commit(run):
    return run["commit"].replace("-dirty", "")[:8] + ("-dirty" if run["commit"].endswith("-dirty") else "")


def origin(run):
    return f"{gpu_compare.device(run)}, {run['date'][:10]}, {commit(run)}"


def cell(text, most=160):
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= most else text[:most - 3] + "..."


# ---- docs/GPU_STATUS.md ----

def on_hardware(part, folders):
    """Returns what hardware showed about a part: "not yet", what passed, or the first failure."""
    newest = {}  # step: (its record, its run)
    for _, results in folders:
        newest.update({name: (results.steps[name], results.runs[-1]) for name in part["steps"] if name in results.steps})
    failed = [pair for pair in newest.values() if pair[0]["result"] in gpu_results.FAILED]
    passed = [pair for pair in newest.values() if pair[0]["result"] == "passed"]
    if failed:
        record, run = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        return f"failed on {origin(run)}: `{record['name']}` {record['result']}: {cell(record['first_failure'])}{more}"
    if not passed:
        return "not yet" + (f": {part['until_then']}" if "until_then" in part else "")
    runs = sorted((run for _, run in passed), key=lambda run: run["date"], reverse=True)
    text = "passed on " + "; ".join(dict.fromkeys(map(origin, runs)))
    missing = [name for name in part["steps"] if name not in {record["name"] for record, _ in passed}]
    return text + (f"; not yet: {', '.join(f'`{name}`' for name in missing)}" if missing else "")


def status(parts, folders):
    lines = ["| part | simulated GPU | compiled by nvcc 13.0 | on hardware |", "| --- | --- | --- | --- |"]
    lines += [f"| {part['part']} | {part['simulated']} | {part['compiled']} | {on_hardware(part, folders)} |" for part in parts]
    return [*lines, "", *speeds(folders)]


def speeds(folders):
    """Returns the training steps: for each program and precision, the newest run that timed it."""
    newest = {}  # (program, precision): (speed, its folder, its results)
    for folder, results in folders:
        newest.update({which: (speed, folder, results) for which, speed in gpu_compare.speeds(results).items()})
    if not newest:
        return ["No speed on a GPU has been measured."]
    lines = ["Training steps of ResNet-50, and their speed to PyTorch's in the same run:", "",
             "| program | precision | pictures/s | to PyTorch | run |", "| --- | --- | ---: | ---: | --- |"]
    return lines + [f"| {name} | {precision} | {speed.pictures:.1f} | {gpu_compare.times(speed.to_pytorch)} | "
                    f"[{origin(results.runs[-1])}](../bench/results/{folder.name}/summary.md) |"
                    for (name, precision), (speed, folder, results) in newest.items()]


# ---- bench/results/README.md ----

def index(folders):
    if not folders:
        return ["Nothing has run on a GPU yet: there is no result here."]
    lines = ["| result | device | date | commit | passed | failed | Taper's step to PyTorch's | ended |",
             "| --- | --- | --- | --- | ---: | ---: | --- | --- |"]
    for folder, results in reversed(folders):
        run = results.runs[-1]
        passed = sum(record["result"] == "passed" for record in results.steps.values())
        ratios = ", ".join(f"{precision} {gpu_compare.times(speed.to_pytorch)}" for (name, precision), speed
                           in gpu_compare.speeds(results).items() if name == "Taper" and speed.to_pytorch)
        lines.append("| " + " | ".join([
            f"[{folder.name}]({folder.name}/summary.md)", gpu_compare.device(run), run["date"][:10], commit(run), str(passed),
            str(len(results.failed())), ratios, results.reason or "killed"]) + " |")
    return lines


def replaced(path, lines):
    """Returns the page with the lines put between its marks."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Wrong(f"{path}: has no line {BEGIN if not begin else END}")
    return "\n".join([before + BEGIN, "", *lines, "", END + after])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the checkout")
    options = parser.parse_args()
    try:
        parts = json.loads((options.root / "docs/gpu_parts.json").read_text(encoding="utf-8"))
        folders = read_folders(options.root)
        pages = {"docs/GPU_STATUS.md": status(parts, folders), "bench/results/README.md": index(folders)}
        for name, lines in pages.items():
            path = options.root / name
            text = replaced(path, lines)
            if options.check and text != path.read_text(encoding="utf-8"):
                raise Wrong(f"{name} is not what the results say; scripts/gpu_status.py writes it")
            if not options.check:
                path.write_text(text, encoding="utf-8")
    except (Wrong, OSError, ValueError) as error:
        print(f"gpu_status.py: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
