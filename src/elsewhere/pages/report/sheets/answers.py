"""A report in; plain sentences about what the study found, for the reporting sheets, out.

Each function answers one question from the records and says nothing ("") where the records hold nothing. Networks that
did not learn are left out, and the answer says so. Where studies differ each is answered for by its name.
"""

from __future__ import annotations

from elsewhere.pages.report import hardest
from elsewhere.pages.report.content import Report, Study
from elsewhere.pages.report.drop import local_sentence
from elsewhere.pages.report.headline import headline, left_out_words
from elsewhere.pages.report.records import groups, number
from elsewhere.pages.report.sheets.common import ORIGINS, drawing, each, per_study
from elsewhere.pages.report.words import count, estimate, figure, listed
from elsewhere.wording import numbered

GROUPS = {"home": "at home", "seen": "at one of several training sites", "unseen": "at sites never seen"}


def measures(report: Report) -> str:
    """All measures and plots."""
    parts = ["AUC (exact, and on the paper's grid), sensitivity, specificity, accuracy, balanced accuracy, ROC curves"]
    if any(study.calibrations for study in report.studies):
        parts.append("calibration (reliability curve, calibration error, Brier score, intercept, slope)")
        parts.append("net benefit (decision curves)")
    if any(study.drops for study in report.studies):
        parts.append("decomposition of the drop")
    baselines = "each beside chance, the majority class and a rule that knows only the site"
    return f"{'; '.join(parts)}; {baselines}."


def uncertainty(report: Report) -> str:
    """Intervals."""
    return per_study(report, _uncertainty)


def _uncertainty(study: Study) -> str:
    resamples = study.options.evaluation and study.options.evaluation.resamples
    methods = {r.auc_sampling_method for r in study.scores if r.auc_sampling_method}
    said = [f"95 % intervals of the AUC by patient ({listed(sorted(methods))})" if methods else ""]
    said += [f"bootstrap of {resamples} resamples of patients" if resamples else ""]
    dropout = any(number(r.auc_grid_dropout_sd) is not None for r in study.scores)
    said += ["spread over dropout passes given apart" if dropout else ""]
    text = "; ".join(part for part in said if part)
    return f"{text}{'. ' if text else ''}{_trainings(study)}"


def _trainings(study: Study) -> str:
    seeds = max((r.seeds for r in study.trainings), default=1)
    if seeds == 1:
        return "One training of each network: the spread over seeds is not known."
    return f"{seeds} trainings of each network, their spread given apart."


def by_site(report: Report) -> str:
    """How differences between sites were handled."""
    if not any(study.scores for study in report.studies):
        return ""
    said = "Every network is scored at each site by itself, and means over sites give each cell the same weight."
    return f"{said} {per_study(report, _pooling)}".strip()


def _pooling(study: Study) -> str:
    how = drawing(study.options.training)
    several = any(len(model.trained_on) > 1 for model in study.models)
    return f"Networks of several sites were trained on the pooled scans, drawing {how}." if how and several else ""


def heterogeneity(report: Report) -> str:
    """How sites differ in the scores."""
    said = []
    for study in report.studies:
        found = [f"{min(g.aucs):.2f} to {max(g.aucs):.2f} {GROUPS[g.kin]}" for g in groups(study)]
        said.append((study.name, f"AUC by cell ranges {listed(found)}." if found else ""))
    return each(said)


def performance(report: Report) -> str:
    """Mean AUC by group with intervals."""
    said = []
    for study in report.studies:
        found = [f"{estimate(g.mean, g.low, g.high)} {GROUPS[g.kin]}" for g in groups(study)]
        text = f"Mean AUC (95 %) {listed(found)}." if found else ""
        said.append((study.name, f"{left_out_words(study)} {text}".strip()))
    text = each(said)
    return f"{text} Every cell stands in the matrix with its interval." if text else ""


def internal(report: Report) -> str:
    """Testing at home."""
    return _group_words(report, ("home", "seen"))


def external(report: Report) -> str:
    """Testing elsewhere."""
    return _group_words(report, ("unseen",))


def _group_words(report: Report, kins: tuple[str, ...]) -> str:
    said = []
    for study in report.studies:
        found = [g for g in groups(study) if g.kin in kins]
        text = "; ".join(
            f"{numbered(len(g.aucs), 'cell')} {GROUPS[g.kin]}, mean AUC {estimate(g.mean, g.low, g.high)}"
            for g in found
        )
        said.append((study.name, f"{left_out_words(study)} {text}{'.' * bool(text)}".strip()))
    return each(said)


def differences(report: Report) -> str:
    """What differs between sites besides disease."""
    return per_study(report, _differences)


def _differences(study: Study) -> str:
    auc = study.audit.site_only_auc
    said = [f"A rule that knows only the site reaches AUC {figure(auc)} over all sites." if auc is not None else ""]
    if study.audit.facts:
        said.append(
            "Encoding, matrix, spacing, padding and black share by site and class stand under “Before training”."
        )
    said += [f.sentence for f in study.diagnosis.findings if f.home != f.site and not f.model][:1]
    return " ".join(part for part in said if part)


def updating(report: Report) -> str:
    """Whether a model was updated after its evaluation, as far as records can tell."""
    if not any(study.scores for study in report.studies):
        return ""
    return (
        "The records hold no update after the evaluation: weights and thresholds were chosen on validation scans, and "
        "the scores are refused where they do not belong to the predictions beside them. Whether a network was trained "
        "anew after an earlier look at these test scans no record can tell."
    )


def updated(report: Report) -> str:
    """Results of updating: none, and what a new threshold or recalibration would bring by simulation."""
    said = [(study.name, local_sentence(study)) for study in report.studies]
    text = each(said)
    if not text:
        return updating(report)
    return f"{updating(report)} Tried on the test scans alone, some of them taken as labelled local scans: {text}"


def robustness(report: Report) -> str:
    """Dose-response, departures, both thresholds."""
    said = per_study(report, _robustness)
    if len(report.studies) < 2:
        return said
    sites = {tuple(sorted(site.name for site in s.sites)) for s in report.studies}
    which = "The same sites" if len(sites) == 1 and report.origin != "mixed" else "Sites that differ"
    return f"{which} under {len(report.studies)} settings side by side. {said}".strip()


def _robustness(study: Study) -> str:
    said = []
    if len({r.threshold_reading for r in study.scores}) > 1:
        said.append("Both threshold readings are shown.")
    if study.stress.curves:
        shifts = dict.fromkeys(r.shift for r in study.stress.curves if r.dose != 0)
        said.append(f"Graded shifts of the scans: {', '.join(shifts)}.")
    if study.diagnosis.shortcuts:
        said.append("Shortcut battery with parts of the scans erased.")
    return " ".join(said)


def explainability(report: Report) -> str:
    """Saliency of the networks that learned, if any."""
    return per_study(report, _explainability)


def _explainability(study: Study) -> str:
    names = {model.name for model in study.able}
    rows = [r for r in study.diagnosis.saliency if r.model in names]
    inside, expected = (
        [v for r in rows if (v := number(getattr(r, key))) is not None] for key in ("inside", "expected")
    )
    if not inside or not expected:
        return ""
    said = (
        f"Saliency (HiResCAM) in {count(len(rows), 'map')}: {sum(inside) / len(inside):.0%} of their mass lies in the "
        f"lungs, which take {sum(expected) / len(expected):.0%} of the volume"
    )
    battery = any(r.view == "lungs_erased" for r in study.diagnosis.shortcuts)
    return f"{said}; to be read beside the scores with the lungs erased (shortcut battery)." if battery else f"{said}."


def failures(report: Report) -> str:
    """Hard cases."""
    return per_study(report, lambda study: hardest.sentence(study) if study.judged else "")


def limitations(report: Report) -> str:
    """What the records themselves limit: every warning of the audits, those that all studies have once."""
    said = [per_study(report, lambda s: "" if s.origin == "real" else f"The scans are {ORIGINS[s.origin]}.")]
    shared = [w for w in report.studies[0].audit.warnings if all(w in s.audit.warnings for s in report.studies)]

    def own(study: Study) -> str:
        once = "" if study.trainings else "One training of each network, so the spread over seeds is not known."
        parts = [left_out_words(study), *(w for w in study.audit.warnings if w not in shared), once]
        return " ".join(part for part in parts if part)

    return " ".join(words for words in (*said, *shared, per_study(report, own)) if words)


def interpretation(report: Report) -> str:
    """The page's own finding."""
    return each([(study.name, headline(study)) for study in report.studies])
