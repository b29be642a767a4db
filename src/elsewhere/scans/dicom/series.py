"""A folder of DICOM files in; its series, each usable or with the reason why not, out; and which one to take."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import CT_CLASS, ENHANCED_CLASSES, Header, read_headers
from elsewhere.scans.dicom.stack import arrange, turn_of
from elsewhere.scans.scan import Fact
from elsewhere.scans.slices import walk

CT_CLASSES = ("", CT_CLASS, *ENHANCED_CLASSES)
LOCALIZERS = frozenset(("LOCALIZER", "SCOUT", "TOPOGRAM", "CT_SOM5 TOP"))
RENDERED = frozenset(
    ("MIP", "MINIP", "VRT", "SSD", "PROJECTION IMAGE", "CURVED", "SCREEN SAVE", "PERFUSION", "DOSE_INFO")
)
REFORMATTED = frozenset(("MPR", "REFORMATTED", "SECONDARY", "DERIVED", "CSA MPR"))
UID_FORM = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
COVERING = 2 / 3
MEDIUM = 50.0
GE_KERNELS = {"SOFT": 25.0, "STANDARD": 40.0, "STND": 40.0, "STD+": 45.0, "DETAIL": 50.0, "CHEST": 45.0}
GE_SHARP_KERNELS = {"LUNG": 65.0, "BONE": 70.0, "BONEPLUS": 75.0, "EDGE": 85.0, "ULTRA": 90.0}
PHILIPS_KERNELS = {"A": 30.0, "B": 40.0, "C": 50.0, "D": 60.0, "E": 80.0, "L": 65.0, "YA": 60.0, "YB": 65.0, "YC": 70.0}
SHARPNESS = GE_KERNELS | GE_SHARP_KERNELS | PHILIPS_KERNELS
"""On the scale of Siemens' kernel numbers (20 smooth … 90 sharp)."""


@dataclass(frozen=True)
class Series:
    """One series on disk, before a pixel is decoded.

    Attributes:
        uid: SeriesInstanceUID; where it is absent or invalid the folder relative to the root.
        study: StudyInstanceUID, or "".
        patient: PatientID, or "".
        files: its image files in slice order (first most superior), then the damaged files of its folder.
        refusal: why it is no axial primary CT volume, or "".
        reformatted: derived or secondary by its header: taken only where nothing else is there.
        slices: number of slices; length_mm: how much of the patient they cover, None where unknown.
        number: SeriesNumber, or None.
        facts: what its headers say, for the audit.
        notes: what had to be left out.
    """

    uid: str
    study: str
    patient: str
    files: tuple[Path, ...]
    refusal: str
    reformatted: bool
    slices: int
    length_mm: float | None
    number: int | None
    facts: Mapping[str, Fact]
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """A few words that tell it from its siblings."""
        thickness, kernel = self.facts.get("thickness_mm", "?"), self.facts.get("kernel", "?")
        return f"series {self.number} ({self.slices} slices, {thickness} mm, kernel {kernel}, {self.uid})"


def find_series(root: Path) -> tuple[list[Series], list[BadScan]]:
    """All series below a folder, and the damaged files that belong to none.

    Files that are no DICOM, and DICOM without images, are passed over. Files group by SeriesInstanceUID (and
    PatientID: bad anonymisers give everyone the same UID); without a valid one by folder and SeriesNumber. A damaged
    file belongs to its folder's series, if there is just one.
    """
    groups: dict[tuple[str, ...], list[Header]] = defaultdict(list)
    damaged: dict[Path, list[BadScan]] = defaultdict(list)
    unread: list[BadScan] = []
    for folder, names in walk(root, unread):
        for name in names:
            try:
                for header in read_headers(folder / name):
                    groups[_key(header, root)].append(header)
            except BadScan as error:
                damaged[folder].append(error)
    owners = _owners(groups)
    series = [_series(key, headers, _lost(headers, damaged, owners)) for key, headers in groups.items()]
    orphans = [bad for folder, errors in damaged.items() if owners.get(folder, 0) != 1 for bad in errors]
    return series, [*orphans, *unread]


def _key(header: Header, root: Path) -> tuple[str, ...]:
    if valid_uid(header.series_uid):
        return header.series_uid, header.patient
    folder = header.path.parent.relative_to(root).as_posix()
    return folder, header.patient, str(header.about.series_number)


def valid_uid(text: str) -> bool:
    """Is it a UID (PS3.5, section 9.1)? At most 64 characters, numbers without leading zeros between dots."""
    return len(text) <= 64 and UID_FORM.fullmatch(text) is not None


def _owners(groups: Mapping[tuple[str, ...], Sequence[Header]]) -> Counter[Path]:
    """How many series have files in a folder."""
    return Counter(folder for headers in groups.values() for folder in {h.path.parent for h in headers})


def _lost(
    headers: Sequence[Header], damaged: Mapping[Path, Sequence[BadScan]], owners: Mapping[Path, int]
) -> list[Path]:
    folders = {h.path.parent for h in headers}
    return [Path(bad.where) for f in sorted(folders) if owners[f] == 1 for bad in damaged.get(f, ())]


def _series(key: tuple[str, ...], headers: Sequence[Header], lost: Sequence[Path]) -> Series:
    headers, copies = _without_copies(headers)
    notes = [f"{copies} files that are copies of others (same SOPInstanceUID) left out"] if copies else []
    if lost:
        notes.append(f"{len(lost)} damaged files: {', '.join(path.name for path in lost)}")
    chosen: Sequence[Header] = headers
    refusal = refusal_of(_most_frequent(headers))
    geometry: dict[str, Fact] = {}
    length = None
    if not refusal:
        try:
            stack = arrange(headers, key[0])
            chosen, geometry = stack.headers, stack.facts
            notes += stack.notes
            length = stack.length_mm
        except BadScan as error:
            refusal = error.what
    first = chosen[0]
    return Series(
        uid=key[0],
        study=first.study_uid,
        patient=first.patient,
        files=(*dict.fromkeys(h.path for h in chosen), *lost),
        refusal=refusal,
        reformatted=bool(REFORMATTED & set(first.about.image_type)),
        slices=len(chosen),
        length_mm=length,
        number=first.about.series_number,
        facts={**first.about.facts, **geometry},
        notes=tuple(notes),
    )


def _without_copies(headers: Sequence[Header]) -> tuple[list[Header], int]:
    seen: set[tuple[str, int]] = set()
    kept = []
    for header in headers:
        name = (header.sop_uid or str(header.path), header.frame)
        if name not in seen:
            kept.append(header)
        seen.add(name)
    return kept, len(headers) - len(kept)


def refusal_of(header: Header) -> str:
    """Why a series of such images is no axial primary CT volume; "" where nothing speaks against it."""
    about, kind = header.about, " ".join(header.about.image_type)
    faults = (
        (about.modality not in ("CT", ""), f"is no CT but modality '{about.modality}'"),
        (about.sop_class not in CT_CLASSES, f"is no CT image but {UID(about.sop_class).name}"),
        (LOCALIZERS & set(about.image_type), f"is a localizer ({kind})"),
        (RENDERED & set(about.image_type), f"is a rendering, not slices ({kind})"),
        (header.form.samples != 1, f"holds colour images ({header.form.photometric})"),
        (
            about.rescale_type[:1] not in ("H", "") and about.rescale_type != "US",
            f"holds values of type {about.rescale_type}, not HU",
        ),
    )
    return next((reason for fault, reason in faults if fault), "") or _plane_fault(header)


def _plane_fault(header: Header) -> str:
    try:
        turn_of(header, "")
    except BadScan as error:
        return error.what
    return ""


def _most_frequent(headers: Sequence[Header]) -> Header:
    """An image of the commonest kind: a series may begin with its localizer."""
    kinds = Counter((h.about.image_type, h.rows, h.columns) for h in headers)
    common = kinds.most_common(1)[0][0]
    return next(h for h in headers if (h.about.image_type, h.rows, h.columns) == common)


# Which one to take ----------------------------------------------------------------------------------------------


def choose(candidates: Iterable[Series], where: str) -> tuple[Series, tuple[str, ...]]:
    """The series that stands for a study or folder, and a note on the others.

    Among the axial primary CT series that cover at least `COVERING` of the longest: original before derived or
    reformatted, then most slices, thinnest slices, softest kernel, lowest series number.

    Raises:
        BadScan: there is none; the text says why each was refused.
    """
    candidates = list(candidates)
    usable = sorted(_covering([s for s in candidates if not s.refusal]), key=rank)
    if not usable:
        reasons = "; ".join(f"series {s.number} {s.refusal}" for s in candidates[:5])
        raise BadScan(where, f"has no axial CT series ({reasons})", "Name the series to use by its series_uid")
    best, others = usable[0], [s for s in candidates if s is not usable[0]]
    notes = [f"{where}: only a derived or reformatted series was there, {best.describe()}"] if best.reformatted else []
    if others:
        left = "; ".join(s.describe() + (f" {s.refusal}" if s.refusal else "") for s in others)
        notes.append(f"{where}: took {best.describe()}; not {left}")
    return best, tuple(notes)


def _covering(candidates: Sequence[Series]) -> list[Series]:
    """Without the short ones: bolus tracking, a few slices repeated."""
    longest = max((s.length_mm or 0.0 for s in candidates), default=0.0)
    return [s for s in candidates if s.length_mm is None or s.length_mm >= COVERING * longest]


def rank(series: Series) -> tuple[object, ...]:
    """Sort key, best first (see `choose`)."""
    thickness = series.facts.get("thickness_mm")
    thickness = float(thickness) if isinstance(thickness, int | float) else float("inf")
    number = float("inf") if series.number is None else series.number
    return series.reformatted, -series.slices, thickness, sharpness(series.facts.get("kernel")), number, series.uid


def sharpness(kernel: Fact) -> float:
    """How sharp a reconstruction kernel is, about 20 (smooth) to 90 (edge); MEDIUM where its name says nothing.

    Siemens prints the number (B70f, Br38f, D40s); Canon/Toshiba FC01–FC29 are soft, FC30–FC49 bone, FC50–FC59 lung,
    FC80 up the sharpest; GE and Philips use names.
    """
    name = str(kernel or "").upper().strip()
    if name in SHARPNESS:
        return SHARPNESS[name]
    if found := re.match(r"FC(\d\d)", name):
        number = int(found[1])
        return 35.0 if number < 30 else 70.0 if number < 50 else 65.0 if number < 60 else 80.0
    found = re.match(r"[A-Z]{1,2}(\d\d)", name)
    return float(found[1]) if found else MEDIUM
