#!/usr/bin/env python3
"""Draws one training step of several ranks from a trace: what the network computes, and when each bucket of gradients travels.

  mpirun -n 2 resnet50_train --max-steps 8 --profile trace.json
  scripts/trace_timeline.py trace.json --svg step.svg
"""
import argparse
import html
import json
import sys

WIDTH, LEFT, TOP, ROW, BAR = 860, 100, 44, 38, 26
COLOURS = {"forward": "#1f77b4", "backward": "#ff7f0e", "waits": "#bbbbbb", "optimizer": "#2ca02c"}
BUCKETS = ("#9467bd", "#17becf")


def read(path):
    """The bars of threads "main" and "collectives", in order of time: (name, category, begin, end) in ms."""
    with open(path, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    threads = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["ph"] == "M" and one["name"] == "thread_name"}
    bars = {"main": [], "collectives": []}
    for one in events:
        thread = threads.get((one.get("pid"), one.get("tid")))
        if one["ph"] == "X" and thread in bars:
            bars[thread].append((one["name"], one["cat"], one["ts"] / 1e3, (one["ts"] + one["dur"]) / 1e3))
    return [sorted(bars[thread], key=lambda bar: bar[2]) for thread in ("main", "collectives")]


def last_step(main, collectives):
    """(phases, buckets): {name: (begin, end)} of the last whole step, and [(name, begin, end)]; times from the step's start."""
    ends = [bar[3] for bar in main if bar[1] == "optimizer" and bar[0].endswith(" step")]
    if len(ends) < 2:
        raise ValueError("it has no two steps; record more of them")
    inside = [bar for bar in main if ends[-2] <= bar[2] and bar[3] <= ends[-1]]
    backward = [bar for bar in inside if bar[1] == "backward"]
    update = [bar for bar in inside if bar[1] == "optimizer" and bar[0].endswith(" step")]
    buckets = [bar for bar in collectives if bar[0].startswith("gradients ") and ends[-2] <= bar[2] <= ends[-1]]
    if not backward or not buckets:
        raise ValueError("its last step has no backward pass with buckets of gradients; is it of one rank alone?")
    begin = max([bar[3] for bar in main if bar[1] == "data" and bar[3] <= backward[0][2]], default=ends[-2])
    waits = [bar for bar in backward if bar[0] == "wait for gradients"]
    computed = max(bar[3] for bar in backward if bar not in waits)
    phases = {"forward": (begin, backward[0][2]), "backward": (backward[0][2], computed), "optimizer": (update[-1][2], update[-1][3])}
    if waits:
        phases["waits"] = waits[-1][2:]
    return ({name: (first - begin, last - begin) for name, (first, last) in phases.items()},
            [(name, first - begin, last - begin) for name, _, first, last in buckets])


def hidden(phases, buckets):
    """The share of the buckets' time that lies before the end of the backward pass."""
    end = phases["backward"][1]
    return sum(max(0, min(last, end) - first) for _, first, last in buckets) / sum(last - first for _, first, last in buckets)


def draw(phases, buckets):
    total = max(last for _, last in phases.values())
    place = lambda time: LEFT + time / total * (WIDTH - LEFT - 12)

    def bar(row, first, last, colour, name):
        text = html.escape(name)
        shape = (f'<rect x="{place(first):.1f}" y="{TOP + row * ROW}" width="{max(place(last) - place(first), 1):.1f}" height="{BAR}" '
                 f'fill="{colour}"><title>{text}: {first:.2f} to {last:.2f} ms</title></rect>\n')
        if place(last) - place(first) > 7 * len(name):
            shape += (f'<text x="{place((first + last) / 2):.1f}" y="{TOP + row * ROW + 17}" text-anchor="middle" fill="white">'
                      f'{text}</text>\n')
        return shape

    height = TOP + 2 * ROW + 24
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           f'font-family="sans-serif" font-size="12">\n<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
           f'<text x="12" y="22" font-size="14">A step of {total:.0f} ms; {100 * hidden(phases, buckets):.0f}% of the communication '
           f'lies under the backward pass</text>\n')
    for row, name in enumerate(("main", "collectives")):
        svg += f'<text x="12" y="{TOP + row * ROW + 17}">{name}</text>\n'
    svg += "".join(bar(0, *phases[name], colour, name) for name, colour in COLOURS.items() if name in phases)
    svg += "".join(bar(1, first, last, BUCKETS[i % 2], name) for i, (name, first, last) in enumerate(buckets))
    for i in range(5):
        svg += f'<text x="{place(total * i / 4):.1f}" y="{height - 8}" text-anchor="middle" fill="#666">{total * i / 4:.0f} ms</text>\n'
    return svg + "</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", help="what --profile has written")
    parser.add_argument("--svg", help="the picture to write")
    options = parser.parse_args()
    try:
        phases, buckets = last_step(*read(options.trace))
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"trace_timeline.py: {options.trace}: {error if isinstance(error, (OSError, ValueError)) else 'is no trace of Taper'}")
    for name, (first, last) in [*phases.items(), *((name, times) for name, *times in buckets)]:
        print(f"{name:12} {first:9.2f} to {last:9.2f} ms")
    print(f"{100 * hidden(phases, buckets):.0f}% of the communication lies under the backward pass")
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as file:
            file.write(draw(phases, buckets))


if __name__ == "__main__":
    main()
