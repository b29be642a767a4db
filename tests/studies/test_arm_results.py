"""Arms compared from predictions that are made up: which trial each rule chooses, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elsewhere.arm_rows import ERM, RULES, ArmRow, TrialRow
from elsewhere.statistics.roc import exact_auc
from elsewhere.studies import arm_results
from elsewhere.studies.arm_results import predicted_at, write_arms
from elsewhere.studies.file import Study, load_study
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import DETERMINISTIC, Predictions, join_predictions
from elsewhere.studies.records import ARM_TRIALS, ARMS

HEAD = """combinations = "leave-one-site-out"
seeds = [1, 2]
[training]
batch = 8
sampling = "balanced"
[comparison]
trials = 2
leave_one_training_site_out = {inner}
ranges = {{ learning_rate = [1e-4, 1e-2, "log"] }}
[[arms]]
name = "V-REx"
training = {{ objective = "v_rex" }}
[[arms]]
name = "EMA"
training = {{ ema = 0.9 }}
"""
Strength = Callable[[str, str, str], float]


def a_study(folder: Path, sites: str = "ABCD", inner: str = "true", external: str = "") -> Study:
    tables = [f'[sites.{name}]\nkind = "volumes"\nroot = "{name}"\n' for name in sites]
    tables += [f'[sites.{name}]\nkind = "volumes"\nroot = "{name}"\nuse = "test"\n' for name in external]
    (folder / "study.toml").write_text(HEAD.format(inner=inner) + "".join(tables))
    return load_study(folder / "study.toml")


def made_up(name: str, site: str, strength: float, subset: str, scans: int, classes: int = 2) -> Predictions:
    """Predictions whose signal has this strength; patients' noise is shared by all networks, some is the network's."""
    labels = np.arange(scans) % classes if classes == 2 else np.ones(scans, dtype=np.int64)
    shared = np.random.default_rng([ord(site), len(subset)]).normal(size=scans)
    own = np.random.default_rng([ord(site), *name.encode()]).normal(size=scans)
    logits = strength * labels + shared + 0.3 * own
    ids = np.array([f"{subset}{i}" for i in range(scans)])
    return Predictions(
        np.full(scans, site), np.full(scans, subset), ids, ids, labels, np.full(scans, DETERMINISTIC),
        1 / (1 + np.exp(-logits)),
    )  # fmt: skip


def compared(
    study: Study, folder: Path, monkeypatch: pytest.MonkeyPatch, strength: Strength, one_class: str = ""
) -> tuple[dict[tuple[str, str, str], ArmRow], list[TrialRow], dict[str, set[str]]]:
    """(rule, arm, site) -> row, the trials, and where each network's predictions were asked for."""
    asked: dict[str, set[str]] = {}

    def predictions(_: Folder, name: str, site: str) -> Predictions:
        asked.setdefault(name, set()).add(site)
        parts = [
            made_up(name, site, strength(name, site, subset), subset, scans, 1 if site in one_class else 2)
            for subset, scans in (("validation", 60), ("test", 120))
        ]
        return join_predictions(parts)

    monkeypatch.setattr(arm_results, "fitting_predictions", predictions)
    write_arms(study, Folder(folder))
    rows = ARMS.read(folder / "arms.parquet")
    return {(row.rule, row.arm, row.site): row for row in rows}, ARM_TRIALS.read(folder / "arm_trials.parquet"), asked


def test_each_rule_chooses_by_its_own_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EMA's trial 2 is good where it was trained; its trial 1 at sites that it never saw."""
    study = a_study(tmp_path)

    def strength(name: str, site: str, subset: str) -> float:
        home = site in name.partition("@")[0].split("+")
        second = "@EMA.2" in name
        if "@EMA" not in name:
            return 1.0
        return (3.0 if second else 1.0) if home else (0.5 if second else 3.0)

    rows, trials, asked = compared(study, tmp_path, monkeypatch, strength)
    assert rows["training domains", "EMA", ""].chosen == ", ".join(f"{name}: 2" for name in study.models)
    assert rows["leave one training site out", "EMA", "A"].chosen == "B+C+D: 1"
    assert rows["oracle", "EMA", "A"].chosen == "B+C+D: 1"
    good, bad = rows["oracle", "EMA", ""], rows["training domains", "EMA", ""]
    assert good.difference is not None
    assert bad.difference is not None
    assert good.difference > 0.1 > 0 > bad.difference
    assert good.p_value_holm is not None
    assert good.p_value is not None
    assert good.p_value_holm >= good.p_value
    assert good.arms == 2
    assert len(trials) == 3 * 2 * 4
    assert set(asked) == set(study.all_arm_networks)
    assert all(sites <= set(predicted_at(study, name)) for name, sites in asked.items())


def test_the_difference_is_that_of_the_chosen_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study(tmp_path, "ABC", "false")
    rows, _, _ = compared(study, tmp_path, monkeypatch, lambda name, *_: 2.0 if "V-REx" in name else 1.0)
    row = rows["oracle", "V-REx", "C"]

    def mean(arm: str, chosen: str) -> float:
        base = f"A+B@{arm}.{chosen}" if (arm, chosen) != (ERM, "1") else "A+B"
        tables = [made_up(n, "C", 2.0 if arm != ERM else 1.0, "test", 120) for n in (base, f"{base}~2")]
        return float(np.mean([exact_auc(one.labels, one.probabilities) for one in tables]))

    assert row.auc == pytest.approx(mean("V-REx", row.chosen[-1]))
    assert row.erm == pytest.approx(mean(ERM, rows["oracle", ERM, "C"].chosen[-1]))
    over = [rows["oracle", "V-REx", site].difference for site in "ABC"]
    assert rows["oracle", "V-REx", ""].difference == pytest.approx(np.mean([one for one in over if one is not None]))


def test_a_rule_that_was_not_asked_for_or_cannot_be_had_gives_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _, _ = compared(a_study(tmp_path, "ABC", "false"), tmp_path, monkeypatch, lambda *_: 1.0)
    assert "not asked for" in rows[RULES[1], "EMA", ""].reason
    rows, trials, _ = compared(a_study(tmp_path, "ABC"), tmp_path, monkeypatch, lambda *_: 1.0)
    assert "V-REx compares training sites, and there is one" in rows[RULES[1], "V-REx", ""].reason
    assert rows[RULES[1], "EMA", ""].reason == ""
    assert rows[RULES[1], "EMA", ""].arms == 1
    assert {t.inner is None for t in trials if t.arm == "V-REx"} == {True}


def test_a_site_of_one_class_is_no_place_to_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, trials, _ = compared(a_study(tmp_path), tmp_path, monkeypatch, lambda *_: 1.0, one_class="D")
    assert {t.site for t in trials} == {"A", "B", "C"}
    assert ("oracle", "EMA", "D") not in rows


def test_without_an_unseen_site_of_both_classes_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, trials, _ = compared(a_study(tmp_path, "ABC", "false"), tmp_path, monkeypatch, lambda *_: 1.0, "ABC")
    assert trials == []
    assert {row.reason for row in rows.values()} >= {"no unseen site has test scans of both classes"}
    assert all(row.auc is None for row in rows.values())


def test_an_external_site_is_compared_under_every_training_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = a_study(tmp_path, "ABC", "false", external="E")
    _, trials, _ = compared(study, tmp_path, monkeypatch, lambda *_: 1.0)
    assert {(t.trained_on, t.site) for t in trials if t.site == "E"} == {("A+B", "E"), ("A+C", "E"), ("B+C", "E")}


def test_a_study_that_has_no_arms_any_more_keeps_no_tables(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for path in (folder.arms, folder.arm_trials):
        path.write_bytes(b"")
    (tmp_path / "plain.toml").write_text('[sites.A]\nkind = "volumes"\nroot = "A"\n')
    write_arms(load_study(tmp_path / "plain.toml"), folder)
    assert not folder.arms.exists()
    assert not folder.arm_trials.exists()


def test_an_arm_that_did_not_learn_is_compared_with_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an arm without a signal at its training sites, nor any arm with an ERM that has none."""
    study = a_study(tmp_path, "ABC", "false")
    rows, trials, _ = compared(study, tmp_path, monkeypatch, lambda name, *_: 0.0 if "V-REx" in name else 1.5)
    assert rows["training domains", "V-REx", ""].difference is None
    assert rows["training domains", "V-REx", ""].reason == "trained on A+B, A+C, B+C it did not learn"
    assert rows["training domains", "EMA", ""].difference is not None
    assert {row.arm for row in trials if row.unlearned} == {"V-REx"}
    erm = lambda name: "@" not in name or "@ERM" in name  # noqa: E731
    rows, _, _ = compared(study, tmp_path, monkeypatch, lambda name, *_: 0.0 if erm(name) else 1.5)
    for arm in ("V-REx", "EMA"):
        assert rows["oracle", arm, ""].difference is None
        assert rows["oracle", arm, ""].reason.startswith("of ERM: trained on")
