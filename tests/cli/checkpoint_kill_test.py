"""Kills runs while they save checkpoints, on disks that are full and in folders that turn read-only, and checks what is left.

  checkpoint_kill_test.py RESNET50_TRAIN [--kills 30] [--seed 0]

After every kill: each checkpoint is whole (by its own checksums), there is at least one from the first save on, and the
run goes on from the newest. After the next start no temporary file is left. A save that fails is said at once and at
the end. A full file system needs a mount; without the right to it that part is left out, with a line.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib

MEGABYTE = 1 << 20
TRAIN = ["--arch", "resnet18", "--batch-size", "2", "--image-size", "8", "--dataset", "synthetic", "--num-classes", "2",
         "--optimizer", "sgd", "--momentum", "0", "--progress", "off", "--device", "cpu", "--save-every", "1", "--keep", "1",
         "--resume", "auto", "--workers", "0"]


def checkpoints_in(folder):
    """Returns the paths of all checkpoints, after reading each as far as its checksums reach."""
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if not name.startswith("step-"):
            continue
        path = os.path.join(folder, name)
        with open(os.path.join(path, "checkpoint.json")) as file:
            files = json.load(file)["content"]["files"]
        for part, entry in files.items():
            with open(os.path.join(path, part), "rb") as file:
                content = file.read()
            assert len(content) == entry["bytes"] and zlib.crc32(content) == entry["crc32"], f"{path}/{part} is damaged"
        found.append(path)
    return found


def temporary_in(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")] if os.path.isdir(folder) else []


class Runs:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def start(self, *arguments, **options):
        return subprocess.Popen([self.program, *TRAIN, "--checkpoint-dir", self.folder, *arguments], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, **options)

    def steps(self, steps):
        """Trains `steps` more. Returns the exit code, stdout and stderr."""
        process = self.start("--max-steps", str(self.newest() + steps))
        return (process.wait(timeout=200), *process.communicate())

    def newest(self):
        return max((int(os.path.basename(path).split("-")[1].split(".")[0]) for path in checkpoints_in(self.folder)), default=0)

    def kill(self, seconds, while_writing):
        """Kills a run after `seconds`, or in the save after that."""
        process = self.start()
        time.sleep(seconds)
        while while_writing and process.poll() is None and not temporary_in(self.folder):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended by itself"


def kill_runs(runs, kills, moments):
    code, out, errors = runs.steps(2)
    assert code == 0, errors
    most, step = 0, runs.newest()
    start = time.time()
    runs.steps(2)
    seconds = time.time() - start
    for kill in range(kills):
        runs.kill(moments.uniform(0, 1.2 * seconds), while_writing=kill % 2 == 0)
        left = checkpoints_in(runs.folder)
        assert left, "no checkpoint is left"
        assert runs.newest() >= step, "an old checkpoint is the newest"
        step = runs.newest()
        most = max(most, len(temporary_in(runs.folder)))
        if kill % 100 == 99:
            print(f"{kill + 1} kills, step {step}", flush=True)
    code, out, errors = runs.steps(1)
    assert code == 0, errors
    assert f"going on from {runs.folder}/step-{step:08}" in out, out
    assert not temporary_in(runs.folder), temporary_in(runs.folder)
    print(f"{kills} kills: a good checkpoint after each, {step} steps made; they left up to {most} temporary folders, "
          "and none stayed")


def check_failed_saves(runs, errors, code, reason, good):
    assert code == 1, (code, errors)
    assert "was not saved" in errors and reason in errors, errors
    assert "checkpoints could not be saved" in errors.splitlines()[-1], errors
    assert checkpoints_in(runs.folder) == good, "a good checkpoint went"
    assert not temporary_in(runs.folder), temporary_in(runs.folder)


def fill_disk(runs, mount, kills, moments):
    """On a file system with room for one checkpoint and a half."""
    code, out, errors = runs.steps(1)
    assert code == 0, errors
    good = checkpoints_in(runs.folder)
    size = sum(entry.stat().st_size for entry in os.scandir(good[0]))
    subprocess.run(["mount", "-o", f"remount,size={size + size // 2 + MEGABYTE}", mount], check=True)
    code, out, errors = runs.steps(3)
    check_failed_saves(runs, errors, code, "No space left on device", good)
    for _ in range(kills):
        runs.kill(moments.uniform(0.2, 2), while_writing=True)
        assert checkpoints_in(runs.folder) == good
    subprocess.run(["mount", "-o", "remount,size=1g", mount], check=True)
    code, out, errors = runs.steps(2)
    assert code == 0 and not temporary_in(runs.folder), errors
    print(f"a full disk, {kills} kills: the checkpoint on it stayed, and the run went on when there was room")


def turn_read_only(program):
    """The folder becomes read-only while the run goes on. Nothing is read-only for root, so another user runs."""
    nobody = 65534
    user = {"user": nobody, "group": nobody, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as outside:
        os.chmod(outside, 0o755)
        runs = Runs(program, os.path.join(outside, "run"))
        os.mkdir(runs.folder)
        if user:
            os.chown(runs.folder, nobody, nobody)
        try:
            process = runs.start("--max-steps", "2", "--save-every", "2", **user)
        except PermissionError:
            print("a read-only folder: left out, another user may not run the program")
            return
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        good = checkpoints_in(runs.folder)
        process = runs.start("--max-steps", "1000", "--save-every", "100000", "--log", "/dev/stdout", **user)
        for line in process.stdout:
            if line.startswith("{"):
                break
        os.chmod(runs.folder, 0o555)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=100)
        check_failed_saves(runs, errors, process.returncode, "Permission denied", good)
        process = runs.start("--max-steps", "5", **user)
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 2 and errors.count("\n") == 1, errors
        assert "--checkpoint-dir" in errors and "Permission denied" in errors, errors
        assert checkpoints_in(runs.folder) == good
        os.chmod(runs.folder, 0o755)
    print("a folder that turned read-only: the checkpoint in it stayed, and the run said so")


def on_own_disk(program, kills, seed):
    """In a mount namespace of its own."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", mount], check=True)
        runs = Runs(program, os.path.join(mount, "run"))
        fill_disk(runs, mount, kills, moments)
        subprocess.run(["umount", "-l", mount], check=True)


def may_mount():
    """Returns the command that runs another one with its own mounts, or None."""
    for flags in (["-m"], ["-U", "-r", "-m"]):
        command = ["unshare", *flags]
        try:
            if subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except FileNotFoundError:
            return None
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own-disk", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    program = os.path.abspath(arguments.program)
    if arguments.own_disk:
        on_own_disk(program, max(arguments.kills // 10, 2), arguments.seed)
        return
    with tempfile.TemporaryDirectory() as folder:
        kill_runs(Runs(program, os.path.join(folder, "run")), arguments.kills, random.Random(arguments.seed))
    turn_read_only(program)
    unshare = may_mount()
    if unshare:
        subprocess.run([*unshare, sys.executable, os.path.abspath(__file__), program, "--kills", str(arguments.kills), "--seed",
                        str(arguments.seed), "--own-disk"], check=True)
    else:
        print("a full disk: left out, mounts are not permitted here")


if __name__ == "__main__":
    main()
