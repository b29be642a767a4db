"""Damaged labels tables, CSV and XLSX: read by `read_labels`, which gives rows or says what is wrong."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import openpyxl

from elsewhere.scans.labels import read_labels

EACH = 150
HEADER = ("patient_id", "path", "label", "age", "sex", "date")
ODD = (
    '"',
    ";",
    "\t",
    "\r",
    "\n\n",
    "\x00",
    "=1+1",
    "'",
    "1e400",
    "nan",
    "99999999999999999999",
    "é",
    "﻿",
    ",,,,,",
    "x" * 5000,
)


def _rows() -> list[tuple[str, ...]]:
    return [(f"p{i}", f"s{i}.nii.gz", str(i % 2), str(40 + i), "MF"[i % 2], f"2020-03-{i + 1:02d}") for i in range(12)]


def _csv(separator: str, encoding: str) -> bytes:
    return "".join(separator.join(row) + "\r\n" for row in (HEADER, *_rows())).encode(encoding)


def _xlsx() -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in (HEADER, *_rows()):
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def inputs(seed: int, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Mutated tables of six forms, `EACH` times; one file, written anew for each."""
    rng = random.Random(seed)
    forms = {
        "comma": ("csv", _csv(",", "utf-8")),
        "semicolon, BOM": ("csv", _csv(";", "utf-8-sig")),
        "tab": ("csv", _csv("\t", "utf-8")),
        "UTF-16": ("csv", _csv(",", "utf-16")),
        "Latin 1": ("csv", _csv(";", "latin-1")),
        "XLSX": ("xlsx", _xlsx()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (end, whole) in forms.items():
        path = folder / f"labels.{end}"
        for number in range(EACH):
            kind = rng.choice(("flip", "cut", "delete", "insert"))
            path.write_bytes(_mutate(whole, kind, rng))
            yield f"{name} {number} {kind}", lambda path=path: read_labels(path, "site")


def _mutate(whole: bytes, kind: str, rng: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(content)) if content else 0
        if kind == "flip" and content:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del content[at:]
        elif kind == "delete":
            del content[at : at + rng.choice((1, 5, 40))]
        else:
            content[at:at] = rng.choice(ODD).encode()
    return bytes(content)
