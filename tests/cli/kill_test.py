"""Kills runs at random moments, and checks that the next run, often with an equal process number, works.

  kill_test.py RESNET50_TRAIN [--kills 6] [--seed 0]

Each run writes every file that it can. It has its own PID namespace, as in a container, so every run is process 1: what
a killed run leaves must not disturb the next. Exit code 77: namespaces are not permitted here.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

FILES = ("s.json", "p.json", "m.html", "cache/algorithms.json")  # complete or absent, whenever a run is killed


def unshare():
    """Returns the command that runs another one as process 1."""
    for flags in (["-p"], ["-U", "-r", "-p"]):
        command = ["unshare", *flags, "--fork", "--kill-child"]
        try:
            if subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0:
                return command
        except FileNotFoundError:
            break
    print("kill_test: namespaces are not permitted here")
    sys.exit(77)


class Runs:
    def __init__(self, program, folder):
        self.folder = folder
        self.command = [*unshare(), program, "--arch", "resnet18", "--batch-size", "2", "--image-size", "8", "--dataset",
                        "synthetic", "--num-classes", "2", "--max-steps", "3", "--progress", "off", "--device", "cuda",
                        "--benchmark", "--benchmark-seconds", "1", "--log", "l.jsonl", "--summary", "s.json", "--profile",
                        "p.json", "--memory-report", "m.html"]
        self.environment = {**os.environ, "TAPER_ALGORITHM_CACHE": "cache/algorithms.json"}

    def start(self):
        return subprocess.Popen(self.command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def whole(self):
        """Runs to the end. Returns the seconds that it took."""
        start = time.time()
        process = self.start()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert "cannot" not in errors, errors
        self.check_files()
        with open(os.path.join(self.folder, "l.jsonl")) as file:
            assert [json.loads(line)["step"] for line in file] == [1, 2, 3]
        return time.time() - start

    def killed(self, seconds, while_writing):
        """Kills a run after `seconds`, or when it next has a temporary file."""
        process = self.start()
        time.sleep(seconds)
        while while_writing and process.poll() is None and not self.left_behind():
            pass
        process.kill()  # also ends unshare's child
        process.communicate()  # until the child has closed its output too
        self.check_files()

    def check_files(self):
        for name in FILES:
            path = os.path.join(self.folder, name)
            if not os.path.exists(path):
                continue
            with open(path) as file:
                text = file.read()
            if name.endswith(".json"):
                json.loads(text)
            else:
                assert text.rstrip().endswith("</html>"), f"{name} is cut off"

    def left_behind(self):
        return [name for _, _, names in os.walk(self.folder) for name in names if name.endswith(".tmp")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(os.path.abspath(arguments.program), folder)
        seconds = runs.whole()
        most = 0
        for kill in range(arguments.kills):
            runs.killed(moments.uniform(0, 1.1 * seconds), while_writing=kill % 2 == 0)
            most = max(most, len(runs.left_behind()))
            if kill % 10 == 9 or kill + 1 == arguments.kills:
                seconds = runs.whole()  # faster than the first: the algorithms are known
                assert runs.left_behind() == [], runs.left_behind()
    print(f"{arguments.kills} kills: each run after them worked; they left up to {most} temporary files, and none stayed")


if __name__ == "__main__":
    main()
