"""The page that gpu_check.sh writes for people, DIR/summary.md: what works, how fast, and what was not run."""

import collections
import os

import gpu_results

PAGE = "summary.md"
# Multiplications and additions of a training step for one image of 224x224: three passes of 4.05e9 multiply-adds each.
STEP_FLOPS = 24.3e9
PASSES = {"forward": "forward", "backward_input": "gradient by the input", "backward_weight": "gradient by the weight"}
NAMES = 12  # of one kind that are listed before "and N more"
KERNELS = 10


def write(folder, results):
    """Replaces the page in one step: a reader finds the old page or the new one."""
    part = folder / (PAGE + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text(results))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / PAGE)


def text(results):
    ceilings = data(results, "ceilings")
    sections = [(header,), (verdict,), (race_section, ceilings), (benchmark_section,), (kernel_section, ceilings),
                (layer_section, ceilings), (remainder,)]
    return "\n".join(line for make, *more in sections for line in written(make, results, *more))


def written(make, *arguments):
    """Returns a section's lines. Many programs write measurements: one that writes something unknown loses its section."""
    try:
        lines = make(*arguments)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        lines = [f"({make.__name__} could not be written: {type(error).__name__}: {error})"]
    return [*lines, ""] if lines else []


def header(results):
    run = results.runs[-1]
    where = "the simulated GPU (times mean nothing)" if run["device"] == "simulated" else ", ".join(run["device"])
    versions = {
        "driver": run["driver"],
        **run["libraries"],
        **{
            f"PyTorch's {name}": version
            for name, version in data(results, "ceilings").get("versions", {}).items()
        }
    }
    return [f"# Taper on {where}", "",
            f"{run['version']}, commit {run['commit']}, {run['date']}. Command: `{run['command']}`.  ",
            "; ".join(f"{name} {version}" for name, version in versions.items()) + ".  ",
            f"{run['machine']['cpus']} CPUs, {run['machine']['processor']}."]


def data(results, name):
    return results.steps.get(name, {}).get("data", {})


def one_line(words, most=300):
    words = " ".join(words.split())
    return words if len(words) <= most else words[:most - 3] + "..."


def listed(names):
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


# ---- what works ----

def verdict(results):
    counts = collections.defaultdict(collections.Counter)
    cases = collections.Counter()
    for record in results.steps.values():
        family = record["part"] == "tests" and record["name"].endswith("_test")
        counts["families of tests" if family else record["part"]][record["result"]] += 1
        cases.update(case["result"] for case in record["cases"])
    lines = ["## What works", ""]
    for part, count in sorted(counts.items()):
        lines.append(
            f"- {part}: " + ", ".join(f"{count[result]} {result}" for result in gpu_results.RESULTS if count[result]) +
            (f"; {cases['passed']} of {cases.total()} test cases passed" if part == "families of tests" else ""))
    training, parity = results.steps.get("training_digits"), results.steps.get("parity_32px")
    if training and training["data"]:
        top1 = training["data"]["top1"]
        lines.append(f"- training on the digits: top1 {100 * top1:.2f}%" if top1 is not None else
                     f"- training on the digits: {training['result']}")
        lines[-1] += f", {training['data']['images_per_second'] or 0:.0f} pictures/s, {training['seconds']:.0f} s"
    if parity:
        steps = parity["data"].get("steps", [])
        worst = max(steps, key=lambda step: step["difference"] / step["allowed"], default=None)
        lines.append(f"- parity with PyTorch: {parity['result']}" + (
            f"; of {len(steps)} losses step {worst['step']} is the farthest off, "
            f"{worst['difference']:.1e} of {worst['allowed']:.0e} allowed" if worst else ""))
    for record in results.steps.values():
        lines += [f"- {record['name']}: {one_line(case['message'])}" for case in record["cases"]
                  if case["result"] == "passed" and "TAPER_TEST_SECONDS" in case["message"]]  # ended by itself in time
    skipped = [record for record in results.steps.values() if record["result"] == "skipped"]
    for reason, names in grouped((last_line(record["output"]), record["name"]) for record in skipped).items():
        lines.append(f"- skipped: {listed(names)} ({one_line(reason, 120)})")
    failed = results.failed()
    if failed:
        lines += ["", f"{len(failed)} failed:", ""]
        lines += [f"- **{record['name']}** {record['result']}: {one_line(record['first_failure'])}" for record in failed]
    return lines


def last_line(output):
    return (output.strip().splitlines() or [""])[-1]


def grouped(pairs):
    groups = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


# ---- how fast ----

def race_section(results, ceilings):
    races = [record["data"] for name, record in results.steps.items() if name.startswith("race_") and record["data"]]
    programs = [{"name": "Taper, by itself", "precision": name.removeprefix("step_"), **record["data"]}
                for name, record in results.steps.items() if name.startswith("step_") and record["data"]]
    programs += [program for race in races for program in race["programs"]]
    if not programs:
        return []
    lines = ["## A training step of ResNet-50", ""]
    if races:
        together = ("all programs of one precision in turns" if all(race["together"] for race in races) else
                    "where memory did not hold them together, a program for each turn")
        lines += [
            f"{races[0]['batch']} pictures of {races[0]['size']} px; medians of blocks of {races[0]['steps']} steps, "
            f"{together}. Ratio: to PyTorch, eager, channels last, at the same precision.", ""
        ]
    lines += race_table(programs, ceilings)
    if "bytes_per_second" in ceilings:
        rates = ", ".join(f"{name} {rate / 1e12:.0f}" for name, rate in ceilings["flops"].items())
        lines += [
            "",
            f"Measured ceilings: a copy moves {ceilings['bytes_per_second'] / 1e12:.2f} TB/s, read and written; matrix "
            f"products of 8192 in TFLOP/s: {rates}."
        ]
    return lines


def ratio(numerator, denominator):
    return f"{numerator / denominator:.2f}x" if numerator and denominator else ""


def race_table(programs, ceilings):
    base = {program["precision"]: program["images_per_second"] for program in programs
            if program["name"] == "PyTorch, channels last"}
    lines = ["| program | precision | pictures/s | ratio | of the matrix product's rate | peak memory | host per op |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for program in programs:
        pictures, precision = program.get("images_per_second", 0), program["precision"]
        rate = ceilings.get("flops", {}).get(precision)
        memory, op = program.get("peak_memory_bytes"), program.get("seconds_per_op")
        lines.append("| " + " | ".join([
            program["name"], precision,
            f"{pictures:.1f}" if pictures else one_line(program.get("trouble", "nothing"), 80),
            ratio(pictures, base.get(precision)), f"{100 * pictures * STEP_FLOPS / rate:.0f}%" if rate and pictures else
            "", f"{memory / 2**30:.2f} GiB" if memory else "", f"{op * 1e6:.2f} us" if op else ""
        ]) + " |")
    return lines


def benchmark_section(results):
    """Benchmark mode: its speed, and what it measured and left out."""
    record = results.steps.get("benchmark_mode")
    if not record or not record["data"]:
        return []
    measured = record["data"]
    others = "; ".join(f"{value:g} {key.replace('_', ' ')}" for key, value in measured.get("benchmark", {}).items())
    precision = measured.get("precision", "tf32")
    heuristic = data(results, f"step_{precision}").get("images_per_second")
    return [
        "## Benchmark mode", "", f"{precision}: {measured['images_per_second']:.1f} pictures/s" +
        (f", {ratio(measured['images_per_second'], heuristic)} of the heuristic's {heuristic:.1f}" if heuristic else "")
        + f"; {record['seconds']:.0f} s with all its measuring{'; ' + others if others else ''}."
    ]


def kernel_section(results, ceilings):
    """The heaviest kernels of one step, of the lowest precision that has them."""
    found = {
        name.removeprefix("step_"): record["data"]
        for name, record in results.steps.items() if name.startswith("step_")
    }
    found.update({
        program["precision"]: program
        for name in results.steps if name.startswith("race_") for race in [data(results, name)] if race
        for program in race["programs"] if program["name"] == "Taper"
    })
    for precision in ("bf16", "fp16", "tf32", "f32"):
        if rows := found.get(precision, {}).get("kernels"):
            return [f"## The {min(KERNELS, len(rows))} heaviest kernels of one step, {precision}", "",
                    *kernel_table(rows, ceilings)]
    return []


def kernel_table(rows, ceilings):
    """Returns the table. Bytes are the least that the op has to move; at 100% of the copy's rate nothing is left to gain."""
    total = sum(row["seconds"] for row in rows)
    copy = ceilings.get("bytes_per_second")
    lines = [
        "| kernel | op | calls | MB | ms | share | of the copy's rate |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    ]
    rows = sorted(rows, key=lambda row: -row["seconds"])
    for row in rows[:KERNELS]:
        size = row.get("bytes") or 0
        lines.append("| " + " | ".join([
            row["kernel"][:60].replace("|", "/"), row["op"], str(row["calls"]), f"{size / 1e6:.1f}" if size else "",
            f"{row['seconds'] * 1e3:.3f}", f"{100 * row['seconds'] / total:.1f}%" if total else "",
            f"{100 * size / row['seconds'] / copy:.0f}%" if size and copy and row["seconds"] else ""]) + " |")
    if rest := sum(row["seconds"] for row in rows[KERNELS:]):
        lines.append(
            f"| {len(rows) - KERNELS} others | | {sum(row['calls'] for row in rows[KERNELS:])} | | {rest * 1e3:.3f} "
            f"| {100 * rest / total:.1f}% | |")
    return lines


def layer_section(results, ceilings):
    measured = {
        name: record["data"]
        for name, record in results.steps.items() if name.startswith("layers_") and record["data"]
    }
    if not measured:
        return []
    pytorch = {layer: passes for name in measured for layer, passes in data(results, f"pytorch_{name}").items()}
    first = next(iter(measured.values()))
    every = [layer for one in measured.values() for layer in one["layers"]]
    return [f"## Its convolutions, {first['batch']} pictures, {first['dtype']}", "",
            *layer_table(every, pytorch, first["dtype"], ceilings)]


def fastest(measured, own):
    """Returns the milliseconds of the fastest of Taper's own kernels, or of the vendors' libraries; None without any."""
    libraries = ("cudnn", "cublas")
    times = [candidate["ms"] for candidate in measured["candidates"]
             if "ms" in candidate and candidate["name"].lower().startswith(libraries) != own]
    return min(times, default=None)


def layer_table(layers, pytorch, dtype, ceilings):
    """One line for each convolution and pass; roofline: the least time that the measured ceilings allow."""
    rate = ceilings.get("flops", {}).get({"f16": "fp16"}.get(dtype, dtype))
    bandwidth = ceilings.get("bytes_per_second")

    def milliseconds(value):
        return f"{value:.3f}" if value else ""

    lines = [
        "| layer | times | pass | own kernel | library | chosen | PyTorch | PyTorch/Taper | roofline | roofline/Taper |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    ]
    ours = theirs = 0
    for layer in layers:
        least = max(layer["flops"] / rate, layer["bytes"] / bandwidth) * 1e3 if rate and bandwidth else None
        for name, words in PASSES.items():
            one, beside = layer["passes"][name], pytorch.get(layer["name"], {}).get(name)
            ours += layer["count"] * one["ms"]
            theirs += layer["count"] * (beside or 0)
            lines.append("| " + " | ".join([
                layer["name"],
                str(layer["count"]), words,
                milliseconds(fastest(one, own=True)),
                milliseconds(fastest(one, own=False)),
                milliseconds(one["ms"]),
                milliseconds(beside),
                ratio(beside, one["ms"]),
                milliseconds(least), f"{100 * least / one['ms']:.0f}%" if least else ""
            ]) + " |")
    complete = all(layer["name"] in pytorch for layer in layers)
    return lines + ["", f"All together, each as often as it occurs: {ours:.2f} ms"
                    + (f", PyTorch {theirs:.2f} ms." if complete else ".")]


# ---- what was not run ----

REASONS = {None: "It is still running, or was killed. ", "budget": "The budget of {budget:g} s ended it. ",
           "interrupted": "It was interrupted. ", "device lost": "The GPU is gone: no new process sees it. "}


def remainder(results):
    names = gpu_results.not_run(results)
    if not names:
        return ["## What was not run", "", "Nothing: every step has ended."]
    why = REASONS.get(results.reason, "").format(budget=results.runs[-1]["budget"] or 0)
    return ["## What was not run", "", f"{why}{len(names)} of {len({*names, *results.steps})} steps: {listed(names)}. "
                                       "`scripts/gpu_check.sh --out DIR --continue` goes on with them."]
