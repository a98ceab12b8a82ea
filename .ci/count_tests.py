"""count_tests.py REPORT: prints "passed NAME", "failed NAME" or "skipped NAME" for each test in ctest's JUnit report.

A test is skipped if it says so; one that could not be run has failed. Exits with 1 if the report is missing or holds
no test.
"""

import sys
import xml.etree.ElementTree as xml

try:
    cases = xml.parse(sys.argv[1]).getroot().findall("testcase")
except (OSError, xml.ParseError) as error:
    sys.exit(f"no test report: {error}")
for case in cases:
    skipped = case.find("skipped")
    if case.get("status") == "run":
        print("passed", case.get("name"))
    elif skipped is not None and "SKIP" in skipped.get("message", ""):
        print("skipped", case.get("name"))
    else:
        print("failed", case.get("name"))
sys.exit(0 if cases else 1)
