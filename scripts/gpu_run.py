"""Runs the steps of gpu_check.sh within their limits and writes down how each ends; see gpu_results.py for the file."""

import collections
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import typing

import gpu_results
from gpu_machine import CannotCheck

ALGORITHMS = "algorithms.json"  # TAPER_ALGORITHM_CACHE of all steps
TAIL = 4000  # characters kept of what a program printed
POLL_SECONDS = 0.02
CLEANING_SECONDS = 0.5
DEATH_SECONDS = 5  # for a killed program to be gone; one that hangs in the driver may never be
# What taper_tests says when it ends with code 3, and DeviceLostError, with which other programs end with code 1.
LOST = {3: re.compile(r"^(\w+: )?the GPU was lost.*", re.MULTILINE),
        1: re.compile(r"^\w+: .*is lost to this process.*", re.MULTILINE)}
SUSPECT = ("device lost", "crashed", "timed out", "failed")  # after which it is asked whether the GPU is still there


@dataclasses.dataclass
class Step:
    """One program to run. In `command` and `env`, {seconds} becomes the seconds that the step gets, {most} 70% of them:
    when a program that knows its limit should be done by itself."""
    name: str
    part: str
    command: list
    limit: float  # seconds
    estimate: float  # the least seconds that it needs
    alone: bool = False  # measures speed: nothing may run beside it
    after: tuple = ()  # names of steps that have to be over before
    env: dict = dataclasses.field(default_factory=dict)
    skip_code: typing.Optional[int] = None
    provides: bool = False  # writes files for others into the scratch folder: again if one of those runs again
    file: typing.Optional[pathlib.Path] = None  # that it writes, for `measure`
    prepare: typing.Callable = None  # (results) before it starts; returns why the step cannot be, or ""
    measure: typing.Callable = None  # (output, file) -> {"data", "cases", "first_failure"}, any of them


class Log:
    """DIR/results.jsonl. Adds each line by one write and flushes it to the disk."""

    def __init__(self, folder, anew):
        self.file = os.open(folder / gpu_results.FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.lock(folder)
        text = b"" if anew else os.pread(self.file, os.fstat(self.file).st_size, 0)
        os.ftruncate(self.file, text.rfind(b"\n") + 1)  # half a line from a run that was killed

    def lock(self, folder):
        """Throws CannotCheck if another run writes there. A killed run disappears within a moment."""
        for patience in (True, False):
            try:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if not patience:
                    raise CannotCheck(f"another gpu_check.sh writes to {folder}") from None
                time.sleep(1)

    def add(self, **line):
        """Throws OSError where the disk is full, and leaves no half line."""
        text = json.dumps(line).encode() + b"\n"
        size = os.fstat(self.file).st_size
        if os.write(self.file, text) != len(text):
            os.ftruncate(self.file, size)
            raise OSError(f"{gpu_results.FILE} cannot grow: the disk is full")
        os.fsync(self.file)


class Keeper:
    """A process that outlives this one, however that ends, to kill the groups of programs still running and to remove
    the scratch folder. (A program that dies with its parent would leave its own children behind.)"""

    def __init__(self):
        self.scratch = pathlib.Path(tempfile.gettempdir(), f"gpu_check.{secrets.token_hex(8)}")
        listen, self.tell = os.pipe()  # closed in every program that starts, so that this process is the only writer
        self.process = os.fork()
        if self.process == 0:
            try:
                os.setsid()
                os.close(self.tell)
                for number in (0, 1, 2):  # whoever waits for the end of this program's output waits for no keeper
                    os.dup2(os.open(os.devnull, os.O_RDWR), number)
                self.keep(listen)
            finally:
                os._exit(0)
        os.close(listen)
        self.scratch.mkdir(mode=0o700)

    def keep(self, listen):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        groups = set()
        with os.fdopen(listen) as lines:
            for line in lines:  # until the writer is gone
                number = int(line)
                if number > 0:
                    groups.add(number)
                else:
                    groups.discard(-number)
        for group in groups:
            kill_group(group)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def begin(self):
        """Runs in the child before it becomes another program. Gives it its own group, and tells the keeper first."""
        os.setpgid(0, 0)
        os.write(self.tell, b"%d\n" % os.getpid())

    def end(self, group):
        os.write(self.tell, b"-%d\n" % group)

    def close(self):
        """Lets the keeper finish, and waits only a moment: no budget covers the removal of gigabytes."""
        os.close(self.tell)
        patience = time.monotonic() + CLEANING_SECONDS
        while os.waitpid(self.process, os.WNOHANG)[0] == 0 and time.monotonic() < patience:
            time.sleep(POLL_SECONDS)


def kill_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


@dataclasses.dataclass
class Running:
    step: Step
    process: subprocess.Popen
    output: pathlib.Path
    start: float
    limit: float
    by_budget: bool  # the limit is what the budget leaves
    slot: int
    killed: str = ""  # the result that its end will have
    killed_at: float = 0


class Runner:
    """Runs steps: the first of the list first, `jobs` side by side where they may be, each in a group of its own."""

    def __init__(self, machine, keeper, log, results, folder, jobs, deadline):
        self.machine, self.keeper, self.log, self.results, self.folder = machine, keeper, log, results, folder
        self.jobs, self.deadline = jobs, deadline
        if (kept := folder / ALGORITHMS).exists():
            shutil.copyfile(kept, keeper.scratch / ALGORITHMS)
        self.on_end = lambda record: None
        self.on_wait = lambda: None
        self.running = []
        self.outcomes = {}  # name: result, of the steps that are over; "out of time" also where none was begun
        self.interrupted = False
        cpus = sorted(os.sched_getaffinity(0))
        # Each of the programs side by side has its share: their pools of threads would wait for each other.
        self.shares = [cpus[i * len(cpus) // jobs:(i + 1) * len(cpus) // jobs] or cpus for i in range(jobs)]

    def left(self):
        """Returns the seconds left of the budget."""
        return self.deadline - time.monotonic()

    def run(self, steps):
        """Returns why it ended: "done", "budget", "interrupted" or "device lost"."""
        pending = list(steps)
        names = {step.name for step in pending}
        reason = "done"
        while (pending or self.running) and reason == "done":
            ended = self.reap()
            if any(record["result"] in SUSPECT for record in ended) and not self.machine.gpu_answers():
                reason = "device lost"
            elif self.interrupted:
                reason = "interrupted"
            else:
                self.start_some(pending, names)
                self.stop_late()
            if not ended:
                self.on_wait()
                time.sleep(POLL_SECONDS)
        self.stop_all()
        return "budget" if reason == "done" and "out of time" in self.outcomes.values() else reason

    def interrupt(self, *_):
        """For signal.signal."""
        self.interrupted = True

    def start_some(self, pending, names):
        for step in list(pending):
            if len(self.running) == self.jobs or any(run.step.alone for run in self.running):
                return
            if self.left() < step.estimate:
                pending.remove(step)
                self.outcomes[step.name] = "out of time"  # nobody should wait for it
            elif any(name in names and name not in self.outcomes for name in step.after):
                if step.alone:
                    return
            elif step.alone and self.running:
                return
            else:
                pending.remove(step)
                self.start(step)

    def start(self, step):
        limit = min(step.limit, max(self.left() - 1, 0.1))
        numbers = {"seconds": f"{limit:.1f}", "most": f"{0.7 * limit:.1f}"}

        def fill(word):
            return re.sub(r"\{(seconds|most)\}", lambda match: numbers[match[1]], str(word))

        words = [fill(word) for word in step.command]
        slot = min(set(range(self.jobs)) - {run.slot for run in self.running})
        output = self.keeper.scratch / f"{step.name}.out"
        env = {**self.machine.env_of(words[0] if words else ""), "TAPER_ALGORITHM_CACHE": f"{self.keeper.scratch}/{ALGORITHMS}",
               **{key: fill(value) for key, value in step.env.items()}}
        self.log.add(kind="start", name=step.name)
        if step.prepare and (why_not := step.prepare(self.results)):
            self.finish(step, "skipped", None, 0, why_not, "")
            return
        if not shutil.which(words[0]):
            self.finish(step, "failed", 127, 0, "", f"there is no program {words[0]}")
            return

        def begin():
            self.keeper.begin()
            if not step.alone:
                os.sched_setaffinity(0, self.shares[slot])

        with output.open("wb") as file:
            start = time.monotonic()
            process = subprocess.Popen(  # pylint: disable=subprocess-popen-preexec-fn,consider-using-with
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env, preexec_fn=begin)
        self.running.append(Running(step, process, output, start, limit, limit < step.limit, slot))

    def reap(self):
        """Writes down the programs that have ended; returns their records."""
        ended = []
        for run in list(self.running):
            group = run.process.pid
            # The number stays taken until poll(), so that nobody else's group is killed.
            gone = os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if gone or (run.killed and time.monotonic() > run.killed_at + DEATH_SECONDS):
                kill_group(group)  # what it may have left behind
                if gone:
                    self.keeper.end(group)
                code = run.process.poll()
                self.running.remove(run)
                output = run.output.read_text(errors="replace")
                result, failure = self.judge(run, code, output)
                ended.append(self.finish(run.step, result, code, time.monotonic() - run.start, output, failure))
        return ended

    @staticmethod
    def judge(run, code, output):
        """Returns (result, its first line), from how the program ended."""
        if run.killed:
            stubborn = "" if code is not None else " and did not die when killed"
            return run.killed, f"stopped after {run.limit:.0f} s{stubborn}"
        if code == 0:
            return "passed", ""
        if code == run.step.skip_code:
            return "skipped", ""
        last = output.strip().splitlines()[-1:]
        if code in LOST and (lost := LOST[code].search(output)):
            return "device lost", lost[0]
        if code < 0:
            return "crashed", ": ".join([signal.Signals(-code).name, *last])
        return "failed", ": ".join([f"exit code {code}", *last])

    def finish(self, step, result, code, seconds, output, failure):
        measured = {}
        if step.measure:
            try:
                measured = step.measure(output, step.file)
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # half of it, or another's
                if result == "passed":
                    result, failure = "failed", f"what it measured cannot be read: {type(error).__name__}: {error}"
        told = measured.get("first_failure", "")
        if told and result == "passed":
            result = "failed"
        if told and result not in ("device lost", "skipped"):
            failure = told if result == "failed" else f"{failure}; {told}"
        record = {"kind": "step", "name": step.name, "part": step.part, "result": result, "seconds": round(seconds, 2),
                  "exit_code": code, "first_failure": failure, "output": output[-TAIL:],
                  "cases": measured.get("cases", []), "data": measured.get("data", {})}
        self.log.add(**record)
        self.results.steps[step.name] = record
        self.outcomes[step.name] = result
        self.keep_algorithms()
        self.on_end(record)
        return record

    def keep_algorithms(self):
        """Moves what was measured, and which algorithms were at fault, to where --only and --continue find it."""
        if (made := self.keeper.scratch / ALGORITHMS).exists():
            part = self.folder / (ALGORITHMS + ".part")
            shutil.copyfile(made, part)
            os.replace(part, self.folder / ALGORITHMS)

    def stop_late(self):
        now = time.monotonic()
        for run in self.running:
            if not run.killed and now > run.start + run.limit:
                self.stop(run, "out of time" if run.by_budget else "timed out")

    @staticmethod
    def stop(run, result):
        run.killed, run.killed_at = result, time.monotonic()
        kill_group(run.process.pid)

    def stop_all(self):
        """Ends whatever runs."""
        for run in self.running:
            if not run.killed:
                self.stop(run, "out of time")
        while self.running:
            self.reap()
            time.sleep(POLL_SECONDS)


def pending_of(plan, wanted, results):
    """Returns the wanted steps of the plan, by name, and the steps that provide files for them."""
    by_name = {step.name: step for step in plan}
    queue = collections.deque(wanted)
    names = set()
    while queue:
        name = queue.popleft()
        if name not in names:
            names.add(name)
            queue += [other for other in by_name[name].after
                      if other in by_name and (by_name[other].provides or other not in results.steps)]
    return [step for step in plan if step.name in names]
