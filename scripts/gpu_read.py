"""What the programs of gpu_check.sh wrote, as the members "data", "cases" and "first_failure" of a step's record."""

import json
import os
import re
import statistics
import xml.etree.ElementTree as xml

ASSERTIONS = ("Expression", "Exception", "Failure", "FatalErrorCondition")  # as Catch2's xml reporter has them
MESSAGE = 1000  # characters kept of a failed assertion


def one_line(text):
    return " ".join(text.split())


def read_cases(path):
    """Returns {"cases": [{name, seconds, result, message}], "first_failure"} from what Catch2's xml reporter wrote until the
    program ended. However it ended, the case that was running has failed. A case that passed has its warnings as message."""
    parser = xml.XMLPullParser(("start", "end"))
    try:
        parser.feed(path.read_text(errors="replace") if path.exists() else "")
        events = list(parser.read_events())
    except xml.ParseError:
        events = list(parser.read_events())
    cases, first, infos, troubles, warnings, open_tags = [], "", [], [], [], []
    for event, element in events:
        if event == "start":
            open_tags.append(element.tag)
            if element.tag == "TestCase":
                cases.append({"name": element.get("name"), "seconds": 0, "result": "failed", "message": "it did not end"})
                infos, troubles, warnings = [], [], []
            continue
        open_tags.pop()
        if element.tag == "Info":
            infos.append(one_line(element.text or ""))
        elif element.tag == "Warning":
            warnings.append(one_line(element.text or ""))
        elif element.tag in ASSERTIONS and "Expression" not in open_tags:
            if element.get("success") != "true":
                troubles.append(trouble(element, infos))
            infos = []
        elif element.tag == "OverallResult" and cases:
            passed = element.get("success") == "true"
            cases[-1].update(seconds=float(element.get("durationInSeconds", 0)), result="passed" if passed else "failed",
                             message="; ".join(warnings)[:MESSAGE] if passed else "it failed")
        if cases and troubles and cases[-1]["result"] == "failed":
            more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
            cases[-1]["message"] = troubles[0][:MESSAGE] + more
    if "TestCase" in open_tags and troubles:
        cases[-1]["message"] += "; it did not end"
    for case in cases:
        if case["result"] == "failed" and not first:
            first = f"{case['name']}: {case['message']}"
    return {"cases": cases, "first_failure": first}


def trouble(element, infos):
    """Returns one line for a failed assertion: where, what, with which values, and what INFO said before it."""
    place = f"{os.path.basename(element.get('filename', ''))}:{element.get('line', '')}"
    texts = {child.tag: one_line(child.text or "") for child in element}
    words = texts.get("Original", one_line(element.text or ""))
    if texts.get("Expanded", words) != words:
        words += f" with {texts['Expanded']}"
    if "Exception" in texts:
        words += f" threw {texts['Exception']}"
    return " ".join([place, element.tag if element.tag == "FatalErrorCondition" else element.get("type", ""), words,
                     *(f"[{info}]" for info in infos)]).replace("  ", " ")


def json_lines(output):
    """Returns the JSON objects among a program's lines."""
    objects = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                objects.append(json.loads(line))
            except ValueError:  # the last one of a killed program
                break
    return objects


def read_blocks(output, **more):
    """Of resnet50_step or pytorch_resnet50.py: the median of its blocks, and its summary; with `more` besides."""
    lines = json_lines(output)
    blocks = [line for line in lines if "images_per_second" in line]
    summary = {key: value for line in lines if "images_per_second" not in line for key, value in line.items()}
    speed = statistics.median(block["images_per_second"] for block in blocks) if blocks else 0
    return {"data": {**more, **summary, "images_per_second": speed, "blocks": blocks}}


def read_json(path):
    return {"data": json.loads(path.read_text(encoding="utf-8"))}


def read_benchmarks(path):
    """Returns what Google Benchmark wrote; for a program that was stopped, what it had measured until then."""
    text = path.read_text(encoding="utf-8")
    try:
        return {"data": json.loads(text)}
    except json.JSONDecodeError:
        end = text.rfind("},")
        return {"data": json.loads(text[:end] + "}]}" if end > text.find('"benchmarks"') else "{}")}


def read_race(path):
    """Returns the race. A failed program of Taper's fails the step; one of PyTorch's is only a remark."""
    measured = read_json(path)
    failed = [program for program in measured["data"]["programs"]
              if program["name"].startswith("Taper") and program.get("trouble", "").startswith("failed")]
    if failed:
        measured["first_failure"] = f"{failed[0]['name']}, {failed[0]['precision']}: {failed[0]['trouble']}"
    return measured


def read_training(path, least):
    summary = json.loads(path.read_text(encoding="utf-8"))
    low = least and (summary["top1"] is None or summary["top1"] < least)
    return {"data": summary, "first_failure": f"top1 {summary['top1']} is below {least}" if low else ""}


def read_parity(output):
    """{"steps": [{step, taper, pytorch, difference, allowed}]} of parity.py, and the first step that is off."""
    steps = [{"step": int(step), "taper": float(taper), "pytorch": float(pytorch), "difference": float(difference),
              "allowed": float(allowed)} for step, taper, pytorch, difference, allowed in re.findall(
                  r"^step +(\d+) +taper (\S+) +pytorch (\S+) +difference (\S+) +allowed (\S+)", output, re.MULTILINE)]
    off = [step for step in steps if not step["difference"] <= step["allowed"]]
    failure = ""
    if off:
        failure = (f"step {off[0]['step']}: losses {off[0]['taper']} and PyTorch's {off[0]['pytorch']} differ by "
                   f"{off[0]['difference']:.1e}, allowed {off[0]['allowed']:.0e}")
    return {"data": {"steps": steps} if steps else {}, "first_failure": failure}
