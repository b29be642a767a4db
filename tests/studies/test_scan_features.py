"""A study on a pretrained encoder: each scan is encoded once, its features lie beside the volume, and are enough."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d

from elsewhere.commands.predict import predict_site
from elsewhere.commands.prepare import prepare_study
from elsewhere.commands.train import train_model
from elsewhere.errors import BadStudy
from elsewhere.model import pretrained
from elsewhere.model.network import load_checkpoint
from elsewhere.model.prediction import predict
from elsewhere.studies.file import load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import fitting_predictions
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.records import ScanRow, usable_rows
from elsewhere.studies.scan_features import encoding_of, keep_scan_features


class Encoder(nn.Module):
    """Means of parts of the volume stand for the features of the real one, which takes half a minute a scan."""

    asked = 0

    def forward(self, volumes: Tensor) -> Tensor:
        self.asked += 1
        return adaptive_avg_pool3d(volumes, (2, 4, 4)).flatten(1).repeat(1, 64)[..., None, None, None]


@pytest.fixture(scope="module")
def file(tiny_study_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, one site of it, one model."""
    folder = tmp_path_factory.mktemp("encoded")
    text = tiny_study_file.read_text().replace('[["UTSW"], ["COVID-CTset", "MosMedData"]]', '[["UTSW"]]')
    text = re.sub(r"\[network\]\n.*?\[training\]\n", '[network]\nkind = "Astra"\n[training]\n', text, flags=re.DOTALL)
    (folder / "encoded.toml").write_text(re.sub(r"\[sites\.(?!UTSW).*?(?=\[sites|\Z)", "", text, flags=re.DOTALL))
    return folder / "encoded.toml"


@pytest.fixture(scope="module")
def made(file: Path) -> tuple[Folder, Encoder, np.ndarray]:
    """Its folder, trained and predicted; the encoder, and what the network itself says of a test scan."""
    folder, encoder = Folder(file.parent / "out"), Encoder()
    plan = load_study(file)
    prepare_study(plan, folder, 1, whole=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "encoder", lambda _kind, _device: encoder)
        train_model(file, folder.root, "UTSW", _ignore)
        predict_site(file, folder.root, "UTSW", "UTSW", _ignore)
        said = encoder.asked
        network = load_checkpoint(folder.checkpoint("UTSW"))[0]
        row = one_of(folder)
        alone = predict(network, case_of(row), shelf_reader([row]), plan.sample, plan.prediction.stride)
        encoder.asked = said
    return folder, encoder, alone


def _ignore(_share: float, _text: str) -> None:
    pass


def one_of(folder: Folder) -> ScanRow:
    return min((row for row in usable_rows(folder) if row.subset == "test"), key=lambda row: row.scan)


def test_the_sections_fit_the_encoder(file: Path) -> None:
    plan = load_study(file)
    assert (plan.network.input, plan.preparation.size) == ((160, 224, 224), (160, 224, 224))
    assert (plan.preparation.grid, plan.preparation.encoding, plan.preparation.maximum) == ("fixed", "hu", 200.0)
    assert (plan.sample.normalisation, plan.sample.window) == ("window", (-1000, 200))


def test_each_scan_is_encoded_once_and_predicted_from_what_is_kept(made: Any) -> None:
    folder, encoder, alone = made
    rows = usable_rows(folder)
    assert encoder.asked == len(rows) == 24
    found = fitting_predictions(folder, "UTSW", "UTSW").subset("test").deterministic
    row = one_of(folder)
    (probability,) = found.probabilities[found.scans == row.scan]
    assert probability == pytest.approx(alone.max(), abs=1e-9)
    assert len(set(found.probabilities)) > 1


def test_what_is_kept_lies_beside_the_volume_and_follows_what_it_was_made_from(made: Any, file: Path) -> None:
    folder, plan = made[0], load_study(file)
    row = one_of(folder)
    place = encoding_of(plan, row).place
    assert place.is_file()
    assert place.parent == Path(row.file).parent
    assert place.stat().st_size < 10_000
    for other in (replace(plan.sample, padding="literal_zero"), replace(plan.sample, augment=False)):
        assert encoding_of(replace(plan, sample=other), row).place != place


def test_a_damaged_file_is_made_again_and_nothing_else(made: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, plan, encoder = made[0], load_study(file), Encoder()
    monkeypatch.setattr(pretrained, "encoder", lambda _kind, _device: encoder)
    place = encoding_of(plan, one_of(folder)).place
    before = place.read_bytes()
    place.write_bytes(before[:100])
    path = folder.predictions("UTSW", "UTSW")
    path.unlink()
    predict_site(file, folder.root, "UTSW", "UTSW", _ignore)
    assert encoder.asked == 1
    assert place.read_bytes() == before
    keep_scan_features(plan, folder, 1)  # nothing is missing: no process is started, no encoder asked
    assert torch.is_grad_enabled()


def test_a_wrong_window_is_named_with_the_file(file: Path) -> None:
    wrong = file.with_name("wrong.toml")
    wrong.write_text(file.read_text() + "[sample]\nwindow = [-1000, 400]\n")
    with pytest.raises(BadStudy, match=r"wrong.toml: key `sample.window` is \[-1000, 400\] \(window\), and Astra"):
        load_study(wrong)
