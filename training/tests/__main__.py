"""``python3 -m tests [REPORT.json]`` in ``training/``: runs every test, and writes how many passed, and which failed and why."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path


def main() -> int:
    suite = unittest.defaultTestLoader.discover(str(Path(__file__).parent), top_level_dir=str(Path(__file__).parents[1]))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout, buffer=True).run(suite)
    # of a test with several subtests each one that failed is listed, and the test counts as failed once
    failures = [(test, told) for test, told in result.failures + result.errors]
    failures += [(test, "it succeeded, which was not expected") for test in result.unexpectedSuccesses]
    failed = {getattr(test, "test_case", test) for test, _ in failures}
    report = {
        "passed": max(0, result.testsRun - len(failed) - len(result.skipped)),
        "failures": [{"name": str(test), "message": told} for test, told in failures],
        "skipped": len(result.skipped),
    }
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf-8")
    return 0 if result.wasSuccessful() and report["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
