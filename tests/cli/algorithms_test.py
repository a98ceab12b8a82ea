"""Benchmark mode from outside: one training run measures, the next one finds the results, taper-algorithms shows them.

  algorithms_test.py RESNET50_TRAIN TAPER_ALGORITHMS [TEST...]
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

TRAIN, ALGORITHMS = sys.argv.pop(1), sys.argv.pop(1)


class AlgorithmsTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.file = os.path.join(temporary.name, "cache", "algorithms.json")

    def run_program(self, *arguments, code=0, **variables):
        environment = {**os.environ, "TAPER_ALGORITHM_CACHE": self.file, **variables}
        result = subprocess.run([*map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=300, env=environment)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def train(self, *flags, **variables):
        # On the CPU: on a GPU measuring depends on its libraries, whose refusals cause warnings.
        result = self.run_program(TRAIN, "--arch", "resnet18", "--batch-size", 4, "--max-steps", 1, "--progress", "off",
                                  "--device", "cpu", *flags, **variables)
        self.assertEqual(result.stderr, "")

    def content(self):
        with open(self.file) as file:
            return file.read()

    def test_a_second_run_finds_what_the_first_measured(self):
        self.train("--benchmark", TAPER_VERIFY_ALGORITHMS="1")
        records = json.loads(self.content())["records"]
        self.assertTrue(any(record["problem"].startswith("matmul forward") for record in records))
        for record in records:
            self.assertTrue(record["verified"])
            times = {candidate["name"]: candidate.get("median_ms") for candidate in record["candidates"]}
            self.assertGreaterEqual(len(times), 2, record)
            best = min(time for time in times.values() if time)
            self.assertLessEqual(times[record["winner"]], 1.03 * best)
            self.assertFalse(any(candidate.get("is_wrong") for candidate in record["candidates"]), record)
        refused = self.run_program(ALGORITHMS, "--match=", "--clear", code=2)  # --clear is no text to match
        self.assertIn("--match: there is nothing behind the =", refused.stderr)
        inode = os.stat(self.file).st_ino  # every write makes a new one
        self.train("--benchmark")
        self.assertEqual(os.stat(self.file).st_ino, inode)

        listed = self.run_program(ALGORITHMS).stdout
        self.assertEqual(len(re.findall(r"^  \* ", listed, re.MULTILINE)), len(records))
        for record in records:
            self.assertIn(record["problem"] + "\n", listed)
            self.assertRegex(listed, rf"  \* {re.escape(record['winner'])} +\d+\.\d+ ms\n")
        self.assertRegex(listed, r"\d+\.\d\dx")
        self.assertIn(f"in {self.file}.", listed)
        some = self.run_program(ALGORITHMS, "--match", "matmul", "--match", "f32").stdout
        self.assertIn("matmul", some)
        self.assertIn("nothing measured that matches", self.run_program(ALGORITHMS, "--match", "nonsense").stdout)

        self.assertIn("deleted", self.run_program(ALGORITHMS, "--clear").stdout)
        self.assertFalse(os.path.exists(self.file))
        self.assertIn("nothing measured yet", self.run_program(ALGORITHMS).stdout)
        self.assertIn("not there", self.run_program(ALGORITHMS, "--clear").stdout)

    def test_without_benchmark_nothing_is_measured(self):
        self.train()
        self.train("--deterministic")
        self.assertFalse(os.path.exists(self.file))

    def test_texts_from_the_file_never_steer_the_terminal(self):
        steering = "\x1b[31m\u202e\x9b1m\n\x7f"
        record = {"problem": "matmul" + steering, "environment": "cpu" + steering, "winner": "a" + steering, "verified": True,
                  "candidates": [{"name": "a" + steering, "median_ms": 1.0}, {"name": "b", "rejected": "no" + steering}]}
        fault = {"problem": "p" + steering, "environment": "e", "algorithm": "c" + steering, "what": "w" + steering}
        whole = {"format": "taper algorithms", "version": 1, "records": [record], "faults": [fault]}
        os.makedirs(os.path.dirname(self.file))
        for content in (whole, {**whole, "format": "f" + steering}, {**whole, "version": "v" + steering}, "{\"" + steering):
            with open(self.file, "w", encoding="utf-8") as file:
                file.write(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False))
            shown = self.run_program(ALGORITHMS)
            self.assertNotRegex(shown.stdout + shown.stderr, r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
            self.assertIn("nothing measured yet", shown.stdout)

    def test_a_foreign_file_is_set_aside(self):
        os.makedirs(os.path.dirname(self.file))
        with open(self.file, "w") as file:
            file.write("holiday pictures")
        shown = self.run_program(ALGORITHMS)
        self.assertRegex(shown.stderr, r"^taper: warning: .*algorithms\.json\.damaged\n$")
        self.assertIn("nothing measured yet", shown.stdout)

    def test_a_file_that_nests_too_deep_is_set_aside_in_a_short_line(self):
        os.makedirs(os.path.dirname(self.file))
        for text in ('{"format":' + "[" * 200000 + "]" * 200000 + "}", '{"format":"' + "x" * 1000000 + '"}'):
            with open(self.file, "w") as file:
                file.write(text)
            shown = self.run_program(ALGORITHMS)
            self.assertRegex(shown.stderr, r"^taper: warning: [^\n]*algorithms\.json\.damaged\n$")
            self.assertLess(len(shown.stderr), 800)
            self.assertIn("nothing measured yet", shown.stdout)
            self.assertEqual(self.run_program(ALGORITHMS).stderr, "")

    def test_a_folder_that_everybody_may_write_to_is_refused(self):
        os.makedirs(os.path.dirname(self.file))
        os.chmod(os.path.dirname(self.file), 0o777)
        shown = self.run_program(ALGORITHMS, code=1)
        self.assertRegex(shown.stderr, r"^taper-algorithms: [^\n]*everybody may write there[^\n]*\n$")

    def test_the_command_line(self):
        for part in ("Examples:", "How to read it:", "--match", "--clear", "--file", "TAPER_VERIFY_ALGORITHMS"):
            self.assertIn(part, self.run_program(ALGORITHMS, "--help").stdout)
        self.assertRegex(self.run_program(ALGORITHMS, "--version").stdout, r"^Taper \d")
        self.assertIn("--nonsense", self.run_program(ALGORITHMS, "--nonsense", code=2).stderr)
        self.run_program(ALGORITHMS, "--clear", "--match", "x", code=2)
        self.assertIn("no file", self.run_program(ALGORITHMS, TAPER_ALGORITHM_CACHE="").stdout)
        self.assertIn("not a file", self.run_program(ALGORITHMS, "--file", "/", code=1).stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
