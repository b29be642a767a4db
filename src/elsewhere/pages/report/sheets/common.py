"""A report in; what the answers of the reporting sheets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from elsewhere.pages.report.content import Origin, Report, Study
from elsewhere.pages.report.options import TrainingOptions

ORIGINS: dict[Origin, str] = {
    "real": "real scans",
    "repacked": "real scans of one data set re-packed into the layouts of others, a test of the software",
    "simulated": "simulated scans, a test of the software: no patient is behind any of them",
}


def each(sentences: Iterable[tuple[str, str]]) -> str:
    """One sentence per study, named where they differ, or where one of them has nothing to say."""
    given = list(sentences)
    said = [(name, text) for name, text in given if text]
    if len(said) == len(given) and len({text for _, text in said}) == 1:
        return said[0][1]
    return " ".join(f"“{name}”: {text}" for name, text in said)


def per_study(report: Report, say: Callable[[Study], str]) -> str:
    """What `say` says of each study, in one answer."""
    return each((study.name, say(study)) for study in report.studies)


def drawing(training: TrainingOptions | None) -> str:
    """In which turn training scans were drawn, from the options of a training; "" where they do not say."""
    if training is None or training.sampling is None:
        return ""
    sites, classes = training.sampling == "balanced", training.balanced_classes
    if sites:
        return "every class of every site in turn" if classes else "the sites in turn"
    return "the classes in turn, the scans of each over all training sites alike" if classes else "all scans alike"
