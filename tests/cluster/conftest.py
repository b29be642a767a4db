"""What the tests of all engines compare with."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_study import study_by_command


@pytest.fixture(scope="session")
def study_of_cores(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny study, run by its command on the processes of this machine; not to be changed."""
    return study_by_command(tiny_study_file, tmp_path_factory.mktemp("cores") / "out", "cores")
