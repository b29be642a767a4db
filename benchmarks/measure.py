"""Ways to do one thing in; interleaved times, peak memory and Markdown tables with the machine's description out."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass
class Times:
    """Seconds of each round: wall clock, and processor time of all threads."""

    wall: list[float]
    cpu: list[float]

    def __add__(self, other: Times) -> Times:
        """One thing after the other, round by round."""
        pairs = zip(zip(self.wall, self.cpu, strict=True), zip(other.wall, other.cpu, strict=True), strict=True)
        wall, cpu = zip(*((a + c, b + d) for (a, b), (c, d) in pairs), strict=True)
        return Times(list(wall), list(cpu))

    def scaled(self, factor: float) -> Times:
        return Times([factor * w for w in self.wall], [factor * c for c in self.cpu])


@dataclass
class Row:
    """One stage, its time against another's, and what issue 3 asks of the ratio (None: nothing asked)."""

    stage: str
    against: str
    ours: Times
    theirs: Times
    target: float | None
    note: str = ""

    def cells(self) -> list[str]:
        wall = statistics.median(self.ours.wall) / statistics.median(self.theirs.wall)
        cpu = statistics.median(self.ours.cpu) / statistics.median(self.theirs.cpu)
        target = "–" if self.target is None else f"≤ {self.target:g}"
        met = "" if self.target is None else "met" if max(wall, cpu) <= self.target else "**missed**"
        return [
            self.stage,
            self.against,
            spread(self.ours),
            spread(self.theirs),
            short(wall),
            short(cpu),
            target,
            met,
            self.note,
        ]


@dataclass
class Missing:
    """A row that cannot be measured here: the peer is not installed, or there is no GPU."""

    stage: str
    against: str
    reason: str

    def cells(self) -> list[str]:
        return [self.stage, self.against, *["–"] * 5, "not measured", self.reason]


@dataclass
class Figure:
    """One number that is no ratio of times: a size, a memory, an error, a start; `target` is the most it may be."""

    what: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    def cells(self) -> list[str]:
        target = "–" if self.target is None else f"≤ {self.target:g} {self.unit}"
        met = "" if self.target is None else "met" if self.value <= self.target else "**missed**"
        return [self.what, f"{short(self.value)} {self.unit}".strip(), target.strip(), met, self.note]


@dataclass
class Part:
    """What one part of the benchmark found."""

    rows: Sequence[Row | Missing] = ()
    figures: Sequence[Figure] = ()
    text: str = ""


BRIEF = 20  # rounds of what takes no more than a second: five would leave the median to the machine's mood
FIGURE_HEAD = ["what", "measured", "target", "", ""]
HEAD = [
    "stage",
    "against",
    "ours: wall s (CPU s)",
    "theirs: wall s (CPU s)",
    "wall ratio",
    "CPU ratio",
    "target",
    "",
    "",
]


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int, *, warm: bool = True) -> dict[str, Times]:
    """Each way once in every round, in turn, after one unmeasured call of each where `warm`."""
    times = {name: Times([], []) for name in ways}
    for number in range(rounds + warm):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            if number >= warm:
                times[name].wall.append(time.perf_counter() - wall)
                times[name].cpu.append(time.process_time() - cpu)
    return times


def spread(times: Times) -> str:
    """Median and range."""
    wall, cpu = sorted(times.wall), statistics.median(times.cpu)
    return f"{short(statistics.median(wall))} [{short(wall[0])}–{short(wall[-1])}] ({short(cpu)})"


def short(number: float) -> str:
    """Three digits, without an exponent where a person would write none."""
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB; Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {field}")


def peak_above(work: Callable[[], object]) -> float:
    """MB that a call needs above what the process held before it."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory_mb("VmRSS")
    work()
    return memory_mb("VmHWM") - before


def real_data() -> Path | None:
    """Folder of real CT for tests, as the tests find it; None where there is none."""
    root = Path(os.environ.get("ELSEWHERE_REAL_DATA", Path(__file__).parents[2] / "shared" / "data" / "real"))
    return root if (root / "manifest.csv").is_file() else None


def in_subprocess(script: str, *arguments: str) -> str:
    """What a fresh interpreter prints: its memory holds nothing of ours."""
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def machine(packages: Sequence[str]) -> str:
    """One line: date, processor, cores, versions."""
    model = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return ", ".join(
        [f"{date.today()}", f"{len(model)} × {model[0] if model else platform.machine()}", *_versions(packages)]
    )


def _versions(packages: Sequence[str]) -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
