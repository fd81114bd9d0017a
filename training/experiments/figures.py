"""Plots and tables of what results.jsonl holds, for docs/training.md.

    python figures.py    writes the plots to docs/figures and prints the tables

results.jsonl holds what `novels.py --results` and `recall.py --results` wrote in runs 12 to 16 of docs/training-log.md, and of run 17 dense attention; plots of novels show run 12. Rates of tokens are left out,
because several processes shared the GPU. Needs nothing but Python.
"""
import html
import json
import math
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIGURES = HERE.parents[1] / "docs" / "figures"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 800, 400, 60, 290, 28, 48

# what models are called and how they are drawn; keys are (run, variant), the seed left out
NOVELS = {
    "local_ff8_drop": ("local alone", "#2a8", ""),
    "dense_last_ff8_drop": ("dense in the last two blocks", "#47a", ""),
    "few_last_one_ff7_drop": ("routed, strictly causal", "#c40", ""),
    "window_last_one_ff7_drop": ("routed, published queries", "#e90", ""),
    "window_last_one_ff7_drop, causal": ("… asked without looking ahead", "#e90", "4 3"),
    "few_last_one_ff7_drop_descent": ("strictly causal, descent's gradient", "#888", ""),
    "descent_last_one_ff7_drop": ("coordinate descent, published queries", "#a3a", ""),
    "descent_last_one_ff7_drop, causal": ("… asked without looking ahead", "#a3a", "4 3"),
}
RECALL = {
    (13, "local"): ("local alone", "#2a8", ""),
    (13, "descent_lr_half"): ("coordinate descent, 16 key/values", "#a3a", ""),
    (13, "few_plain_lr_half"): ("routed, 16 key/values (two seeds)", "#e90", ""),
    (14, "few_64_lr_quarter"): ("routed, 64 key/values (three seeds)", "#c40", ""),
    (17, "dense_attention"): ("dense attention (two seeds)", "#47a", "4 3"),
}


def results():
    return [json.loads(line) for line in (HERE / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def chart(title, across, up, series, ticks, low, high, step, logarithmic=True):
    """One plot as SVG. series: (label, colour, dashes, lines), each line a list of (x, y); ticks: of x, with their labels."""
    scale = math.log2 if logarithmic else float
    first, last = scale(ticks[0][0]), scale(ticks[-1][0])
    place = lambda x, y: (round(LEFT + (scale(x) - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1),
                          round(HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1))
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#888">',
             f"<title>{html.escape(title)}</title>", f'<text x="{LEFT - 44}" y="16">{html.escape(up)}</text>',
             f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(across)}</text>']
    for i in range(round((high - low) / step) + 1):
        y = low + i * step
        at = place(ticks[0][0], y)[1]
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}" stroke="#8884"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{y:.2f}</text>')
    for x, label in ticks:
        lines.append(f'<text x="{place(x, low)[0]}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{label}</text>')
    for i, (label, colour, dashes, curves) in enumerate(series):
        stroke = f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
        for curve in curves:
            points = [place(*point) for point in curve]
            lines.append(f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" {stroke}/>')
            lines += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in points]
        at = TOP + 10 + 20 * i
        lines.append(f'<line x1="{WIDTH - RIGHT + 16}" x2="{WIDTH - RIGHT + 40}" y1="{at}" y2="{at}" {stroke}/>')
        lines.append(f'<text x="{WIDTH - RIGHT + 46}" y="{at + 4}">{html.escape(label)}</text>')
    return "\n".join([*lines, "</svg>\n"])


def novels(rows):
    """→ name → what was measured of it; a second one where the choice that looks ahead was replaced by the causal one."""
    found = {row["variant"]: row for row in rows if row["run"] == 12}
    causal = {name + ", causal": row["without looking ahead"] for name, row in found.items() if "without looking ahead" in row}
    return {name: {**found, **causal}[name] for name in NOVELS}


def recall(rows):
    """→ (run, variant) → the runs of all its seeds; the longest where the same seed ran twice."""
    longest = {}
    for row in rows:
        if row["experiment"] == "recall":
            key = (row["run"], row["variant"])
            longest[key] = max(longest.get(key, row), row, key=lambda r: r["steps"])
    return {key: [row for (run, name), row in longest.items() if (run, name.split(":")[0]) == key] for key in RECALL}


def plots(rows):
    """→ file name → SVG."""
    files = {}
    lengths = [(256 * 2**i, f"{256 * 2**i:,}") for i in range(7)]
    for novel, low, high in (("Treasure Island", 4.95, 5.2), ("Jane Eyre", 4.9, 5.2)):
        series = [(*NOVELS[name], [[(int(n), bits) for n, bits in row[novel]["by_context"].items()]]) for name, row in novels(rows).items()]
        files[f"novels-{novel.lower().replace(' ', '-')}.svg"] = chart(
            f"{novel}: bits a token by context length", "context length, tokens", f"bits a token, {novel} (lower is better)", series, lengths, low, high, 0.05)
    runs = recall(rows)
    middle = lambda a, b: math.sqrt(max(a, 32) * b)
    distance = [(*RECALL[key], [[(middle(a, b), right) for a, b, right in row["by_distance"]["2048"]] for row in found]) for key, found in runs.items()]
    files["recall-distance.svg"] = chart(
        "Recall by distance", "tokens from a pair to its question (training: up to 500)", "right answers of four pairs; chance is 0.06", distance,
        [(64, "64"), (128, "128"), (256, "256"), (512, "512"), (1024, "1,024"), (2048, "2,048")], 0, 1, 0.2)
    pairs = [(*RECALL[key], [[(int(n), right) for n, right in row["by_pairs"].items()] for row in found]) for key, found in runs.items()]
    files["recall-pairs.svg"] = chart(
        "Recall by number of pairs", "pairs, 128 tokens or more before their questions (training: up to six)", "right answers; chance is 0.06", pairs,
        [(n, str(n)) for n in (1, 2, 3, 4, 6, 8)], 0, 1, 0.2, logarithmic=False)
    return files


def tables(rows):
    """→ the documents' tables, as lists of rows of cells."""
    lengths = [str(256 * 2**i) for i in range(7)]
    by_context = lambda novel: [[label, *(f"{row[novel]['by_context'][n]:.3f}" for n in lengths)]
                                for (label, *_), row in ((NOVELS[name], row) for name, row in novels(rows).items())]
    runs = recall(rows)
    span = lambda values: f"{min(values):.2f}" if f"{min(values):.2f}" == f"{max(values):.2f}" else f"{min(values):.2f} to {max(values):.2f}"
    by_pairs = [[RECALL[key][0], *(span([row["by_pairs"][n] for row in found]) for n in ("1", "2", "4", "6", "8"))] for key, found in runs.items()]
    by_distance = [[RECALL[key][0], *(span([row["by_distance"]["2048"][i][2] for row in found]) for i in range(6))] for key, found in runs.items()]
    return {"Treasure Island": by_context("Treasure Island"), "Jane Eyre": by_context("Jane Eyre"), "pairs": by_pairs, "distance": by_distance}


def main():
    rows = results()
    FIGURES.mkdir(exist_ok=True)
    for name, svg in plots(rows).items():
        (FIGURES / name).write_text(svg, encoding="utf-8")
    for title, cells in tables(rows).items():
        print(f"\n{title}")
        for row in cells:
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
