"""A study file (TOML) in, a validated study out; and the layout of a study's folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from elsewhere.errors import BadStudy
from elsewhere.model.network_settings import OF_THE_MACHINE, PAPER, NetworkSettings
from elsewhere.model.settings import PredictionSettings, SampleSettings, TrainingSettings, check_trainable
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import SplitSettings
from elsewhere.scans.sites import KINDS, kind_of, option_names, reader
from elsewhere.studies.arms import Comparison, HasArms, check_arms, read_arms
from elsewhere.studies.fold_names import ensemble_name, fold_name
from elsewhere.studies.hints import OTHER_WORDS, USES, flat_sets, missing_key, no_site, training_sets
from elsewhere.studies.keys import check_keys, named, path_of, typed
from elsewhere.studies.models import StudyModel, backbone_keys, kept_model, read_models
from elsewhere.studies.presets import NETWORKS, encoder_keys, network_keys
from elsewhere.studies.sequence_plan import SequenceSettings, read_sequence
from elsewhere.studies.toml_text import read_toml

# Names of studies and sites become names of folders and files.
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,._-]*")
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
PLAIN = "Use letters, digits, space, '.', '_' and '-'"

# The departures from the paper that make the product's default protocol (protocol page; docs: concepts).
HARMONISED: dict[str, dict[str, Any]] = {
    "network": {"input": (128, 256, 256)},
    "preparation": {"grid": "fixed", "encoding": "hu", "maximum": 100.0, "crop": "lungs"},
    "sample": {"normalisation": "window", "intensity": (0.8, 1.2)},
    "training": {"balanced_classes": True, "select": "log_loss", "schedule": "cosine", "weight_decay": 1e-4},
    "evaluation": {"threshold": "model", "ties": "middle"},
}
# The paper's nine models (section "Training and Data Augmentation"; protocol page, "Nine models").
PAPER_COMBINATIONS = (
    ("UTSW",),
    ("CC-CCII",),
    ("COVID-CTset",),
    ("UTSW", "CC-CCII"),
    ("UTSW", "COVID-CTset"),
    ("CC-CCII", "COVID-CTset"),
    ("UTSW", "CC-CCII", "COVID-CTset"),
    ("CC-CCII", "COVID-CTset", "MosMedData"),
    ("UTSW", "CC-CCII", "COVID-CTset", "MosMedData"),
)
SHIPPED = Path(__file__).parent / "shipped"
"""Studies that are known by their name alone: `paper` and `harmonised`, over the four published data sets."""
PROTOCOLS: dict[str, dict[str, dict[str, Any]]] = {"paper": {}, "harmonised": HARMONISED}


@dataclass(frozen=True)
class EvaluationSettings:
    """How predictions become scores (protocol page, "Evaluation").

    Attributes:
        threshold: the reading that headlines: "site" (our reading of the paper, whose text does not say) chooses each
            threshold on the evaluated site's validation scans, "model" on the training sites' alone. Both are reported.
        ties: among equally accurate thresholds, "first" of the grid (paper) or "middle" of the widest run of those
            that do not call every validation scan the same.
        resamples: bootstrap resamples of patients for the 95 % intervals.

    Raises:
        BadStudy: resamples is below 1.
    """

    threshold: Literal["site", "model"] = "site"
    ties: Literal["first", "middle"] = "first"
    resamples: int = 2000

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise BadStudy("evaluation.resamples", f"is {self.resamples}", "Give 1 or more")


@dataclass(frozen=True)
class Site:
    """One site of a study.

    Attributes:
        name: its name in all results.
        kind: its layout (a key of `elsewhere.scans.sites.KINDS`).
        root: its folder.
        labels: its labels table, where the kind needs one that does not lie in the folder.
        country: where it lies, for the page.
        use: "split" divides it into train, validation and test; "test" keeps every scan for external validation.
        options: options of its kind's `find`.
    """

    name: str
    kind: str
    root: Path
    labels: Path | None = None
    country: str = ""
    use: Literal["split", "test"] = "split"
    options: Mapping[str, Any] = field(default_factory=dict)


SECTIONS: dict[str, type] = {
    "split": SplitSettings,
    "preparation": Preparation,
    "network": NetworkSettings,
    "sample": SampleSettings,
    "training": TrainingSettings,
    "prediction": PredictionSettings,
    "evaluation": EvaluationSettings,
}
MADE_HERE = {("preparation", "size"), ("network", "code")}
"""Fields of sections that are no keys: they follow from others."""
TOP_KEYS = (
    *("name", "title", "origin", "notes", "planted", "protocol", "seed", "seeds", "store", "allow_leak"),
    *("combinations", "sites", "models", "finding", "sequence", "arms", "comparison"),
    *SECTIONS,
)


@dataclass(frozen=True)
class Study(HasArms):
    """Everything that a study file decides.

    Attributes:
        name: short name; the folder's name.
        title: one line for the page.
        origin: "real" data, "repacked" (real pixels in another data set's layout) or "simulated"; the page says so.
        notes: sentences for the head of the page.
        planted: what a simulation planted, a sentence each.
        protocol: "paper" or "harmonised", the preset that the sections start from.
        seed: of the split, the training and the dropout passes.
        allow_leak: go on although a patient or a volume stands on two sides of the split.
        store: folder of the prepared volumes, shared between studies; None means `store` beside the study's folder.
        sites: the sites, in the order of the file.
        combinations: for each model, the sites it is trained on; "paper" in the file stands for the paper's nine.
        products: models that are not trained here: tables of their scores, or models that can be run.
        seeds: of the training alone: every model is trained once with each, for the spread over trainings. The first
            is the model of all other results; without, `[training] seed` is the only one.
        finding: what positive scans show, as "pneumonia"; "" where the study file does not say.
        sequence: sites to be learned one after another, for `elsewhere sequence`.
        comparison: ways to train that are compared; None without `[[arms]]`.
    """

    name: str
    title: str
    origin: Literal["real", "repacked", "simulated"]
    notes: tuple[str, ...]
    planted: tuple[str, ...]
    protocol: str
    seed: int
    allow_leak: bool
    store: Path | None
    sites: tuple[Site, ...]
    combinations: tuple[tuple[str, ...], ...]
    split: SplitSettings
    preparation: Preparation
    network: NetworkSettings
    sample: SampleSettings
    training: TrainingSettings
    prediction: PredictionSettings
    evaluation: EvaluationSettings
    seeds: tuple[int, ...] = ()
    products: tuple[StudyModel, ...] = ()
    finding: str = ""
    sequence: SequenceSettings | None = None
    comparison: Comparison | None = None

    @cached_property
    def models(self) -> dict[str, tuple[str, ...]]:
        """Model name to the sites it is trained on."""
        return {"+".join(sites): sites for sites in self.combinations}

    @cached_property
    def repeats(self) -> dict[str, tuple[str, int]]:
        """Name of each further training, `MODEL~SEED`, to its model and training seed; empty without `seeds`."""
        return {f"{name}~{seed}": (name, seed) for seed in self.seeds[1:] for name in self.models}

    @cached_property
    def folds(self) -> dict[str, tuple[str, int]]:
        """Name of each fold's training, `MODEL~foldN`, to its model and fold; empty without `[split] folds`."""
        return {
            fold_name(name, number): (name, number) for name in self.models for number in range(1, self.split.folds + 1)
        }

    @cached_property
    def ensembles(self) -> dict[str, str]:
        """Name of each mean over the folds' networks, `MODEL~folds`, to its model; empty without `[split] folds`."""
        return {ensemble_name(name): name for name in self.models} if self.split.folds else {}

    @property
    def trainings(self) -> tuple[str, ...]:
        """Names of all that is trained: the models, their further trainings, those of the folds, and arms."""
        return (*self.models, *self.repeats, *self.folds, *self.arm_networks)

    def trained_on(self, name: str) -> tuple[str, ...]:
        """Sites of a model, of a further training or a fold of it, of its ensemble, or of an arm."""
        if name in self.arm_networks:
            return self.arm_networks[name].sites
        of = {name: model for name, (model, _) in (self.repeats | self.folds).items()} | self.ensembles
        return self.models[of.get(name, name)]

    def training_of(self, name: str) -> TrainingSettings:
        """How a model, a further training of it, or an arm is trained. Each fold has a seed of its own."""
        if name in self.arm_networks:
            return self.training_of_arm(name)
        seed = self.training.seed
        if name in self.repeats:
            seed = self.repeats[name][1]
        if name in self.folds:
            seed += self.folds[name][1]
        return replace(self.training, seed=seed)

    def site(self, name: str) -> Site:
        """The site of that name. Raises BadStudy where the study file has no such site, or none any more."""
        for site in self.sites:
            if site.name == name:
                return site
        known = ", ".join(site.name for site in self.sites)
        then = f"Sites of its study file: {known}. Put the site back, or run `elsewhere prepare` again"
        raise BadStudy(self.name, f"has no site {name!r}", then)

    def settings(self) -> dict[str, Any]:
        """All settings as JSON-able values, for the records and the page."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        machine = {name: content["network"][name] for name in OF_THE_MACHINE} if self.network.is_own else {}
        content["network"] = json.loads(json.dumps(self.network.record())) | machine
        if not self.split.folds:
            del content["split"]["folds"]
        if not self.split.local:
            del content["split"]["local"]
        if not self.finding:
            del content["finding"]
        if self.sequence is None:
            del content["sequence"]
        if not self.products:
            del content["products"]  # likewise those without
        if self.comparison is None:
            del content["comparison"]
        if not self.seeds:
            del content["seeds"]  # studies with one seed keep the record that they had before there were several
        return content


def load_study(path: Path) -> Study:
    """Read and check a study file; of the folder of a study that was run, the settings that it was run with.

    Args:
        path: the file, the folder, or the name of a study that elsewhere brings (`SHIPPED`).

    Raises:
        BadStudy: the file is missing, is no TOML, or a key is unknown, missing, or has a wrong value; the
            message names the key.
    """
    if path.is_dir():
        return _kept_study(path)
    shipped = SHIPPED / f"{path}.toml"
    if not path.suffix and not path.exists() and len(path.parts) == 1 and shipped.is_file():
        path = shipped
    return _study(path, read_toml(path))


def _kept_study(folder: Path) -> Study:
    """The study whose settings a folder keeps; paths as this machine has them."""
    file, then = folder / "study.json", "Give the study file (.toml), or run `elsewhere study` with it first"
    if not file.is_file():
        files = ", ".join(sorted(p.name for p in folder.glob("*.toml"))) or "none"
        what = "is a folder, and holds no study that was run (study.json is missing)"
        raise BadStudy(folder, what, f"Give a study file; those in it: {files}")
    from elsewhere.records import read_record  # noqa: PLC0415 - Arrow takes longer than a study file to check

    kept = read_record(file, then, ("settings",))["settings"]
    root = folder.resolve()

    def place(path: str | None) -> Path | None:
        return None if path is None else Path(os.path.normpath(root / path))

    try:
        sites = [
            {**site, "root": place(site["root"]), "labels": place(site["labels"])}
            | {"options": check_options(file, site["kind"], site["options"])}
            for site in kept["sites"]
        ]
        products = tuple(kept_model(file, product, place) for product in kept.get("products", ()))
        network = {**kept["network"], "folder": place(kept["network"].get("folder"))}
        content = {**kept, "store": place(kept["store"]), "sites": sites, "products": products, "network": network}
        study: Study = TypeAdapter(Study).validate_python(content)
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        what = f"holds settings that this version does not know ({' '.join(str(error).split())[:200]})"
        raise BadStudy(file, what, "Give the study file (.toml)") from error
    return study


def _study(path: Path, content: dict[str, Any]) -> Study:
    _known(path, "", content, TOP_KEYS)
    _check_names(path, content)
    protocol = typed(path, "protocol", str, content.get("protocol", "harmonised"))
    if protocol not in PROTOCOLS:
        raise BadStudy(path, f"key `protocol` is {protocol!r}", f"Use one of {', '.join(PROTOCOLS)}")
    seed = typed(path, "seed", int, content.get("seed", 0))
    sections = {name: _section(path, name, content, protocol, seed) for name in SECTIONS}
    sections["preparation"] = replace(sections["preparation"], size=sections["network"].input)
    seeds = _seeds(path, content)
    if seeds:
        sections["training"] = replace(sections["training"], seed=seeds[0])
    name = _name(path, content)
    sites = _sites(path, content.get("sites", {}))
    products = read_models(path, content.get("models", {}))
    combinations = _combinations(path, content, [s.name for s in sites if s.use == "split"], products)
    if combinations:
        named(path, lambda: check_trainable(sections["network"], sections["training"], sections["sample"]))
    if (clash := next((p.name for p in products if p.name in map("+".join, combinations)), None)) is not None:
        raise BadStudy(path, f"key `models.{clash}` has the name of a trained network", "Give it another name")
    if sections["split"].local and not products:
        what = f"key `split.local` is {sections['split'].local}, and there is no model that is not trained here"
        raise BadStudy(path, what, "Leave it out: thresholds of networks are chosen on validation scans ([models])")
    sequence = read_sequence(path, content.get("sequence"), [s.name for s in sites if s.use == "split"], combinations)
    study = Study(
        name=name,
        title=typed(path, "title", str, content.get("title", name)),
        origin=typed(path, "origin", Literal["real", "repacked", "simulated"], content.get("origin", "real")),
        notes=typed(path, "notes", tuple[str, ...], content.get("notes", ())),
        planted=typed(path, "planted", tuple[str, ...], content.get("planted", ())),
        protocol=protocol,
        seed=seed,
        allow_leak=typed(path, "allow_leak", bool, content.get("allow_leak", False)),
        store=path_of(path, "store", content["store"]) if "store" in content else None,
        sites=sites,
        combinations=combinations,
        seeds=seeds,
        products=products,
        finding=typed(path, "finding", str, content.get("finding", "")).strip(),
        sequence=sequence,
        comparison=read_arms(path, content.get("arms"), content.get("comparison"), sections["training"]),
        **sections,
    )
    check_arms(path, study)
    return study


def _check_names(path: Path, content: Mapping[str, object]) -> None:
    """Meet a mistyped key before any value is checked: what checks types takes its time to get ready."""
    for name in SECTIONS:
        if isinstance(given := content.get(name), dict):
            _known(path, f"{name}.", given, _section_keys(name))
    sites = content.get("sites")
    for name, given in sites.items() if isinstance(sites, dict) else ():
        if isinstance(given, dict) and "root" in given and (kind := kind_of(str(given.get("kind")))):
            _known(path, f"sites.{name}.", given, _site_keys(kind))


def _section_keys(name: str) -> list[str]:
    known = [f.name for f in fields(SECTIONS[name]) if (name, f.name) not in MADE_HERE]
    return [*known, "preset"] if name == "network" else known


def _site_keys(kind: str) -> tuple[str, ...]:
    return ("kind", "root", "labels", "country", "use", *option_names(kind))


def _seeds(path: Path, content: Mapping[str, Any]) -> tuple[int, ...]:
    seeds: tuple[int, ...] = typed(path, "seeds", tuple[int, ...], content.get("seeds", ()))
    if "seeds" in content and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0):
        raise BadStudy(path, f"key `seeds` is {list(seeds)}", "Give whole numbers of 0 or more, each once")
    if seeds and "seed" in content.get("training", {}):
        raise BadStudy(path, "key `training.seed` is given beside `seeds`", "Leave it out: the first of `seeds` is it")
    return seeds


def _name(path: Path, content: Mapping[str, Any]) -> str:
    name: str = typed(path, "name", str, content.get("name", path.stem))
    if not STUDY_NAME.fullmatch(name):
        raise BadStudy(path, f"key `name` is {name!r} and cannot name a folder", PLAIN)
    return name


def _section(path: Path, name: str, content: Mapping[str, Any], protocol: str, seed: int) -> Any:
    kind, given = SECTIONS[name], content.get(name, {})
    if not isinstance(given, dict):
        raise BadStudy(path, f"key `{name}` is {given!r}", f"Write it as a table, [{name}]")
    _known(path, f"{name}.", given, _section_keys(name))
    if name == "network":
        if "preset" in given and given["preset"] not in NETWORKS:
            what = f"key `network.preset` is {given['preset']!r}"
            raise BadStudy(path, what, f"Use one of {', '.join(NETWORKS)}")
        given = (
            network_keys(given, NetworkSettings.pools)
            if given.get("kind", PAPER) == PAPER
            else backbone_keys(path, given)
        )
        if isinstance(size := given.get("input"), list) and len(size) != 3:
            raise BadStudy(path, f"key `network.input` is {size}", "Give three numbers: slices, rows, columns")
    if name == "training":
        given = {key: OTHER_WORDS.get(key, {}).get(str(value), value) for key, value in given.items()}
    seeded = {"seed": seed} if any(f.name == "seed" for f in fields(kind)) else {}
    fitting = encoder_keys(content.get("network")).get(name, {})
    return typed(path, name, kind, seeded | PROTOCOLS[protocol].get(name, {}) | fitting | given)


def _sites(path: Path, content: Any) -> tuple[Site, ...]:
    if not isinstance(content, dict) or not content:
        raise BadStudy(path, "names no site", "Add one table for each site: [sites.NAME] with kind and root")
    return tuple(_site(path, name, given) for name, given in content.items())


def _site(path: Path, name: str, given: Any) -> Site:
    if not SITE_NAME.fullmatch(name):
        raise BadStudy(path, f"`{name}` is not a valid site name", PLAIN)
    if not isinstance(given, dict):
        raise BadStudy(path, *no_site(name, given, TOP_KEYS))
    for key in ("kind", "root"):
        if key not in given:
            raise BadStudy(path, f"key `sites.{name}.{key}` is missing", missing_key(key, given, KINDS))
    if (meant := USES.get(str(given.get("use")))) is not None:
        raise BadStudy(path, f"key `sites.{name}.use` is {given['use']!r}", f'Did you mean "{meant}"?')
    wanted = typed(path, f"sites.{name}.kind", str, given["kind"])
    if (kind := kind_of(wanted)) is None:
        raise BadStudy(path, f"key `sites.{name}.kind` is {wanted!r}", f"Use one of {', '.join(KINDS)}")
    _known(path, f"sites.{name}.", given, _site_keys(kind))
    options = _options(kind) if set(option_names(kind)) & set(given) else {}
    return Site(
        name=name,
        kind=kind,
        root=path_of(path, f"sites.{name}.root", given["root"]),
        labels=path_of(path, f"sites.{name}.labels", given["labels"]) if "labels" in given else None,
        country=typed(path, f"sites.{name}.country", str, given.get("country", "")),
        use=typed(path, f"sites.{name}.use", Literal["split", "test"], given.get("use", "split")),
        options={key: typed(path, f"sites.{name}.{key}", options[key], given[key]) for key in options if key in given},
    )


def load_sites(path: Path) -> tuple[Site, ...]:
    """The sites of a study file, whatever else it holds. Raises BadStudy as `load_study`."""
    return _sites(path, read_toml(path).get("sites", {}))


def check_options(where: str | Path, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the `find` of a kind of site, each of its type.

    Args:
        where: what names the options, for the message.
        kind: of the site.
        given: option -> value as read.

    Raises:
        BadStudy: an option that this kind does not have, or a wrong value.
    """
    options = _options(kind)
    if given and not options:
        raise BadStudy(where, f"key `{next(iter(given))}` is unknown", f"Sites of kind {kind} have no options")
    _known(Path(where), "", given, tuple(options))
    return {key: typed(Path(where), key, options[key], value) for key, value in given.items()}


def _options(kind: str) -> dict[str, Any]:
    """Names and types of the keyword-only options of a kind's `find`."""
    find = reader(kind).find
    types = get_type_hints(find)
    return {p.name: types[p.name] for p in signature(find).parameters.values() if p.kind is Parameter.KEYWORD_ONLY}


def _combinations(
    path: Path, content: Mapping[str, Any], names: Sequence[str], products: Sequence[StudyModel]
) -> tuple[tuple[str, ...], ...]:
    if products and content.get("combinations", [] if not names else None) == []:
        return ()
    if not names:
        raise BadStudy(path, 'has no site to train on: each has use = "test"', 'Give one of the sites use = "split"')
    given = content.get("combinations", [[name] for name in names])
    given = PAPER_COMBINATIONS if given == "paper" else training_sets(given, names)
    if hint := flat_sets(given):
        raise BadStudy(path, f"key `combinations` is {given!r}", hint)
    combinations: tuple[tuple[str, ...], ...] = typed(path, "combinations", tuple[tuple[str, ...], ...], given)
    if not combinations:
        raise BadStudy(path, "key `combinations` is empty", f'Add a training set, such as [["{names[0]}"]]')
    for sites in combinations:
        for site in sites:
            if site not in names:
                raise BadStudy(path, f"key `combinations` names {site!r}", f"Sites to train on: {', '.join(names)}")
    sets = [frozenset(c) for c in combinations]
    for sites, members in zip(combinations, sets, strict=True):
        if not sites or sets.count(members) > 1 or len(members) < len(sites):
            then = "Name each training set once; the order of its sites changes nothing"
            raise BadStudy(path, f"key `combinations` has {sites} twice or empty", then)
    return combinations


def _known(path: Path, prefix: str, given: Mapping[str, Any], allowed: Sequence[str]) -> None:
    sections = {name: [f.name for f in fields(kind)] for name, kind in SECTIONS.items()}
    check_keys(path, prefix, given, allowed, sections)
