"""Python and C++ agree on structs and arguments, and a library that does not is refused with what to do."""

from __future__ import annotations

import ast
import ctypes
import re
import shutil
from pathlib import Path

import pytest

from elsewhere.errors import BadInstallation
from elsewhere.model.kernels import abi, library

PACKAGE = Path(library.__file__).parent
BUILT = {name: list(PACKAGE.glob(f"{name}.*.so")) for name in abi.FUNCTIONS}

needs_kernel = pytest.mark.skipif(not all(BUILT.values()), reason="elsewhere was installed without a C++ compiler")


@needs_kernel
@pytest.mark.parametrize("name", abi.FUNCTIONS)
def test_what_is_built_fits_and_every_function_is_typed(name: str) -> None:
    loaded = library.load(name)
    assert loaded is not None
    for function, (result, arguments) in abi.FUNCTIONS[name].items():
        assert getattr(loaded, function).restype is result
        assert tuple(getattr(loaded, function).argtypes) == arguments
    call, arguments = (loaded.elsewhere_weigh, 7) if name == "_training" else (loaded.elsewhere_level1, 1)
    with pytest.raises(ctypes.ArgumentError):
        call(*["maps"] * arguments)


class SwappedJob(ctypes.Structure):
    """Two fields of one size in each other's place: no size tells it."""

    _fields_ = tuple(
        {"rows": abi.Job._fields_[4], "columns": abi.Job._fields_[3]}.get(field[0], field) for field in abi.Job._fields_
    )


class LongerLayer(ctypes.Structure):
    _fields_ = (*abi.Layer._fields_, ("more", ctypes.c_int))


SwappedJob.__name__, LongerLayer.__name__ = "Job", "Layer"
STALE = {
    "swapped fields": ("level1", (abi.Drops, SwappedJob), r"Job\.\w+: 4 bytes at byte \d+ in the library, 4 bytes at"),
    "a new field": ("level2", (LongerLayer,), r"Layer: \d+ bytes at byte 0 in the library, \d+ bytes at byte 0 in Py"),
    "a struct less": ("level1", (abi.Job,), r"Drops: \d+ bytes at byte 0 in the library, absent in Py"),
}


@needs_kernel
@pytest.mark.parametrize(("file", "structs", "message"), STALE.values(), ids=STALE.keys())
def test_a_library_of_other_structs_is_refused(monkeypatch, file, structs, message) -> None:
    monkeypatch.setitem(abi.STRUCTS, "_level1", {**abi.STRUCTS["_level1"], file: structs})
    with pytest.raises(BadInstallation, match=message) as caught:
        library.load("_level1")
    assert "Reinstall elsewhere" in str(caught.value)
    assert "_level1" in caught.value.where


@needs_kernel
def test_a_library_of_another_version_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(library, "ABI", abi.ABI + 1)
    with pytest.raises(BadInstallation, match=rf"version {abi.ABI}, not {abi.ABI + 1}"):
        library.load("_training")


@needs_kernel
def test_a_library_without_a_function_is_refused(tmp_path: Path) -> None:
    """As one from before versions were compared."""
    (built,) = BUILT["_training"]
    shutil.copy(built, tmp_path / built.name.replace("_training", "_level1"))
    with pytest.raises(BadInstallation, match="it has no elsewhere_"):
        library.load("_level1", tmp_path)


@needs_kernel
def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (built,) = BUILT["_level1"]
    (tmp_path / built.name).write_text("no library")
    with pytest.raises(BadInstallation, match="cannot be loaded"):
        library.load("_level1", tmp_path)


def test_where_nothing_was_built_there_is_none(tmp_path: Path) -> None:
    assert library.load("_level1", tmp_path) is None


def test_the_kernels_know_nothing_of_ours_but_errors() -> None:
    imported = set()
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            if isinstance(node, ast.Import):
                imported.update(name.name for name in node.names)
    ours = {name for name in imported if name.startswith("elsewhere")}
    assert "elsewhere.errors" in ours
    assert all(name == "elsewhere.errors" or name.startswith("elsewhere.model.kernels") for name in ours)
    assert "torch" not in imported


SOURCES = sorted(PACKAGE.glob("*.cpp"))
STRUCTS = [one for files in abi.STRUCTS.values() for structs in files.values() for one in structs]
TYPES = {
    "int": ctypes.c_int,
    "long long": ctypes.c_longlong,
    **{f"const {one.__name__}*": ctypes.POINTER(one) for one in STRUCTS},
    **dict.fromkeys(("const float*", "float*", "double*", "uint8_t*"), ctypes.c_void_p),
    "const int*": ctypes.POINTER(ctypes.c_int),
}


@pytest.mark.skipif(not SOURCES, reason="a wheel holds no sources")
def test_the_sources_declare_what_python_calls() -> None:
    declared = {}
    for source in SOURCES:
        text = re.sub(r"//.*", "", source.read_text())
        for result, name, given in re.findall(r"^((?:long )?(?:int|long)) (elsewhere_\w+)\(([^)]*)\) \{", text, re.M):
            arguments = [re.sub(r"\s*\w+$", "", one.strip()) for one in given.split(",") if one.strip()]
            declared[name] = TYPES[result], tuple(TYPES[one] for one in arguments)
    assert declared == {name: one for functions in abi.FUNCTIONS.values() for name, one in functions.items()}
