"""What a user of a study file likely meant: words of other tools, keys in the wrong place, lists of the wrong depth."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

OTHER_WORDS: Mapping[str, Mapping[str, str]] = {
    "accelerator": {"gpu": "cuda"},
    "precision": {"bf16": "bf16-mixed", "32": "32-true", "fp32": "32-true"},
}
"""Key of [training] -> what other tools say -> what it says here."""
OTHER_KEYS = {
    "path": "root",
    "folder": "root",
    "dir": "root",
    "directory": "root",
    "table": "labels",
    "csv": "labels",
    "format": "kind",
    "type": "kind",
    "lr": "learning_rate",
    "batch_size": "batch",
}
USES = {"external": "test", "validation": "test", "internal": "split", "train": "split", "training": "split"}
MOST_NETWORKS = 63


def unknown_key(key: str, prefix: str, allowed: Collection[str], sections: Mapping[str, Collection[str]]) -> str:
    """What to do about a key that is not known.

    Args:
        key: as written.
        prefix: of its table, "" on top.
        allowed: keys of that table.
        sections: name of each section -> its keys.
    """
    if (meant := OTHER_KEYS.get(key)) in allowed:
        return f"Did you mean `{prefix}{meant}`?"
    if key == "epochs":
        return "Give `iterations`: an epoch is the number of training scans divided by `batch`"
    if homes := [name for name, keys in sections.items() if key in keys and f"{name}." != prefix]:
        return f"It belongs under [{homes[0]}]"
    close = difflib.get_close_matches(key, allowed, n=1)
    return f"Did you mean `{prefix}{close[0]}`?" if close else f"Known keys: {', '.join(allowed)}"


def no_site(name: str, value: object, top_keys: Collection[str]) -> tuple[str, str]:
    """What is wrong with an entry of [sites] that is no table, and what to do."""
    if name in top_keys:
        return f"key `{name}` stands under [sites]", "Move it above the first line in brackets"
    return f"key `sites.{name}` is {value!r}", f'Write {name} = {{ kind = "volumes", root = "folder" }}'


def missing_key(key: str, given: Mapping[str, Any], kinds: Collection[str]) -> str:
    """What to do about a site without `kind` or `root`."""
    if instead := [name for name in given if OTHER_KEYS.get(name) == key]:
        return f"`{instead[0]}` is no key of a site; did you mean `{key}`?"
    return f"Kinds: {', '.join(kinds)}" if key == "kind" else "Give the folder of its scans"


def training_sets(given: object, names: Sequence[str]) -> object:
    """`combinations` from a word: "all" is every set of sites, "leave-one-site-out" all but one; others as they are.

    "leave-one-out" is the same word, shorter.

    >>> training_sets("leave-one-out", ["A", "B", "C"])
    [('A', 'B'), ('A', 'C'), ('B', 'C')]
    """
    if given == "all" and 2 ** len(names) - 1 <= MOST_NETWORKS:
        return [sites for size in range(1, len(names) + 1) for sites in combinations(names, size)]
    if given in ("leave-one-out", "leave-one-site-out") and len(names) > 1:
        return list(combinations(names, len(names) - 1))
    return given


def flat_sets(given: object) -> str:
    """What to write where `combinations` is no list of lists; "" where it is one."""
    if isinstance(given, str):
        return 'Use a list of lists, or "paper", "all" (at most six sites), "leave-one-site-out" (two sites or more)'
    if isinstance(given, list | tuple) and any(isinstance(one, str) for one in given):
        sets = [[one] if isinstance(one, str) else list(one) for one in given if isinstance(one, str | list | tuple)]
        return f"Write {json.dumps(sets)}: a list for each network"
    return ""
