"""A report in; plain sentences about how the study was made and what it found, for the reporting sheets, out.

Each function answers one question from the records and says nothing ("") where the records hold nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from elsewhere import __version__
from elsewhere.evidence.report.content import Report, Study
from elsewhere.evidence.report.drop import local_sentence
from elsewhere.evidence.report.records import fall, groups, number
from elsewhere.evidence.report.words import count, estimate, figure, finding, listed, spaced

ORIGINS = {
    "real": "real scans",
    "repacked": "real scans of one data set re-packed into the layouts of others, a test of the software",
    "simulated": "simulated scans, a test of the software: no patient is behind any of them",
}
GROUPS = {"home": "at home", "seen": "at one of several training sites", "unseen": "at sites never seen"}


def _first(report: Report) -> Study:
    return report.studies[0]


def _setting(report: Report, section: str, name: str) -> Any:
    part = _first(report).settings.get(section)
    return part.get(name) if isinstance(part, dict) else None


def _each(sentences: Iterable[tuple[str, str]]) -> str:
    """One sentence per study, named where there are several."""
    said = [(name, text) for name, text in sentences if text]
    if len({text for _, text in said}) == 1 and said:
        return said[0][1]
    return " ".join(f"“{name}”: {text}" for name, text in said)


def title(report: Report) -> str:
    """What kind of study this is."""
    return f"“{report.title}”: development and external validation of 3D convolutional networks for chest CT."


def design(report: Report) -> str:
    """Retrospective; where the scans come from."""
    return f"Retrospective: existing, labelled {ORIGINS[report.origin]}."


def goal(report: Report) -> str:
    """What was built and tried."""
    study = _first(report)
    return (
        f"{count(len(study.models), 'network').capitalize()} trained on combinations of sites, each tested on held-out "
        "patients of every site, to learn whether a network works at a hospital that it has not seen."
    )


def sources(report: Report) -> str:
    """Sites with country and format, and which are for testing alone."""
    named = [
        f"{site.name}{f' ({site.country})' if site.country else ''}{f', {site.form}' if site.form else ''}"
        + (f", {site.note}" if site.note else "")
        for site in _first(report).sites
    ]
    return f"{'; '.join(named)}. These are {ORIGINS[report.origin]}." if named else ""


def _totals(study: Study, key: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in study.counts:
        found[str(row[key])]["patients"] += int(row["patients"])
        found[str(row[key])]["scans"] += int(row["scans"])
    return found


def flow(report: Report) -> str:
    """Patients and scans by site, used and not."""
    study = _first(report)
    said = [f"{site} {n['patients']} patients, {n['scans']} scans" for site, n in _totals(study, "site").items()]
    bad = " Every scan could be read."
    if study.bad_scans:
        bad = f" {len(study.bad_scans)} scans could not be used; each stands in the table of bad scans with its reason."
    return f"{'; '.join(said)}.{bad}" if said else ""


def _unread(study: Study) -> str:
    if not study.bad_scans:
        return "all could be read"
    return f"{len(study.bad_scans)} could not be read and were left out, each listed with its reason"


def missing(report: Report) -> str:
    """What was left out and why."""
    study = _first(report)
    left = " ".join(study.notes)
    return (
        f"No scan is ever filled in; {_unread(study)}. {left} A fact that a scan does not tell is a category of its "
        "own in the audit."
    ).replace("  ", " ")


def events(report: Report) -> str:
    """Patients and scans by class and subset."""
    rows: dict[tuple[str, Any], list[int]] = defaultdict(lambda: [0, 0])
    for r in _first(report).counts:
        rows[str(r["subset"]), r["label"]][0] += int(r["patients"])
        rows[str(r["subset"]), r["label"]][1] += int(r["scans"])
    names = {1: "positive", 0: "negative"}
    places = {"train": 0, "validation": 1, "test": 2}
    ordered = sorted(rows.items(), key=lambda item: (places.get(item[0][0], 3), -(item[0][1] or 0)))
    said = [f"{s}: {p} {names.get(label, 'unlabelled')} patients ({n} scans)" for (s, label), (p, n) in ordered]
    return f"All sites together, {'; '.join(said)}. By site in Table 1." if said else ""


def dates(report: Report) -> str:
    """First and last month of scanning by site, where the scans tell."""
    months: dict[str, list[str]] = defaultdict(list)
    for r in _first(report).patients:
        months[str(r["site"])] += [str(r[key]) for key in ("first_month", "last_month") if r.get(key)]
    return "".join(f"{site} {min(found)} to {max(found)}; " for site, found in months.items() if found).rstrip("; ")


def people(report: Report) -> str:
    """Age by site and class, where the scans tell; sex, months and subsets stand in the table."""
    medians: dict[tuple[str, Any], list[float]] = defaultdict(list)
    for r in _first(report).patients:
        if r["age_known"]:
            medians[str(r["site"]), r["label"]].append(float(r["age"]))
    names = {1: "positives", 0: "negatives"}
    said = [
        f"{site} {names.get(label, 'unlabelled')} {min(found):.0f} to {max(found):.0f}"
        for (site, label), found in medians.items()
    ]
    if not said:
        return events(report)
    more = "With sex and months in “Who the patients are”, under “The data”."
    return f"{events(report)} Median age over the subsets: {'; '.join(said)}. {more}"


def split(report: Report) -> str:
    """How the partitions were made."""
    study = _first(report)
    train, test = (_setting(report, "split", key) for key in ("train", "test"))
    if train is None or test is None:
        return ""
    return (
        f"Per site and class, patients were drawn at random (seed {study.settings.get('seed')}): {float(train):.0%} "
        f"train, {float(test):.0%} test, the rest validation; split {study.split_hash or 'not given'}."
    )


def disjoint(report: Report) -> str:
    """Patients, and what the check for leaks found."""
    audit = _first(report).audit
    return (
        f"Patients: all scans of one patient lie on one side. {len(audit.leaks)} leaks were found by patient and by "
        f"content, and {sum(bool(r.get('suspected_leak')) for r in audit.forensics)} suspected by anatomy."
    )


def preparation(report: Report) -> str:
    """Encoding, clipping, grid and checks."""
    said = []
    for study in report.studies:
        p = study.settings.get("preparation")
        if isinstance(p, dict):
            size = " × ".join(str(v) for v in p.get("size", ()))
            ends = f"at {_voxel(p.get('minimum'))} and {_voxel(p.get('maximum'))}"
            text = f"encoding {p.get('encoding')}, clipped {ends}, grid {p.get('grid')}, crop {p.get('crop')}"
            text += f", to {size} voxels."
            said.append((study.name, text))
    checks = (
        "Every scan is checked for order of slices, encoding, padding, copies and lung segmentation (Before training)."
    )
    text = _each(said)
    return f"{text} {checks}" if text else ""


def _voxel(value: Any) -> str:
    found = number(value)
    return "no end" if found is None else f"{found:.0f}".replace("-", "−")


def predictors(report: Report) -> str:
    """The input."""
    size = _setting(report, "network", "input")
    shape = f" of {' × '.join(str(v) for v in size)} voxels (slices, rows, columns)" if size else ""
    return f"The CT volume alone{shape}; no clinical fact enters the network."


def rescaling(report: Report) -> str:
    """How voxels become inputs."""
    said = []
    for study in report.studies:
        s = study.settings.get("sample")
        if isinstance(s, dict):
            turned = "on" if s.get("augment") else "off"
            text = f"normalisation {s.get('normalisation')}, padding {s.get('padding')}, augmentation {turned}."
            said.append((study.name, text))
    return _each(said)


def network(report: Report) -> str:
    """Architecture from its settings."""
    n = _first(report).settings.get("network")
    if not isinstance(n, dict):
        return ""
    return (
        f"3D convolutional network: input {n.get('input')}, filters {n.get('filters')}, kernels {n.get('kernels')}, "
        f"pools {n.get('pools')}, dense layers {n.get('dense')}, dropout {n.get('dropout')}, DropBlock "
        f"{n.get('dropblock')}, {n.get('classes')} classes."
    )


def starting_weights(report: Report) -> str:
    """Random start with its seed."""
    seed = _setting(report, "training", "seed")
    return "" if seed is None else f"Random, the framework's default for each layer, seed {seed}; no pretraining."


def training(report: Report) -> str:
    """Optimisation."""
    t = _first(report).settings.get("training")
    if not isinstance(t, dict):
        return ""
    return (
        f"Adam, learning rate {t.get('learning_rate')}, batch {t.get('batch')}, {t.get('iterations')} iterations, "
        f"sites sampled {t.get('sampling')}, precision {t.get('precision')}; cross-entropy without class weights."
    )


def selection(report: Report) -> str:
    """How the kept weights were chosen."""
    every = _setting(report, "training", "validate_every")
    if every is None:
        return ""
    return (
        f"Highest accuracy on the validation patients of the training sites, looked at every {every} iterations; the "
        "first highest was kept. No test scan had a part in it, and no other tuning is in the records."
    )


def ensembling(report: Report) -> str:
    """None."""
    return f"None: each of the {len(_first(report).models)} networks is judged alone."


def imbalance(_: Report) -> str:
    """What was done about unequal classes."""
    return "No resampling and no class weights; the share of positives by site stands in Table 1."


def software(report: Report) -> str:
    """Versions."""
    versions = _first(report).versions
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + "." if versions else ""


def output(_: Report) -> str:
    """Probability, and how it becomes a decision."""
    return (
        "The probability of a positive scan, the highest over its windows. Positive from the threshold that gave the "
        "best accuracy on validation scans: (a) of the network's own training sites, (b) of the site under test; both "
        "are shown. Where the best threshold is trivial the larger output decides."
    )


def computing(report: Report) -> str:
    """How a prediction is made again."""
    weights = sum(bool(model.weights) for model in _first(report).models)
    return f"By `elsewhere predict` from the kept checkpoints ({weights} with checksum, safetensors and JSON)."


def measures(report: Report) -> str:
    """All measures and plots."""
    parts = ["AUC (exact, and on the paper's grid), sensitivity, specificity, accuracy, balanced accuracy, ROC curves"]
    if _first(report).calibrations:
        parts.append("calibration (reliability curve, calibration error, Brier score, intercept, slope)")
        parts.append("net benefit (decision curves)")
    if _first(report).drops:
        parts.append("decomposition of the drop")
    baselines = "each beside chance, the commoner class and a rule that knows only the site"
    return f"{'; '.join(parts)}; {baselines}."


def uncertainty(report: Report) -> str:
    """Intervals."""
    resamples = _setting(report, "evaluation", "resamples")
    methods = {str(r["auc_sampling_method"]) for s in report.studies for r in s.scores if r.get("auc_sampling_method")}
    said = f"95 % intervals by patient ({listed(sorted(methods))})" if methods else "95 % intervals by patient"
    said += f"; bootstrap of {resamples} resamples of patients; spread over dropout passes given apart"
    return f"{said}. {_trainings(report)}"


def _trainings(report: Report) -> str:
    seeds = max((int(row["seeds"]) for row in _first(report).trainings), default=1)
    return "One training each." if seeds == 1 else f"{seeds} trainings of each network, their spread given apart."


def heterogeneity(report: Report) -> str:
    """How sites differ in the scores."""
    said = []
    for study in report.studies:
        found = [f"{min(g.aucs):.2f} to {max(g.aucs):.2f} {GROUPS[g.kin]}" for g in groups(study)]
        said.append((study.name, f"AUC by cell ranges {listed(found)}." if found else ""))
    return _each(said)


def performance(report: Report) -> str:
    """Mean AUC by group with intervals."""
    said = []
    for study in report.studies:
        found = [f"{estimate(g.mean, g.low, g.high)} {GROUPS[g.kin]}" for g in groups(study)]
        said.append((study.name, f"mean AUC {listed(found)}." if found else ""))
    text = _each(said)
    return f"{text[0].upper()}{text[1:]} Every cell stands in the matrix with its interval." if text else ""


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
            f"{len(g.aucs)} cells {GROUPS[g.kin]}, mean AUC {estimate(g.mean, g.low, g.high)}" for g in found
        )
        said.append((study.name, f"{text}." if text else ""))
    return _each(said)


def differences(report: Report) -> str:
    """What differs between sites besides disease."""
    study = _first(report)
    auc = study.audit.site_only_auc
    known = f"A rule that knows only the site reaches AUC {figure(auc)}. " if auc is not None else ""
    apart = [str(f["sentence"]) for f in study.diagnosis.findings if f["home"] != f["site"] and not f["model"]]
    facts = "Encoding, matrix, spacing, padding and black share by site and class stand under “Before training”."
    return f"{known}{facts}{' ' + apart[0] if apart else ''}" if study.audit.facts or known else ""


def updating(report: Report) -> str:
    """What re-thresholding and recalibration would bring."""
    said = [(study.name, local_sentence(study.local)) for study in report.studies]
    return _each(said)


def robustness(report: Report) -> str:
    """Dose-response, departures, both thresholds."""
    study, said = _first(report), ["Both threshold readings are shown."]
    if len(report.studies) > 1:
        said.append(f"The same scans under {len(report.studies)} protocols.")
    if study.stress.curves:
        shifts = dict.fromkeys(str(r["shift"]) for r in study.stress.curves if r["dose"] != 0)
        said.append(f"Graded shifts of the scans: {', '.join(shifts)}.")
    if study.diagnosis.shortcuts:
        said.append("Shortcut battery with parts of the scans erased.")
    return " ".join(said)


def explainability(report: Report) -> str:
    """Saliency, if any."""
    rows = _first(report).diagnosis.saliency
    inside, expected = ([v for r in rows if (v := number(r.get(key))) is not None] for key in ("inside", "expected"))
    if not inside or not expected:
        return ""
    return (
        f"Saliency (HiResCAM) on {len(rows)} scans: {sum(inside) / len(inside):.0%} of the map lies in the lungs, "
        f"which take {sum(expected) / len(expected):.0%} of the picture; "
        "checked against the lungs erased (shortcut battery)."
    )


def acquisition(report: Report) -> str:
    """What is known of the scanners."""
    facts = [r for r in _first(report).audit.facts if r.get("label") == 1]
    said = []
    for r in facts:
        spacing = number(r.get("slice_spacing_mm"))
        apart = "spacing not told" if spacing is None else f"slices {spacing:g} mm apart"
        said.append(f"{r['site']}: {r.get('units')}, matrix {r.get('matrix')}, {apart}")
    return f"{'; '.join(said)} (commonest values of the positives; all under “Before training”)." if said else ""


def failures(report: Report) -> str:
    """Hard cases and drops."""
    said = []
    for study in report.studies:
        positives = sum(r["label"] == 1 for r in study.hardest)
        text = (
            f"{len(study.hardest)} scans that most networks get wrong are listed, {positives} of them positive."
            if study.hardest
            else ""
        )
        said.append((study.name, text))
    return _each(said)


def limitations(report: Report) -> str:
    """What the records themselves limit."""
    study, said = _first(report), []
    if report.origin != "real":
        said.append(f"The scans are {ORIGINS[report.origin]}.")
    said += list(study.audit.warnings)[:3]
    if not study.trainings:
        said.append("One training per network, so the spread over seeds is unknown.")
    return " ".join(said)


def code(_: Report) -> str:
    """How this page is made again."""
    return (
        f"Open software, elsewhere {__version__}; every setting, version and seed stands on this page, and `elsewhere "
        "report` makes it again from the records."
    )


def models_named(report: Report) -> str:
    """The networks and their checksums."""
    named = [f"{spaced(m.name)} ({m.weights[:12]})" for m in _first(report).models if m.weights]
    return f"Checkpoints as safetensors with JSON, by checksum: {'; '.join(named)}." if named else ""


def technical(report: Report) -> str:
    """Where all details are."""
    study = _first(report)
    where = "All settings stand on this page and in `study.json`"
    return f"{where}; split {study.split_hash or 'not given'}; protocol: {study.protocol}"


def bad_input(report: Report) -> str:
    """What the software does with unusable input."""
    return (
        f"Scans that cannot be read rightly are refused with a reason and a next step ({len(_first(report).bad_scans)} "
        "here); `elsewhere verdict` says before use whether new scans lie outside everything measured."
    )


def interpretation(report: Report) -> str:
    """The page's own finding."""
    return _each([(study.name, finding(groups(study), fall(study))) for study in report.studies])
