"""A study's settings in; its protocol in words, and the options that depart from the paper's values, out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from elsewhere.commands.report.kept_study import KeptStudy
from elsewhere.studies.file import PROTOCOLS, SECTIONS
from elsewhere.wording import numbered

PROTOCOL_NAMES = {
    "paper": "The paper's protocol (where its text is silent, our reading)",
    "harmonised": "The harmonised protocol",
}
OPTION_WORDS: dict[tuple[str, str], dict[Any, str]] = {
    ("preparation", "encoding"): {"as_published": "intensities as published", "hu": "known encodings back to HU"},
    ("preparation", "crop"): {"none": "whole slices", "lungs": "the lungs' bounding box"},
    ("preparation", "grid"): {"in_plane": "rows and columns resized", "fixed": "one fixed grid"},
    ("sample", "normalisation"): {"paper": "each scan divided by its maximum", "window": "one window of values"},
    ("training", "balanced_classes"): {False: "scans drawn as they come", True: "classes in turn in training"},
    ("training", "select"): {
        "accuracy": "weights kept by validation accuracy",
        "log_loss": "weights kept by validation log loss",
        "auc": "weights kept by validation AUC",
    },
    ("evaluation", "threshold"): {
        "site": "a threshold for each tested site",
        "model": "one threshold per model from its own training sites",
    },
}
"""The options that tell protocols apart, in words: what a study's settings say, not what its preset is called."""

OF_THE_MACHINE = ("save_every", "accelerator", "devices", "loaders", "card_gib", "pinned_gib", "threads", "tensorboard")
"""Training options that belong to no protocol."""

DEPARTING = ("split", "preparation", "network", "sample", "training", "prediction", "evaluation")
NAMED = 5
"""Options that are named one by one beside the result; more are counted, and stand under Settings."""

UNSAID = {
    ("preparation", "size"),
    ("split", "seed"),
    ("split", "folds"),
    ("split", "local"),
    ("training", "seed"),
}  # said elsewhere on the page


def protocol_words(study: KeptStudy) -> str:
    """What the study's protocol is by its own settings, and which of them are not those of its preset."""
    name, settings = study.settings.protocol, study.all_settings
    said = [words[settings[s][f]] for (s, f), words in OPTION_WORDS.items() if settings[s].get(f) in words]
    changed: dict[str, list[str]] = {}
    for section, option in _options(study):
        preset = json.loads(json.dumps(asdict(SECTIONS[section](**PROTOCOLS[name].get(section, {})))))[option]
        if settings[section][option] != preset and option not in OF_THE_MACHINE:
            changed.setdefault(section, []).append(option)
    text = f"{PROTOCOL_NAMES[name]}: {', '.join(said)}."
    if not changed:
        return f"{text} No option departs from its preset."
    number = sum(map(len, changed.values()))
    which = numbered(number, "option") + f" of {', '.join(changed)}"
    if number <= NAMED:
        which = "; ".join(f"{section} ({', '.join(names)})" for section, names in changed.items())
    return f"{text} Not as its preset has it: {which}; the values stand under Settings."


def departures(study: KeptStudy) -> dict[str, str]:
    """Options that differ from the paper's values, in words."""
    settings = study.all_settings
    paper = {section: json.loads(json.dumps(asdict(SECTIONS[section]()))) for section in DEPARTING}
    return {
        f"{section}.{option}": f"{_said(given)} (paper: {_said(paper[section][option])})"
        for section, option in _options(study)
        if (given := settings[section][option]) != paper[section][option]
    }


def _said(value: object) -> str:
    """A setting in words: as TOML has it, but for what is not set."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(map(_said, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _options(study: KeptStudy) -> Iterable[tuple[str, str]]:
    """(section, option) of all that may depart, but for what is said elsewhere or the study's version did not have."""
    for section in DEPARTING:
        names = [field.name for field in fields(SECTIONS[section])]
        yield from ((section, n) for n in names if (section, n) not in UNSAID and n in study.all_settings[section])
