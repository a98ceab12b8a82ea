"""Taper beside PyTorch on the same GPU in the same run: training steps of ResNet-50 at one precision.

  gpu_race.py PRECISION --json FILE --seconds S [--taper PROGRAM] [--pytorch-device DEVICE] [--batch N] [--rounds N] ...

A step of gpu_check.sh. The programs take turns, a block of steps each, so that whatever happens to the clock or the
temperature happens to all of them. If the device's memory holds all programs together, all stay alive; else each turn
starts its program anew. FILE exists after the first round and grows with each, so that a kill leaves something worth
reading. After the first round, none begins that would leave too little of S seconds for the summaries.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
GIB_PER_IMAGE = 0.12  # of 224 pixels: what a program holds in a step, its activations above all
OVERHEAD_GIB = 3  # of one program: weights, workspaces, the context
BLOCK_SECONDS = 120
BLOCKS_A_TURN, TURNS = 3, 3  # where each turn starts its program anew
FINISH_SECONDS = 10  # kept for the summaries


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


def start(racer, seconds):
    racer.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # pylint: disable=consider-using-with
    # Where this program has PyTorch's libraries, TAPER_LIBRARY_PATH says where Taper's are.
    env = dict(os.environ)
    if racer.name.startswith("Taper"):
        env["LD_LIBRARY_PATH"] = env.get("TAPER_LIBRARY_PATH", env.get("LD_LIBRARY_PATH", ""))
    racer.process = subprocess.Popen(  # pylint: disable=consider-using-with
        [str(word) for word in racer.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=racer.errors,
        text=True, bufsize=1, env=env)
    hear(racer, seconds)


def hear(racer, seconds):
    """Returns the next line of JSON that the program prints; or None, with racer.trouble set and the program ended."""
    with selectors.DefaultSelector() as selector:
        selector.register(racer.process.stdout, selectors.EVENT_READ)
        line = racer.process.stdout.readline() if selector.select(max(seconds, 0)) else None
    if line:
        return json.loads(line)
    if line is None:
        racer.trouble = f"nothing heard for {seconds:.1f} s"
    racer.process.kill()
    code = racer.process.wait()
    racer.errors.seek(0)
    last = (racer.errors.read().strip().splitlines() or [f"exit code {code}"])[-1]
    racer.trouble = racer.trouble or (last if code == 77 else f"failed: {last}")
    return None


def run_block(racer, seconds=BLOCK_SECONDS):
    with contextlib.suppress(OSError):  # it has ended; hear() says why
        print("block", file=racer.process.stdin, flush=True)
    if block := hear(racer, seconds):
        racer.blocks.append(block)


def finish(racer, seconds=BLOCK_SECONDS):
    """Ends the program, with its summary if it is well."""
    if not racer.trouble:
        racer.process.stdin.close()
        racer.summary = hear(racer, seconds) or racer.summary
        try:
            racer.process.wait(seconds)
        except subprocess.TimeoutExpired:
            racer.process.kill()
            racer.process.wait()
    for stream in (racer.process.stdin, racer.process.stdout, racer.errors):
        with contextlib.suppress(BrokenPipeError):
            stream.close()


class Clock:
    """Tells whether another round, as long as the longest so far, would still end in time."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.longest = 0

    def left(self):
        return self.end - time.monotonic()

    def another(self, spare=FINISH_SECONDS):
        return self.left() > self.longest + spare

    @contextlib.contextmanager
    def round(self):
        begin = time.monotonic()
        yield
        self.longest = max(self.longest, time.monotonic() - begin)


def race_together(racers, rounds, clock, keep):
    """Starts all, has them run a block in turns, `rounds` times, and ends them. Those in trouble drop out."""
    for racer in racers:
        start(racer, clock.left())
    for number in range(rounds):
        if number == 0 or clock.another():
            with clock.round():
                for racer in racers:
                    if not racer.trouble:
                        run_block(racer, min(BLOCK_SECONDS, clock.left()))
            keep()
    for racer in racers:
        finish(racer)
    keep()


def race_one_at_a_time(racers, rounds, clock, keep):
    """As race_together, but in each of a few rounds every program starts, runs blocks and ends before the next starts."""
    for number in range(min(rounds, TURNS)):
        if number == 0 or clock.another():
            with clock.round():
                for racer in racers:
                    if not racer.trouble:
                        start(racer, clock.left())
                        for _ in range(BLOCKS_A_TURN):
                            if not racer.trouble:
                                run_block(racer, min(BLOCK_SECONDS, clock.left()))
                        finish(racer)
                    keep()


def free_gib():
    """Returns the free memory of the first GPU; None if nvidia-smi does not say."""
    try:
        result = subprocess.run(["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20, check=True)
        return int(result.stdout.split()[0]) / 1024
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def needed_gib(racers, batch):
    return len(racers) * (GIB_PER_IMAGE * batch + OVERHEAD_GIB)


def racers_of(options):
    """PyTorch in channels last, eager, is what the others are compared with."""
    common = ["--batch", options.batch, "--size", options.size, "--steps", options.steps, "--serve"]
    pytorch = [sys.executable, ROOT / "bench/pytorch_resnet50.py", "--device", options.pytorch_device, *common,
               "--precision", options.precision, "--layout", "channels_last"]
    small = ["--arch", "resnet18", "--warmup", 1] if options.small else []
    racers = [Racer("PyTorch, channels last", options.precision, pytorch)]
    if options.taper:
        # Of Taper the heuristic's choices: its measuring takes minutes, which the step benchmark_mode spends.
        taper = [options.taper, "--device", "cuda", *common, "--precision", options.precision, "--no-benchmark", *small]
        racers.insert(0, Racer("Taper", options.precision, [*taper, "--kernels"]))
    if options.precision == "bf16":
        if options.taper:
            racers.append(Racer("Taper, graph", "bf16", [*taper, "--cuda-graph"]))
        racers.append(Racer("PyTorch, channels last, graph", "bf16", [*pytorch, "--mode", "graph"]))
    if options.compile:
        racers.append(Racer("PyTorch, channels last, compile", options.precision, [*pytorch, "--mode", "compile"]))
    return racers


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("precision", choices=["f32", "tf32", "bf16", "fp16"])
    parser.add_argument("--json", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--taper", help="the program resnet50_step; PyTorch alone without it")
    parser.add_argument("--pytorch-device", default="cuda")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="ResNet-18 for Taper: for the simulated GPU")
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    return parser.parse_args()


def main():
    options = read_options()
    clock = Clock(options.seconds)
    racers = racers_of(options)
    free, needed = free_gib(), needed_gib(racers, options.batch)
    together = options.small or (free is not None and needed <= free)

    def keep():
        part = options.json.with_suffix(".part")
        part.write_text(json.dumps({
            "precision": options.precision, "batch": options.batch, "size": options.size, "steps": options.steps,
            "together": together, "free_gib": free, "needed_gib": needed,
            "programs": [racer.record() for racer in racers]}), encoding="utf-8")
        os.replace(part, options.json)

    keep()
    (race_together if together else race_one_at_a_time)(racers, options.rounds, clock, keep)
    for racer in racers:
        print(f"{racer.name}, {racer.precision}: {racer.speed():.1f} pictures/s {racer.trouble}")


if __name__ == "__main__":
    main()
