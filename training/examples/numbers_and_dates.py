"""Writes prompt–completion pairs of a small translation task: number words to digits, and dates to ISO form.

    python3 training/examples/numbers_and_dates.py pairs.jsonl [--count 40000] [--seed 1]

``{"prompt": "forty-two thousand and seven = ", "completion": "42007"}``, ``{"prompt": "the 3rd of May, 1912 = ", "completion": "1912-05-03"}``.
Every prompt occurs once, so what the trainer keeps back was never seen.
"""

from __future__ import annotations

import argparse
import calendar
import json
import random
from pathlib import Path
from typing import Tuple

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(number: int) -> str:
    """English words of a number below a million."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" and {number_words(rest)}" if rest else "")
    thousands, rest = divmod(number, 1000)
    if not rest:
        return f"{number_words(thousands)} thousand"
    return f"{number_words(thousands)} thousand{' and' if rest < 100 else ''} {number_words(rest)}"


def number_pair(random_: random.Random) -> Tuple[str, str]:
    number = random_.randrange(10 ** random_.randint(1, 6))
    return number_words(number), str(number)


def date_pair(random_: random.Random) -> Tuple[str, str]:
    year, month = random_.randint(1500, 2199), random_.randint(1, 12)
    day = random_.randint(1, calendar.monthrange(year, month)[1])
    name, short = calendar.month_name[month], calendar.month_abbr[month]
    ordinal = f"{day}{'th' if 10 < day < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"
    words = random_.choice(
        (f"{day} {name} {year}", f"{name} {day}, {year}", f"the {ordinal} of {name}, {year}", f"{day}.{month}.{year}", f"{short} {ordinal} {year}")
    )
    return words, f"{year:04}-{month:02}-{day:02}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    values = parser.parse_args()
    random_ = random.Random(values.seed)
    pairs = {}
    while len(pairs) < values.count:
        words, digits = random_.choice((number_pair, date_pair))(random_)
        pairs[f"{words} = "] = digits
    with open(values.out, "w", encoding="utf-8") as file:
        for prompt, completion in pairs.items():
            file.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")


if __name__ == "__main__":
    main()
