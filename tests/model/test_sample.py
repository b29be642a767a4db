"""The fused sample against a slow obvious one written from protocol.md; plans, padding, windows, order of draws."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from elsewhere.errors import BadScan, BadStudy
from elsewhere.model import sample
from elsewhere.model.kernels.library import library
from elsewhere.model.sample import (
    Case,
    Plan,
    Samples,
    SampleSettings,
    apply_plan,
    draw_plan,
    evaluation_input,
    evaluation_plan,
    evaluation_windows,
    make_input,
)

PAPER = SampleSettings()
HARMONISED = SampleSettings(normalisation="window", intensity=(0.8, 1.2))


def make_case(slices: int, site: str = "a", name: str = "s0", label: int = 1) -> Case:
    return Case(site, f"p-{name}", name, label, slices, -1000, 3000)


def slow(voxels, plan, settings, extrema, slices):
    """protocol.md read line by line: pad stored values, normalise, then each augmentation in its order, in float64."""
    x = voxels.astype(float)
    low, high = (x.min(), x.max()) if settings.extrema == "window" else extrema
    bottom = settings.window[0] if settings.normalisation == "window" else low
    fill = 0.0 if settings.padding == "literal_zero" else bottom
    whole = np.full((slices, *x.shape[1:]), fill)
    whole[plan.top : plan.top + len(x)] = x
    if len(x) < slices and settings.padding == "literal_zero":
        low, high = min(low, 0), max(high, 0)
    if settings.normalisation == "window":
        a, b = settings.window
        whole = np.clip((whole - a) / (b - a), 0, 1)
    else:
        whole, largest = whole - low, high - low
        power = 1
        while power <= largest:
            power *= 2
        whole = np.zeros_like(whole) if largest == 0 else whole / (power if plan.power_of_two else largest)
    for axis in range(3):
        if plan.flip[axis]:
            whole = np.flip(whole, axis)
    if plan.transpose:
        whole = np.transpose(whole, (0, 2, 1))
    for _ in range(plan.turns):
        whole = np.rot90(whole, 1, (1, 2))
    return whole * plan.scale


plans = st.builds(
    Plan,
    start=st.just(0),
    count=st.just(5),
    top=st.integers(0, 3),
    power_of_two=st.booleans(),
    flip=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    transpose=st.booleans(),
    turns=st.integers(0, 3),
    scale=st.floats(0, 1.2),
)
all_settings = st.builds(
    SampleSettings,
    normalisation=st.sampled_from(["paper", "window"]),
    padding=st.sampled_from(["minimum", "literal_zero"]),
    extrema=st.sampled_from(["volume", "window"]),
)


@settings(max_examples=200, deadline=None)
@given(plans, all_settings, st.sampled_from(["int16", "uint8"]), st.sampled_from([5, 8]), st.integers(0, 9))
def test_fused_pass_equals_the_slow_reading(plan, chosen, dtype, slices, seed):
    plan = replace(plan, top=min(plan.top, slices - 5))
    low, high = (0, 255) if dtype == "uint8" else (-1000, 3071)
    voxels = np.random.default_rng(seed).integers(low, high, (5, 6, 6)).astype(dtype)
    result = apply_plan(voxels, plan, chosen, (low, high), slices)
    np.testing.assert_allclose(result, slow(voxels, plan, chosen, (low, high), slices), atol=2e-7)
    assert result.dtype == np.float32


@pytest.mark.skipif(library() is None, reason="elsewhere was installed without a C++ compiler")
@pytest.mark.parametrize("lanes", ["16", "8", "4"])
@pytest.mark.parametrize("past_the_cache", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans, normalisation=st.sampled_from(["paper", "window"]), data=st.data())
def test_the_compiled_pass_gives_the_bytes_of_the_plain_one(
    monkeypatch, lanes, past_the_cache, plan, normalisation, data
):
    monkeypatch.setenv("ELSEWHERE_LANES", lanes)
    monkeypatch.setattr(sample, "CACHE", -1 if past_the_cache else 1 << 30)
    shape, dtype = (5, *data.draw(st.tuples(*[st.integers(1, 70)] * 2))), data.draw(st.sampled_from(["int16", "uint8"]))
    low, high = (0, 255) if dtype == "uint8" else (-2000, 3071)
    voxels = np.random.default_rng(data.draw(st.integers(0, 9))).integers(low, high, shape).astype(dtype)
    chosen = SampleSettings(normalisation=normalisation)
    ours = apply_plan(voxels, plan, chosen, (low, high), 8)
    with monkeypatch.context() as without:
        without.setattr(sample, "fill", lambda *_, **__: False)
        assert ours.tobytes() == apply_plan(voxels, plan, chosen, (low, high), 8).tobytes()


@pytest.mark.parametrize("in_threads", [True, False])
@pytest.mark.parametrize("chosen", [PAPER, HARMONISED, replace(PAPER, extrema="window")])
def test_a_scan_read_in_pieces_gives_the_bytes_of_the_whole_window(monkeypatch, chosen, in_threads):
    monkeypatch.setattr(sample, "CACHE", -1 if in_threads else 1 << 30)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    voxels = np.random.default_rng(0).integers(-1000, 3000, (45, 6, 5)).astype(np.int16)
    asked = []

    def read(case, start, stop):
        asked.append((start, stop))
        return voxels[start:stop]

    case, plan = make_case(45), Plan(5, 22, 3, flip=(True, False, True), turns=3)
    result = make_input(read, case, plan, chosen, 32)
    whole = apply_plan(voxels[5:27], plan, chosen, (-1000, 3000), 32)
    assert result.tobytes() == whole.tobytes()
    assert sorted(asked) == ([(5, 27)] if chosen.extrema == "window" else [(5, 8), (8, 16), (16, 24), (24, 27)])


def test_a_piece_that_cannot_be_read_is_an_error_in_threads_too(monkeypatch):
    monkeypatch.setattr(sample, "CACHE", -1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def read(case, start, stop):
        if start >= 16:
            raise BadScan("scan.b2nd", "is damaged", "Prepare it again")
        return np.zeros((stop - start, 6, 5), np.int16)

    with pytest.raises(BadScan, match="is damaged"):
        make_input(read, make_case(45), Plan(5, 22, 3), PAPER, 32)


def test_arrays_that_the_kernel_does_not_take_are_carried_out_all_the_same():
    voxels = np.random.default_rng(0).integers(0, 99, (10, 6, 6)).astype(np.int16)
    plan = Plan(0, 5, 0, turns=1)
    result = apply_plan(voxels[::2], plan, PAPER, (0, 99), 5)
    assert result.tobytes() == apply_plan(voxels[::2].copy(), plan, PAPER, (0, 99), 5).tobytes()


@pytest.mark.parametrize(("largest", "power"), [(1, 2), (255, 256), (256, 512), (4095, 4096), (4096, 8192)])
def test_power_of_two_is_strictly_above_the_maximum(largest, power):
    plan = Plan(0, 1, 0, power_of_two=True)
    result = apply_plan(np.full((1, 2, 2), largest, np.int16), plan, PAPER, (0, largest), 1)
    assert result.max() == largest / power


def test_whole_int16_range_does_not_overflow():
    voxels = np.array([-32768, 0, 32767], np.int16).reshape(3, 1, 1)
    result = apply_plan(voxels, Plan(0, 3, 0), PAPER, (-32768, 32767), 3)
    np.testing.assert_allclose(result.ravel(), [0, 32768 / 65535, 1], atol=1e-6)


@pytest.mark.parametrize("chosen", [PAPER, replace(PAPER, extrema="window")])
def test_constant_volume_gives_zeros(chosen):
    result = apply_plan(np.full((2, 3, 3), -700, np.int16), Plan(0, 2, 1), chosen, (-700, -700), 4)
    assert not result.any()


def test_padding_is_air_or_water():
    voxels = np.full((1, 2, 2), 1000, np.int16)
    voxels[0, 0, 0] = -1000
    air = apply_plan(voxels, Plan(0, 1, 1), PAPER, (-1000, 1000), 3)
    water = apply_plan(voxels, Plan(0, 1, 1), replace(PAPER, padding="literal_zero"), (-1000, 1000), 3)
    assert air[0].max() == air[2].max() == 0
    assert water[0].min() == water[2].max() == pytest.approx(0.5)


def test_literal_zero_extends_the_range_of_a_padded_volume_only():
    literal = replace(PAPER, padding="literal_zero")
    voxels = np.array([100, 200], np.int16).reshape(2, 1, 1)
    assert apply_plan(voxels, Plan(0, 2, 0), literal, (100, 200), 2).ravel().tolist() == [0, 1]
    assert apply_plan(voxels, Plan(0, 2, 0), literal, (100, 200), 3).ravel().tolist() == [0.5, 1, 0]


def test_harmonised_window_is_the_same_whatever_the_volume():
    voxels = np.array([-2000, -1000, -450, 100, 3000], np.int16).reshape(5, 1, 1)
    result = apply_plan(voxels, Plan(0, 5, 0), HARMONISED, (-2000, 3000), 5)
    np.testing.assert_allclose(result.ravel(), [0, 0, 0.5, 1, 1], atol=1e-7)


def test_buffer_is_reused():
    buffer = np.full((4, 3, 3), np.nan, np.float32)
    result = apply_plan(np.ones((2, 3, 3), np.int16), Plan(0, 2, 1), PAPER, (0, 2), 4, out=buffer)
    assert result is buffer
    assert np.isfinite(buffer).all()


def test_scans_of_another_size_are_refused():
    with pytest.raises(BadStudy, match="the network takes 4 rows and 4 columns, the scans have 3 and 3"):
        apply_plan(np.ones((2, 3, 3), np.int16), Plan(0, 2, 0), PAPER, (0, 2), 2, out=np.empty((2, 4, 4), np.float32))


def test_ranges_are_checked():
    with pytest.raises(BadStudy, match=r"sample\.window: \(100, -1000\) is not a range"):
        SampleSettings(window=(100, -1000))


def draw_many(case: Case, chosen: SampleSettings, slices: int, times: int = 4000) -> list[Plan]:
    rng = np.random.default_rng(7)
    return [draw_plan(rng, case, chosen, slices) for _ in range(times)]


def share(flags) -> float:
    flags = list(flags)
    return sum(flags) / len(flags)


def test_plan_has_the_papers_probabilities():
    drawn = draw_many(make_case(40), PAPER, 32)
    assert share(p.power_of_two for p in drawn) == pytest.approx(0.5, abs=0.03)
    assert stats.chisquare(list(Counter(p.start for p in drawn).values())).pvalue > 1e-3
    assert {p.start for p in drawn} == set(range(9))
    for axis in range(3):
        assert share(p.flip[axis] for p in drawn) == pytest.approx(0.25, abs=0.03)
    assert share(p.transpose for p in drawn) == pytest.approx(0.25, abs=0.03)
    assert share(p.turns == 0 for p in drawn) == pytest.approx(0.5 + 0.5 / 4, abs=0.03)
    scales = [p.scale for p in drawn if p.scale != 1]
    assert len(scales) / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert stats.kstest(scales, "uniform").pvalue > 1e-3


def test_half_of_the_plans_are_not_augmented_at_all():
    untouched = [p == Plan(p.start, p.count, p.top, p.power_of_two) for p in draw_many(make_case(40), PAPER, 32)]
    assert share(untouched) == pytest.approx(0.5 + 0.5 / 2**5 / 4, abs=0.03)


def test_padding_is_shared_out_uniformly():
    drawn = draw_many(make_case(28), PAPER, 32)
    tops = Counter(p.top for p in drawn)
    assert set(tops) == set(range(5))
    assert stats.chisquare(list(tops.values())).pvalue > 1e-3
    assert {(p.start, p.count) for p in drawn} == {(0, 28)}


def test_switching_an_option_off_leaves_the_other_choices():
    every = draw_many(make_case(40), PAPER, 32, 300)
    straight = draw_many(make_case(40), replace(PAPER, turn=False), 32, 300)
    assert [replace(p, transpose=False, turns=0) for p in every] == straight
    still = draw_many(make_case(40), replace(PAPER, augment=False), 32, 300)
    assert [Plan(p.start, p.count, p.top, p.power_of_two) for p in every] == still


def test_harmonised_intensity_stays_near_one():
    scales = [p.scale for p in draw_many(make_case(40), HARMONISED, 32)]
    assert min(scales) >= 0.8
    assert max(scales) <= 1.2
    assert len(set(scales)) > 500


def test_plan_can_be_replayed_from_json():
    plan = draw_plan(np.random.default_rng(3), make_case(40), PAPER, 32)
    fields = json.loads(json.dumps(asdict(plan)))
    voxels = np.random.default_rng(0).integers(0, 9, (plan.count, 4, 4)).astype(np.int16)
    again = Plan(**{**fields, "flip": tuple(fields["flip"])})
    assert again == plan
    np.testing.assert_array_equal(
        apply_plan(voxels, again, PAPER, (0, 9), 32), apply_plan(voxels, plan, PAPER, (0, 9), 32)
    )


@pytest.mark.parametrize(
    ("slices", "starts"),
    [(1, (0,)), (128, (0,)), (129, (0, 1)), (160, (0, 32)), (161, (0, 32, 33)), (300, (0, 32, 64, 96, 128, 160, 172))],
)
def test_evaluation_windows(slices, starts):
    assert evaluation_windows(slices) == starts


@given(st.integers(1, 600), st.integers(1, 200), st.integers(1, 64))
def test_evaluation_windows_cover_the_scan(slices, size, stride):
    starts = evaluation_windows(slices, size, min(stride, size))
    assert {i for s in starts for i in range(s, min(s + size, slices))} == set(range(slices))
    assert all(0 <= s <= max(slices - size, 0) for s in starts)
    assert list(starts) == sorted(set(starts))


def test_evaluation_centres_a_short_scan_and_reads_only_its_window():
    asked = []

    def read(case, start, stop):
        asked.append((start, stop))
        return np.full((stop - start, 2, 2), 3000, np.int16)

    result = evaluation_input(make_case(5), read, 0, PAPER, 8)
    assert result[:, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0, 0]
    evaluation_input(make_case(40), read, 7, PAPER, 8)
    assert asked == [(0, 5), (7, 15)]
    assert evaluation_plan(make_case(40), 7, 8) == Plan(7, 8, 0)


def read_noise(case: Case, start: int, stop: int):
    return np.random.default_rng(len(case.scan)).integers(-1000, 3000, (case.slices, 8, 8)).astype(np.int16)[start:stop]


def make_samples(sampling="uniform", seed=0) -> Samples:
    cases = [make_case(9, "big", f"b{i}") for i in range(7)] + [make_case(9, "small", f"s{i}") for i in range(2)]
    return Samples(cases, read_noise, PAPER, 8, seed=seed, sampling=sampling)


def test_uniform_sampling_takes_every_scan_once_an_epoch_in_changing_order():
    samples = make_samples()
    epochs = [[samples.case(9 * epoch + i).scan for i in range(9)] for epoch in range(4)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_balanced_sampling_takes_sites_in_turn():
    samples = make_samples("balanced")
    drawn = [samples.case(i) for i in range(28)]
    assert [case.site for case in drawn] == ["big", "small"] * 14
    assert Counter(case.scan for case in drawn if case.site == "big") == {f"b{i}": 2 for i in range(7)}
    assert Counter(case.scan for case in drawn if case.site == "small") == {"s0": 7, "s1": 7}


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_examples_do_not_depend_on_history(sampling):
    forwards, backwards = make_samples(sampling), make_samples(sampling)
    first = {i: forwards.example(i) for i in range(20)}
    for i in reversed(range(20)):
        voxels, case = backwards.example(i)
        np.testing.assert_array_equal(voxels, first[i][0])
        assert case == first[i][1]
    assert make_samples(sampling, seed=1).plan(5) != forwards.plan(5)
