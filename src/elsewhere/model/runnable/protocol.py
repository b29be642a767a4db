"""What a study knows of any model that it can run: a scan in, probabilities of its windows out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from elsewhere.errors import BadScan
from elsewhere.model.saliency import Saliency
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.volume import Volume, to_hu

Ability = Literal["features", "gradients"]
USUAL_WINDOW = (-1350.0, 150.0)
"""HU window of values 0..255 where nothing says which."""


@dataclass(frozen=True, eq=False)
class GivenScan:
    """One scan as a model that was not trained here is given it.

    Attributes:
        site: name of the site.
        patient: patient id within the site.
        scan: scan id within the site.
        volume: its voxels in the canonical axes, as its site's reader gives them.
        relative_window: HU window that its site says values 0..255 have; None where it says none.
        dicom: its own DICOM files; none where it has none, or where the voxels are no longer those of the files.
    """

    site: str
    patient: str
    scan: str
    volume: Volume
    relative_window: tuple[float, float] | None = None
    dicom: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Site and scan, for messages."""
        return f"{self.site}: {self.scan}"

    def in_hu(self) -> Volume:
        """The volume in HU; values 0..255 through the site's window, or the usual lung window."""
        return to_hu(self.volume, self.relative_window or USUAL_WINDOW)


class Refused(BadScan):
    """The model itself gave no answer for a scan, and said so: asked again it would say the same."""


class RunnableModel(Protocol):
    """A model that can be asked about any scan: a scan's probability is the highest over its windows."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do besides: "features" (`features`), "gradients" (`saliency`)."""
        ...

    @property
    def preparation(self) -> Preparation | None:
        """How it prepares scans, where `saliency` lies on the grid of scans prepared so; else None."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What whoever reads its scores should know, a sentence each."""
        ...

    def score(self, given: GivenScan) -> NDArray[np.float64]:
        """Probability of being positive, 0 to 1, of each window of a scan (windows,); one window is the whole scan.

        Raises:
            Refused: the model gives no answer for this scan.
            BadScan: it fails on this scan; another try may go well.
        """
        ...

    def features(self, given: GivenScan) -> NDArray[np.float32]:
        """What its last layer sees of the scan's most positive window (features,).

        Raises:
            NotImplementedError: "features" is not among its abilities.
        """
        ...

    def saliency(self, given: GivenScan) -> Saliency:
        """Where its evidence comes from, on the grid of `preparation`.

        Raises:
            NotImplementedError: "gradients" is not among its abilities.
        """
        ...


class ScoresOnly:
    """A model that gives scores and nothing else: the part of the protocol that such kinds share."""

    abilities: frozenset[Ability] = frozenset()
    preparation: Preparation | None = None
    remarks: tuple[str, ...] = ()

    def features(self, given: GivenScan) -> NDArray[np.float32]:
        """Not known of this kind."""
        raise NotImplementedError(f"{type(self).__name__} gives no features of {given.name}")

    def saliency(self, given: GivenScan) -> Saliency:
        """Not known of this kind."""
        raise NotImplementedError(f"{type(self).__name__} gives no gradients for {given.name}")
