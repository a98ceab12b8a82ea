"""The code in the chapters of docs/, made into programs and compared with the output the chapters show.

A chapter is Markdown with fenced blocks:
  ```cpp        statements; all of a chapter's together are the body of one main()
  ```cpp top    declarations, placed before main()
  ```output     what the cpp block before it prints, to the letter ("..." on a line of its own skips lines)

  chapter.py extract CHAPTER.md PROGRAM.cpp
  chapter.py check CHAPTER.md EXECUTABLE
  chapter.py update CHAPTER.md EXECUTABLE   writes what the code prints into the chapter

A block ```run PROGRAM shows all that a program of the build prints:
  chapter.py check-runs CHAPTER.md DIRECTORY     the programs' folder
  chapter.py update-runs CHAPTER.md DIRECTORY

A block ```gdb shows what a debugger prints that runs CHAPTER.gdb on the chapter's program:
  chapter.py check-session CHAPTER.md EXECUTABLE GDB    (exit code 77 where the machine forbids debuggers, or
                                                        the debugger has no Python)
  chapter.py update-session CHAPTER.md EXECUTABLE GDB
"""
import os
import re
import subprocess
import sys

FENCE = re.compile(r"^```(\w*) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1e"  # printed after each block

HEAD = """// Made from {source}; change that instead.
#include <taper/taper.h>
#include <fmt/format.h>
#include <cstdio>
using namespace taper;
"""


def blocks(path):
    with open(path) as file:
        text = file.read()
    return [(match[1], match[2], match[3], text.count("\n", 0, match.start(3)) + 1) for match in FENCE.finditer(text)]


def extract(chapter, program):
    top, body = [], []
    for language, kind, code, line in blocks(chapter):
        if language != "cpp":
            continue
        located = f'#line {line} "{chapter}"\n{code}'
        if kind == "top":
            top.append(located)
        else:
            body.append(located + f'std::fputs("{MARK}", stdout);\n')
    with open(program, "w") as file:
        file.write(HEAD.format(source=chapter.rsplit("/", 1)[-1]) + "".join(top) + "int main() {\n" + "".join(body) + "}\n")


def matches(expected, actual):
    pattern = r"\n(?:.*\n)*?".join(re.escape(part) for part in re.split(r"\n?^\.\.\.\n", expected, flags=re.MULTILINE))
    return re.fullmatch(pattern, actual) is not None


def printed_by(chapter, executable):
    run = subprocess.run([executable], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"{chapter}: its program ended with code {run.returncode}\n{run.stdout}")
    return iter(run.stdout.split(MARK))


def update(chapter, executable):
    printed, latest = printed_by(chapter, executable), ""

    def replace(match):
        nonlocal latest
        if match[1] == "cpp" and match[2] != "top":
            latest = next(printed)
        if match[1] == "output" and not matches(match[3], latest):
            return f"```output\n{latest}```"
        return match[0]

    with open(chapter) as file:
        text = FENCE.sub(replace, file.read())
    with open(chapter, "w") as file:
        file.write(text)


def check(chapter, executable):
    printed = printed_by(chapter, executable)
    latest, compared, failed = "", 0, False
    for language, kind, content, line in blocks(chapter):
        if language == "cpp" and kind != "top":
            latest = next(printed)
        elif language == "output":
            compared += 1
            if not matches(content, latest):
                failed = True
                print(f"{chapter}:{line}: the chapter shows\n{content}\nbut the code prints\n{latest}")
    if compared == 0:
        sys.exit(f"{chapter}: shows no output to compare")
    if failed:
        sys.exit(1)
    print(f"{chapter}: {compared} outputs as shown")


def run_printed(directory, program):
    run = subprocess.run([os.path.join(directory, program)], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"{program} ended with code {run.returncode}\n{run.stdout}")
    return run.stdout


def check_runs(chapter, directory):
    shown = [(program, content, line) for language, program, content, line in blocks(chapter) if language == "run"]
    failed = False
    for program, content, line in shown:
        actual = run_printed(directory, program)
        if not matches(content, actual):
            failed = True
            print(f"{chapter}:{line}: the chapter shows\n{content}\nbut {program} prints\n{actual}")
    if failed:
        sys.exit(1)
    print(f"{chapter}: {len(shown)} programs print what is shown")


def update_runs(chapter, directory):
    def replace(match):
        if match[1] != "run" or matches(match[3], actual := run_printed(directory, match[2])):
            return match[0]
        return f"```run {match[2]}\n{actual}```"

    with open(chapter) as file:
        text = FENCE.sub(replace, file.read())
    with open(chapter, "w") as file:
        file.write(text)


def session(chapter, executable, gdb):
    """What gdb prints, less what depends on the machine."""
    script = re.sub(r"\.md$", ".gdb", chapter)
    # -d: ccache may bring the program from another checkout, whose folder is gone.
    folder = os.path.dirname(os.path.abspath(chapter))
    run = subprocess.run([gdb, "-q", "-nx", "-batch", "-d", folder, "-x", script, executable], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    if re.search("(?i)ptrace: operation not permitted|could not trace the inferior|scripting is not supported", run.stdout):
        sys.exit(77)
    lines = [line for line in run.stdout.splitlines() if not re.match(r"\[|Using host libthread_db|warning:", line)]
    return "\n".join(lines).strip("\n") + "\n"


def check_session(chapter, executable, gdb):
    shown = [content for language, _, content, _ in blocks(chapter) if language == "gdb"]
    actual = session(chapter, executable, gdb)
    if shown != [actual]:
        sys.exit(f"{chapter}: shows another session than\n{actual}")
    print(f"{chapter}: the session is as shown")


def update_session(chapter, executable, gdb):
    actual = session(chapter, executable, gdb)
    with open(chapter) as file:
        text = FENCE.sub(lambda match: f"```gdb\n{actual}```" if match[1] == "gdb" else match[0], file.read())
    with open(chapter, "w") as file:
        file.write(text)


if __name__ == "__main__":
    {"extract": extract, "check": check, "update": update, "check-runs": check_runs, "update-runs": update_runs, "check-session": check_session,
     "update-session": update_session}[sys.argv[1]](*sys.argv[2:])
