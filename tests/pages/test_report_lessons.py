"""What the paper got wrong: records on both sides of each sentence, and what it then says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_study import a_cell, a_protocol_mean, a_study, marked

from elsewhere.audit_rows import RuleRow, TieRow
from elsewhere.pages.report import Audit, ContrastRow, Model, Report, Site, Study, lessons
from elsewhere.pages.report.folder import Folder
from elsewhere.pages.report.published import published_table
from elsewhere.pages.report.words import ODD_SCANS, rules_words
from elsewhere.statistics.audit import FactsRow, Leak, ScanName
from study_rows import an_oddity, partly


def here(study: Study, title: str) -> str:
    """What this run measured about one of the paper's points."""
    made = [lesson for make in lessons.LESSONS for lesson in [make(study)] if lesson]
    return next(lesson.here for lesson in made if lesson.title == title)


def a_contrast(kind: str, first: float, second: float, low: float, high: float, site: str = "") -> ContrastRow:
    """A row of `Study.contrasts`."""
    return ContrastRow(kind, site, first, second, first - second, low, high, 6)


@pytest.mark.parametrize(
    ("local", "low", "high", "words"),
    [
        (
            0.60,
            0.05,
            0.15,
            "(b) gains 0.10 (95\u00a0%: +0.05 to +0.15), from labels that a new hospital does not have.",
        ),
        (
            0.51,
            -0.02,
            0.04,
            "the difference of +0.01 (95\u00a0%: −0.02 to +0.04) is within sampling error, so nothing is",
        ),
        (
            0.40,
            -0.15,
            -0.05,
            "(b) loses 0.10 (95\u00a0%: +0.05 to +0.15): labelled scans of the tested site did not help.",
        ),
    ],
)
def test_labels_of_the_tested_site_gain_lose_or_neither(local: float, low: float, high: float, words: str) -> None:
    study = a_study(contrasts=[a_contrast("threshold", local, 0.5, low, high)])
    said = here(study, "Whose validation scans choose the threshold?")
    assert said.startswith("At sites never seen the mean accuracy is 0.50 with the network's own threshold (a) and")
    assert words in said


def test_reading_b_is_named_as_ours() -> None:
    study = a_study(contrasts=[a_contrast("threshold", 0.6, 0.5, 0.05, 0.15)])
    lesson = lessons._threshold(study)
    assert lesson is not None
    assert "not of which site" in lesson.paper
    assert "our reading, not its statement" in lesson.paper


@pytest.mark.parametrize(
    ("spreads", "words"),
    [
        (
            (0.01, 0.02),
            "In each of 2 cells the sampling error is the larger one (ratio 3.8 in the middle cell, 2.6 to 5.1).",
        ),
        (
            (0.01, 0.20),
            "larger one in 1 of 2 cells and the smaller one, or equal, in 1: neither can stand for the other",
        ),
        ((0.30, 0.20), "In none of 2 cells is the sampling error the larger one: here the ± did not understate it"),
        ((0.0, 0.0), "In each of 2 cells the sampling error is the larger one."),
    ],
)
def test_dropout_and_sampling_spread_are_compared_in_every_cell(spreads: tuple[float, ...], words: str) -> None:
    pairs = zip(("A", "B"), spreads, strict=True)
    scores = [a_cell("A", s, 0.7, 0.1, auc_grid_dropout_sd=sd) for s, sd in pairs]
    assert words in here(a_study(*scores), "The ± is not a sampling error")


def test_the_coarse_grid_does_harm_or_none() -> None:
    title = "The AUC is read off a coarse grid"
    assert "by 0.030 at most (A at B)" in here(a_study(a_cell("A", "B", 0.7, auc_grid=0.73)), title)
    assert "Here it does no harm" in here(a_study(a_cell("A", "B", 0.7, auc_grid=0.7)), title)


@pytest.mark.parametrize(
    ("first", "low", "high", "words"),
    [
        (0.80, 0.60, 0.84, "0.72 (95\u00a0%: +0.60 to +0.84) more, at a site where every such call is right"),
        (
            0.08,
            -0.05,
            0.04,
            "the difference of 0.00 (95\u00a0%: −0.05 to +0.04) is within sampling error, so training on",
        ),
        (0.01, -0.12, -0.02, "0.07 (95\u00a0%: +0.02 to +0.12) fewer: training on the site did not raise its share"),
    ],
)
def test_recognising_the_site_is_not_said_to_be_enough(first: float, low: float, high: float, words: str) -> None:
    cells = [a_cell(m, "D", positives=10, negatives=0) for m in ("A", "A+D")]
    study = a_study(*cells, contrasts=[a_contrast("one class", first, 0.08, low, high, "D")])
    said = here(study, "A site with one class")
    assert said.startswith("D has positives only: 2 cells have no AUC. Networks trained on it call ")
    assert words in said
    assert " positive (threshold reading (a)): " in said
    assert "enough" not in said


def test_the_paper_s_averages_are_quoted_as_it_has_them() -> None:
    lesson = lessons._one_class(a_study(a_cell("A", "D", positives=10, negatives=0)))
    assert lesson is not None
    assert "averages with and without it" in lesson.paper
    assert "none of the three other sites, whose performance it lowered" in lesson.paper
    assert lesson.here == "D has positives only: 1 cell has no AUC."


def test_accuracy_is_set_against_the_majority_share_both_ways() -> None:
    low = a_cell("A", "A", accuracy=0.5, accuracy_sampling_low=0.4)
    high = a_cell("A", "B", accuracy=0.9, accuracy_sampling_low=0.7)
    title = "Accuracy without its floor"
    assert "is not above the majority share in 1; it is above it with its whole 95 % interval in 1." in here(
        a_study(low, high), title
    )
    assert "the accuracy (threshold reading (a)) is not above" in here(a_study(low), title)
    other = a_study(replace(low, threshold_reading="site"), reading="site")
    assert "the accuracy (threshold reading (b)) is not above" in here(other, title)
    assert "in 0; it is above it with its whole 95 % interval in 1." in here(a_study(high), title)


@pytest.mark.parametrize(
    ("aucs", "half", "words"),
    [
        ((0.47, 0.6), 0.14, "Here 1 of 2 cells at sites never seen lies below 0.5, none of them with its whole"),
        ((0.38, 0.6), 0.05, "1 does so with the whole 95 % interval (A at B), where chance alone gives about 0.1: more "
         "than chance explains if the cells are independent; there negatives score above positives."),
        ((0.38, 0.6, 0.6), 0.05, "Here 1 of 3 cells at sites never seen lies below 0.5; 1 does so with the whole 95 % "
         "interval (A at B), where chance alone gives about 0.1: no more than chance explains; no score is shown to "
         "point the wrong way."),
        ((0.38, 0.38, 0.6), 0.05, "2 do so with the whole 95 % interval (A at B and A at C), where chance alone gives "
         "about 0.1: more than chance explains"),
        ((0.6, 0.7), 0.05, "Here none of 2 cells at sites never seen lies below 0.5."),
    ],
)  # fmt: skip
def test_only_a_whole_interval_below_one_half_points_the_wrong_way(
    aucs: tuple[float, ...], half: float, words: str
) -> None:
    scores = [a_cell("A", site, auc, half) for site, auc in zip("BCD", aucs, strict=False)]
    assert words in here(a_study(*scores), "Below 0.5 is not always “random”")


def test_leaks_that_nobody_looked_for_are_not_counted_as_none() -> None:
    title = "The same patient on both sides"
    leak, scan = Leak("patient", "A/p", ("test", "train")), ScanName("A", "p", "s", "test")
    audit = Audit(leaks=[leak], forensics=[an_oddity(suspected_leak=True), an_oddity(suspected_leak=False)])
    assert "one leak by patient id or equal voxels between its sides; no groups of" in here(a_study(audit=audit), title)
    assert "one pair on two sides looks like one patient" in here(a_study(audit=audit), title)
    twice = Audit(duplicates=[[scan, scan]], forensics=[an_oddity(suspected_leak=True)] * 2)
    assert "one group of scans has equal voxels; two pairs on two sides look like" in here(a_study(audit=twice), title)
    unseen = a_study(absent={ODD_SCANS: "elsewhere audit"})
    assert here(unseen, title).endswith("pairs that look alike were not searched for.")


def test_metadata_rules_are_set_against_what_chance_gives() -> None:
    title = "Label information in the metadata"
    rule = RuleRow("kernel", "A", 0.9, 0.01)
    weak = [replace(rule, rule=f"r{i}", auc=0.55, p_value=0.4) for i in range(19)]
    told = a_study(audit=Audit(site_only_auc=0.7, confounding=[rule, replace(rule, sites="B", auc=0.8), *weak[:4]]))
    said = here(told, title)
    assert said.startswith("A rule that knows only the site has an AUC of 0.70 over all sites, without seeing a scan;")
    assert (
        "2 tell the classes apart at p of 0.05 or less, where chance alone gives about 0.3; the strongest is kernel"
        in said
    )
    chance = a_study(audit=Audit(site_only_auc=0.5, confounding=[rule, *weak]))
    said = here(chance, title)
    assert "an AUC of 0.50 over all sites, which is chance" in said
    assert said.endswith(
        "1 tells the classes apart at p of 0.05 or less, where chance alone gives about 1.0: no more than "
        "chance explains."
    )
    insecure = replace(weak[0], rule="age", auc=0.95, p_value=0.2)  # a few patients: the largest AUC, and no find
    told = a_study(audit=Audit(confounding=[rule, replace(rule, sites="B", auc=0.8), insecure]))
    assert "the strongest is kernel at A (AUC 0.90)" in here(told, title)
    none = a_study(audit=Audit(confounding=[insecure]))
    assert "Of 1 rule that knows only metadata, each within one site, 0 tell the classes apart" in here(none, title)
    padded = a_study(audit=Audit(confounding=[replace(insecure, facts="padding_share, black_share")]))
    assert "that knows only metadata or simple measures of the picture, each" in here(padded, title)


def test_lung_segmented_scans_are_counted_or_said_to_be_none() -> None:
    title = "Lung-segmented scans in one class"
    facts = [partly(FactsRow, site="A", label=k, scans=50, lung_segmented_share=v) for k, v in ((1, 0.1), (0, 0.56))]
    assert here(a_study(audit=Audit(facts=facts)), title) == (
        "Lungs on black here: at A 5 of 50 positives and 28 of 50 negatives."
    )
    none = [replace(fact, lung_segmented_share=0.0) for fact in facts]
    assert here(a_study(audit=Audit(facts=none)), title) == "No scan of A looks lung-segmented here."


@pytest.mark.parametrize(
    ("second", "low", "high", "words"),
    [
        (
            0.62,
            -0.05,
            0.05,
            "the difference, “paper” less “harmonised”, of 0.00 (95\u00a0%: −0.05 to +0.05) is within sampling error",
        ),
        (
            0.82,
            -0.30,
            -0.10,
            "“harmonised” discriminates better by 0.20 (95\u00a0%: +0.10 to +0.30), with one training",
        ),
        (
            0.42,
            0.10,
            0.30,
            "“paper” discriminates better by 0.20 (95\u00a0%: +0.10 to +0.30), with one training of each",
        ),
    ],
)
def test_preparation_is_said_to_matter_only_where_it_does(second: float, low: float, high: float, words: str) -> None:
    studies = (a_study(a_cell("A", "B", 0.62)), a_study(a_cell("A", "B", second), name="harmonised"))
    row = a_protocol_mean(0.62, second, low, high)
    lesson = lessons.nature(Report("T", studies, protocol_means=[replace(row, relation="home"), row]))
    assert lesson is not None
    assert lesson.here.startswith(
        "On the same scans of sites never seen, over 6 cells, the mean AUC is 0.62 under “paper”"
    )
    assert words in lesson.here


DOCUMENTED = Path(__file__).parents[2] / "docs" / "concepts" / "what-the-paper-got-wrong.md"

# The sentences of Nguyen et al. 2021 that the page and the documentation quote, whole, with their section.
PAPER = {
    "Evaluation": (
        "A threshold was selected based on maximizing the prediction accuracy on the validation data and applied to "
        "the testing set. In the cases where the “optimal” threshold was a trivial value (e.g., threshold = 0 for "
        "MosMedData, which only has positive labels), we took the argmax of the output as the prediction instead.",
    ),
    "Results": (
        "The models performed considerably worse when evaluated on different datasets, with AUCs ranging from 0.405 to "
        "0.570, which is close to just random guessing (i.e., AUC = 0.5).",
        "Including MosMedData in the model training improved the total average performance but did not improve the "
        "performance when evaluating models on the individual UTSW, CC-CCII, and COVID-CTset datasets.",
    ),
    "Discussion": (
        "Without definitive negative labels, our models likely learned simply to identify the data source as "
        "MosMedData and compromised some of their learning capacity and performance to use the relevant imaging "
        "features for the predictions.",
        "Although this study did not fully explore the possible techniques to improve robustness and prevent "
        "overfitting, it may serve as a baseline for future model generalization studies that use medical data for the "
        "clinical implementation of COVID-19–related classification models.",
        "With limited data and learning time, these AI algorithms are bound to fail when they encounter a unique data "
        "distribution they have never seen before.",
    ),
}


def quoted(text: str, opening: str, closing: str) -> list[str]:
    """Quotations of a text, on one line each."""
    return [" ".join(found.split()) for found in re.findall(f"{opening}([^{opening}{closing}]+){closing}", text)]


def test_every_quotation_is_the_paper_s_own_words() -> None:
    """On the page, and in the documentation, which states the same."""
    sentences = [sentence for found in PAPER.values() for sentence in found]
    studies = (a_study(a_cell("A", "D", positives=10, negatives=0), a_cell("A", "B", 0.4)), a_study(name="harmonised"))
    study = replace(studies[0], contrasts=[a_contrast("threshold", 0.6, 0.5, 0.05, 0.15)])
    made = [lesson for make in lessons.LESSONS if (lesson := make(study))]
    nature = lessons.nature(Report("T", studies))
    assert nature is not None
    page = [q for lesson in [*made, nature] for q in quoted(f"{lesson.title} {lesson.paper}", "“", "”")]
    documented = quoted(
        re.sub(r"`[^`]*`|```.*?```", "", DOCUMENTED.read_text(encoding="utf-8"), flags=re.DOTALL), '"', '"'
    )
    assert len(page) >= 5
    assert len(documented) >= 5
    for quotation in (*page, *documented):
        assert any(quotation in sentence for sentence in sentences), quotation


def test_the_paper_s_expectation_is_quoted_with_what_limits_it() -> None:
    lesson = lessons.nature(Report("T", (a_study(), a_study(name="harmonised"))))
    assert lesson is not None
    assert "“With limited data and learning time, these AI algorithms are bound to fail" in lesson.paper
    assert "With limited data and learning time" in " ".join(DOCUMENTED.read_text(encoding="utf-8").split())
    assert "an AUC of 0.930 on CC-CCII" in lesson.paper


def test_an_advantage_of_the_crop_that_was_planted_is_named_beside_the_comparison() -> None:
    ties = [
        TieRow("A", "field of view", 1.0),
        TieRow("A", "dose", 0.25),
    ]
    row = a_protocol_mean(0.4, 0.8, -0.5, -0.3)
    whole, cropped = ({"preparation": {"crop": crop}} for crop in ("none", "lungs"))

    def said(first: dict[str, Any], second: dict[str, Any], planted: list[TieRow]) -> str:
        studies = (a_study(settings=first, ties=planted), a_study(name="harmonised", settings=second, ties=planted))
        lesson = lessons.nature(Report("T", studies, protocol_means=[row]))
        assert lesson is not None
        return lesson.here

    told = said(whole, cropped, ties)
    assert "“harmonised” crops to the lungs, “paper” does not. A crop to the lungs takes away the ties of" in told
    assert told.endswith("is built in.")
    assert "no advantage of such a crop is built in" in said(whole, cropped, ties[1:])
    for without in (said(whole, whole, ties), said(cropped, cropped, ties), said(whole, cropped, [])):
        assert "built in" not in without


def test_protocols_that_share_no_network_are_not_compared() -> None:
    studies = (a_study(a_cell("A", "B", 0.4)), a_study(a_cell("A", "B", 0.9), name="harmonised"))
    lesson = lessons.nature(Report("T", studies))
    assert lesson is not None
    assert lesson.here.endswith("was tested elsewhere on the same scans, so this run does not compare them.")
    assert lessons.nature(Report("T", studies[:1])) is None


def test_lessons_leave_out_what_did_not_learn_and_say_so(tmp_path: Path) -> None:
    study = a_study(a_cell("A", "B", 0.6), a_cell("B", "A", 0.1))
    shown = lessons.section(Report("T", (marked(study, "B"),)), Folder(tmp_path))
    assert shown is not None
    assert shown.left_out.startswith("1 of 3 networks did not learn")
    below = next(x.here for x in shown.lessons if x.title.startswith("Below"))
    assert below == "Here none of 1 cell at sites never seen lies below 0.5."
    assert "Here 1 of 2 cells" in here(study, "Below 0.5 is not always “random”")


def test_the_caption_of_the_rules_says_that_no_network_sees_metadata() -> None:
    said = rules_words([RuleRow("month of the scan", "A", 0.7, 0.01), RuleRow("kernel", "A", 0.7, 0.3)])
    assert "which 1 of 2 rules have; chance alone gives about 0.1." in said
    assert said.startswith("Discrimination (AUC) of rules that see only metadata, on patients they have not seen.")
    assert said.endswith("No network sees metadata: of those it can learn only what goes with them in the picture.")
    assert "can learn any of these" not in said
    measured = rules_words([RuleRow("encoding", "A", 0.7, 0.01, facts="dtype, minimum, maximum")])
    assert measured.startswith(
        "Discrimination (AUC) of rules that see only metadata or simple measures of the picture (such as its lowest and"
    )
    assert "Squares" not in rules_words([RuleRow("kernel", "A", 0.7)])


def test_the_published_numbers_mark_a_network_that_did_not_learn() -> None:
    study = a_study(
        a_cell("UTSW", "UTSW", 0.8, threshold_reading="site"),
        a_cell("UTSW", "CC-CCII", 0.7),
        a_cell("CC-CCII", "UTSW", 0.4),
        models=(Model("UTSW", ("UTSW",)), Model("CC-CCII", ("CC-CCII",))),
    )
    study = replace(study, sites=(Site("UTSW"), Site("CC-CCII")))
    told, without = published_table([study], "p"), published_table([marked(study, "CC-CCII")], "p")
    assert told.note.endswith("Study paper, all its models: 0.400 to 0.700.")
    assert without.note.endswith("Study paper, its models that learned: 0.700 to 0.700.")
    assert told.rows[0]["auc_0"] == "0.800 (0.700–0.900)"
    assert published_table([marked(study, "UTSW")], "p").rows[0]["auc_0"] == "0.800 (0.700–0.900), did not learn"
