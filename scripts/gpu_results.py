"""What gpu_check.sh wrote: DIR/results.jsonl, one JSON object a line, and how to read it.

    {"kind": "run", "date", "commit", "command", "version", "device": [names] or "simulated", "driver",
     "libraries": {}, "machine": {}, "pack": id of the programs, "budget": seconds or null, "plan": [names of steps],
     "options": {what --continue needs to make the same plan}, "library_path": LD_LIBRARY_PATH of the programs}
    {"kind": "start", "name"}
    {"kind": "step", "name", "part", "result", "seconds", "exit_code", "first_failure": one line or "",
     "output": its tail, "cases": [{"name", "seconds", "result", "message"}], "data": what the step measured}
    {"kind": "end", "reason": "done" | "budget" | "interrupted" | "device lost"}

A run begins with its "run" line; a later run in the same folder (--continue, --only) appends its own. Of two "step" lines
of one name the later one counts. A file whose program was killed may end in half a line, which does not count.
"""

import json
import pathlib
import typing

FILE = "results.jsonl"
# What "result" may be. FAILED: the step says that something is wrong; "out of time": the budget ended it.
FAILED = ("failed", "timed out", "crashed", "device lost")
# What a line of each kind has at least.
MEMBERS = {"run": ("date", "commit", "version", "device", "libraries", "machine", "pack"), "start": ("name",),
           "step": ("name", "part", "result", "seconds", "first_failure", "cases", "data"), "end": ("reason",)}
RESULTS = ("passed", "skipped", "out of time", *FAILED)


class Results(typing.NamedTuple):
    runs: list  # the "run" lines, the oldest first
    steps: dict  # name: the latest "step" line, in the order of the first ones
    unfinished: dict  # name: how often the step started since it last ended; only steps that have not ended since
    reason: typing.Optional[str]  # of the last run's end; None if it was killed, or is running

    def failed(self):
        """Returns the records of steps that say that something is wrong."""
        return [record for record in self.steps.values() if record["result"] in FAILED]


def not_run(results):
    """Returns the names of steps that a run wanted and that have not ended, or that its budget ended."""
    wanted = dict.fromkeys(name for run in results.runs for name in run.get("plan", ()))
    return [name for name in wanted if results.steps.get(name, {"result": "out of time"})["result"] == "out of time"]


def lines(folder):
    """Returns all objects of the folder's results.jsonl, in order. Raises OSError without the file, ValueError if it is none."""
    path = pathlib.Path(folder, FILE)
    texts = path.read_bytes().split(b"\n")[:-1]  # behind the last line's end is nothing, or half a line
    objects = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            missing = [name for name in MEMBERS[line["kind"]] if name not in line]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a line of gpu_check.sh: {type(error).__name__} {error}") from None
        if missing:
            raise ValueError(f"{path}:{number}: not a line of gpu_check.sh: it has no {', '.join(missing)}")
        objects.append(line)
    return objects


def read(folder):
    """Returns the Results in the folder."""
    runs, steps, unfinished, reason = [], {}, {}, None
    for line in lines(folder):
        kind, name = line["kind"], line.get("name")
        if kind == "run":
            runs.append(line)
            reason = None
        elif kind == "start":
            unfinished[name] = unfinished.get(name, 0) + 1
        elif kind == "step":
            steps[name] = line
            unfinished.pop(name, None)
        elif kind == "end":
            reason = line["reason"]
    return Results(runs, steps, unfinished, reason)
