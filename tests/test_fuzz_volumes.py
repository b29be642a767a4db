"""Some of the fuzz target's inputs (tests/fuzz/volumes.py): every one ends quietly or with an error for the user."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
import volumes

EVERY = 6


@pytest.mark.filterwarnings("default")
def test_mutated_inputs_end_quietly_or_with_an_error_for_the_user(tmp_path: Path) -> None:
    names = []
    for number, (name, read) in enumerate(volumes.inputs(1001, tmp_path)):
        names.append(name)
        if number % EVERY == 0:
            read()
    assert len(names) == len(set(names)) > 200
