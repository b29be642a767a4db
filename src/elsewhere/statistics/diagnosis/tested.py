"""One test each of the diagnosis, with what it asked of whom: what `findings` turns into sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from elsewhere.statistics.comparison import holm


@dataclass(frozen=True)
class SiteSeparation:
    """How well test scans of two sites are told apart by one view of them.

    Attributes:
        home: one site.
        site: the other.
        view: what is looked at.
        model: whose features are looked at; "" for views of the scans themselves.
        auc: by patients that the rule has not seen.
        low: lower end of its 95 % interval.
        high: upper end.
        p: by permutation of patients.
        power: for an AUC of 0.70.
        patients_home: patients of the one site.
        patients_site: of the other.
        permutations: number of them.
    """

    home: str
    site: str
    view: str
    model: str
    auc: float
    low: float
    high: float
    p: float
    power: float
    patients_home: int
    patients_site: int
    permutations: int


@dataclass(frozen=True)
class ClassSeparation:
    """How well positives and negatives of one site are told apart by one view of them.

    Attributes:
        site, view, auc, low, high, p, power, permutations: as in `SiteSeparation`.
        scans: number of scans.
        patients: number of patients.
        fact: the kind of metadata that does most of it; "" for other views.
    """

    site: str
    view: str
    scans: int
    auc: float
    low: float
    high: float
    p: float
    power: float
    patients: int
    permutations: int
    fact: str


@dataclass(frozen=True)
class PartRanking:
    """A model's AUC at one site where it sees only a part of each scan.

    Attributes:
        model: its name.
        site: the site's name.
        view: the part that it sees; "label_shuffle" for shuffled labels.
        auc: for the disease.
        low, high, permutations: as in `SiteSeparation`.
        p: likewise; None for shuffled labels, to which no test belongs.
        patients: number of patients.
        scans: number of scans.
    """

    model: str
    site: str
    view: str
    auc: float
    low: float
    high: float
    p: float | None
    patients: int
    scans: int
    permutations: int


@dataclass(frozen=True)
class SaliencyShare:
    """Where one model looks in one scan.

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        label: 1 or 0.
        model: its name.
        probability: of the whole scan.
        inside: share of the map's mass inside the lungs; None for an empty map, or none.
        expected: share of the picture that the lungs take.
    """

    site: str
    patient: str
    scan: str
    label: int
    model: str
    probability: float | None
    inside: float | None
    expected: float | None


class Tested(Protocol):
    """What has a p-value, and the number of permutations that it is from; 0 for other tests."""

    @property
    def p(self) -> float | None:
        """The p-value by itself."""

    @property
    def permutations(self) -> int:
        """Number of permutations."""


TestedT_co = TypeVar("TestedT_co", bound=Tested, covariant=True)


@dataclass(frozen=True)
class Adjusted(Generic[TestedT_co]):
    """One test of a family.

    Attributes:
        test: by itself.
        p_holm: its p after Holm's adjustment within the family.
        p_floor: the smallest p_holm that its permutations could give where it is that, 0 otherwise.
    """

    test: TestedT_co
    p_holm: float
    p_floor: float


def adjust(tests: Sequence[TestedT_co]) -> list[Adjusted[TestedT_co]]:
    """The tests with their p adjusted within all of them, and the smallest that could have come out.

    A permutation test of B permutations gives no p below 1 / (B + 1); the adjusted p of the test that has it is as many
    times larger as Holm made it. Tests without permutations have the floor 0.

    Raises:
        ValueError: a test without p, or one outside 0 to 1.

    >>> telling = PartRanking("A", "A", "lungs_erased", 0.9, 0.8, 0.95, 0.01, 40, 40, permutations=99)
    >>> weaker = PartRanking("A", "A", "border_only", 0.7, 0.5, 0.85, 0.04, 40, 40, permutations=99)
    >>> [(found.test.p, found.test.permutations, found.p_holm, found.p_floor) for found in adjust([telling, weaker])]
    [(0.01, 99, 0.02, 0.02), (0.04, 99, 0.04, 0.0)]
    """
    values = [float("nan") if test.p is None else test.p for test in tests]
    return [
        Adjusted(test, float(p_holm), float(p_holm) if at_floor(p, test.permutations) else 0.0)
        for test, p, p_holm in zip(tests, values, holm(values), strict=True)
    ]


def at_floor(p: float, permutations: float | None) -> bool:
    """Whether a p-value is the smallest that so many permutations could give: it is only known to be no larger.

    >>> at_floor(0.01, 99), at_floor(0.02, 99), at_floor(0.01, 0)
    (True, False, False)
    """
    return bool(permutations and p <= (1 + 1e-9) / (permutations + 1))
