"""`[models.NAME]` of a study file: what each kind says, and that every message names file, key, value and next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from elsewhere.errors import BadStudy
from elsewhere.model.declared import (
    CommandModel,
    InputSettings,
    NetworkFile,
    OutputSettings,
    OwnNetwork,
    UserNetwork,
)
from elsewhere.studies.file import Study, load_study

SITE = '[sites.A]\nkind = "volumes"\nroot = "a"\nuse = "test"\n'
NETWORK = 'kind = "onnx"\nfile = "net.onnx"\ninput = { size = [1, 2, 3] }\n'


def load(folder: Path, text: str) -> Study:
    (folder / "s.toml").write_text(f"{SITE}[models.V]\n{text}\n")
    return load_study(folder / "s.toml")


def test_what_each_kind_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETS", str(tmp_path / "nets"))
    at = tmp_path.resolve()
    kinds = {
        'kind = "elsewhere"\ncheckpoint = "../runs/o/models/A/checkpoint"\nstride = 4': OwnNetwork(
            name="V", checkpoint=at.parent / "runs/o/models/A/checkpoint", stride=4
        ),
        'kind = "command"\nrun = "./x {in} {out}"\nallow_code = true\nfiles = ["w"]\ntimeout = 5': CommandModel(
            name="V", run="./x {in} {out}", allow_code=True, files=(at / "w",), timeout=5.0, folder=at
        ),
        'kind = "onnx"\nfile = "$NETS/n.onnx"\nthreshold = 0.3\n'
        'input = { size = [1, 2, 3], axes = "RAS" }': NetworkFile(
            name="V", kind="onnx", file=at / "nets/n.onnx", threshold=0.3, input=InputSettings((1, 2, 3), "RAS")
        ),
        'kind = "torch"\nnetwork = "my.net:Net"\nweights = "w.pt"\nfolder = "."\nallow_code = true\n'
        "arguments = { depth = 3 }\ninput = { size = [1, 2, 3] }\n[models.V.output]\npositive = [1, 2]": UserNetwork(
            name="V",
            network="my.net:Net",
            weights=at / "w.pt",
            folder=at,
            allow_code=True,
            arguments='{"depth": 3}',
            input=InputSettings((1, 2, 3)),
            output=OutputSettings(positive=(1, 2)),
        ),
    }
    for text, expected in kinds.items():
        (found,) = load(tmp_path, text).products
        assert found == expected
    assert load(tmp_path, NETWORK).combinations == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file = 'x'", r's\.toml: key `models\.V\.kind` is missing\. Give kind = "scores"'),
        ('kind = "onxx"', r'key `models\.V\.kind` is \'onxx\'\. Did you mean "onnx"\?'),
        ('kind = "docker"', r'Did you mean "command"\?'),
        ('kind = "pt2"', r'Did you mean "exported"\?'),
        ("kind = 3", r"key `models\.V\.kind` is 3"),
        ('kind = "onnx"', r'key `models\.V\.file` is missing\. Give kind = "onnx" and file = "network\.onnx"'),
        ('kind = "onnx"\nfile = "x"', r"key `models\.V\.input` is missing\. .*input = \{ size = \[64, 128, 128\] \}"),
        ('kind = "onnx"\nfile = 3\ninput = { size = [1, 2, 3] }', r"key `models\.V\.file` is 3"),
        ('kind = "onnx"\nfile = "x"\ninput = 3', r"key `models\.V\.input` is 3\. Write it as a table"),
        ('kind = "onnx"\nfile = "x"\ninput = {}', r"key `models\.V\.input\.size` is missing"),
        ('kind = "onnx"\nfile = "x"\ninput = { size = [1, 2] }', r"key `models\.V\.input\.size\.2` is "),
        ('kind = "onnx"\nfile = "x"\ninput = { size = [0, 1, 2] }', r"key `models\.V\.input\.size` is \[0, 1, 2\]"),
        ('kind = "onnx"\nfile = "x"\ninput = { siez = [1, 1, 2] }', r"`models\.V\.input\.siez` is unknown\. Did you"),
        (f'{NETWORK}output = {{ gives = "softmax" }}', r"`models\.V\.output\.gives` is 'softmax'\. Use logits \(soft"),
        (f"{NETWORK}output = {{ positive = [1, 1] }}", r"key `models\.V\.output\.positive` is \[1, 1\]"),
        (f"{NETWORK}threshold = 1.5", r"key `models\.V\.threshold` is 1\.5\. Give a number from 0 to 1"),
        (f"{NETWORK}name = 'x'", r"key `models\.V\.name` is unknown"),
        ('kind = "command"\nrun = "x {in} {out}"', r"key `models\.V\.allow_code` is not set.*allow_code = true"),
        ('kind = "command"\nrun = "x {in}"\nallow_code = true', r"key `models\.V\.run` is 'x \{in\}'"),
        ('kind = "command"\nrun = "x {in} {out}"\nallow_code = true\nfolder = "x"', r"`models\.V\.folder` is unknown"),
        ('kind = "torchscript"\nfile = "x"\ninput = { size = [1, 2, 3] }', r"allow_code` is not set.* is a program"),
        ('kind = "exported"\nfile = "x"\ninput = { size = [1, 2, 3] }', r"allow_code` is not set.* pickled objects"),
        (
            'kind = "torch"\nnetwork = "net"\nweights = "w"\nallow_code = true\ninput = { size = [1, 2, 3] }',
            r"key `models\.V\.network` is 'net'\. Write it as \"package\.module:Class\"",
        ),
        ('kind = "elsewhere"\ncheckpoint = "x"\nstride = 0', r"key `models\.V\.stride` is 0"),
    ],
)
def test_mistakes_name_the_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadStudy, match=says):
        load(tmp_path, text)


@pytest.mark.parametrize("kind", ["command", "exported", "torchscript", "torch"])
def test_without_leave_no_foreign_code_is_declared(tmp_path: Path, kind: str) -> None:
    keys = {
        "command": 'run = "x {in} {out}"',
        "torch": 'network = "m:C"\nweights = "w"\ninput = { size = [1, 1, 1] }',
    }.get(kind, 'file = "f"\ninput = { size = [1, 1, 1] }')
    for leave in ("", "allow_code = false"):
        with pytest.raises(BadStudy, match="allow_code"):
            load(tmp_path, f'kind = "{kind}"\n{keys}\n{leave}')
    assert load(tmp_path, f'kind = "{kind}"\nallow_code = true\n{keys}').products
