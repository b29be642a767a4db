"""What pooled numbers hide: each doubt from rows on both sides of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elsewhere.statistics.doubts import labels_follow, over_patients, repeated_rows
from elsewhere.statistics.evaluation import ProductRows, Section, evaluate_product
from elsewhere.statistics.requirements import Requirements


def rows(sensitivity: float = 0.95, scans: int = 600, seed: int = 3, **more: object) -> ProductRows:
    """A good product: half positive, one scan of each patient, specificity 0.95."""
    random = np.random.default_rng(seed)
    labels = np.arange(scans) % 2
    right = random.random(scans) < np.where(labels == 1, sensitivity, 0.95)
    calls = np.where(right, labels, 1 - labels)
    scores = np.where(calls == 1, 0.6, 0.1) + 0.3 * random.random(scans)
    made = ProductRows(labels, np.arange(scans), scores, None, [""] * scans, threshold=0.5)
    return replace(made, **more)


def joined(*parts: ProductRows, **more: object) -> ProductRows:
    """The rows of several one after the other, of other patients each."""
    count = [p.labels.size for p in parts]
    return replace(
        parts[0],
        labels=np.concatenate([p.labels for p in parts]),
        patients=np.arange(sum(count)),
        scores=np.concatenate([p.scores for p in parts]),
        refused=[""] * sum(count),
        **more,
    )


def judged(given: ProductRows, stated: Requirements = Requirements(), prevalence: float | None = None) -> Section:  # noqa: B008
    return evaluate_product(given, stated, prevalence=prevalence)


def test_a_good_product_works() -> None:
    assert judged(rows()).answer.action == "nothing"


@pytest.mark.parametrize("column", [True, False])
def test_a_site_or_scanner_where_nearly_all_are_missed_is_no_place_where_it_works(column: bool) -> None:
    def made(there: float) -> ProductRows:
        names = ["North"] * 600 + ["South"] * 60
        more = {"metadata": {"scanner": names}} if column else {"sites": names}
        return joined(rows(), rows(there, 60, 4), **more)

    poor = judged(made(0.16)).answer
    assert poor.action == "cannot tell"
    assert f"for {'scanner' if column else 'site'} South" in poor.reason
    assert "surely below the required 0.70" in poor.reason
    assert judged(made(0.95)).answer.action == "nothing"


@pytest.mark.parametrize(
    ("followed", "action", "better"),
    [(0.25, "cannot tell", "sensitivity"), (1.0, "nothing", ""), (None, "nothing", "")],
)
def test_labels_that_follow_the_calls_do_not_show_that_it_works(followed, action, better) -> None:
    """Scans that it does not call are labelled less often; or as often as the others, at random (None)."""
    random = np.random.default_rng(11)
    given = rows(0.85, 1500)
    called = given.scores >= 0.5
    share = np.full(1500, 0.6) if followed is None else np.where(called, 1.0, followed)
    answer = judged(replace(given, labels=np.where(random.random(1500) < share, given.labels, -1))).answer
    assert answer.action == action
    assert (f"{better} on the labelled scans looks better" in answer.reason) == bool(better)


def test_a_doubted_answer_has_no_threshold_left() -> None:
    """Specificity is too low at the threshold, and a higher one would do, were the labels not those of its calls."""
    random = np.random.default_rng(3)
    labels = np.arange(1000) % 2
    scores = np.clip(0.35 + 0.4 * labels + 0.12 * random.normal(size=1000), 0, 1)
    given = ProductRows(labels, np.arange(1000), scores, None, [""] * 1000, threshold=0.3)
    whole = judged(given).answer
    assert (whole.action, whole.local_threshold is None) == ("re-threshold", False)
    kept = (scores >= 0.3) | (random.random(1000) < 0.3)
    doubted = judged(replace(given, labels=np.where(kept, labels, -1))).answer
    assert (doubted.action, doubted.local_threshold, doubted.scans_needed) == ("cannot tell", None, None)


@pytest.mark.parametrize(("single", "action"), [(0.5, "cannot tell"), (0.97, "nothing")])
def test_a_share_must_be_reached_over_patients_too(single, action) -> None:
    """14 positive patients of ten scans each are found; 48 of one scan each are found, or half of them."""
    random = np.random.default_rng(5)
    patients = np.concatenate([np.repeat(np.arange(14), 10), 14 + np.arange(48), 100 + np.arange(300)])
    labels = np.concatenate([np.ones(188, int), np.zeros(300, int)])
    right = np.concatenate([random.random(140) < 0.99, random.random(48) < single, random.random(300) < 0.95])
    scores = np.where(right == (labels == 1), 0.9, 0.1) + 0.05 * random.random(488)
    given = ProductRows(labels, patients, scores, None, [""] * 488, threshold=0.5)
    answer = judged(given).answer
    assert answer.action == action
    assert ("over patients, each counted once" in answer.reason) == (action == "cannot tell")


@pytest.mark.parametrize(("scans", "action"), [(80, "cannot tell"), (1, "nothing")])
def test_one_patient_with_most_of_the_scans_is_no_sample(scans, action) -> None:
    given = rows(0.95, 100 + scans - 1)
    patients = np.arange(given.labels.size)
    positive = np.flatnonzero(given.labels == 1)
    patients[positive[: min(scans, positive.size - 15)]] = positive[0]
    answer = judged(replace(given, patients=patients)).answer
    assert answer.action == action
    assert ("A few patients have most of the scans" in answer.reason) == (action == "cannot tell")


def test_one_class_at_each_site_is_said_as_it_is() -> None:
    given = rows(0.95, 400)
    answer = judged(replace(given, sites=np.where(given.labels == 1, "A", "B").tolist())).answer
    assert (answer.action, "No site has scans of both classes" in answer.reason) == ("cannot tell", True)


def test_copies_do_not_make_it_sure() -> None:
    given = rows(0.95, 60)
    times = np.repeat(np.arange(60), 8)
    copied = replace(
        given, labels=given.labels[times], scores=given.scores[times], patients=np.arange(480), refused=[""] * 480
    )
    answer = judged(copied).answer
    assert (answer.action, "420 of 480 scans repeat another's score" in answer.reason) == ("cannot tell", True)
    random = np.random.default_rng(2)
    clipped = np.where(random.random(600) < 0.7, np.where(rows().scores > 0.5, 0.999987, 0.000013), rows().scores)
    assert judged(replace(rows(), scores=clipped)).answer.action == "nothing"


def test_many_groups_do_not_doubt_a_good_product_by_chance() -> None:
    """Six subgroups of a product whose sensitivity is 0.80 everywhere, required 0.70: none is surely below."""
    random = np.random.default_rng(20261128)
    doubted = 0
    for seed in range(40):
        given = rows(0.80, 1500, 100 + seed)
        given = replace(given, metadata={"a": random.choice(list("abcdef"), 1500).tolist()})
        doubted += "by intervals for all" in judged(given).answer.reason
    assert doubted == 0


def test_a_site_without_an_answer_is_not_silently_left_out() -> None:
    scores = np.concatenate([rows().scores, np.full(30, np.nan)])
    labels = np.concatenate([rows().labels, np.full(30, -1)])
    given = replace(rows(), labels=labels, scores=scores, patients=np.arange(630), refused=[""] * 630)
    answer = judged(replace(given, sites=["North"] * 600 + ["South"] * 30)).answer
    assert answer.action == "cannot tell"
    assert "South (30 rows)" in answer.reason
    assert judged(replace(rows(), sites=["North"] * 300 + ["South"] * 300)).answer.action == "nothing"


def test_patients_with_many_scans_do_not_hide_those_with_one() -> None:
    """100 patients with ten scans each that are found, 200 with one that is not: 0.83 of scans, 0.33 of patients."""
    people = np.concatenate([np.repeat(np.arange(100), 10), np.arange(100, 300), np.arange(300, 900)])
    labels = np.concatenate([np.ones(1200, int), np.zeros(600, int)])
    scores = np.concatenate([np.full(1000, 0.9), np.full(200, 0.4), np.full(600, 0.1)])
    scores = scores + 0.01 * np.random.default_rng(1).random(1800)
    answer = judged(ProductRows(labels, people, scores, None, [""] * 1800, threshold=0.5)).answer
    assert answer.action == "cannot tell"
    assert "over patients, each counted once, it is 0.33" in answer.reason
    single = ProductRows(labels, np.arange(1800), scores, None, [""] * 1800, threshold=0.5)
    assert judged(single).answer.action == "nothing"
    assert over_patients(np.array([1.0]), np.array([0])).low == 0.0


def test_refusing_the_hard_ones_does_not_buy_discrimination() -> None:
    given = rows()
    hard = np.flatnonzero(given.labels == 1)[:100]
    scores = given.scores.copy()
    scores[hard] = np.nan
    refused = ["hard" if i in set(hard.tolist()) else "" for i in range(600)]
    stated = Requirements(least_auc=0.8, least_sensitivity=0.3, least_specificity=0.3)
    answer = judged(replace(given, scores=scores, refused=refused), stated).answer
    assert answer.action == "cannot tell"
    assert "discrimination (AUC) would be" in answer.reason
    assert judged(given, stated).answer.action == "nothing"


def test_refused_scans_without_a_label_count_too() -> None:
    given = rows()
    scores, labels = given.scores.copy(), given.labels.copy()
    scores[:250], labels[:250] = np.nan, -1
    silent = judged(replace(given, scores=scores, labels=labels)).answer
    assert silent.action == "cannot tell"
    assert "250 scans have no answer" in silent.reason


def test_net_benefit_is_judged_at_the_stated_prevalence() -> None:
    """Useful where half are positive; where one in two hundred is, calling nobody is better."""
    stated = Requirements(net_benefit_at=0.2)
    assert judged(rows(), stated).answer.action == "nothing"
    rare = judged(rows(), replace(stated, prevalence=0.005), prevalence=0.005)
    assert rare.answer.action != "nothing"
    gain = next(r for r in rare.requirements if r.against == "treat none")
    assert gain.value is not None
    assert gain.value.estimate < 0


def test_probabilities_of_an_enriched_set_are_not_called_off() -> None:
    """Calibrated where 5 % are positive; the set holds half positives, as the how-to advises."""
    random = np.random.default_rng(5)
    odds = np.log(0.05 / 0.95) + random.normal(0, 2.5, 60_000)
    labels = (random.random(60_000) < 1 / (1 + np.exp(-odds))).astype(int)
    kept = np.concatenate([np.flatnonzero(labels == 1)[:400], np.flatnonzero(labels == 0)[:400]])
    given = ProductRows(
        labels[kept], np.arange(800), 1 / (1 + np.exp(-odds[kept])), None, [""] * 800, threshold=0.1,
        is_probability=True, stated_probability=True,
    )  # fmt: skip
    asked = Requirements(least_auc=0.7, least_sensitivity=0.3, least_specificity=0.3)
    assert judged(given, asked).answer.action == "recalibrate"
    told = judged(given, asked, prevalence=float(labels.mean()))
    assert told.answer.action == "nothing"
    assert any("is not judged: 50% of these scans are positive" in step for step in told.answer.rule)


def asked(
    seed: int, share: list[float], prevalence: list[float], follows: float = 0.0, each: int = 1, people: int = 200
):
    """Who has a label, who is called, whose scan it is and where: whole patients are labelled, at each site alike."""
    random = np.random.default_rng([seed, 31])
    site = np.arange(people) % len(share)
    positive = random.random(people) < np.array(prevalence)[site]
    patients = np.arange(people).repeat(each)
    noise = random.normal(size=patients.size) + random.normal(size=people)[patients]
    called = noise + np.where(positive[patients], 1.4, -1.4) > 0
    ever = np.bincount(patients, called) > 0
    known = (random.random(people) < np.array(share)[site] + follows * (ever - 0.5))[patients]
    return known, called, patients, site[patients]


@pytest.mark.parametrize(
    ("share", "prevalence", "follows", "each", "least", "most"),
    [
        ([0.6], [0.3], 0.0, 1, 0, 0.025),
        ([0.6], [0.3], 0.0, 5, 0, 0.025),  # five scans of a patient get their labels together
        ([0.9, 0.4], [0.6, 0.1], 0.0, 1, 0, 0.025),  # one site labels more, and has more disease
        ([0.95], [0.1], 0.0, 1, 0, 0.025),  # hardly any scan without a label
        ([0.6], [0.3], 0.4, 1, 0.95, 1),
        ([0.7, 0.4], [0.1, 0.6], 0.4, 1, 0.9, 1),  # over all sites called ones are labelled about as often
    ],
)
def test_labels_follow_calls_only_where_they_do(share, prevalence, follows, each, least, most) -> None:
    found = [labels_follow(*asked(seed, share, prevalence, follows, each)) for seed in range(400)]
    assert least <= np.mean([p < 0.01 for _, p in found]) <= most
    if follows:
        assert np.mean([more > 0 for more, _ in found]) > 0.99


def test_fewer_labels_of_called_scans_point_the_other_way() -> None:
    known, called, patients, sites = asked(1, [0.6], [0.3], 0.4)
    more, p = labels_follow(known, called, patients, sites)
    less, same = labels_follow(~known, called, patients, sites)
    assert less == pytest.approx(-more)
    assert same == pytest.approx(p)
    assert labels_follow(np.ones(40, bool), np.arange(40) % 2 == 0, np.arange(40)) == (0.0, 1.0)


@pytest.mark.parametrize(("scans", "digits", "copied", "suspected"), [
    (5000, 4, 0.0, False), (5000, 6, 0.3, True), (400, 4, 0.3, True), (400, 4, 0.05, False), (400, 3, 0.3, False)
])  # fmt: skip
def test_scores_that_meet_by_chance_are_no_copies(scans, digits, copied, suspected) -> None:
    """5000 scores of four digits repeat in a fifth of the rows without a single copy."""
    random = np.random.default_rng(8)
    scores, labels = np.round(random.random(scans), digits), random.integers(0, 2, scans)
    again = random.integers(0, scans, round(copied * scans))
    scores[: again.size], labels[: again.size] = scores[again], labels[again]
    assert (repeated_rows(scores, labels, []) > 0) == suspected
