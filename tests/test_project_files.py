"""The files beside the code say what the code says: versions, Python, what is copied, what is shipped."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import elsewhere
from elsewhere.errors import BadStudy
from elsewhere.studies.file import SHIPPED, load_study

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONTAINER = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def test_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == elsewhere.__version__ == PROJECT["version"]
    assert re.search(r"^license: (.*)$", citation, re.MULTILINE)[1] == PROJECT["license"]
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[:2] == ["Unreleased", elsewhere.__version__] or changes[0] == elsewhere.__version__


def test_the_citation_has_what_a_citation_needs() -> None:
    """The keys that CFF 1.2.0 requires, each at the beginning of a line."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for key in ("cff-version: 1.2.0", "message: ", "title: ", "authors:"):
        assert re.search(rf"^{re.escape(key)}", citation, re.MULTILINE), key
    assert "doi: 10.3389/frai.2021.694875" in citation


def test_environment_and_container_take_a_python_that_the_project_takes() -> None:
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    conda = re.search(r"python >=(\d+)\.(\d+)", (ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert tuple(map(int, conda.groups())) == least
    for image in re.findall(r"^FROM (\S+)", CONTAINER, re.MULTILINE):
        found = re.search(r"python:(\d+)\.(\d+)-", image)
        assert tuple(map(int, found.groups())) >= least


def test_the_container_is_lean_and_runs_as_nobody_in_particular() -> None:
    lines = [line.strip() for line in CONTAINER.splitlines() if line.strip() and not line.startswith("#")]
    known = {"FROM", "ARG", "RUN", "COPY", "USER", "WORKDIR", "ENV", "ENTRYPOINT", "CMD"}
    assert {line.split()[0] for line in lines} <= known
    assert not re.search(r"FROM \S+:latest|FROM [^:\s]+(\s|$)", CONTAINER)
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users
    assert users[-1] not in {"root", "0"}
    assert lines[-2:] == ['ENTRYPOINT ["elsewhere"]', 'CMD ["--help"]']
    copied = [word for line in lines if line.startswith(("COPY p", "COPY s")) for word in line.split()]
    for name in copied[1:]:
        if not name.startswith("/") and name != "COPY":
            assert (ROOT / name).exists(), name
    for apt in (line for line in lines if "apt-get install" in line):
        assert "--no-install-recommends" in apt
        assert "rm -rf /var/lib/apt/lists" in apt


@pytest.mark.slow
def test_the_container_builds() -> None:
    engine = shutil.which("podman") or shutil.which("docker")
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no container engine that runs here: the file is only looked through")
    done = subprocess.run([engine, "build", "--file", "Containerfile", "."], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", ["paper", "harmonised"])
def test_the_published_studies_are_known_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "/downloads")
    study = load_study(Path(name))
    assert (study.name, study.protocol, len(study.models)) == (name, name, 9)
    assert study.site("UTSW").root == Path("/downloads/UTSW")
    Path(f"{name}.toml").write_text('[sites.A]\nkind = "volumes"\nroot = "a"\n')
    assert list(load_study(Path(f"{name}.toml")).models) == ["A"]  # a file of one's own is another thing
    assert len(load_study(Path(name)).models) == 9


def test_what_is_shipped_is_in_the_package_and_no_other_name_is_known(tmp_path: Path) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert {"py.typed", "studies/shipped/*.toml"} <= set(wanted["elsewhere"])
    assert (Path(elsewhere.__file__).parent / "py.typed").is_file()
    assert {path.stem for path in SHIPPED.iterdir()} == {"paper", "harmonised"}
    with pytest.raises(BadStudy, match="cannot be read"):
        load_study(Path("papers"))
