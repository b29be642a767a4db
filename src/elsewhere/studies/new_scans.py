"""The scans of a new site, prepared as a model wants them and predicted; what cannot be used is a row with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.errors import BadScan, BadSite
from elsewhere.model.cuda import device_of
from elsewhere.model.ensemble import mean_probability
from elsewhere.model.network import Network
from elsewhere.model.prediction import PredictionSettings, measure_fast_error
from elsewhere.model.prediction import predict as predict_scan
from elsewhere.model.sample import Case, Read, SampleSettings
from elsewhere.scans.chest import ChestCheck, check_chest
from elsewhere.scans.intake import prepared_as
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.quality.examination import examine
from elsewhere.scans.regions import stored_level
from elsewhere.scans.scan import Fact, Found, Scan
from elsewhere.scans.store import Stored
from elsewhere.scans.volume import LUNGS_NOT_FOUND
from elsewhere.statistics.strata import age_and_sex
from elsewhere.statistics.verdict import Scans
from elsewhere.studies.file import Site
from elsewhere.studies.ingest import announce_store, take_in_all
from elsewhere.studies.known_model import METADATA, KnownModel

Bad = tuple[str, str, str]
"""A scan that cannot be used: its name, what is wrong, what to do."""


@dataclass(frozen=True)
class NewScan:
    """One scan of the new site, predicted.

    Attributes:
        patient: patient id.
        scan: scan id.
        label: 1, 0, or None where nobody labelled it.
        probability: the model's, as adjusted for the place where it is used.
        stratum: for case mix; None where age or sex is not known.
        metadata: `METADATA` of it.
        notes: remarks of its reader and of its preparation, and what speaks against its being a chest CT.
        network: the network's own probability, before any adjustment; None where it is the same.
        voxels: salted hash of its voxels as read.
    """

    patient: str
    scan: str
    label: int | None
    probability: float
    stratum: str | None
    metadata: Mapping[str, Fact]
    notes: tuple[str, ...] = ()
    network: float | None = None
    voxels: str = ""

    @property
    def network_probability(self) -> float:
        """The network's own probability."""
        return self.probability if self.network is None else self.network


def predict_site(
    model: KnownModel, site: Site, found: Found, store: Path, workers: int | None, *, skip_known: bool = True
) -> tuple[list[NewScan], list[Bad]]:
    """Prepare and predict the scans of a site.

    Args:
        model: the model.
        site: the site.
        found: its scans.
        store: folder of the prepared volumes; those that are there are not prepared again.
        workers: processes; None means one per core.
        skip_known: leave out copies of scans that the model was trained, chosen or adjusted on.

    Returns:
        The scans that were predicted, in the order of their ids, and those that could not be used.

    Raises:
        BadSite: no scan can be used.
        BadCheckpoint: the model's weights are missing or damaged.
    """
    networks = model.load()
    fresh, bad = fresh_scans(model, site, found, store, workers, skip_known=skip_known)
    sample, prediction = model.settings.sample, model.settings.prediction
    for network in networks:
        network.to(device_of(model.settings.accelerator))
    if prediction.fast and fresh:
        error = max(measure_fast_error(network, *_case(*fresh[0]), sample) for network in networks)
        engine.say(f"Fast mode: logits change by {error:.1e}")
    rows = []
    tasks = [(networks, scan, kept, sample, prediction) for scan, kept in fresh]
    for index, result in engine.run(_probability, tasks, workers=1, describe="Predicting"):
        scan, kept = fresh[index]
        if isinstance(result, BadScan):
            bad.append((scan.scan, result.what, result.next_step))
        else:
            rows.append(_row(model, scan, kept, result))
    if not rows:
        raise BadSite(site.root, f"no scan can be used; the first: {first_bad(bad)}", _first_next_step(bad))
    return rows, bad


def fresh_scans(
    model: KnownModel, site: Site, found: Found, store: Path, workers: int | None, *, skip_known: bool = True
) -> tuple[list[tuple[Scan, Stored]], list[Bad]]:
    """The scans of a site, prepared as a model wants them, in the order of their ids; and those that cannot be used.

    Args:
        model: the model.
        site: the site.
        found: its scans.
        store: folder of the prepared volumes; those that are there are not prepared again.
        workers: processes; None means one per core.
        skip_known: leave out copies of scans that the model was trained, chosen or adjusted on.
    """
    announce_store(store)
    stored, bad = _take_in(store, model.settings.preparation, site, found, workers)
    fresh = []
    for scan, kept in stored:
        reason = model.reason_known(stored_hashes(kept)) if skip_known else ""
        no_chest = reason_no_chest(model.settings.preparation, scan, kept)
        if reason:
            bad.append((scan.scan, reason, "Nothing: it is left out, because it would flatter the model"))
        elif no_chest:
            bad.append((scan.scan, no_chest, "Look at it with `elsewhere view`; give the chest series of this patient"))
        else:
            fresh.append((scan, kept))
    return fresh, bad


def reason_no_chest(preparation: Preparation, scan: Scan, kept: Stored) -> str:
    """Why a model whose scans are cropped to the lungs cannot use a scan; "" where it can, or crops nothing.

    No lungs, no crop: the network would see another field of view than it learned. Where gas elsewhere was taken for
    lungs, only a header that agrees takes the scan out; else it is scored, with remarks.
    """
    if preparation.crop != "lungs":
        return ""
    check = chest_of(preparation, scan, kept)
    uncropped = [note for note in map(str, kept.record["notes"]) if note.startswith(LUNGS_NOT_FOUND)]
    if uncropped or (not check.has_lungs and check.header_differs):
        words = "; ".join(check.remarks) or LUNGS_NOT_FOUND
        return f"this model sees scans cropped to the lungs, and this one cannot be: {words}"
    return ""


def chest_of(preparation: Preparation, scan: Scan, kept: Stored) -> ChestCheck:
    """What speaks against a prepared scan being a chest CT."""
    facts = {**kept.record["facts"], **scan.facts}
    used = prepared_as(preparation, scan.facts)
    level = stored_level("HU" if used.encoding == "hu" else facts["units"], used.relative_window)
    return check_chest(kept.read(0, kept.slices), level, facts)


def scored_scans(rows: Sequence[NewScan]) -> Scans:
    """Labelled scans of the new site as columns; strata only where every scan has one."""
    strata = [r.stratum for r in rows]
    return Scans(
        np.array([r.label for r in rows]),
        np.array([r.patient for r in rows]),
        np.array([r.probability for r in rows]),
        None if None in strata else np.array(strata),
    )


def first_bad(bad: Sequence[Bad]) -> str:
    """The first scan that could not be used, and why."""
    return ": ".join(bad[0][:2]) if bad else "none was found"


def _first_next_step(bad: Sequence[Bad]) -> str:
    return _with_option_hint(bad[0][2]) if bad else "Give the folder that holds the scans"


def _with_option_hint(next_step: str) -> str:
    """Advice on a site's options names how commands take them."""
    return f"{next_step} (here: --option KEY=VALUE)" if "site's options" in next_step else next_step


def _take_in(
    store: Path, preparation: Preparation, site: Site, found: Found, workers: int | None
) -> tuple[list[tuple[Scan, Stored]], list[Bad]]:
    """The scans, prepared into `store`, in the order of their ids."""
    tasks = [(site.kind, scan, site.root, store, preparation, examine) for scan in found.scans]
    stored: list[tuple[Scan, Stored]] = []
    bad: list[Bad] = [(error.where, error.what, error.next_step) for error in found.bad]
    for index, result in take_in_all(tasks, workers, engine.Needs((site.root,), (store,))):
        scan = found.scans[index]
        if isinstance(result, BadScan):
            bad.append((scan.scan, f"{result.where}: {result.what}", _with_option_hint(result.next_step)))
        else:
            stored.append((scan, result))
    return sorted(stored, key=lambda pair: pair[0].scan), sorted(bad)


def stored_hashes(kept: Stored) -> tuple[str, str]:
    """Hashes of a prepared scan's voxels: as they were read, and as they are stored."""
    return str(kept.record["facts"]["content_hash"]), str(kept.record["checksum"])


def stored_metadata(kept: Stored) -> dict[str, Fact]:
    """`METADATA` of a prepared scan."""
    facts = kept.record["facts"]
    return {name: facts["slices" if name == "source_slices" else name] for name in METADATA}


def _probability(
    networks: Sequence[Network], scan: Scan, kept: Stored, sample: SampleSettings, prediction: PredictionSettings
) -> float | BadScan:
    case, read = _case(scan, kept)
    try:
        found = [predict_scan(one, case, read, sample, prediction.stride, fast=prediction.fast) for one in networks]
        return float(mean_probability([windows.max() for windows in found]))
    except BadScan as error:
        return error


def _case(scan: Scan, kept: Stored) -> tuple[Case, Read]:
    def read(_: Case, start: int, stop: int) -> NDArray[Any]:
        return kept.read(start, stop)

    case = Case(scan.site, scan.patient, scan.scan, scan.label or 0, kept.slices, kept.minimum, kept.maximum)
    return case, read


def _row(model: KnownModel, scan: Scan, kept: Stored, probability: float) -> NewScan:
    facts = kept.record["facts"]
    return NewScan(
        patient=scan.patient,
        scan=scan.scan,
        label=scan.label,
        probability=model.adjusted(probability),
        stratum=age_and_sex({**facts, **scan.facts}),
        metadata=stored_metadata(kept),
        notes=(
            *map(str, kept.record["notes"]),
            *chest_of(model.settings.preparation, scan, kept).remarks,
            *([reason] if (reason := model.reason_known(stored_hashes(kept))) else []),
        ),
        network=None if model.adjustment is None else probability,
        voxels=model.salted(stored_hashes(kept)[0]),
    )
