"""The documents show what training/experiments/results.jsonl holds: its plots and its tables are those that figures.py makes."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "training" / "experiments"))
import figures  # noqa: E402

DOCUMENT = "\n".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("training.md", "training-log.md"))


class Figures(unittest.TestCase):
    def setUp(self) -> None:
        self.rows = figures.results()

    def test_plots_are_current(self) -> None:
        plots = figures.plots(self.rows)
        self.assertEqual(sorted(plots), sorted(path.name for path in figures.FIGURES.glob("*.svg")))
        for name, svg in plots.items():
            with self.subTest(plot=name):
                self.assertEqual((figures.FIGURES / name).read_text(encoding="utf-8"), svg, "run figures.py")
                self.assertIn(f"(figures/{name})", DOCUMENT)

    def test_every_curve_lies_within_its_plot(self) -> None:
        for name, svg in figures.plots(self.rows).items():
            curves = list(ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline"))
            self.assertGreaterEqual(len(curves), 5, name)
            for curve in curves:
                for point in curve.attrib["points"].split():
                    x, y = map(float, point.split(","))
                    self.assertTrue(figures.LEFT <= x <= figures.WIDTH - figures.RIGHT, (name, point))
                    self.assertTrue(figures.TOP <= y <= figures.HEIGHT - figures.BOTTOM, (name, point))

    def test_tables_are_quoted(self) -> None:
        lines = [[cell.strip(" *") for cell in line.strip(" |").split("|")] for line in DOCUMENT.splitlines() if line.strip().startswith("|")]
        for title, table in figures.tables(self.rows).items():
            for row in table:
                with self.subTest(table=title, row=row[0]):
                    self.assertIn(row, lines)


if __name__ == "__main__":
    unittest.main()
