"""Site-only rule and facts against the paper's counts, public tables, scikit-learn and planted truths."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from elsewhere.statistics.confounding import (
    FactsSettings,
    facts_auc,
    site_only_auc,
    tabulate_facts,
)

# positive and negative scans, protocol page, "Sites and splits"
PUBLISHED = {"UTSW": (101, 236), "CC-CCII": (1544, 2634), "COVID-CTset": (281, 1068), "MosMedData": (856, 0)}
TEST_SCANS = {"UTSW": (20, 48), "CC-CCII": (312, 540), "COVID-CTset": (57, 214), "MosMedData": (171, 0)}


def mix(counts, *sites):
    chosen = {s: counts[s] for s in sites or counts}
    places = [s for s, (p, n) in chosen.items() for _ in range(p + n)]
    return places, [y for p, n in chosen.values() for y in [1] * p + [0] * n]


@pytest.mark.parametrize("counts", [PUBLISHED, TEST_SCANS])
def test_the_papers_mixes(counts):
    assert site_only_auc(*mix(counts)) == pytest.approx(0.70, abs=0.005)
    assert site_only_auc(*mix(counts, "UTSW", "CC-CCII")) == pytest.approx(0.51, abs=0.005)


def test_equals_scikit_learn_on_shares():
    sites, labels = mix(PUBLISHED)
    shares = {s: p / (p + n) for s, (p, n) in PUBLISHED.items()}
    assert site_only_auc(sites, labels) == pytest.approx(roc_auc_score(labels, [shares[s] for s in sites]), abs=1e-12)


def test_extremes():
    assert site_only_auc(["a", "a", "b"], [1, 1, 0]) == 1.0
    assert site_only_auc(["a", "a", "b", "b"], [1, 0, 0, 1]) == 0.5
    with pytest.raises(ValueError, match="needs both classes"):
        site_only_auc(["a", "b"], [1, 1])
    with pytest.raises(ValueError, match="sites have shape"):
        site_only_auc(["a"], [1, 0])


def cohort(seed, patients=200, scans=2):
    random = np.random.default_rng(seed)
    people = np.repeat(np.arange(patients), scans)
    return random, people, (random.random(patients) < 0.4).astype(int)[people]


def test_a_planted_fact_is_found_at_its_strength():
    random, people, labels = cohort(0, 1500)
    age = (random.normal(size=1500) + labels[::2])[people]
    found = facts_auc({"age": age}, labels, people, FactsSettings(permutations=50))
    assert found.auc == pytest.approx(roc_auc_score(labels, age), abs=0.01)
    assert found.p_value == pytest.approx(1 / 51)
    assert found.columns == ("age",)


def test_a_fact_that_names_the_patient_says_nothing():
    """Without folds by patient, one column per patient would give an AUC of 1."""
    _, people, labels = cohort(1, 80)
    names = np.array([f"patient{p}" for p in people])
    found = facts_auc({"name": names}, labels, people, FactsSettings(permutations=30))
    assert found.auc < 0.6
    assert found.p_value > 0.05


def test_p_values_of_meaningless_facts_are_uniform():
    values = []
    for seed in range(60):
        random, people, labels = cohort(seed, 60)
        facts = {"kernel": random.integers(0, 4, 60).astype(str)[people], "age": random.normal(size=60)[people]}
        values.append(facts_auc(facts, labels, people, FactsSettings(folds=3, permutations=39)).p_value)
    assert np.mean(np.array(values) <= 0.1) < 0.25
    assert 0.35 < np.mean(values) < 0.65


def test_facts_become_standardised_columns():
    facts = {"kernel": ["B30", "B70", None, "B70"], "age": [40, None, 50, 60], "same": [1, 1, 1, 1], "sex": ["M"] * 4}
    names, table = tabulate_facts(facts, 4)
    assert names == ("kernel=B70", "age", "age missing")
    assert np.allclose(table.mean(axis=0), 0)
    assert np.allclose(table.std(axis=0), 1)
    assert table[1, 1] == pytest.approx(0)  # the missing age stands at the mean


def test_same_seed_same_answer_and_bad_input():
    random, people, labels = cohort(2, 40)
    facts = {"age": random.normal(size=80)}
    settings = FactsSettings(permutations=5)
    assert facts_auc(facts, labels, people, settings) == facts_auc(facts, labels, people, settings)
    with pytest.raises(ValueError, match="no fact differs"):
        facts_auc({"age": np.ones(80)}, labels, people)
    with pytest.raises(ValueError, match="fact 'age' has shape"):
        facts_auc({"age": [1]}, labels, people)
    with pytest.raises(ValueError, match=r"a class has 1 patient\(s\)"):
        facts_auc({"age": [1, 2, 3]}, [0, 0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="needs both classes"):
        facts_auc({"age": [1, 2]}, [1, 1], [0, 1])


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.real
def test_covidx_ct_sources_alone(real_data):
    rows = read(real_data / "covidx-ct-metadata" / "metadata.csv")
    labels = [int(r["finding"] == "COVID-19") for r in rows]
    assert (len(labels), sum(labels)) == (6068, 4487)
    assert site_only_auc([r["source"] for r in rows], labels) == pytest.approx(0.899, abs=0.0006)


@pytest.mark.real
def test_covid_ctset_age_and_acquisition_alone(real_data):
    patients = read(real_data / "covid-ctset" / "Patient_details.csv")
    headers = {r["Patient ID"]: r for r in read(real_data / "covid-ctset" / "Patients_metadata.csv")}
    people = [r["Patient ID"] for r in patients]
    labels = [int(r["COVID-19 Infection"] == "Positive") for r in patients]
    ages = [float(r["AGE"][:3]) if r["AGE"][:3].isdigit() else None for r in patients]
    wanted = ("ConvolutionKernel", "ProtocolName", "SliceThickness", "BodyPartExamined")
    acquisition = {name: [headers[p][f"SR_2 {name}"] for p in people] for name in wanted}
    found = [facts_auc({"age": ages}, labels, people, FactsSettings(permutations=99))]
    found.append(facts_auc(acquisition, labels, people, FactsSettings(permutations=99)))
    assert [f.auc for f in found] == pytest.approx([0.73, 0.73], abs=0.025)
    assert all(f.p_value == pytest.approx(0.01) for f in found)
