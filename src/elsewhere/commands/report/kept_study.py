"""A study's folder in; what its study.json says, with types, as far as its page needs it, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypeVar

from elsewhere.pages.report.options import EvaluationOptions, NetworkOptions, Options, SplitOptions, options_of
from elsewhere.scans.preparation import Preparation
from elsewhere.studies.folder import Folder
from elsewhere.studies.records import read_identity

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class KeptSite:
    """One site as study.json keeps it: as `studies.file.Site`, with its paths relative to the study's folder."""

    name: str
    kind: str
    root: str
    labels: str | None = None
    country: str = ""
    use: str = "split"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class KeptSettings:
    """Settings of the whole study, as `studies.file.Study`; `store` is relative to the study's folder."""

    name: str
    title: str
    origin: Literal["real", "repacked", "simulated"]
    notes: Sequence[str]
    planted: Sequence[str]
    protocol: str
    seed: int
    store: str | None = None
    finding: str = ""
    seeds: Sequence[int] = ()


@dataclass(frozen=True)
class KeptStudy:
    """What study.json says.

    Attributes:
        settings: of the whole study.
        sites: in the order of the study file.
        models: name of each model -> its training sites.
        ensembles: name of each mean over the networks of folds -> its training sites.
        versions: {software: version}.
        split_hash: which split made this.
        record: all of study.json, as it is.
    """

    settings: KeptSettings
    sites: tuple[KeptSite, ...]
    models: Mapping[str, Sequence[str]]
    ensembles: Mapping[str, Sequence[str]]
    versions: Mapping[str, str]
    split_hash: str
    record: Mapping[str, Any]

    @property
    def all_settings(self) -> Mapping[str, Any]:
        """All settings, nested as they are kept."""
        settings: Mapping[str, Any] = self.record["settings"]
        return settings

    @cached_property
    def options(self) -> Options:
        """The options of its sections that the page tells."""
        return options_of(self.all_settings)

    @property
    def reading(self) -> Literal["model", "site"]:
        """The threshold reading that headlines."""
        return (self.options.evaluation or EvaluationOptions()).threshold

    @property
    def folds(self) -> int:
        """Folds of its cross-validation; 0 for none."""
        return (self.options.split or SplitOptions()).folds

    @property
    def network(self) -> str:
        """The kind of its networks."""
        return (self.options.network or NetworkOptions()).kind

    @cached_property
    def preparation(self) -> Preparation:
        """How its scans were prepared."""
        return _taken(Preparation, self.all_settings["preparation"])

    @property
    def site_names(self) -> list[str]:
        """Names of its sites."""
        return [site.name for site in self.sites]


def read_study(folder: Folder) -> KeptStudy:
    """What study.json says.

    Raises:
        BadStudy: there is none, or it is damaged.
    """
    return kept_study(read_identity(folder))


def kept_study(record: Mapping[str, Any]) -> KeptStudy:
    """The same of a study.json that was read."""
    settings = record["settings"]
    return KeptStudy(
        settings=_taken(KeptSettings, settings),
        sites=tuple(_taken(KeptSite, site) for site in settings["sites"]),
        models=record["models"],
        ensembles=record.get("ensembles", {}),
        versions=record["versions"],
        split_hash=record.get("split_hash", ""),
        record=record,
    )


def _taken(kind: type[Kept], given: Mapping[str, Any]) -> Kept:
    """A record of this kind, of what is given under its fields' names."""
    values = {f.name: given[f.name] for f in fields(kind) if f.name in given}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
