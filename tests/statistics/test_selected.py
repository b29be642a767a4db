from itertools import combinations

import numpy as np
import pytest

from elsewhere.statistics.learned import auc_within_sites, judge_learned
from elsewhere.statistics.selected import Selected, chance_of_selection


def noise(seed: int, checks: int, scans: int = 60, alike: float = 0.0):
    """Labels, and scores that know nothing of them; `alike` is the share that all checks have in common."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(scans) % 3 == 0).astype(int)
    return labels, alike * random.random(scans) + (1 - alike) * random.random((checks, scans))


def best_by_auc(labels, scores) -> int:
    sites = np.zeros(labels.size, int)
    aucs = [auc_within_sites(labels, np.arange(labels.size), sites, one)[0] for one in scores]
    return len(aucs) - 1 - int(np.argmax(aucs[::-1]))


def test_one_check_has_the_share_of_all_exchanges():
    labels, scores = np.array([0, 1, 0, 0, 1, 0, 1]), np.array([0.1, 0.35, 0.4, 0.3, 0.9, 0.2, 0.6])
    reached = []
    for chosen in combinations(range(7), 3):
        other = np.isin(np.arange(7), chosen).astype(int)
        wins = [scores[i] > scores[j] for i in np.flatnonzero(other) for j in np.flatnonzero(other == 0)]
        reached.append(np.mean(wins))
    observed = np.mean([scores[i] > scores[j] for i in np.flatnonzero(labels) for j in np.flatnonzero(labels == 0)])
    exact = np.mean(np.array(reached) >= observed - 1e-12)
    found = chance_of_selection(labels, range(7), [0] * 7, scores, 0, "auc", permutations=20_000)
    assert found.p == pytest.approx(exact, abs=0.006)


def test_the_best_of_many_noises_passes_the_interval_and_not_this():
    passed, kept = 0, 0
    for seed in range(60):
        labels, scores = noise(seed, 12)
        place = best_by_auc(labels, scores)
        columns = labels, np.arange(labels.size), np.zeros(labels.size), scores[place]
        passed += not judge_learned(*columns).degenerate
        selected = chance_of_selection(labels, range(60), [0] * 60, scores, place, "auc", permutations=399)
        kept += not judge_learned(*columns, selected=selected).degenerate
    assert passed >= 6
    assert kept <= 4


def test_a_network_that_ranks_passes_whatever_was_chosen_from():
    labels, scores = noise(1, 12)
    scores[3] += 0.8 * labels
    selected = chance_of_selection(labels, range(60), [0] * 60, scores / 2, 3, "auc")
    assert selected.p < 0.001
    assert not judge_learned(labels, range(60), [0] * 60, scores[3] / 2, selected=selected).degenerate


def test_checks_that_say_the_same_are_no_choice():
    labels, scores = noise(5, 1)
    once = chance_of_selection(labels, range(60), [0] * 60, scores, 0, "auc")
    often = chance_of_selection(labels, range(60), [0] * 60, np.repeat(scores, 9, axis=0), 8, "auc")
    apart = chance_of_selection(labels, range(60), [0] * 60, np.vstack([scores, noise(6, 8)[1]]), 0, "auc")
    assert often.p == once.p
    assert apart.p > once.p


@pytest.mark.parametrize("criterion", ["accuracy", "log_loss", "auc"])
@pytest.mark.parametrize("alike", [0.0, 0.7])
def test_noise_reaches_every_share_in_that_share_of_trainings(criterion, alike):
    values = []
    for seed in range(80):
        labels, scores = noise(seed, 6, alike=alike)
        kept = _kept(labels, scores, criterion)
        found = chance_of_selection(labels, range(60), [0] * 60, scores, kept, criterion, permutations=199)
        values.append(found.p)
    assert np.mean(np.array(values) <= 0.2) < 0.34
    assert 0.35 < np.mean(values) < 0.65


def _kept(labels, scores, criterion) -> int:
    if criterion == "accuracy":
        return int(np.argmax(((scores > 0.5) == labels).mean(axis=1)))
    if criterion == "auc":
        return best_by_auc(labels, scores)
    return int(np.argmin(-np.log(np.where(labels == 1, scores, 1 - scores)).mean(axis=1)))


def test_labels_move_with_their_patients_and_stay_at_their_site():
    labels, scores = noise(9, 3)
    patients = np.arange(60) // 5
    labels = labels[patients * 5]  # twelve patients of five scans
    scores[1] = scores[1] / 10 + labels / 2
    by_patient = chance_of_selection(labels, patients, [0] * 60, scores, 1, "auc")
    by_scan = chance_of_selection(labels, range(60), [0] * 60, scores, 1, "auc")
    assert by_scan.p < by_patient.p
    sites = labels.astype(str)  # each class at a site of its own: nothing can be exchanged, nothing compared
    assert chance_of_selection(labels, patients, sites, scores, 1, "auc") == Selected(3, None)


def test_scans_of_a_patient_with_both_labels_are_exchanged_too():
    labels, patients = np.array([0, 1, 0, 0, 1, 1]), [0, 0, 1, 2, 3, 4]
    scores = np.array([0.1, 0.9, 0.2, 0.3, 0.8, 0.7])
    found = chance_of_selection(labels, patients, [0] * 6, scores, 0, "auc", permutations=5000)
    assert found.p == pytest.approx(1 / 12, abs=0.015)  # two of four patients are positive, and two orders of two scans


@pytest.mark.parametrize("others", [0, 3])
def test_perfect_scores_of_patients_with_both_labels_are_no_chance(others):
    labels = np.concatenate([np.tile([0, 1], 30), np.arange(2 * others) % 2])
    patients = np.concatenate([np.repeat(np.arange(30), 2), 30 + np.arange(2 * others)])
    scores = 0.1 + 0.8 * labels + 0.001 * np.arange(labels.size)
    selected = chance_of_selection(labels, patients, [0] * labels.size, scores, 0, "auc")
    assert selected.p < 0.01
    assert not judge_learned(labels, patients, [0] * labels.size, scores, selected=selected).degenerate


def test_the_reason_says_what_chance_does():
    labels, scores = noise(3, 60, scans=200)
    scores[7] += 0.2 * labels
    columns = labels, np.arange(200), np.zeros(200), scores[7] / 2
    alone = judge_learned(*columns)
    chosen = judge_learned(*columns, selected=Selected(60, 0.21))
    assert not alone.degenerate
    assert "chance alone reaches its AUC" in chosen.reasons[0]
    assert "in 21% of trainings, as the best of 60 checks" in chosen.reasons[0]
    unknown = judge_learned(*columns, selected=Selected(60, None))
    assert not unknown.degenerate
    assert "best of 60 checks" in unknown.remarks[-1]
    assert judge_learned(*columns, selected=Selected(1, None)).remarks == alone.remarks


@pytest.mark.parametrize(
    ("scores", "kept"), [([[0.1, 0.2, 0.3]], 0), ([[0.1, np.nan]], 0)], ids=["another length", "NaN"]
)
def test_what_does_not_fit_is_refused(scores, kept):
    with pytest.raises(ValueError, match="probabilities must be finite"):
        chance_of_selection([0, 1], [0, 1], [0, 0], scores, kept, "auc")


def unequal(seed: int, tied: bool = False):
    """12 patients with and 40 without, one of the 12 with 60 scans (or all 12 with 4); a patient's scores are alike."""
    random = np.random.default_rng(seed)
    scans = np.ones(52, int)
    scans[: 12 if tied else 1] = 4 if tied else 60
    labels = (np.arange(52) < 12).astype(int).repeat(scans)
    patients = np.arange(52).repeat(scans)
    scores = random.normal(size=52).repeat(scans) + 0.3 * random.normal(size=labels.size)
    return labels, patients, 1 / (1 + np.exp(-scores))


def test_one_patient_with_most_scans_is_not_exchanged_with_the_others():
    found = []
    for seed in range(200):
        labels, patients, scores = unequal(seed)
        sites = np.zeros(labels.size, int)
        found.append(chance_of_selection(labels, patients, sites, scores, 0, "auc", permutations=199).p)
    assert np.mean(np.array(found) < 0.05) <= 0.09
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_where_only_positives_have_many_scans_all_are_exchanged():
    labels, patients, scores = unequal(3, tied=True)
    sites = np.zeros(labels.size, int)
    learned = (scores + 9 * labels) / 10
    assert chance_of_selection(labels, patients, sites, learned, 0, "auc").p == pytest.approx(1 / 2000)
    assert chance_of_selection(labels, patients, sites, scores, 0, "auc").p > 0.02
