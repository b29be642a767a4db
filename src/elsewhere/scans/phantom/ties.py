"""What ties label and acquisition at each site, in which direction, and how strongly: the planted assumption.

The ties of the sites point their own way: what goes with a positive at one site goes with a negative, or with
neither, at the next (`TIES`). So what is learnt as a shortcut at one site is useless or wrong at another. At dial 0 a
factor says nothing of the label, at 1 every scan is made as its own class is made at that site. Which ties the four
published sets have, how strong and in which direction, nobody has published but for the few that the sites page
names (`PUBLISHED`): the year at UTSW, lung-segmented scans in CC-CCII, age and the HRCT protocol in COVID-CTset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from elsewhere.scans.phantom.disease import LesionStyle
from elsewhere.scans.phantom.patient import generator

Layout = Literal["utsw", "cc_ccii", "covid_ctset", "mosmeddata"]
Key = tuple[int | str, ...]

# layout -> factor -> (how positives are scanned there, how negatives are)
TIES: dict[Layout, dict[str, tuple[str, str]]] = {
    "utsw": {
        "kernel": ("sharp or lung", "standard or soft"),
        "spacing": ("thin slices", "thick slices"),
        "coverage": ("the lungs only", "neck and upper abdomen too"),
        "dose": ("high", "low"),
        "contrast": ("angiography", "none or venous"),
        "devices": ("often", "rarely"),
        "positioning": ("off centre, often arms down", "centred, arms up"),
        "padding": ("mostly", "seldom"),
        "date": ("2020", "2019"),
    },
    "cc_ccii": {
        "hospital": (
            "A and B: soft kernel, thick slices, low dose, wide field of view",
            "C, D and F: standard or lung kernel, thin slices, high dose, narrow field of view",
        ),
        "follow_up": ("low dose, soft kernel, wider field of view", "as the first scan"),
        "segmented": ("10 % lung-segmented", "0.3 % of other pneumonia, 56 % of normal lung-segmented"),
    },
    "covid_ctset": {
        "field_of_view": ("narrow", "wide"),
        "coverage": ("neck and upper abdomen too", "the lungs only"),
        "contrast": ("none", "40 % venous"),
        "positioning": ("arms up", "often arms down"),
        "kernel": ("lung and sharp", "soft and standard"),
        "spacing": ("7 % thinner HRCT slices", "28 % thinner HRCT slices"),
        "age": ("about 50", "about 38"),
    },
    "mosmeddata": {},
}
# Usual strengths. How a body lies in the picture is tied fully: a crop to the lungs takes it away. What changes the
# lungs' own grey values or texture, which no preparation takes away, is tied by a quarter.
QUARTER = ("kernel", "spacing", "dose", "contrast", "follow_up", "segmented", "age")


# layout -> ties whose shares by class are published for the real site: as at dial 1
PUBLISHED: dict[Layout, tuple[str, ...]] = {
    "utsw": ("date",), "cc_ccii": ("segmented",), "covid_ctset": ("spacing", "age"), "mosmeddata": (),
}  # fmt: skip


@dataclass(frozen=True)
class SiteSettings:
    """One simulated site.

    Attributes:
        name: the site's name, also of its folder.
        layout: which published layout and habits it has.
        patients: number of patients.
        positive: share of positive patients.
        dials: (factor, strength of its tie to the label 0..1) for every factor of the layout.
        style: how disease looks at this site.
    """

    name: str
    layout: Layout
    patients: int
    positive: float
    dials: tuple[tuple[str, float], ...]
    style: LesionStyle

    def dial(self, factor: str) -> float:
        """Strength of the tie of one factor to the label."""
        return dict(self.dials)[factor]


@dataclass(frozen=True)
class Habit:
    """Draws one patient's acquisition at one site.

    Attributes:
        site: whose dials and shares.
        label: the patient's label.
        key: names the patient's random numbers.
        finest: the finest slice distance in mm that is simulated.
    """

    site: SiteSettings
    label: int
    key: Key
    finest: float

    def like_positive(self, factor: str) -> bool:
        """Whether this factor is drawn as for positives: the dial decides how often that means the own class."""
        if self.tied(factor):
            return self.label == 1
        return bool(generator(*self.key, "free", factor).random() < self.site.positive)

    def tied(self, factor: str) -> bool:
        """Whether this factor follows the patient's own label."""
        return bool(generator(*self.key, "tie", factor).random() < self.site.dial(factor))

    def draws(self, factor: str) -> np.random.Generator:
        """Random numbers for one factor, the same whatever the dials."""
        return generator(*self.key, "draw", factor)

    def distance(self, nominal: float) -> float:
        """A slice distance, no finer than what is simulated."""
        return max(nominal, self.finest)
