"""A folder of DICOM files in; its series, each usable or with the reason why not, out; and which one to take."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elsewhere.errors import BadScan
from elsewhere.scans.dicom.header import CT_CLASS, ENHANCED_CLASSES, Header, read_headers
from elsewhere.scans.dicom.preference import COVERING, LOCALIZERS, REFORMATTED, RENDERED, rank, region
from elsewhere.scans.dicom.separate import owners
from elsewhere.scans.dicom.stack import arrange, counted, majority, turn_of
from elsewhere.scans.dicom.tags import uid_name
from elsewhere.scans.scan import Fact
from elsewhere.scans.slices import walk

CT_CLASSES = ("", CT_CLASS, *ENHANCED_CLASSES)
GREY = ("", "MONOCHROME1", "MONOCHROME2")
UID_FORM = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


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
        others: files of the same images or series that are not in `files`: copies, scouts, other acquisitions.
        part: what tells it from other series of the same UID and patient ("folder p2"), or "".
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
    others: tuple[Path, ...] = ()
    part: str = ""

    def describe(self) -> str:
        """A few words that tell it from its siblings."""
        thickness, kernel = self.facts.get("thickness_mm", "?"), self.facts.get("kernel", "?")
        words = [self.facts.get("body_part"), self.facts.get("description")]
        about = "".join(f", {word}" for word in dict.fromkeys(words) if word)
        part = f", {self.part}" if self.part else ""
        return f"series {self.number} ({self.slices} slices, {thickness} mm, kernel {kernel}{about}, {self.uid}{part})"


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
    parts = [(key, part) for key, headers in groups.items() for part in _parts(headers, root)]
    holders = _holders([headers for _, (headers, _) in parts])
    series = [_series(key, headers, part, _lost(headers, damaged, holders)) for key, (headers, part) in parts]
    orphans = [bad for folder, errors in damaged.items() if holders.get(folder, 0) != 1 for bad in errors]
    return series, [*orphans, *unread]


def _parts(headers: list[Header], root: Path) -> list[tuple[list[Header], str]]:
    """The images of one UID by patient, study, scanner and folder, and a name for each part ("" for the only one)."""
    found = owners(headers)
    if len(found) == 1:
        return [(headers, "")]
    folders = [sorted({h.path.parent.relative_to(root).as_posix() for h in part}) for part, _ in found]
    apart = len({tuple(names) for names in folders}) == len(found)
    return [
        (part, f"folder {folders[i][0]}" if apart else f"part {i + 1}, by {why}") for i, (part, why) in enumerate(found)
    ]


def _key(header: Header, root: Path) -> tuple[str, ...]:
    if valid_uid(header.series_uid):
        return header.series_uid, header.patient
    folder = header.path.parent.relative_to(root).as_posix()
    return folder, header.patient, str(header.about.series_number)


def valid_uid(text: str) -> bool:
    """Is it a UID (PS3.5, section 9.1)? At most 64 characters, numbers without leading zeros between dots."""
    return len(text) <= 64 and UID_FORM.fullmatch(text) is not None


def _holders(parts: Iterable[Sequence[Header]]) -> Counter[Path]:
    """How many series have files in a folder."""
    return Counter(folder for headers in parts for folder in {h.path.parent for h in headers})


def _lost(
    headers: Sequence[Header], damaged: Mapping[Path, Sequence[BadScan]], holders: Mapping[Path, int]
) -> list[Path]:
    folders = {h.path.parent for h in headers}
    return [Path(bad.where) for f in sorted(folders) if holders[f] == 1 for bad in damaged.get(f, ())]


def _series(key: tuple[str, ...], headers: Sequence[Header], part: str, lost: Sequence[Path]) -> Series:
    notes = [f"{counted(len(lost), 'damaged file')}: {', '.join(path.name for path in lost)}"] if lost else []
    chosen: Sequence[Header] = headers
    refusal = refusal_of(majority(headers)[0][0])
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
    files = (*dict.fromkeys(h.path for h in chosen), *lost)
    return Series(
        uid=key[0],
        study=first.study_uid,
        patient=first.patient,
        files=files,
        refusal=refusal,
        reformatted=bool(REFORMATTED & set(first.about.image_type)),
        slices=len(chosen),
        length_mm=length,
        number=first.about.series_number,
        facts={**first.about.facts, **geometry},
        notes=tuple(notes),
        others=tuple(dict.fromkeys(h.path for h in headers if h.path not in set(files))),
        part=part,
    )


def refusal_of(header: Header) -> str:
    """Why a series of such images is no axial primary CT volume; "" where nothing speaks against it."""
    about, kind = header.about, " ".join(header.about.image_type)
    faults = (
        (about.modality not in ("CT", ""), f"is no CT but modality '{about.modality}'"),
        (about.sop_class not in CT_CLASSES, f"is no CT image but {uid_name(about.sop_class)}"),
        (LOCALIZERS & set(about.image_type), f"is a localizer ({kind})"),
        (RENDERED & set(about.image_type), f"is a rendering, not slices ({kind})"),
        (
            header.form.samples != 1 or header.form.photometric not in GREY,
            f"holds colour images ({header.form.photometric})",
        ),
        (header.form.lut, "maps its values through a Modality LUT, which is not applied here"),
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


# Which one to take ----------------------------------------------------------------------------------------------


def choose(candidates: Iterable[Series], where: str) -> tuple[Series, tuple[str, ...]]:
    """The series that stands for a study or folder, and a note on the others.

    Series whose body part or description name another region than the chest give way to those that do not. Among the
    axial primary CT series that then cover at least `COVERING` of the longest: original before derived or reformatted,
    then those that name the chest, then most slices, thinnest slices, softest kernel, lowest series number.

    Raises:
        BadScan: there is none; the text says why each was refused.
    """
    candidates = list(candidates)
    usable = [s for s in candidates if not s.refusal]
    usable = sorted(_covering([s for s in usable if region(s.facts) < 2] or usable), key=_key_of)
    if not usable:
        reasons = "; ".join(f"series {s.number} {s.refusal}" for s in candidates[:5])
        raise BadScan(where, f"has no axial CT series ({reasons})", "Name the series to use by its series_uid")
    best, others = usable[0], [s for s in candidates if s is not usable[0]]
    notes = [f"{where}: only a derived or reformatted series was there, {best.describe()}"] if best.reformatted else []
    if region(best.facts) == 2:
        notes.append(f"{where}: its series name another region than the chest, {best.describe()}")
    if others:
        left = "; ".join(s.describe() + (f" {s.refusal}" if s.refusal else "") for s in others)
        notes.append(f"{where}: took {best.describe()}; not {left}")
    return best, tuple(notes)


def _covering(candidates: Sequence[Series]) -> list[Series]:
    """Without the short ones: bolus tracking, a few slices repeated."""
    longest = max((s.length_mm or 0.0 for s in candidates), default=0.0)
    return [s for s in candidates if s.length_mm is None or s.length_mm >= COVERING * longest]


def _key_of(series: Series) -> tuple[object, ...]:
    """Sort key, best first (see `choose`)."""
    number = float("inf") if series.number is None else series.number
    return *rank(series.facts, series.slices, series.reformatted), number, series.uid, series.part
