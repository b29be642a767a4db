"""Where the scans of each study come from in; what the page says of it, for all studies or for each by itself, out."""

from __future__ import annotations

from collections.abc import Sequence

from elsewhere.pages.report.content import Origin, Report, Study
from elsewhere.pages.report.words import listed
from elsewhere.wording import numbered

SCANS: dict[Origin, str] = {"real": "real scans", "repacked": "re-packed scans", "simulated": "simulated scans"}
LOOK = "Look it over before you hand it on."


def banners(report: Report) -> list[tuple[str, str]]:
    """What the reader must know before any number, (what the scans are, what follows), one for each origin.

    None where all scans are real. Where origins differ each names its studies, and real scans are named too.
    """
    found = []
    for origin in dict.fromkeys(study.origin for study in report.studies):
        names = _named([study for study in report.studies if study.origin == origin])
        if report.origin == "mixed":
            found.append((f"{SCANS[origin].capitalize()} in {names}", _follows(origin, f"of {names}")))
        elif origin != "real":
            found.append((SCANS[origin].capitalize(), _follows(origin, "on this page")))
    return found


def _follows(origin: Origin, where: str) -> str:
    """What scans of this origin can show."""
    return {
        "simulated": f"Every patient and every scanner {where} was made by a program. The numbers show what the "
        "software does; they are no evidence about any hospital or about COVID-19.",
        "repacked": "Real CT of one data set, written into the file layouts of others. The numbers show that the "
        "software reads those layouts; they say nothing about the sites whose names stand here.",
        "real": f"Nothing that this page says of simulated or re-packed scans holds for the patients {where}.",
    }[origin]


def tag(report: Report, study: Study) -> str:
    """What the scans of one study are, where the page holds studies of different origin; else ""."""
    return f"{SCANS[study.origin].capitalize()}." if report.origin == "mixed" else ""


def holdings(report: Report) -> str:
    """What of patients stands on the page and in its tables."""
    slices = sum(e.pixels is not None for study in report.studies for e in study.examples)
    listing = [study for study in report.studies if _holds_ids(study)]
    parts = ["counts and scores"]
    if slices:
        parts.append(numbered(slices, "example slice"))
    if listing:
        parts.append("scan and patient ids as the data sets give them, with metadata such as age, sex, kernel and date")
    real = any(study.origin != "simulated" for study in listing)
    ids = " Where an id of a data set is or holds a name, so does this page." if real else ""
    return f"This page and its tables hold {listed(parts)}; no volume.{ids} {_ending(report)}"


def _holds_ids(study: Study) -> bool:
    audit = study.audit
    return bool(study.hardest or study.bad_scans or audit.forensics or audit.duplicates or audit.leaks)


def _ending(report: Report) -> str:
    made = [study for study in report.studies if study.origin == "simulated"]
    if not made:
        return LOOK
    if len(made) == len(report.studies):
        return "Every patient is simulated."
    return f"Every patient of {_named(made)} is simulated, those of the other studies are not. {LOOK}"


def paper_beside(report: Report) -> str:
    """Why the paper's differences between networks must not be compared with those of the page; "" where they may."""
    if report.origin == "real":
        return ""
    if report.origin != "mixed":
        return "Those are real patients; the differences below are not, and must not be compared with them."
    names = _named([study for study in report.studies if study.origin != "real"])
    return f"Those are real patients; those of {names} are not, and must not be compared with them."


def published_beside(report: Report) -> str:
    """Whose numbers stand beside the paper's, and whose must not; plain text."""
    ours = "stand beside them; compare the exact AUC's interval, not the ±, which holds no sampling error."
    if report.origin == "real":
        return f"Ours {ours}"
    away = [study for study in report.studies if study.origin != "real"]
    if report.origin != "mixed":
        kind = SCANS[away[0].origin].removesuffix(" scans")
        return (
            f"They come from real patients; the scans of this page are {kind}, so ours do not stand beside them and "
            "must not be compared."
        )
    others = f"The scans of {_named(away)} are not real: their numbers do not stand there and must not be compared."
    return f"Those of {_named(beside_the_paper(report))} {ours} {others}" if beside_the_paper(report) else others


def beside_the_paper(report: Report) -> list[Study]:
    """The studies whose numbers may stand beside the paper's: real scans of its sites."""
    return [study for study in report.studies if study.origin == "real" and study.published]


def mechanism(study: Study) -> str:
    """What scans that are not a hospital's own show of the paper's points; "" for real ones."""
    if study.origin == "real":
        return ""
    kind = SCANS[study.origin].removesuffix(" scans")
    return f"The scans here are {kind}: the numbers show the mechanism, not its size in the paper."


def planted_in(report: Report) -> str:
    """Whose scans come from a simulator, as the head of what was planted."""
    names = [study for study in report.studies if study.planted]
    return "These scans come" if len(names) == len(report.studies) else f"The scans of {_named(names)} come"


def shared(studies: Sequence[Study], part: str) -> list[str]:
    """Sentences of one kind ("notes", "planted") that stand with each of these studies, in the order of the first."""
    given = [getattr(study, part) for study in studies]
    return [words for words in given[0] if all(words in other for other in given)] if given else []


def _named(studies: Sequence[Study]) -> str:
    return listed([f"“{study.name}”" for study in studies])
