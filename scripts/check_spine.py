#!/usr/bin/env python3
"""Holds the book to the tree: the spine's marks, the drawing of the rooms, and every path that the pages name.

    scripts/check_spine.py [--write] [ROOT]

docs/0-the-spine.md lists the files of the spine in reading order, and the first line of each file says which one it is:
"#pragma once  // spine 7 (docs/0-the-spine.md)". Prints the list with the lines of each file. Fails where list and marks
differ, where the debugger's walk leaves the list, where the drawing is not that of check_layers.py --draw, and where a link
or a path in `backticks` leads nowhere. --write sets marks and drawing by the list and the tree.
"""

import pathlib
import re
import sys

import check_layers

CHAPTER = "docs/0-the-spine.md"
ENTRY = re.compile(r"^\| (\d+) \| `([^`]+)` \|", re.MULTILINE)
MARK = re.compile(r"  // spine (\d+) \(" + re.escape(CHAPTER) + r"\)$")
DRAWING = re.compile(r"(?<=^```rooms\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^```gdb\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:core|ops|autograd|nn|include/taper|examples|bench|tests|scripts|cmake|docs)/[\w./-]*?(?:\.\w+|/))`")


def marked_files(root):
    """{path: number} of the files whose first line has a mark."""
    marks = {}
    for room in check_layers.FLOORS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in check_layers.SOURCES and path.is_file():
                with open(path, encoding="utf-8") as file:
                    match = MARK.search(file.readline().rstrip("\n"))
                if match:
                    marks[path.relative_to(root).as_posix()] = int(match[1])
    return marks


def find_spine_problems(root, text, entries):
    for place, (number, path) in enumerate(entries, 1):
        if number != place:
            yield f"{CHAPTER}: entry {place} of the list, {path}, has the number {number}"
    listed, marks = {path: number for number, path in entries}, marked_files(root)
    for path in sorted(listed.keys() | marks.keys()):
        if listed.get(path) != marks.get(path):
            yield f"{path}:1: is marked {marks.get(path, 'nothing')}, and listed as {listed.get(path, 'nothing')} in {CHAPTER}"
    for session in SESSION.findall(text):
        for path in re.findall(r"^((?:core|ops|autograd|nn)/\S+)", session, re.MULTILINE):
            if path not in listed:
                yield f"{CHAPTER}: the walk enters {path}, which is not in the list"
    if DRAWING.findall(text) != [drawing(root)]:
        yield f"{CHAPTER}: the rooms are drawn otherwise than by check_layers.py --draw"


def find_lost_paths(root):
    """Yields "file:line: ..." for links and paths of the pages that lead nowhere."""
    for page in sorted([*root.glob("*.md"), *(root / "docs").glob("*.md")]):
        if page.name == "CHANGELOG.md":  # names what there was
            continue
        text = page.read_text(encoding="utf-8")
        prose = FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
        for pattern, start in ((LINK, page.parent), (PATH, root)):
            for match in pattern.finditer(prose):
                stands_for_many = pattern is PATH and re.search(r"/(FAMILY|NAME)\b|/(FAMILY|NAME)_", match[1])
                if not stands_for_many and not (start / match[1]).exists():
                    line = prose.count("\n", 0, match.start()) + 1
                    yield f"{page.relative_to(root).as_posix()}:{line}: {match[1]} is not there"


def drawing(root):
    return "".join(line + "\n" for line in check_layers.draw(root))


def write(root, text, entries):
    listed = {path: number for number, path in entries}
    for path in sorted(listed.keys() | marked_files(root).keys()):
        first, newline, rest = (root / path).read_text(encoding="utf-8").partition("\n")
        mark = f"  // spine {listed[path]} ({CHAPTER})" if path in listed else ""
        (root / path).write_text(MARK.sub("", first) + mark + newline + rest, encoding="utf-8")
    text = DRAWING.sub(lambda match: drawing(root), text)
    (root / CHAPTER).write_text(text, encoding="utf-8")
    return text


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent)
    text = (root / CHAPTER).read_text(encoding="utf-8")
    entries = [(int(number), path) for number, path in ENTRY.findall(text)]
    if "--write" in sys.argv[1:]:
        text = write(root, text, entries)
    total = 0
    for number, path in entries:
        lines = len((root / path).read_text(encoding="utf-8").splitlines()) if (root / path).is_file() else 0
        total += lines
        print(f"{number:3}  {path:42} {lines:4}")
    print(f"{len(entries)} files, {total} lines")
    problems = [*find_spine_problems(root, text, entries), *find_lost_paths(root)]
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
