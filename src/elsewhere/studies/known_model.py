"""One trained model and what is known of it: how it takes scans, its scores at the known sites, its operating point.

`trained_model` reads it from the study that trained it, `exported.read_model` from a file that left that study.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter

from elsewhere.errors import BadOption, BadStudy
from elsewhere.model.network import MEMBERS, Network, copy_checkpoint, load_networks, read_checkpoint_record
from elsewhere.model.prediction import PredictionSettings
from elsewhere.model.sample import SampleSettings
from elsewhere.model.selection import chosen_among
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Fact
from elsewhere.statistics.decision import OperatingPoint, Recalibration, Ties, choose_threshold, log_odds, recalibrate
from elsewhere.statistics.estimate import KnownSite
from elsewhere.statistics.learned import Learned, judge_learned
from elsewhere.statistics.selected import Selected
from elsewhere.statistics.strata import age_and_sex
from elsewhere.statistics.verdict import Scans
from elsewhere.studies.file import load_study
from elsewhere.studies.fold_names import fold_of
from elsewhere.studies.folder import Folder
from elsewhere.studies.predictions import PREDICTED, fitting_predictions, join_predictions
from elsewhere.studies.records import ScanRow, read_identity, trained_models, usable_rows

METADATA = ("units", "slice_spacing_mm", "source_slices", "padding_share", "black_share")
"""Metadata of the known scans that a new site is compared with; the network sees each of them in some way."""


@dataclass(frozen=True)
class ModelSettings:
    """How a model takes scans, and how its scores are judged.

    Attributes:
        preparation: of volumes.
        sample: stored voxels -> network input.
        prediction: windows and passes.
        accelerator: what it is run on.
        ties: which of equally accurate thresholds is taken.
        resamples: of bootstraps.
        seed: of all that is drawn.
    """

    preparation: Preparation
    sample: SampleSettings
    prediction: PredictionSettings
    accelerator: str
    ties: Ties
    resamples: int
    seed: int


@dataclass(frozen=True)
class KnownScore:
    """One scan that the model was tried on, without any id.

    Attributes:
        site: where it is from.
        subset: "validation" or "test".
        person: patient; a text that is the same for the scans of one patient alone.
        label: 1 or 0.
        probability: without dropout, the highest over the windows.
        stratum: sex and age band; None where either is unknown.
    """

    site: str
    subset: str
    person: str
    label: Annotated[int, pa.int8()]
    probability: float
    stratum: str | None = None


@dataclass(frozen=True)
class Adjustment:
    """A threshold, and a map of the probabilities, for the place where a model is used; weights stay as they are.

    The probability is expit(intercept + slope · log-odds) of the network's, the call is positive from `threshold` on.

    Attributes:
        threshold: on the scale of the mapped probabilities.
        intercept: log-odds added.
        slope: factor on the log-odds, above 0.
        source: what it was chosen from, in words.
        scans: labelled scans that it was chosen on; 0 where a number was given.
        chosen_on: salted hashes of their voxels, where these were at hand: a verdict leaves such scans out.
    """

    threshold: float
    intercept: float = 0.0
    slope: float = 1.0
    source: str = "given"
    scans: int = 0
    chosen_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise BadOption("--threshold", f"must be above 0 and below 1, is {self.threshold:g}", "Give a probability")
        if not (np.isfinite(self.slope) and self.slope > 0):
            what = f"must be above 0, is {self.slope:g}: it would turn the scores round"
            raise BadOption("--slope", what, "Give a number above 0")
        if not np.isfinite(self.intercept):
            raise BadOption("--intercept", f"must be a finite number, is {self.intercept:g}", "Give log-odds")

    @property
    def moves(self) -> bool:
        """Whether probabilities are changed, and not only the threshold."""
        return (self.intercept, self.slope) != (0.0, 1.0)

    @property
    def raw_threshold(self) -> float:
        """The threshold on the scale of the network's own probabilities."""
        if not self.moves:
            return self.threshold
        odds = float(log_odds(np.array(self.threshold)))
        return float(1 / (1 + np.exp(-(odds - self.intercept) / self.slope)))

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """The network's probabilities, mapped; same shape."""
        values = np.asarray(probabilities, dtype=np.float64)
        if not self.moves:
            return values
        mapped: NDArray[np.float64] = recalibrate(values, Recalibration(self.intercept, self.slope))
        return mapped

    def after(self, earlier: Adjustment | None) -> Adjustment:
        """This adjustment as one of the network's own probabilities, where it was found on adjusted ones."""
        if earlier is None:
            return self
        return replace(
            self,
            intercept=self.intercept + self.slope * earlier.intercept,
            slope=self.slope * earlier.slope,
            chosen_on=tuple(dict.fromkeys((*earlier.chosen_on, *self.chosen_on))),
        )


@dataclass(frozen=True)
class Adapted:
    """How a model came from another one (`elsewhere adapt`).

    Attributes:
        parent: SHA-256 of the weights that it started from.
        way: what of the network changed, in words.
        site: where the scans are from that it was adapted with.
        positives: patients with a positive scan among them.
        negatives: the others.
        scans: number of these scans.
    """

    parent: str
    way: str
    site: str
    positives: int
    negatives: int
    scans: int


@dataclass(frozen=True, eq=False)
class KnownModel:
    """One trained model and what is known of it.

    Attributes:
        name: of the model.
        trained_on: its training sites.
        study: name of the study that trained it.
        origin: "real", "repacked" or "simulated" data of that study.
        protocol: of that study.
        where: the study's folder, or the file of an exported model.
        home: folder where verdicts and prepared scans of new sites go.
        checkpoint: SHA-256 of the weights.
        settings: how it takes scans.
        scores: of the validation and test scans of every site where it was tried.
        metadata: name of `METADATA` -> values of the known scans; the ends of their range are enough.
        learned_from: salted hashes of the voxels of its training and validation scans -> where they are from.
        load: gives its networks, in evaluation mode on the processor: one, or those of an ensemble.
        save: writes its checkpoint to a path without suffix, with the keys of its record that are given.
        adjustment: for the place where it is used; None as it was trained.
        finding: what positive scans show; "" where the study did not say.
        salt: of the hashes of voxels; "" for the checkpoint's. An adapted model keeps that of the model it came from.
        adapted: how it came from another model; None where it did not.
        selected: the choice of its weights by its validation scans; None where that is not known.
        members: number of its networks: above 1 for the ensemble of the folds of a cross-validation, whose scores at
            home are each of the network that never saw the patient.
    """

    name: str
    trained_on: tuple[str, ...]
    study: str
    origin: str
    protocol: str
    where: Path
    home: Path
    checkpoint: str
    settings: ModelSettings
    scores: tuple[KnownScore, ...]
    metadata: Mapping[str, tuple[Fact, ...]]
    learned_from: Mapping[str, str]
    load: Callable[[], Sequence[Network]] = field(repr=False)
    save: Callable[[Path, Sequence[str]], None] = field(repr=False)
    adjustment: Adjustment | None = None
    finding: str = ""
    salt: str = ""
    adapted: Adapted | None = None
    selected: Selected | None = None
    members: int = 1

    @property
    def folder(self) -> Folder:
        """Where verdicts and prepared scans of new sites go."""
        return Folder(self.home)

    @cached_property
    def home_point(self) -> OperatingPoint:
        """The operating point chosen on the validation scans of the training sites.

        Raises:
            BadStudy: none was predicted.
        """
        validation = self.at_home("validation")
        if not validation:
            raise BadStudy(self.where, f"{self.name} has no validation predictions", "Run `elsewhere study` again")
        labels, values = [s.label for s in validation], [s.probability for s in validation]
        return choose_threshold(labels, values, ties=self.settings.ties)

    @property
    def point(self) -> OperatingPoint:
        """The operating point where the model is used: that of home unless it was adjusted."""
        point = self.home_point
        return point if self.adjustment is None else replace(point, threshold=self.adjustment.threshold, rule="grid")

    @property
    def home_sites(self) -> list[str]:
        """Training sites with both classes in their test scans; all of them where none has."""
        test = self.at_home("test")
        both = [site for site in self.trained_on if len({s.label for s in test if s.site == site}) == 2]
        return both or list(self.trained_on)

    @property
    def learned(self) -> Learned:
        """What the validation scans of its training sites say of it."""
        found = scored(self.at_home("validation"))
        return judge_learned(found.labels, found.patients, found.places, found.probabilities, selected=self.selected)

    def at_home(self, subset: str) -> list[KnownScore]:
        """Scores of one subset at the training sites."""
        return [s for site in self.trained_on for s in self.scores if (s.site, s.subset) == (site, subset)]

    def known_sites(self) -> list[KnownSite]:
        """Every site where the model was tried, with its labels."""
        found = []
        for site in dict.fromkeys(s.site for s in self.scores):
            own = scored([s for s in self.scores if s.site == site])
            found.append(KnownSite(site, own.labels, own.probabilities, site in self.trained_on, own.patients))
        return found

    def adjusted(self, probability: float) -> float:
        """What the model says after its adjustment."""
        return probability if self.adjustment is None else float(self.adjustment.apply(probability))

    def salted(self, content_hash: str) -> str:
        """A hash of voxels as an exported model keeps it: it can be compared with one's own scans, and not read."""
        return salted_hash(self.salt or self.checkpoint, content_hash)

    def reason_known(self, hashes: Collection[str]) -> str:
        """Why a scan with these hashes of its voxels cannot tell how good the model is; "" where it can."""
        salted = [self.salted(name) for name in hashes]
        where = next((self.learned_from[name] for name in salted if name in self.learned_from), None)
        if where is not None:
            return f"is a copy of {where}, on which this model was trained or chosen"
        if self.adjustment is not None and set(salted) & set(self.adjustment.chosen_on):
            return "is one of the scans on which this model's threshold or recalibration was chosen"
        return ""


def salted_hash(checkpoint: str, content_hash: str) -> str:
    """A hash of voxels, salted with the weights of a model: no two models keep the same of one scan."""
    return hashlib.sha256(f"{checkpoint}:{content_hash}".encode()).hexdigest()[:32]


def scored(scores: Sequence[KnownScore]) -> Scans:
    """Scores as columns; strata only where every scan has one."""
    strata = [s.stratum for s in scores]
    return Scans(
        np.array([s.label for s in scores], dtype=np.int64),
        np.array([s.person for s in scores], dtype=np.str_),
        np.array([s.probability for s in scores], dtype=np.float64),
        None if None in strata else np.array(strata),
        np.array([s.site for s in scores], dtype=np.str_),
    )


def trained_model(study: Path, name: str) -> KnownModel:
    """A model of a finished study.

    Args:
        study: its folder.
        name: of the model.

    Raises:
        BadStudy: no such study or model, or the model was not tried at its own sites.
        BadCheckpoint: the model's record is missing or damaged.
    """
    folder = Folder(study)
    identity = read_identity(folder)
    settings = identity["settings"]
    kinds = {product["name"]: product["kind"] for product in settings.get("products", ())}
    if name in kinds:
        what = f"judges {name} from its scores alone: it cannot be run on other scans"
        if kinds[name] != "scores":
            what = f"did not train {name}: only `elsewhere verdict` runs it on other scans"
        raise BadStudy(folder.root, what, "Give its scores of them to `elsewhere evaluate`")
    models = trained_models(folder)
    if "@" in name:
        models |= _arms(folder)
    if name not in models:
        what = _no_model(name, list(models)) or f"has no model {name!r}"
        raise BadStudy(study, what, f"Choose one of its models: {', '.join(models)}")
    trained_on = models[name]
    record = read_checkpoint_record(folder.checkpoint(name))
    rows = usable_rows(folder)
    members = int(record.get(MEMBERS, 1))
    learned_rows = [
        r for r in rows if r.site in trained_on and (r.subset in {"train", "validation"} or (members > 1 and r.fold))
    ]
    model = KnownModel(
        name=name,
        trained_on=trained_on,
        study=settings["name"],
        origin=settings["origin"],
        protocol=settings["protocol"],
        where=folder.root,
        home=folder.root,
        checkpoint=record["sha256"],
        settings=model_settings(record, settings),
        scores=tuple(_scores(folder, name, trained_on, rows, [site["name"] for site in settings["sites"]])),
        metadata={name: tuple(getattr(r, name) for r in rows) for name in METADATA},
        learned_from={},
        load=lambda: load_networks(folder.checkpoint(name), load_study(folder.root).network)[0],
        save=partial(copy_checkpoint, folder.checkpoint(name)),
        finding=str(settings.get("finding", "")),
        selected=chosen_among(record),
        members=members,
    )
    return replace(
        model,
        learned_from={
            model.salted(one): f"{r.site}: {r.scan}"
            for r in learned_rows
            for one in (r.prepared_hash, r.content_hash)
            if one
        },
    )


def _arms(folder: Folder) -> dict[str, tuple[str, ...]]:
    """The networks of a study's arms that were tried at every site, and their training sites."""
    study = load_study(folder.root)
    return {name: one.sites for name, one in study.arm_networks.items() if one.sites in study.compared}


def _no_model(name: str, models: Collection[str]) -> str:
    """Why the name of a further training is none of a model, continuing "STUDY …"; "" for any other name."""
    model, fold = fold_of(name)
    if fold and model in models:
        return f"judges {name}, fold {fold} of {model}, by the patients left out of it alone: it is no model by itself"
    model, _, rest = name.partition("@" if "@" in name else "~")
    if rest and model in models:
        return f"compares {name}, a further training of {model}, with others: it is no model by itself"
    return ""


def model_settings(record: Mapping[str, Any], settings: Mapping[str, Any]) -> ModelSettings:
    """Settings from a checkpoint's record and those of its study."""
    return ModelSettings(
        preparation=TypeAdapter(Preparation).validate_python(record["preparation"]),
        sample=TypeAdapter(SampleSettings).validate_python(record["sample"]),
        prediction=TypeAdapter(PredictionSettings).validate_python(settings["prediction"]),
        accelerator=str(settings["training"]["accelerator"]),
        ties=settings["evaluation"].get("ties", "middle"),
        resamples=int(settings["evaluation"]["resamples"]),
        seed=int(settings["seed"]),
    )


def _scores(
    folder: Folder, name: str, trained_on: Collection[str], rows: Sequence[ScanRow], sites: Sequence[str]
) -> list[KnownScore]:
    """Scores at the sites where the model was tried; its own training sites must be among them."""
    tried = [site for site in sites if site in trained_on or folder.predictions(name, site).is_file()]
    found = join_predictions([fitting_predictions(folder, name, site).deterministic for site in tried])
    strata = {(r.site, r.scan): age_and_sex(r.facts) for r in rows}
    columns = (found.sites, found.subsets, found.people, found.labels, found.probabilities, found.scans)
    return [
        KnownScore(site, subset, person, label, probability, strata.get((site, scan)))
        for site, subset, person, label, probability, scan in zip(*(c.tolist() for c in columns), strict=True)
        if subset in PREDICTED
    ]
