"""A study's predictions in; each model's scores at each site as columns, and curves and group means from them, out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from elsewhere.commands.report.kept_study import KeptStudy
from elsewhere.pages import report as page
from elsewhere.pages.report.records import kin_of
from elsewhere.statistics.calibration import decision_curve, prior_corrected, reliability_curve
from elsewhere.statistics.over_sites import Columns, OverSites, auc_over_sites
from elsewhere.statistics.pooled import SiteScores, mean_aucs
from elsewhere.statistics.requirements import least_gains
from elsewhere.statistics.roc import grid_roc, roc_band
from elsewhere.statistics.site_aucs import SiteAucs
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import Predictions, fitting_predictions
from elsewhere.studies.returned import Return

Cells = Mapping[tuple[str, str], "Cell"]
"""(model, site) -> its test scans."""


@dataclass(frozen=True)
class Cell:
    """The test scans of one site as one model scores them, in the order of their ids.

    Attributes:
        scans: scan ids (scans,).
        patients: patient of each (scans,).
        labels: 1 or 0 (scans,).
        probabilities: deterministic (scans,).
        passes: over dropout passes (passes, scans); no rows without passes.
    """

    scans: NDArray[np.str_]
    patients: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    passes: NDArray[np.float64]

    @cached_property
    def two_classes(self) -> bool:
        """Whether there are positives and negatives, without which nothing can be ranked."""
        return len(set(self.labels.tolist())) == 2


def further_trainings(folder: Folder, study: KeptStudy) -> list[str]:
    """Names of the further trainings, `MODEL~SEED`, of which every site was predicted."""
    names = [f"{model}~{seed}" for seed in study.settings.seeds[1:] for model in study.models]
    return [name for name in names if all(folder.predictions(name, site).is_file() for site in study.site_names)]


def read_cells(folder: Folder, study: KeptStudy, names: Sequence[str] | None = None) -> dict[tuple[str, str], Cell]:
    """All predictions of the test scans of a study's models (or of the trainings named), read once.

    Raises:
        BadStudy: a predictions table is missing or damaged.
    """
    names = list(study.models) if names is None else names
    return {(m, s): _cell(fitting_predictions(folder, m, s)) for m in names for s in study.site_names}


def _cell(found: Predictions) -> Cell:
    test = found.subset("test")
    test = test.where(np.argsort(test.scans, kind="stable"))
    single = test.deterministic
    return Cell(single.scans, single.patients, single.labels, single.probabilities, test.dropout_table)


def rocs(cells: Cells, returned: Sequence[Return] = ()) -> Iterable[page.RocBand]:
    """ROC curves, with the band over dropout passes where there are any; coarse ones of hospitals that sent them."""
    for one in returned:
        for visited in (cell for cell in one.cells if cell.roc):
            points = np.array(visited.roc) / np.array(visited.roc[-1])
            yield page.RocBand(visited.model, one.hospital, points[:, 0], points[:, 1])
    for (model, site), cell in cells.items():
        if not cell.two_classes:
            continue
        curve = grid_roc(cell.labels, cell.probabilities)
        rates = (curve.false_positive_rate, curve.true_positive_rate)
        if len(cell.passes):
            band = roc_band(cell.labels, cell.passes)
            yield page.RocBand(model, site, *rates, band.false_positive_rate, band.low, band.high)
        else:
            yield page.RocBand(model, site, *rates)


def calibrations(cells: Cells) -> Iterable[page.Calibration]:
    """Reliability and decision curves of the cells with two classes, and O:E corrected for training at one half."""
    for (model, site), cell in cells.items():
        if not cell.two_classes:
            continue
        seen = reliability_curve(cell.labels, cell.probabilities, cell.patients)
        gained = decision_curve(cell.labels, cell.probabilities)
        shares = (seen.mean_probability, seen.positive_share, seen.positive_share_low, seen.positive_share_high)
        shown = least_gains(cell.labels, cell.patients, cell.probabilities, gained.threshold)
        benefit = (gained.threshold, gained.model, gained.treat_all, shown)
        expected = prior_corrected(cell.probabilities, 0.5, float(cell.labels.mean())).sum()
        ratio = float(cell.labels.sum() / expected) if expected > 0 else None
        yield page.Calibration(model, site, *shares, seen.scans, *benefit, observed_expected_corrected=ratio)


def group_means(
    cells: Cells,
    models: Sequence[page.Model],
    sites: Sequence[str],
    further: Cells | None = None,
    returned: Sequence[Return] = (),
) -> list[page.GroupRow]:
    """Mean AUC at home, at seen and at unseen sites, and differences, with intervals (`mean_aucs`).

    One row each: "home", "seen", "unseen"; "fall", home (or seen) less unseen; "fall, same networks" where other
    networks stand on the two sides, of those that stand on both (`_same_networks`); "several - one, trained" and
    "several - one, unseen", networks of several sites less those of one of them, at a site of that one or at one that
    neither saw (`several_against_one`).

    Args:
        cells: test scans of every model at every site.
        models: the models that learned.
        sites: names of the study's sites.
        further: cells of further trainings, `MODEL~SEED`; their spread enters the intervals.
        returned: of hospitals; they know no further trainings, so where there are any they stand aside.
    """
    two = {key: cell for key, cell in cells.items() if cell.two_classes}
    away = {} if further else aucs_of(returned)
    there = {*two, *((model, site) for site, found in away.items() for model in found.models)}
    names = [*sites, *away]
    groups: dict[str, list[tuple[str, str]]] = {"home": [], "seen": [], "unseen": []}
    for model, site in ((m, s) for m in models for s in names if (m.name, s) in there):
        groups[kin_of(model, site)].append((model.name, site))
    for relation, pairs in several_against_one(models, [s for s in names if any(s == k for _, k in there)]).items():
        both = [pair for pair in pairs if {(pair[1], pair[0]), (pair[2], pair[0])} <= there]
        groups[f"several, {relation}"] = [(several, site) for site, several, _ in both]
        groups[f"one, {relation}"] = [(one, site) for site, _, one in both]
    nearest = "home" if groups["home"] else "seen"
    groups |= _same_networks(groups[nearest], groups["unseen"])
    asked = [(nearest, "unseen"), SAME, *((f"several, {r}", f"one, {r}") for r in ("trained", "unseen"))]
    trainings = {
        m.name: [m.name, *sorted({n for n, _ in further or {} if n.rpartition("~")[0] == m.name})] for m in models
    }
    known = {name for names in trainings.values() for name in names}
    scores: dict[str, SiteScores | SiteAucs] = {**away}
    scores |= _by_site({k: c for k, c in {**two, **(further or {})}.items() if k[0] in known and c.two_classes})
    found = mean_aucs(
        scores,
        groups,
        asked,
        trainings=trainings,
    )
    titles = {
        " - ".join(pair): name for pair, name in zip(asked, ("fall", "fall, same networks", *DIFFERENCES), strict=True)
    }
    return [
        page.GroupRow(
            group=titles.get(name, name),
            auc=interval.estimate,
            auc_low=interval.low,
            auc_high=interval.high,
            cells=len(groups.get(name, groups.get(name.partition(" - ")[0], ()))),
            trainings=min((len(names) for names in trainings.values()), default=1),
            method=interval.method,
        )
        for name, interval in found.items()
        if name in titles or name in {"home", "seen", "unseen"}
    ]


DIFFERENCES = ("several - one, trained", "several - one, unseen")
SAME = ("own, same networks", "unseen, same networks")


def _same_networks(
    own: Sequence[tuple[str, str]], unseen: Sequence[tuple[str, str]]
) -> dict[str, list[tuple[str, str]]]:
    """Every pair of a cell at a training site and one elsewhere of the same network, as two groups of equal length.

    So each network weighs as much on one side as on the other. Nothing where the same networks stand on both anyway.
    """
    if {model for model, _ in own} == {model for model, _ in unseen}:
        return {}
    pairs = [(here, there) for here in own for there in unseen if here[0] == there[0]]
    return {name: [pair[place] for pair in pairs] for place, name in enumerate(SAME)}


def new_hospital(
    cells: Cells, models: Sequence[page.Model], returned: Sequence[Return] = ()
) -> page.NewHospital | None:
    """What to expect at one more site, of the mean AUC over the models that never saw it (random effects over sites).

    None where no site is there of which that can be said. Arguments as of `group_means`.
    """
    two = {key: cell for key, cell in cells.items() if cell.two_classes}
    found: list[Columns | SiteAucs] = []
    for site in dict.fromkeys(s for _, s in two):
        away = [two[m.name, site] for m in models if site not in m.trained_on and (m.name, site) in two]
        if away:
            found.append((away[0].labels, away[0].patients, np.stack([c.probabilities for c in away])))
    ours = [model.name for model in models]
    found += [aucs.of(there) for aucs in aucs_of(returned).values() if (there := [n for n in ours if n in aucs.models])]
    summary = _summary(found)
    return page.NewHospital(summary.new_low, summary.new_high, summary.sites) if summary else None


def over_unseen_sites(
    cells: Cells, models: Sequence[page.Model], returned: Sequence[Return] = ()
) -> list[page.OverSitesRow]:
    """Each model's AUC over the sites that it never saw, as a sample of hospitals (`statistics.over_sites`)."""
    rows = []
    for model in models:
        away = [c for (m, s), c in cells.items() if m == model.name and s not in model.trained_on and c.two_classes]
        found: list[Columns | SiteAucs] = [(cell.labels, cell.patients, cell.probabilities) for cell in away]
        found += [aucs.of([model.name]) for aucs in aucs_of(returned).values() if model.name in aucs.models]
        summary = _summary(found)
        if summary:
            rows.append(page.OverSitesRow(**vars(summary), model=model.name))
    return rows


def aucs_of(returned: Sequence[Return]) -> dict[str, SiteAucs]:
    """Hospital -> the AUCs that it sent, where it could send any."""
    return {one.hospital: one.aucs for one in returned if one.aucs is not None}


def _summary(sites: Sequence[Columns | SiteAucs]) -> OverSites | None:
    try:
        return auc_over_sites(sites) if sites else None
    except ValueError:  # one patient makes up a class at every site
        return None


def _by_site(cells: Cells) -> dict[str, SiteScores]:
    sites: dict[str, dict[str, Cell]] = {}
    for (model, site), cell in cells.items():
        sites.setdefault(site, {})[model] = cell
    return {site: _site_scores(found) for site, found in sites.items()}


def several_against_one(models: Sequence[page.Model], sites: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """(site, model of several sites, model of one of them): at the site of that one, and at sites that neither saw."""
    pairs: dict[str, list[tuple[str, str, str]]] = {"trained": [], "unseen": []}
    for several, one in ((a, b) for a in models for b in models if len(a.trained_on) > 1 and len(b.trained_on) == 1):
        home = one.trained_on[0]
        if home in several.trained_on:
            pairs["trained"] += [(home, several.name, one.name)] if home in sites else []
            pairs["unseen"] += [(s, several.name, one.name) for s in sites if s not in several.trained_on]
    return pairs


def _site_scores(found: Mapping[str, Cell]) -> SiteScores:
    first = next(iter(found.values()))
    return SiteScores(first.labels, first.patients, {model: cell.probabilities for model, cell in found.items()})
