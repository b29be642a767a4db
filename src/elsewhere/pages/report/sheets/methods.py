"""A report in; plain sentences about how the study was made, for the reporting sheets, out.

Each function answers one question from the records and says nothing ("") where the records hold nothing. Where studies
differ each is answered for by its name.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from elsewhere import __version__
from elsewhere.pages.report.content import Origin, Report, Study
from elsewhere.pages.report.options import TrainingOptions
from elsewhere.pages.report.records import READINGS, cell, index, kin_of, number
from elsewhere.pages.report.selection import rule_words
from elsewhere.pages.report.sheets.common import ORIGINS, drawing, each, per_study
from elsewhere.pages.report.words import ODD_SCANS, count, networks_trained, spaced
from elsewhere.statistics.strata import age_words
from elsewhere.wording import numbered

PRETRAINED = "Astra"
"""The kind of network that does not start from random weights alone."""


def title(report: Report) -> str:
    """What kind of study this is."""
    what = "development and external validation" if _tested_elsewhere(report) else "development and internal validation"
    return f"“{report.title}”: {what} of 3D convolutional networks for chest CT."


def _tested_elsewhere(report: Report) -> bool:
    """Whether any cell was measured at a site that its network never saw."""
    return any(
        cell(index(study.scores), model.name, site.name) and kin_of(model, site.name) == "unseen"
        for study in report.studies
        for model in study.models
        for site in study.sites
    )


def design(report: Report) -> str:
    """Retrospective; where the scans come from."""
    return per_study(report, lambda study: f"Retrospective: existing, labelled {ORIGINS[study.origin]}.")


def goal(report: Report) -> str:
    """What was built and tried."""
    aim = "to learn whether a network works at a hospital that it has not seen"
    if not _tested_elsewhere(report):
        aim = "on patients of its training sites; no other site was tested"
    return (
        f"{networks_trained(report.studies)} trained on combinations of sites, each tested on held-out patients, {aim}."
    )


def sources(report: Report) -> str:
    """Sites with country and format, and which are for testing alone."""
    if report.origin == "mixed":
        return per_study(report, lambda study: _with_origin(_sites(study), study.origin))
    return _with_origin(per_study(report, _sites), report.origin)


def _with_origin(named: str, origin: Origin) -> str:
    return f"{named} These are {ORIGINS[origin]}." if named else ""


def _sites(study: Study) -> str:
    named = [
        f"{site.name}{f' ({site.country})' if site.country else ''}{f', {site.form}' if site.form else ''}"
        + (f", {site.note}" if site.note else "")
        for site in study.sites
    ]
    return f"{'; '.join(named)}." if named else ""


def flow(report: Report) -> str:
    """Patients and scans by site, used and not."""
    return per_study(report, _flow)


def _flow(study: Study) -> str:
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in study.counts:
        totals[row.site][0] += row.patients
        totals[row.site][1] += row.scans
    said = [f"{site} {numbered(p, 'patient')}, {numbered(n, 'scan')}" for site, (p, n) in totals.items()]
    bad = _unread(study)
    return f"{'; '.join(said)}. {bad[0].upper()}{bad[1:]}." if said else ""


def _unread(study: Study) -> str:
    bad = len(study.bad_scans)
    if not bad:
        return "no scan had to be left out as unusable"
    was, it = ("was", "it is") if bad == 1 else ("were", "each is")
    return f"{count(bad, 'scan')} {was} left out as unusable; {it} listed with its reason"


def missing(report: Report) -> str:
    """What was left out and why; a study's notes name it themselves."""
    notes = [words for study in report.studies for words in study.left_out]
    return " ".join([per_study(report, _missing), *notes])


def _missing(study: Study) -> str:
    unread = _unread(study)
    said = f"No scan is ever filled in. {unread[0].upper()}{unread[1:]}."
    if ODD_SCANS not in study.absent:
        said += " Metadata that a scan does not hold are a category of their own in the audit."
    return said


def events(report: Report) -> str:
    """Patients and scans by class and subset."""
    return per_study(report, _events)


def _events(study: Study) -> str:
    rows: dict[tuple[str, Any], list[int]] = defaultdict(lambda: [0, 0])
    for r in study.counts:
        rows[r.subset, r.label][0] += r.patients
        rows[r.subset, r.label][1] += r.scans
    names = {1: "positive", 0: "negative"}
    places = {"train": 0, "validation": 1, "test": 2}
    ordered = sorted(rows.items(), key=lambda item: (places.get(item[0][0], 3), -(item[0][1] or 0)))
    said = [
        f"{s}: {numbered(p, names.get(label, 'unlabelled') + ' patient')} ({numbered(n, 'scan')})"
        for (s, label), (p, n) in ordered
    ]
    return f"All sites together, {'; '.join(said)}. By site in Table 1." if said else ""


def dates(report: Report) -> str:
    """First and last month of scanning by site, where the scans tell."""
    return per_study(report, _dates)


def _dates(study: Study) -> str:
    months: dict[str, list[str]] = defaultdict(list)
    for r in study.patients:
        months[r.site] += [month for month in (r.first_month, r.last_month) if month]
    return "".join(f"{site} {min(found)} to {max(found)}; " for site, found in months.items() if found).rstrip("; ")


def people(report: Report) -> str:
    """Age by site and class, where the scans tell; sex, months and subsets stand in the table."""
    return per_study(report, _people)


def _people(study: Study) -> str:
    medians: dict[tuple[str, Any], list[float]] = defaultdict(list)
    for r in study.patients:
        if r.age is not None:
            medians[r.site, r.label].append(r.age)
    names = {1: "positives", 0: "negatives"}
    said = [
        f"{site} {names.get(label, 'unlabelled')} {age_words(min(found))} to {age_words(max(found))}"
        for (site, label), found in medians.items()
    ]
    if not said:
        return _events(study)
    more = "With sex and months in “Who the patients are”, under “The data”."
    return f"{_events(study)} Median age over the subsets: {'; '.join(said)}. {more}"


def split(report: Report) -> str:
    """How the partitions were made."""
    return per_study(report, _split)


def _split(study: Study) -> str:
    shares = study.options.split
    if shares is None or shares.train is None or shares.test is None:
        return ""
    return (
        f"Per site and class, patients were drawn at random (seed {study.options.seed}): {float(shares.train):.0%} "
        f"train, {float(shares.test):.0%} test, the rest validation; split {study.split_hash or 'not given'}."
    )


def disjoint(report: Report) -> str:
    """Patients, and what the check for leaks found."""
    return per_study(report, _disjoint)


def _disjoint(study: Study) -> str:
    audit = study.audit
    if audit.leaks:
        said = (
            f"Patients were to stay on one side of the split, but {count(len(audit.leaks), 'leak')} by patient id or "
        )
        said += f"equal voxels {'stands' if len(audit.leaks) == 1 else 'stand'} in it (Before training)."
    else:
        said = "Patients: no patient id and no equal volume stands on two sides of the split."
    if ODD_SCANS in study.absent:
        return f"{said} Pairs of scans that look like one patient were not searched for."
    suspected = sum(bool(r.suspected_leak) for r in audit.forensics)
    pairs, look = count(suspected, "pair").capitalize(), "looks" if suspected == 1 else "look"
    return f"{said} {pairs} on two sides {look} like one patient."


def preparation(report: Report) -> str:
    """Encoding, clipping, grid and checks."""
    said = []
    for study in report.studies:
        if p := study.options.preparation:
            size = " × ".join(str(v) for v in p.size)
            ends = f"at {_voxel(p.minimum)} and {_voxel(p.maximum)}"
            text = f"encoding {p.encoding}, clipped {ends}, grid {p.grid}, crop {p.crop}"
            text += f", to {size} voxels."
            said.append((study.name, text))
    checks = "Every scan was checked for order of slices, encoding, copies"
    if not any(ODD_SCANS in study.absent for study in report.studies):
        checks += ", padding, lung segmentation, damage"
    text = each(said)
    return f"{checks} (Before training). {text}" if text else ""


def _voxel(value: Any) -> str:
    found = number(value)
    return "no end" if found is None else f"{found:.0f}".replace("-", "−")


def predictors(report: Report) -> str:
    """The input."""
    return per_study(report, _predictors)


def _predictors(study: Study) -> str:
    size = study.options.network and study.options.network.input
    shape = f" of {' × '.join(str(v) for v in size)} voxels (slices, rows, columns)" if size else ""
    return f"The CT volume alone{shape}; no metadata and no clinical variable enter the network."


def rescaling(report: Report) -> str:
    """How voxels become inputs."""
    said = []
    for study in report.studies:
        if s := study.options.sample:
            turned = "on" if s.augment else "off"
            text = f"normalisation {s.normalisation}, padding {s.padding}, augmentation {turned}."
            said.append((study.name, text))
    return each(said)


def network(report: Report) -> str:
    """Architecture from its settings."""
    return per_study(report, _network)


def _network(study: Study) -> str:
    n = study.options.network
    if n is None:
        return ""
    if n.kind != "paper":
        if n.kind == PRETRAINED:
            given = f"input {n.input}, dropout {n.dropout} before it"
            return f"A linear layer on features of the pretrained encoder {n.kind} (3D ResNet-152): {given}."
        whose = "of the authors' own" if ":" in n.kind else "of MONAI"
        start = f"{n.kind}, a 3D network {whose}: input {n.input}, dropout {n.dropout} before its last layer"
        return f"{start}, {n.classes} classes."
    return (
        f"3D convolutional network: input {n.input}, filters {n.filters}, kernels {n.kernels}, pools {n.pools}, dense "
        f"layers {n.dense}, dropout {n.dropout}, DropBlock {n.dropblock}, {n.classes} classes."
    )


def starting_weights(report: Report) -> str:
    """Random start with its seed."""
    return per_study(report, _start)


def _start(study: Study) -> str:
    t, n = study.options.training, study.options.network
    if t is None or t.seed is None:
        return ""
    pretrained = n is not None and n.kind == PRETRAINED
    what = f"the encoder as its makers give it ({PRETRAINED})" if pretrained else "no pretraining"
    return f"Random, the framework's default for each layer, seed {t.seed}; {what}."


def training(report: Report) -> str:
    """Optimisation."""
    return each((study.name, _training(study.options.training)) for study in report.studies)


def _training(t: TrainingOptions | None) -> str:
    if t is None:
        return ""
    parts = [
        f"AdamW, weight decay {t.weight_decay}" if t.weight_decay else "Adam",
        f"learning rate {t.learning_rate}",
        f"warm-up over {t.warm_up} iterations" if t.warm_up else "",
        f"{t.schedule} schedule" if t.schedule != "constant" else "",
        f"batch {t.batch}, {t.iterations} iterations",
        f"drawing {drawn}" if (drawn := drawing(t)) else "",
        f"gradient norm clipped at {t.clip}" if t.clip else "",
        f"moving average of the weights, decay {t.ema}" if t.ema else "",
        f"precision {t.precision}",
    ]
    return f"{', '.join(part for part in parts if part)}; cross-entropy without class weights."


def building(report: Report) -> str:
    """Kind of model, its training and how its weights were chosen."""
    return per_study(report, _building)


def _building(study: Study) -> str:
    t = study.options.training
    return " ".join(part for part in (_network(study), _training(t), _selection(t)) if part)


def selection(report: Report) -> str:
    """How the kept weights were chosen."""
    return each((study.name, _selection(study.options.training)) for study in report.studies)


def _selection(t: TrainingOptions | None) -> str:
    if t is None or t.validate_every is None:
        return ""
    rule = rule_words(t.select, balanced=t.balanced_classes)
    return (
        f"{rule} on the validation patients of the training sites, looked at every {t.validate_every} iterations. "
        "No test scan had a part in it; whatever else was tried before these settings is not in the records."
    )


def ensembling(report: Report) -> str:
    """None."""
    return f"None: each of {count(sum(len(study.models) for study in report.studies), 'network')} is judged alone."


def imbalance(report: Report) -> str:
    """What was done about unequal classes."""
    said = []
    for study in report.studies:
        if t := study.options.training:
            drawn = "The classes were drawn in turn" if t.balanced_classes else "No resampling of the classes"
            said.append((study.name, f"{drawn}; no class weights."))
        else:
            said.append((study.name, ""))
    text = each(said)
    return f"{text} The share of positives by site stands in Table 1." if text else ""


def software(report: Report) -> str:
    """Versions."""
    return per_study(report, _software)


def _software(study: Study) -> str:
    said = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    return f"{said}." if said else ""


def output(report: Report) -> str:
    """Probability, and how it becomes a decision."""
    return per_study(report, _output)


def _output(study: Study) -> str:
    readings = {r.threshold_reading for r in study.scores}
    said = (
        "The probability of a positive scan, the highest over its windows. Positive from the threshold that gave the "
        "best accuracy on validation scans, "
    )
    named = [READINGS[key] for key in READINGS if key in readings]
    if not named:
        return ""
    return f"{said}{'; '.join(named)}. Where the best threshold calls all scans the same, the larger output decides."


def computing(report: Report) -> str:
    """How a prediction is made again."""
    weights = sum(bool(model.weights) for study in report.studies for model in study.models)
    return f"By `elsewhere predict` from the kept checkpoints ({weights} with checksum, safetensors and JSON)."


def acquisition(report: Report) -> str:
    """What is known of the scanners."""
    return per_study(report, _acquisition)


def _acquisition(study: Study) -> str:
    said = []
    for r in study.audit.facts:
        if r.label == 1:
            spacing = r.slice_spacing_mm
            apart = "spacing not told" if spacing is None else f"slices {spacing:g} mm apart"
            said.append(f"{r.site}: {r.units}, matrix {r.matrix}, {apart}")
    return f"{'; '.join(said)} (most frequent values of the positives; all under “Before training”)." if said else ""


def code(_: Report) -> str:
    """How this page is made again."""
    return (
        f"Open software, elsewhere {__version__}; every setting, version and seed stands on this page, and `elsewhere "
        "report` makes it again from the records."
    )


def models_named(report: Report) -> str:
    """The networks and their checksums."""
    named = per_study(report, _models)
    return f"Checkpoints as safetensors with JSON, by checksum. {named}" if named else ""


def _models(study: Study) -> str:
    named = [f"{spaced(m.name)} ({m.weights[:12]})" for m in study.models if m.weights]
    return f"{'; '.join(named)}." if named else ""


def technical(report: Report) -> str:
    """Where all details are."""
    where = "All settings stand on this page and in `study.json`. "
    return where + per_study(report, lambda s: f"Split {s.split_hash or 'not given'}; protocol: {s.protocol}")


def bad_input(report: Report) -> str:
    """What the software does with unusable input."""
    return per_study(
        report,
        lambda study: (
            f"Scans that cannot be read rightly are refused with a reason and a next step ({len(study.bad_scans)} "
            "here); `elsewhere verdict` says before use whether new scans lie outside everything measured."
        ),
    )
