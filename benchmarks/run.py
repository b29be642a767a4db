"""Every speed and memory row that is measured here in, one Markdown page with machine, versions and medians out.

    python benchmarks/run.py [--rounds 5] [--threads 2] [--out FILE]

The statistics have a page of their own: benchmarks/evidence.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import keep
import predict
from measure import HEAD, in_subprocess, table


def start_table(rounds: int) -> str:
    """`elsewhere --help` from a cold interpreter."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        in_subprocess("-c", "from elsewhere.cli import main; main()", "--help")
        seconds.append(time.perf_counter() - start)
    return table(["`elsewhere --help`", "target"], [[f"{sorted(seconds)[rounds // 2]:.2f} s (median)", "< 0.5 s"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    prediction = predict.report(given.rounds, given.threads, given.passes, errors=True)
    store = table(HEAD, [row.cells() for row in keep.rows(given.rounds)])
    page = f"# Measured speed and memory\n\n{prediction}\n\n{store}\n\n{start_table(given.rounds)}"
    sys.stdout.write(page)
    if given.out:
        given.out.write_text(page)


if __name__ == "__main__":
    main()
