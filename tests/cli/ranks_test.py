"""resnet50_train under mpirun as a user meets it: the losses of one process, one voice, and ranks that fail.

  ranks_test.py MPIRUN RESNET50_TRAIN [--faults N] [--seed N] [TEST...]

--faults N: how often test_faults() kills, stops, delays or corrupts a rank at a random moment (4).
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("mpirun")
parser.add_argument("program")
parser.add_argument("--faults", type=int, default=4)
parser.add_argument("--seed", type=int, default=0)
OPTIONS, sys.argv[1:] = parser.parse_known_args()
MPIRUN = [OPTIONS.mpirun, "--oversubscribe", "--bind-to", "none"] + (["--allow-run-as-root"] if os.getuid() == 0 else [])
SMALL = ["--arch", "resnet18", "--image-size", "16", "--epochs", "2", "--optimizer", "sgd", "--lr", "0.02", "--progress", "off",
         "--device", "cpu", "--threads", "1", "--workers", "1", "--deterministic"]
TIMELINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts", "trace_timeline.py")
TIMEOUT = 10  # of the ranks, in seconds: a loaded machine is slow


def command(ranks, *arguments, quiet=True):
    launcher = [*MPIRUN, *(["-q"] if quiet else []), "-n", str(ranks)] if ranks else []
    return [*launcher, OPTIONS.program, *SMALL, *map(str, arguments)]


def run(ranks, *arguments):
    return subprocess.run(command(ranks, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_by_hand(rank, ranks, address, port, *arguments, prefix=()):
    """A process with the variables that torchrun sets."""
    environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": address, "MASTER_PORT": str(port)}
    return subprocess.Popen([*prefix, *command(0, *arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=environment)


def losses(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["loss"] for line in file]


def lines_in(path):
    if not os.path.exists(path):
        return 0
    with open(path, "rb") as file:
        return file.read().count(b"\n")


def rank_processes(mpirun):
    """{rank: process id} of the ranks that process `mpirun` has started."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            if parent != mpirun:
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                values = dict(one.split(b"=", 1) for one in file.read().split(b"\0") if b"=" in one)
        except OSError:
            continue
        if b"OMPI_COMM_WORLD_RANK" in values:
            found[int(values[b"OMPI_COMM_WORLD_RANK"])] = int(name)
    return found


def is_running(process):
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def saved_tensor(path, name):
    """The bytes of a tensor in a file of safetensors."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin, end = header[name]["data_offsets"]
        file.seek(begin, os.SEEK_CUR)
        return file.read(end - begin)


def spoil_memory(process, values):
    """Turns the signs of some f32 `values` wherever they lie in a process's memory, as broken memory would, and returns in how
    many places. The process stands still meanwhile."""
    os.kill(process, signal.SIGSTOP)
    places = 0
    try:
        with open(f"/proc/{process}/maps", encoding="utf-8") as maps:
            ranges = [line.split()[0].split("-") for line in maps if line.split()[1] == "rw-p"]
        with open(f"/proc/{process}/mem", "r+b", buffering=0) as memory:
            for begin, end in ([int(one, 16) for one in two] for two in ranges):
                memory.seek(begin)
                try:
                    found = memory.read(end - begin)
                except OSError:
                    continue
                place = found.find(values)
                while place >= 0:
                    memory.seek(begin + place)
                    memory.write(bytes(byte ^ (0x80 if i % 4 == 3 else 0) for i, byte in enumerate(values)))
                    places += 1
                    place = found.find(values, place + 1)
    finally:
        os.kill(process, signal.SIGCONT)
    return places


@contextlib.contextmanager
def job(*words):
    """A process that is gone afterwards; one that is left would keep its folder from those that follow."""
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class RanksTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def trained(self, ranks, *arguments):
        """Returns the losses and the summary of a run that must succeed."""
        log, summary = self.path("log"), self.path("summary")
        done = run(ranks, "--log", log, "--summary", summary, *arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(summary, encoding="utf-8") as file:
            return losses(log), json.load(file), done.stdout

    def test_losses_of_one_process(self):
        """Batch norm sees a rank's images as it sees a batch of --accumulate: then all else is equal."""
        for ranks in 2, 3, 4:
            steps = ["--dtype", "f64", "--max-steps", 6]
            alone, one, _ = self.trained(0, "--batch-size", 4, "--accumulate", ranks, *steps)
            together, several, _ = self.trained(ranks, "--batch-size", 4 * ranks, *steps)
            again, _, _ = self.trained(ranks, "--batch-per-rank", 4, *steps)
            self.assertEqual(again, together)
            self.assertEqual(len(together), 6)
            for a, b in zip(alone, together):
                self.assertAlmostEqual(a, b, delta=1e-9 * a)
            self.assertEqual((one["ranks"], several["ranks"]), (1, ranks))
            self.assertGreater(several["collective_bytes"], 6 * 8 * several["parameters"])

    def test_sync_batch_norm(self):
        """Then ranks train as one process with the whole batch does."""
        flags = ["--dtype", "f64", "--max-steps", 3, "--batch-size", 12, "--accumulate", 2, "--sync-batch-norm"]
        alone, _, text = self.trained(0, *flags)
        self.assertIn("--sync-batch-norm changes nothing: there are no other ranks", text)
        for ranks in 2, 3:
            together, _, text = self.trained(ranks, *flags)
            self.assertIn("20 batch norms see the images of all ranks", text)
            for a, b in zip(alone, together, strict=True):
                self.assertAlmostEqual(a, b, delta=1e-9 * a)

    def test_options_together(self):
        options = ["--amp", "bf16", "--ema", "0.9", "--clip-grad", "0.1", "--max-steps", "6", "--accumulate"]
        alone, _, _ = self.trained(0, "--batch-size", 4, *options, 4)
        together, _, _ = self.trained(2, "--batch-size", 8, *options, 2)
        for a, b in zip(alone, together):
            self.assertAlmostEqual(a, b, delta=0.02 * a)

    def test_compressed_gradients(self):
        """Half the bytes for the gradients; losses go apart by roundings."""
        steps = ["--batch-size", 8, "--max-steps", 6]
        wide, before, _ = self.trained(2, *steps)
        narrow, after, _ = self.trained(2, *steps, "--compress-gradients", "bf16")
        self.assertNotEqual(wide, narrow)
        for a, b in zip(wide, narrow):
            self.assertAlmostEqual(a, b, delta=0.02 * a)
        saved = before["collective_bytes"] - after["collective_bytes"]
        self.assertAlmostEqual(saved, 6 * 2 * before["parameters"], delta=1000)  # the ranks' flags are longer

    def test_sharded_optimizer(self):
        """The losses of whole optimisers, in less memory."""
        for optimizer in "sgd", "adamw":
            steps = ["--dataset", "synthetic", "--batch-size", 6, "--dtype", "f64", "--max-steps", 3, "--optimizer", optimizer,
                     "--lr", 0.001, "--ema", 0.9, "--clip-grad", 0.5, "--accumulate", 2, "--decay-norms", "off"]
            whole, before, _ = self.trained(3, *steps)
            shards, after, text = self.trained(3, *steps, "--shard-optimizer")
            self.assertIn("and of the optimiser's memory", text)
            for a, b in zip(whole, shards):
                self.assertAlmostEqual(a, b, delta=1e-9 * a)
            self.assertEqual(before["optimizer_bytes"], (2 if optimizer == "adamw" else 1) * 8 * before["parameters"])
            self.assertAlmostEqual(after["optimizer_bytes"] / before["optimizer_bytes"], 1 / 3, delta=1e-3)
        for optimizer in "lars", "lamb":
            done = run(2, "--shard-optimizer", "--optimizer", optimizer)
            self.assertEqual(done.returncode, 2)
            self.assertIn(f"--shard-optimizer: is for sgd, adam and adamw: {optimizer} needs norms", done.stderr)

    def test_sharded_checkpoints(self):
        """A run of three ranks goes on with two, and with whole optimisers, as if they had been there from the beginning.
        Without batch norm's statistics of a batch, the number of ranks decides nothing."""
        frozen = ["--batch-size", 12, "--dtype", "f64", "--optimizer", "adamw", "--freeze-batch-norm", "all", "--schedule", "constant"]
        straight, _, _ = self.trained(0, *frozen, "--max-steps", 6)
        for place, save in ("a", ["--save-every", 2]), ("b", ["--save-every", "0.0001m"]):
            folder = self.path(place)
            run_here = [*frozen, "--checkpoint-dir", folder, *save]
            self.trained(3, *run_here, "--max-steps", 2, "--shard-optimizer")
            os.unlink(self.path("log"))
            self.trained(2, *run_here, "--max-steps", 4, "--shard-optimizer", "--resume", "auto")
            os.unlink(self.path("log"))
            end, _, _ = self.trained(0, *run_here, "--max-steps", 6, "--resume", "auto")
            self.assertEqual(len(end), 2)
            for a, b in zip(straight[4:], end):
                self.assertAlmostEqual(a, b, delta=1e-9 * a)

    def test_buckets_travel_under_the_backward_pass(self):
        """In the trace, and in the picture that a script draws of it."""
        trace, picture = self.path("trace.json"), self.path("step.svg")
        self.trained(2, "--image-size", 32, "--batch-size", 8, "--max-steps", 5, "--profile", trace)
        draw = lambda *words: subprocess.run([sys.executable, TIMELINE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                             text=True, check=False)
        done = draw(trace, "--svg", picture)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        times = {line[:12].strip(): [float(word) for word in line[12:].split() if word[0].isdigit()]
                 for line in done.stdout.splitlines()[:-1]}
        self.assertEqual([name for name in times if name.startswith("gradients")], ["gradients 0", "gradients 1", "gradients 2"])
        backward, first = times["backward"], times["gradients 0"]
        self.assertLess(times["forward"][1], backward[0] + 0.01)
        self.assertTrue(backward[0] < first[0] < backward[1] < times["optimizer"][0], times)
        self.assertLess(times["gradients 2"][1], times["optimizer"][0])
        self.assertIn("of the communication lies under the backward pass", done.stdout)
        names = [one.text.split(":")[0] for one in xml.etree.ElementTree.parse(picture).iter() if one.tag.endswith("title")]
        self.assertEqual(names, [name for name in ("forward", "backward", "waits", "optimizer") if name in times] +
                         ["gradients 0", "gradients 1", "gradients 2"])
        self.trained(0, "--max-steps", 5, "--profile", trace)
        for file, said in ((trace, "is it of one rank alone?"), (picture, "Expecting value"), (self.path("none"), "No such file")):
            done = draw(file)
            self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
            self.assertIn(said, done.stderr)

    def test_images_are_judged_once(self):
        saved = self.path("runs")
        self.trained(0, "--batch-size", 16, "--max-steps", 3, "--checkpoint-dir", saved)
        scores = []
        for ranks in 0, 2, 3:
            summary = self.path("score")
            done = run(ranks, "--init", os.path.join(saved, "last"), "--eval-only", "--batch-size", 24, "--summary", summary)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            with open(summary, encoding="utf-8") as file:
                scores.append(json.load(file))
        for score in scores[1:]:
            self.assertEqual((score["top1"], score["top5"]), (scores[0]["top1"], scores[0]["top5"]))
            self.assertAlmostEqual(score["final_loss"], scores[0]["final_loss"], delta=1e-5)

    def test_one_voice(self):
        _, _, text = self.trained(3, "--batch-size", 6, "--max-steps", 2)
        self.assertEqual(text.count("images to learn from"), 1)
        self.assertRegex(text, r"3 ranks: \d+ collectives of [\d.]+ [MG]i?B in [\d.]+ s, \d+% of it hidden behind training")
        for arguments, said in ((["--batch-size", 7], "7 images cannot be shared evenly by 2 ranks"),
                                (["--batch-per-rank", 4, "--batch-size", 8], "--batch-per-rank: excludes --batch-size"),
                                (["--oom", "split"], "--oom split"), (["--cuda-graph"], "--cuda-graph: belongs to one process"), (["--epoch", 3], "did you mean --epochs?")):
            done = run(2, *arguments)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)
            self.assertEqual(done.stderr.count("see --help"), 1, done.stderr)

    def test_launcher_of_another_mpi(self):
        """Its processes cannot meet: each would train by itself on a part of the images."""
        environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": "0"}
        done = subprocess.run(command(0, "--batch-size", 8, "--max-steps", 1), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=100, env=environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("rank 0 of 2, and Open MPI rank 0 of 1: start with Open MPI's own mpirun", done.stderr)

    def test_ranks_without_mpi(self):
        """torchrun's variables are enough; and the ring adds in the same order."""
        steps = ["--batch-size", 12, "--max-steps", 4, "--dtype", "f64"]
        expected, _, _ = self.trained(3, *steps)
        log, port = self.path("log"), free_port()
        os.remove(log)
        ranks = [start_by_hand(rank, 3, "127.0.0.1", port, *steps, "--log", log) for rank in range(3)]
        outputs = [rank.communicate(timeout=300) for rank in ranks]
        self.assertEqual([(rank.returncode, said) for rank, (_, said) in zip(ranks, outputs)], [(0, "")] * 3)
        self.assertIn("3 ranks, 3 of them on this host", outputs[0][0])
        self.assertEqual(losses(log), expected)

    def test_ranks_that_do_not_fit(self):
        """Flags that differ between ranks, and variables that name no rank."""
        flags = [["--max-steps", 2], ["--max-steps", 2, "--seed", 7, "--log", self.path("log")]]
        port = free_port()
        ranks = [start_by_hand(rank, 2, "127.0.0.1", port, *flags[rank]) for rank in range(2)]
        said = [rank.communicate(timeout=100)[1] for rank in ranks]
        self.assertEqual([rank.returncode for rank in ranks], [2, 2])
        for rank in 0, 1:
            self.assertEqual(said[rank], f"resnet50_train (rank {rank}): the ranks' flags differ: rank 1 has --seed 7, and rank 0 has "
                                         "not; give all ranks the same\n")
        for rank, ranks in ((5, 2), (0, "abc"), ("", 2)):
            for more in [], ["--help"]:
                done = start_by_hand(rank, ranks, "localhost", port, *more)
                said = done.communicate(timeout=100)[1]
                self.assertEqual((done.returncode, said.count("\n")), (2, 1), said)
                self.assertIn("name no rank: RANK must be from 0 to below WORLD_SIZE", said)

    def test_rank_that_ends_is_named_at_once(self):
        log, record, port = self.path("log"), self.path("record"), free_port()
        long = ["--batch-size", 12, "--epochs", 1000, "--log", log, "--flight-record", record]
        ranks = [start_by_hand(rank, 3, "localhost", port, *long) for rank in range(3)]
        self.wait_for_steps(ranks[0], log, 5)
        ranks[1].kill()
        begin = time.time()
        said = [rank.communicate(timeout=100)[1] for rank in ranks]
        self.assertLess(time.time() - begin, 60)  # not the 600 s of --timeout
        self.assertEqual([rank.returncode for rank in ranks], [1, -9, 1])
        for rank in 0, 2:
            self.assertRegex(said[rank], r"rank 1 on \S+ has ended: ")
            self.assertIn(f"(its last collectives: {record}/collectives-rank-{rank}.tsv)", said[rank])
            with open(f"{record}/collectives-rank-{rank}.tsv", encoding="utf-8") as file:
                rows = [line.rstrip("\n").split("\t") for line in file][2:]
            self.assertEqual({len(row) for row in rows}, {8})
            self.assertEqual((rows[0][7] != "-", rows[-1][7]), (True, "-"))

    def test_two_hosts(self):
        """Two network namespaces with addresses of their own; then the cable is cut."""
        names = [f"taper{os.getpid()}{end}" for end in "ab"]
        if os.getuid() != 0 or shutil.which("ip") is None or subprocess.run(["ip", "netns", "add", names[0]], capture_output=True).returncode != 0:
            self.skipTest("needs to make network namespaces")
        self.addCleanup(subprocess.run, ["ip", "netns", "del", names[0]])
        run_ip = lambda *words: subprocess.run(["ip", *words], check=True)
        try:
            run_ip("netns", "add", names[1])
            self.addCleanup(subprocess.run, ["ip", "netns", "del", names[1]])
            run_ip("link", "add", "taper0", "netns", names[0], "type", "veth", "peer", "name", "taper0", "netns", names[1])
            for number, name in enumerate(names, 1):
                run_ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "taper0")
                run_ip("-n", name, "link", "set", "taper0", "up")
        except subprocess.CalledProcessError as failure:
            self.skipTest(f"this machine's namespaces cannot be joined: {failure}")
        log = self.path("log")
        hosts = lambda *arguments: [start_by_hand(rank, 2, "10.77.0.1", 29400, "--batch-size", 8, "--log", log, *arguments,
                                                  prefix=["ip", "netns", "exec", name]) for rank, name in enumerate(names)]
        ranks = hosts("--max-steps", 4)
        self.assertEqual([(rank.communicate(timeout=300)[1], rank.returncode) for rank in ranks], [("", 0)] * 2)
        over_the_wire = losses(log)
        expected, _, _ = self.trained(2, "--batch-size", 8, "--max-steps", 4)
        self.assertEqual(over_the_wire, expected)
        os.remove(log)
        ranks = hosts("--epochs", 1000, "--timeout", TIMEOUT)
        self.wait_for_steps(ranks[0], log, 5)
        run_ip("-n", names[0], "link", "set", "taper0", "down")
        begin = time.time()
        said = [rank.communicate(timeout=100)[1] for rank in ranks]
        self.assertLess(time.time() - begin, TIMEOUT + 5 + 25)
        self.assertEqual([rank.returncode for rank in ranks], [1, 1])
        self.assertRegex(said[0], r"rank 1 on \S+ (did not come|does not answer)")
        self.assertRegex(said[1], r"rank 0 (did not|does not) answer")

    def test_resumes_with_other_ranks(self):
        """Global batches do not depend on the number of ranks: what differs is what batch norm sees."""
        folder = self.path("runs")
        self.trained(2, "--batch-size", 12, "--max-steps", 4, "--checkpoint-dir", folder)
        _, summary, text = self.trained(3, "--batch-size", 12, "--max-steps", 8, "--checkpoint-dir", folder, "--resume", "auto")
        self.assertEqual(summary["steps"], 8)
        self.assertIn("step 4", text)

    def test_time_is_up_on_all(self):
        done = run(2, "--batch-size", 16, "--epochs", 50, "--max-minutes", "0.05", "--checkpoint-dir", self.path("runs"))
        self.assertEqual((done.returncode, done.stderr), (75, ""))
        self.assertIn("interrupted after", done.stdout)

    def test_faults(self):
        """A rank is killed, stopped or its weights are spoilt at a random moment: the job ends, says who it was, and leaves
        nothing behind; no spoilt weights are saved. One that is only late keeps it going."""
        random.seed(OPTIONS.seed)
        folder, log = self.path("runs"), self.path("log")
        # fc stays as it was, so that it can be found in memory.
        always = ["--batch-size", 6, "--epochs", 1000, "--timeout", TIMEOUT, "--freeze", "fc", "--log"]
        for fault in range(OPTIONS.faults):
            saving = command(3, *always, log, "--checkpoint-dir", folder, "--save-every", 5, "--resume", "auto", quiet=False)
            with self.subTest(fault=fault), job(*saving) as process:
                ranks = self.wait_for_steps(process, log, lines_in(log) + random.randint(6, 12))
                victim, how = random.randrange(3), random.choice(("kill", "stop", "delay", "corrupt"))
                if fault == OPTIONS.faults - 1:
                    how = "delay"  # so that the log ends with steps of a good run
                time.sleep(random.random() / 10)
                if how == "corrupt":
                    weight = saved_tensor(os.path.join(folder, "last", "model.safetensors"), "fc.weight")
                    self.assertGreater(spoil_memory(ranks[victim], weight), 0)
                else:
                    os.kill(ranks[victim], signal.SIGKILL if how == "kill" else signal.SIGSTOP)
                begin = time.time()
                if how == "delay":
                    time.sleep(random.uniform(0.5, TIMEOUT / 3))
                    os.kill(ranks[victim], signal.SIGCONT)
                    self.wait_for_steps(process, log, lines_in(log) + 3)
                    process.send_signal(signal.SIGUSR1)
                try:
                    _, said = process.communicate(timeout=100)
                finally:
                    self.check_gone(ranks)
                if how == "delay":
                    self.assertEqual(process.returncode, 75, said)
                    continue
                self.assertNotEqual(process.returncode, 0)
                self.assertLess(time.time() - begin, TIMEOUT + 5 + 25)
                if how == "corrupt":
                    self.assertRegex(said, f"drifted apart: fc.weight of rank {victim} is not|on rank {victim} alone")
                elif how == "stop":
                    self.assertRegex(said, f"rank {victim} (on .* (did not come|does not answer)|did not answer)|: rank {victim} does not answer")
                else:
                    self.assertRegex(said, f"process rank {victim} .* exited on signal 9")
        interrupted, unharmed = losses(log), self.path("unharmed")
        process = subprocess.Popen(command(3, *always, unharmed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait_for_steps(process, unharmed, len(interrupted))
        process.send_signal(signal.SIGUSR1)
        process.wait(timeout=100)
        self.assertEqual(interrupted, losses(unharmed)[:len(interrupted)])
        alone = run(0, "--init", os.path.join(folder, "last"), "--eval-only")
        self.assertEqual(alone.returncode, 0, alone.stderr)

    def check_gone(self, ranks):
        """mpirun may end a moment before those that it has ended."""
        before = time.time()
        while any(map(is_running, ranks.values())) and time.time() - before < 10:
            time.sleep(0.05)
        for rank, process in ranks.items():
            if is_running(process):
                os.kill(process, signal.SIGKILL)
                self.fail(f"rank {rank}, process {process}, was left behind")

    def wait_for_steps(self, process, log, steps):
        before = time.time()
        while lines_in(log) < steps:
            if process.poll() is not None:
                self.fail(process.communicate()[1])
            if time.time() - before > 200 + steps:
                process.kill()
                self.fail(f"{steps} steps take long: " + process.communicate()[1])
            time.sleep(0.02)
        return rank_processes(process.pid)


if __name__ == "__main__":
    unittest.main()
