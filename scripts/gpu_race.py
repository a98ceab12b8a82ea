"""Taper beside PyTorch on the same GPU in the same run: training steps of ResNet-50, and its convolutions one by one.

gpu_check.sh runs it as the part `race`. All programs of one precision stay alive and take turns, a block of steps
each, so that whatever happens to the clock or the temperature happens to all of them. Writes race.md beside the JSON.
"""

import contextlib
import dataclasses
import json
import pathlib
import selectors
import statistics
import subprocess
import tempfile
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Multiplications and additions of a training step for one picture of 224x224: three passes of 4.05e9 multiply-adds each.
STEP_FLOPS = 24.3e9
PASSES = {"forward": "forward", "backward_input": "gradient by the input", "backward_weight": "gradient by the weight"}
READY_SECONDS = 420  # torch.compile with max-autotune takes minutes
BLOCK_SECONDS = 120


@dataclasses.dataclass
class Racer:
    """One program and what it said; `errors`: the file it complains into."""
    name: str
    precision: str
    command: list
    process: subprocess.Popen = None
    errors: typing.TextIO = None
    blocks: list = dataclasses.field(default_factory=list)
    summary: dict = dataclasses.field(default_factory=dict)
    trouble: str = ""

    def speed(self):
        return statistics.median(block["images_per_second"] for block in self.blocks) if self.blocks else 0

    def record(self):
        return {"name": self.name, "precision": self.precision, "command": " ".join(map(str, self.command)),
                "images_per_second": self.speed(), "blocks": self.blocks, **self.summary,
                **({"trouble": self.trouble} if self.trouble else {})}


def start(racer, env, errors):
    racer.process = subprocess.Popen([str(word) for word in racer.command], env=env, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1)
    racer.errors = errors
    hear(racer, READY_SECONDS)


def hear(racer, seconds):
    """The next line of JSON that the program prints, or None, with racer.trouble set and the program ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(racer.process.stdout, selectors.EVENT_READ)
        line = racer.process.stdout.readline() if selector.select(seconds) else None
    if line:
        return json.loads(line)
    if line is None:
        racer.trouble = f"nothing heard for {seconds} s"
    racer.process.kill()
    code = racer.process.wait()
    racer.errors.seek(0)
    last = (racer.errors.read().strip().splitlines() or [f"exit code {code}"])[-1]
    racer.trouble = racer.trouble or (last if code == 77 else f"failed: {last}")
    return None


def run_block(racer):
    with contextlib.suppress(OSError):  # it has ended; hear() says why
        print("block", file=racer.process.stdin, flush=True)
    if block := hear(racer, BLOCK_SECONDS):
        racer.blocks.append(block)


def finish(racer):
    racer.process.stdin.close()
    racer.summary = hear(racer, BLOCK_SECONDS) or {}
    try:
        racer.process.wait(BLOCK_SECONDS)
    except subprocess.TimeoutExpired:
        racer.process.kill()
        racer.process.wait()


def race(racers, rounds, env, say=print):
    """Starts all, has them run a block in turns, `rounds` times, and ends them. Those in trouble drop out."""
    with tempfile.TemporaryDirectory() as folder:
        for racer in racers:
            begin = time.perf_counter()
            start(racer, env, open(pathlib.Path(folder, str(id(racer))), "w+", encoding="utf-8"))
            say(f"        {racer.name}, {racer.precision}: "
                f"{racer.trouble or f'ready after {time.perf_counter() - begin:.0f} s'}", flush=True)
        for _ in range(rounds):
            for racer in racers:
                if not racer.trouble:
                    run_block(racer)
        for racer in racers:
            if not racer.trouble:
                finish(racer)
            for stream in (racer.process.stdin, racer.process.stdout, racer.errors):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
            if racer.blocks:
                say(f"        {racer.name}, {racer.precision}: {racer.speed():.1f} pictures/s {racer.trouble}", flush=True)


def racers_of(check, torch_python, size, batch, steps):
    """The groups that race each other, by precision."""
    simulated = check.options.device == "sim"
    common = ["--batch", batch, "--size", size, "--steps", steps, "--serve"]
    taper = [check.build / "bench/resnet50_step", "--device", "cuda", *common]
    pytorch = [torch_python, ROOT / "bench/pytorch_resnet50.py", "--device", "cpu" if simulated else "cuda", *common]

    def eager(precision, layout, *more):
        return Racer(f"PyTorch, {layout.replace('_', ' ')}{''.join(', ' + word for word in more[1::2])}", precision,
                     [*pytorch, "--precision", precision, "--layout", layout, *more])

    if simulated:  # to try this script
        small = ["--arch", "resnet18", "--no-benchmark", "--warmup", 1]
        return [[Racer("Taper", "f32", [*taper, *small, "--kernels"]), eager("f32", "channels_last")]]
    f32 = [Racer("Taper", "f32", [*taper, "--precision", "f32", "--kernels"]),
           Racer("Taper, own kernels alone", "f32", [*taper, "--precision", "f32", "--no-libraries", "--kernels"]),
           eager("f32", "nchw"), eager("f32", "channels_last")]
    tf32 = [Racer("Taper", "tf32", [*taper, "--precision", "tf32"]), eager("tf32", "nchw"), eager("tf32", "channels_last")]
    bf16 = [eager("bf16", "nchw"), Racer("PyTorch, channels last", "bf16", [
        *pytorch, "--precision", "bf16", "--layout", "channels_last", "--kernels"]),
            eager("bf16", "channels_last", "--mode", "compile"), eager("bf16", "channels_last", "--mode", "graph")]
    return [f32, tf32, bf16]


def layers(check, torch_python, folder, size, batch):
    """What resnet50_layers measured, with PyTorch's time in each pass."""
    path, beside = folder / "layers.json", folder / "pytorch_layers.json"
    quick = ["--filter", "layer1 3x3", "--repeats", 1] if check.options.quick else []
    record = check.step("resnet50_layers", check.build / "bench/resnet50_layers", "--device", "cuda", "--batch", batch,
                        "--size", size, "--dtype", "f32" if check.options.device == "sim" else "bf16", "--json", path, *quick)
    if not path.exists():
        return record
    record.update(json.loads(path.read_text(encoding="utf-8")))
    device = "cpu" if check.options.device == "sim" else "cuda"
    check.step("pytorch_layers", torch_python, ROOT / "bench/pytorch_layers.py", path, "--out", beside, "--device", device,
               skip_code=77)
    if beside.exists():
        pytorch = json.loads(beside.read_text(encoding="utf-8"))
        for layer in record["layers"]:
            for name, measured in layer["passes"].items():
                measured["pytorch_ms"] = pytorch[layer["name"]][name]
    return record


# ---- the page ----

def ratio(numerator, denominator):
    return f"{numerator / denominator:.2f}x" if numerator and denominator else ""


def race_table(records, ceilings):
    """Ratios are to eager PyTorch in channels_last at the same precision."""
    base = {record["precision"]: record["images_per_second"] for record in records
            if record["name"] == "PyTorch, channels last"}
    lines = ["| program | precision | pictures/s | ratio | of the matrix product's rate | peak memory | host per op |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for record in records:
        speed, precision = record["images_per_second"], record["precision"]
        rate = ceilings.get("flops", {}).get(precision)
        memory, op = record.get("peak_memory_bytes"), record.get("seconds_per_op")
        lines.append("| " + " | ".join([
            record["name"], precision, f"{speed:.1f}" if speed else record.get("trouble", ""),
            ratio(speed, base.get(precision)), f"{100 * speed * STEP_FLOPS / rate:.0f}%" if rate and speed else "",
            f"{memory / 2**30:.2f} GiB" if memory else "", f"{op * 1e6:.2f} us" if op else ""]) + " |")
    return lines


def fastest(measured, own):
    """Milliseconds of the fastest of Taper's own kernels, or of the vendors' libraries; None where there is none."""
    libraries = ("cudnn", "cublas")
    times = [candidate["ms"] for candidate in measured["candidates"]
             if "ms" in candidate and candidate["name"].lower().startswith(libraries) != own]
    return min(times, default=None)


def layer_table(measured, ceilings):
    """One line for each convolution and pass; roofline: the least time that the measured ceilings allow."""
    rate, bandwidth = ceilings.get("flops", {}).get(measured["dtype"]), ceilings.get("bytes_per_second")

    def milliseconds(value):
        return f"{value:.3f}" if value else ""

    lines = ["| layer | times | pass | own kernel | library | chosen | PyTorch | PyTorch/Taper | roofline | roofline/Taper |",
             "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for layer in measured["layers"]:
        least = max(layer["flops"] / rate, layer["bytes"] / bandwidth) * 1e3 if rate and bandwidth else None
        for name, words in PASSES.items():
            one = layer["passes"][name]
            lines.append("| " + " | ".join([
                layer["name"], str(layer["count"]), words, milliseconds(fastest(one, own=True)),
                milliseconds(fastest(one, own=False)), milliseconds(one["ms"]), milliseconds(one.get("pytorch_ms")),
                ratio(one.get("pytorch_ms"), one["ms"]), milliseconds(least),
                f"{100 * least / one['ms']:.0f}%" if least else ""]) + " |")
    total = sum(layer["count"] * one["ms"] for layer in measured["layers"] for one in layer["passes"].values())
    pytorch = sum(layer["count"] * one.get("pytorch_ms", 0) for layer in measured["layers"]
                  for one in layer["passes"].values())
    return lines + ["", f"All together, each as often as it occurs: {total:.2f} ms"
                    + (f", PyTorch {pytorch:.2f} ms." if pytorch else ".")]


def kernel_table(record, most=25):
    rows = record["kernels"]
    total = sum(row["seconds"] for row in rows)
    lines = ["| kernel | op | calls | ms | share |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows[:most]:
        lines.append(f"| {row['kernel'][:60].replace('|', '/')} | {row['op']} | {row['calls']} | {row['seconds'] * 1e3:.3f} "
                     f"| {100 * row['seconds'] / total:.1f}% |")
    rest = sum(row["seconds"] for row in rows[most:])
    if rest:
        lines.append(f"| {len(rows) - most} others | | | {rest * 1e3:.3f} | {100 * rest / total:.1f}% |")
    return lines


def page(report, result):
    where = "the simulated GPU (times mean nothing)" if report["device"] == "simulated" else ", ".join(report["device"])
    versions = {**report["libraries"], **{f"PyTorch's {k}": v for k, v in result["ceilings"].get("versions", {}).items()}}
    lines = [f"# ResNet-50: Taper and PyTorch on {where}", "",
             f"{report['version']}, commit {report['commit']}, {report['date']}. Command: `{report['command']}`.",
             "; ".join(f"{name} {version}" for name, version in {"driver": report["driver"], **versions}.items()) + ".", "",
             f"## A training step, {result['batch']} pictures of {result['size']} px", "",
             f"Medians of {result['rounds']} blocks of {result['steps']} steps, all programs of one precision in turns.", "",
             *race_table(result["programs"], result["ceilings"])]
    if "layers" in result["layers"]:
        lines += ["", f"## Its convolutions, {result['layers']['batch']} pictures, {result['layers']['dtype']}", "",
                  *layer_table(result["layers"], result["ceilings"])]
    for record in result["programs"]:
        if record.get("kernels"):
            lines += ["", f"## Kernels of one step: {record['name']}, {record['precision']}", "", *kernel_table(record)]
    return "\n".join(lines) + "\n"


def run(check, report, torch_python):
    """The part `race` of gpu_check.py: measures, writes race.md, returns what goes into the report."""
    simulated, quick = check.options.device == "sim", check.options.quick
    size, batch, steps, rounds = (32, 2, 1, 2) if simulated else (224, 256, 10, 3 if quick else 7)
    ceilings = {}
    if not simulated:
        code, output, _ = check.run(torch_python, ROOT / "bench/pytorch_resnet50.py", "--ceilings")
        ceilings = json.loads(output.splitlines()[-1]) if code == 0 else {}
    records = []
    for group in racers_of(check, torch_python, size, batch, steps):
        race(group, rounds, check.env)
        records += [racer.record() for racer in group]
    check.failed += sum(record.get("trouble", "").startswith("failed") and record["name"] == "Taper" for record in records)
    with tempfile.TemporaryDirectory() as folder:
        result = {"size": size, "batch": batch, "steps": steps, "rounds": rounds, "ceilings": ceilings,
                  "programs": records, "layers": layers(check, torch_python, pathlib.Path(folder), size, batch)}
    path = check.options.out / "race.md"
    path.write_text(page(report, result), encoding="utf-8")
    print(f"tables in {path}")
    return result
