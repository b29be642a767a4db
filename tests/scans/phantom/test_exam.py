"""One simulated scan: the same bytes every time, the same patient at every resolution, CT numbers as in real CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elsewhere.scans.phantom.acquisition import LIMITS, PADDING, Protocol, lay_grid, nested_spectrum, outside_circle
from elsewhere.scans.phantom.disease import _DRAW, LesionStyle, draw_disease
from elsewhere.scans.phantom.exam import Made, Plan, draw, make
from elsewhere.scans.phantom.patient import draw_patient

STYLE = LesionStyle()


def plan(number: int = 1, kind: str = "normal", **protocol) -> Plan:
    patient = draw_patient((0, "somewhere", number))
    disease = draw_disease(patient, kind, STYLE, (0, "somewhere", number))
    how = Protocol(**({"spacing": 8.0, "thickness": 5.0} | protocol))
    label = int(kind == "covid")
    return Plan("somewhere", "1", "1", label, "", patient, disease, how, (0, "somewhere", number))


@pytest.fixture(scope="module")
def normal() -> Made:
    return make(plan(1), 96)


def test_a_scan_is_a_function_of_its_plan():
    first = make(plan(2, "covid"), 64)
    make(plan(3, "oedema"), 64)
    assert first.volume.voxels.tobytes() == make(plan(2, "covid"), 64).volume.voxels.tobytes()
    assert first.volume.voxels.tobytes() != make(replace(plan(2, "covid"), key=(1,)), 64).volume.voxels.tobytes()


def test_tissues_have_the_ct_numbers_of_real_chests(normal):
    hu = normal.volume.voxels
    lung = hu[normal.lung > 0.98]
    # COVID-CT-MD and NLST, thresholded: mean -903..-814, 5th percentile -1002..-901
    assert -900 < lung.mean() < -780
    assert -960 < np.percentile(lung, 5) < -860
    fat, soft = (hu > -160) & (hu < -60), (hu > 0) & (hu < 90)
    assert fat.mean() > 0.05
    assert soft.mean() > 0.10
    assert (hu > 300).mean() > 0.005
    litres = normal.lung.sum() * np.prod(normal.volume.spacing) / 1e6
    assert 2.0 < litres < 8.0


def test_orientation_heart_left_spine_behind_apex_first(normal):
    hu, lung = normal.volume.voxels, normal.lung
    share = lung.mean((1, 2))
    assert share[:2].mean() < share[len(share) // 2]
    low = slice(int(0.55 * len(hu)), int(0.70 * len(hu)))
    columns = lung[low].sum((0, 1))
    assert columns[:48].sum() > columns[48:].sum()  # the heart takes room from the left lung: higher columns
    bone = (hu > 300)[len(hu) // 2].sum(1)
    assert bone[48:].sum() > 2 * bone[:48].sum()


@pytest.mark.parametrize("kind", ["covid", "lobar_pneumonia", "fibrosis"])
def test_a_patient_is_the_same_at_every_resolution(kind):
    coarse, fine = (draw(p, lay_grid(p.patient, p.protocol, n)) for p in [plan(4, kind)] for n in (64, 192))
    for a, b in zip(coarse, fine, strict=True):
        blocks = b.reshape(b.shape[0], 64, 3, 64, 3).mean((2, 4))
        assert np.corrcoef(a.ravel(), blocks.ravel())[0, 1] > 0.93
    assert coarse[2].sum() / coarse[1].sum() == pytest.approx(fine[2].sum() / fine[1].sum(), rel=0.06)


def test_noise_of_a_larger_matrix_adds_detail_to_the_same_noise():
    small, large = nested_spectrum(2, 64, (1, "x")), nested_spectrum(2, 192, (1, "x"))
    np.testing.assert_array_equal(small[:, :32, :33], large[:, :32, :33])
    np.testing.assert_array_equal(small[:, -32:, :33], large[:, -32:, :33])


@pytest.mark.parametrize("kind", [k for k in _DRAW if k not in ("normal", "emphysema")])
def test_disease_makes_the_lung_denser(kind):
    sick, well = (make(plan(5, k, spacing=4.0, thickness=4.0), 80) for k in (kind, "normal"))
    lung = well.lung > 0.98
    assert sick.volume.voxels[lung].mean() > well.volume.voxels[lung].mean()
    assert (sick.volume.voxels - well.volume.voxels.astype(float))[lung].max() > 80


def test_emphysema_makes_it_thinner():
    sick, well = make(plan(5, "emphysema"), 64), make(plan(5), 64)
    assert sick.volume.voxels[well.lung > 0.98].mean() < well.volume.voxels[well.lung > 0.98].mean() - 10


def test_covid_is_on_both_sides_below_behind_and_under_the_pleura():
    sides, lows, backs = [], [], []
    for number in range(8):
        made = make(plan(number, "covid"), 48)
        z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in made.lesion.shape), indexing="ij")
        middle = [np.average(axis, weights=made.lung) for axis in (z, y, x)]
        sides.append(min(made.lesion[x < 0].sum(), made.lesion[x > 0].sum()) / made.lesion.sum())
        lows.append(np.average(z, weights=made.lesion) - middle[0])
        backs.append(np.average(y, weights=made.lesion) - middle[1])
    assert np.mean(sides) > 0.15
    assert np.mean(lows) > 0
    assert np.mean(backs) > 0


def test_severity_is_log_normal_around_its_median():
    drawn = [draw_disease(draw_patient((i,)), "covid", STYLE, (i,)).severity for i in range(400)]
    assert np.median(drawn) == pytest.approx(STYLE.severity, rel=0.15)
    assert np.log(drawn).std() == pytest.approx(STYLE.spread, rel=0.2)


def test_drawn_lesions_take_about_the_planned_share():
    planned, drawn = zip(
        *((p.disease.severity, make(p, 48).lesion_share) for p in (plan(i, "covid") for i in range(12))), strict=True
    )
    assert np.corrcoef(planned, drawn)[0, 1] > 0.8
    assert np.mean(drawn) == pytest.approx(np.mean(planned), rel=0.4)


def test_sharp_kernels_and_low_dose_are_noisier():
    def spread(**protocol):
        made = make(plan(1, **protocol), 96)
        heart = made.volume.voxels[int(0.62 * len(made.lung)), 40:46, 46:52]
        return float(heart.astype(float).std())

    assert spread(kernel="sharp") > 2 * spread(kernel="soft")
    assert spread(dose=0.25) > 1.5 * spread(dose=1.0)


def test_contrast_agent_brightens_the_heart():
    def brightest(phase):
        made = make(plan(1, contrast=phase, kernel="soft"), 96)
        return float(np.percentile(made.volume.voxels[len(made.lung) // 2, 30:60, 36:60], 90))

    assert brightest("angiography") > brightest("venous") + 60 > brightest("none") + 100


def test_stored_values_keep_to_their_encoding():
    padded = make(plan(1, padding=True), 64).volume
    circle = outside_circle(64)
    assert (padded.voxels[:, circle] == PADDING).all()
    assert padded.voxels[:, ~circle].min() >= LIMITS[0]
    assert padded.voxels.max() <= LIMITS[1]
    shifted = make(plan(1, encoding="ct_number"), 64).volume
    assert (shifted.units, shifted.offset, int(shifted.voxels.min())) == ("ct_number", 1024.0, 0)
    windowed = make(plan(1, encoding="window"), 64).volume
    assert (windowed.units, windowed.voxels.dtype, windowed.spacing) == ("relative", np.uint8, None)


def test_lung_segmented_scans_are_black_outside_the_lungs():
    made = make(plan(1, encoding="window", segmented=True), 64)
    assert made.volume.voxels[made.lung <= 0.01].max() == 0
    assert (made.volume.voxels == 0).mean() > 0.5


def test_devices_shine():
    assert make(plan(1, devices=True), 96).volume.voxels.max() > make(plan(1), 96).volume.voxels.max() + 200
