"""A MONAI bundle made here, DenseNet121 and its own transforms: scored as MONAI itself scores it; faults are named."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from given_scans import a_scan

from elsewhere.errors import BadCheckpoint, BadScan, BadStudy
from elsewhere.model.declared import MonaiBundle
from elsewhere.model.runnable import hash_of, open_model
from elsewhere.model.runnable.occlusion import occlusion_map
from elsewhere.scans.nifti import write_nifti
from elsewhere.studies.file import load_study

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI is not installed: pip install 'elsewhere[monai]'")

    bundles = pytest.importorskip("monai.bundle")

NETWORK = {
    "_target_": "DenseNet121",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
}
TRANSFORMS = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": -1000,
        "a_max": "$200 + 200",
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
    {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32, 32], "mode": "trilinear"},
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's folder, with random weights."""
    root = tmp_path_factory.mktemp("bundle")
    (root / "configs").mkdir()
    (root / "models").mkdir()
    config = {"network_def": NETWORK, "preprocessing": {"_target_": "Compose", "transforms": TRANSFORMS}}
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    torch.save(network().state_dict(), root / "models" / "model.pt")
    return root


def network() -> torch.nn.Module:
    found = nets.DenseNet121(**{name: value for name, value in NETWORK.items() if name != "_target_"})
    assert isinstance(found, torch.nn.Module)
    return found.eval()


def declared(bundle: Path) -> MonaiBundle:
    return MonaiBundle(name="Lung", bundle=bundle, allow_code=True)


@pytest.mark.filterwarnings("ignore")
def test_it_scores_as_monai_itself(bundle: Path, tmp_path: Path) -> None:
    model = open_model(declared(bundle))
    direct = network()
    direct.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    parser = bundles.ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    transforms, scores = parser.get_parsed_content("preprocessing"), []
    for seed in range(3):
        write_nifti(tmp_path / "scan.nii.gz", a_scan(seed).in_hu())
        with torch.inference_mode():
            image = transforms({"image": str(tmp_path / "scan.nii.gz")})["image"]
            expected = direct(image.as_tensor()[None].float()).softmax(1)[0, 1]
        scores.append(model.score(a_scan(seed)))
        assert scores[-1].shape == (1,)
        assert scores[-1][0] == pytest.approx(float(expected), abs=1e-6)
    assert np.ptp(scores) > 1e-6  # it tells these scans apart
    assert occlusion_map(model, a_scan(), (1, 2, 2)).cells.shape == (1, 2, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"config": "configs/none.json"}, "does not exist"),
        ({"weights": "configs/inference.json"}, "cannot be read as weights|holds more than weights"),
        ({"network": "net"}, r"has no 'net'; it has network_def, preprocessing\."),
        ({"preprocessing": "network_def", "network": "preprocessing"}, "gives Compose as preprocessing"),
    ],
)
def test_what_is_wrong_with_a_bundle_is_named(bundle: Path, changed: dict[str, str], says: str) -> None:
    with pytest.raises((BadCheckpoint, BadStudy), match=says):
        open_model(replace(declared(bundle), **changed))


@pytest.mark.filterwarnings("ignore")
def test_an_image_that_the_transforms_do_not_give_costs_the_scan(bundle: Path) -> None:
    model = open_model(replace(declared(bundle), image="ct"))
    with pytest.raises(BadScan, match="There: s0: Lung fails on it"):
        model.score(a_scan())


def test_a_study_file_names_it_and_allows_its_code(bundle: Path, tmp_path: Path) -> None:
    text = (
        f'[sites.A]\nkind = "volumes"\nroot = "a"\nuse = "test"\n[models.Lung]\nkind = "monai"\nbundle = "{bundle}"\n'
    )
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(BadStudy, match=r"allow_code.*configuration names classes and expressions"):
        load_study(tmp_path / "study.toml")
    (tmp_path / "study.toml").write_text(text + "allow_code = true\n")
    (found,) = load_study(tmp_path / "study.toml").products
    assert isinstance(found, MonaiBundle)
    assert (found.bundle, found.weights) == (bundle, "models/model.pt")
    with pytest.raises(BadStudy, match="Name a file inside the bundle's folder"):
        replace(found, weights="../model.pt")


def test_the_identity_follows_its_files(bundle: Path, tmp_path: Path) -> None:
    first = hash_of(declared(bundle))
    assert hash_of(replace(declared(bundle), config="configs/other.json")) != first
    (bundle / "configs" / "other.json").write_text("{}")
    assert hash_of(declared(bundle)) != first
