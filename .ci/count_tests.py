"""count_tests.py REPORT: prints "passed NAME" or "failed NAME" for each test in ctest's JUnit report.

A test that says it was skipped is left out; one that could not be run has failed. Exits with 1 if the report
is missing or holds no test.
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
    elif skipped is None or "SKIP" not in skipped.get("message", ""):
        print("failed", case.get("name"))
sys.exit(0 if cases else 1)
