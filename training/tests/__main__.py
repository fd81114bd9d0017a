"""``python3 -m tests [REPORT.json]`` in ``training/``: runs every test, and writes how many passed and failed."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path


def main() -> int:
    suite = unittest.defaultTestLoader.discover(str(Path(__file__).parent), top_level_dir=str(Path(__file__).parents[1]))
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout, buffer=True).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    counts = {"passed": result.testsRun - failed - len(result.skipped), "failed": failed, "skipped": len(result.skipped)}
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(counts), encoding="utf-8")
    return 0 if result.wasSuccessful() and counts["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
