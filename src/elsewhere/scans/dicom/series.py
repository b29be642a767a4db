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
from elsewhere.scans.dicom.separate import is_one_grid, owners
from elsewhere.scans.dicom.stack import arrange, counted, majority, turn_of
from elsewhere.scans.dicom.tags import uid_name
from elsewhere.scans.scan import Fact
from elsewhere.scans.slices import walk

CT_CLASSES = ("", CT_CLASS, *ENHANCED_CLASSES)
GREY = ("", "MONOCHROME1", "MONOCHROME2")
HOUNSFIELD = re.compile(r"$|US$|HU|HOUN|H\.? ?U")
"""RescaleType of HU, or of values that their plausibility judges (absent, unspecified)."""
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
        next_step: what to do about the refusal, or "".
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
    next_step: str = ""

    def describe(self) -> str:
        """A few words that tell it from its siblings."""
        thickness, kernel = self.facts.get("thickness_mm", "?"), self.facts.get("kernel", "?")
        words = [self.facts.get("body_part"), self.facts.get("description")]
        about = "".join(f", {word}" for word in dict.fromkeys(words) if word)
        part = f", {self.part}" if self.part else ""
        return f"series {self.number} ({self.slices} slices, {thickness} mm, kernel {kernel}{about}, {self.uid}{part})"


def find_series(root: Path) -> tuple[list[Series], list[BadScan]]:
    """All series below a folder, and the damaged files that belong to none.

    Files that are no DICOM, and DICOM without images, are passed over. Files group by SeriesInstanceUID, and by what
    else tells patients, studies and scanners apart (bad anonymisers give everyone the same UID); without a valid UID by
    folder and SeriesNumber; where every file has a UID of its own by folder, study and SeriesNumber. A damaged file
    belongs to its folder's series, if there is just one.
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
    whole = _gathered(groups, root)
    parts = [(key, part) for key, headers in whole.items() for part in _parts(headers, root)]
    holders = _holders([headers for _, (headers, _) in parts])
    series = [_series(key, headers, part, _lost(headers, damaged, holders)) for key, (headers, part) in parts]
    orphans = [bad for folder, errors in damaged.items() if holders.get(folder, 0) != 1 for bad in errors]
    return series, [*orphans, *unread]


def _parts(headers: list[Header], root: Path) -> list[tuple[list[Header], str]]:
    """The images of one UID by patient, study, scanner and folder, and a name for each part that its patient's id does
    not tell from the others ("" for the only one)."""
    found = owners(headers)
    if len(found) == 1:
        return [(headers, "")]
    patients = Counter(part[0].patient for part, _ in found)
    folders = [sorted({h.path.parent.relative_to(root).as_posix() for h in part}) for part, _ in found]
    apart = len({tuple(names) for names in folders}) == len(found)
    names = [f"folder {folders[i][0]}" if apart else f"part {i + 1}, by {why}" for i, (_, why) in enumerate(found)]
    known = [bool(part[0].patient) and patients[part[0].patient] == 1 for part, _ in found]
    return [(part, "" if told else name) for (part, _), name, told in zip(found, names, known, strict=True)]


def _key(header: Header, root: Path) -> tuple[str, ...]:
    if valid_uid(header.series_uid):
        return (header.series_uid,)
    folder = header.path.parent.relative_to(root).as_posix()
    return folder, header.series_uid, header.patient, str(header.about.series_number)


def _gathered(groups: Mapping[tuple[str, ...], list[Header]], root: Path) -> dict[tuple[str, ...], list[Header]]:
    """The groups; where every file of a folder, study and SeriesNumber has a UID of its own, they are one."""
    whole: dict[tuple[str, ...], list[Header]] = {}
    singles: dict[tuple[str, ...], list[tuple[tuple[str, ...], Header]]] = defaultdict(list)
    for key, headers in groups.items():
        whole[key] = headers
        if len(headers) == 1 and valid_uid(headers[0].study_uid):
            folder = headers[0].path.parent.relative_to(root).as_posix()
            singles[folder, headers[0].study_uid, str(headers[0].about.series_number)].append((key, headers[0]))
    for name, pairs in singles.items():
        if is_one_grid([header for _, header in pairs]):
            for key, _ in pairs:
                del whole[key]
            whole[name] = [header for _, header in pairs]
    return whole


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
    refusal, next_step = refusal_of(majority(headers)[0][0])
    geometry: dict[str, Fact] = {}
    length = None
    if not refusal:
        try:
            stack = arrange(headers, key[0])
            chosen, geometry = stack.headers, stack.facts
            notes += stack.notes
            length = stack.length_mm
        except BadScan as error:
            refusal, next_step = error.what, error.next_step
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
        next_step=next_step,
    )


def refusal_of(header: Header) -> tuple[str, str]:
    """Why a series of such images is no axial primary CT volume, and what to do; "" where nothing speaks against it."""
    about, form, kind = header.about, header.form, " ".join(header.about.image_type)
    ct, hu = "Give the CT series", "Export the series in HU"
    faults = (
        (about.modality not in ("CT", ""), f"is no CT but modality '{about.modality}'", ct),
        (about.sop_class not in CT_CLASSES, f"is no CT image but {uid_name(about.sop_class)}", ct),
        (LOCALIZERS & set(about.image_type), f"is a localizer ({kind})", "Give the axial series"),
        (RENDERED & set(about.image_type), f"is a rendering, not slices ({kind})", "Give the original slices"),
        (
            form.samples != 1 or form.photometric not in GREY,
            f"holds colour images ({form.photometric})",
            "Leave out screenshots and secondary captures",
        ),
        (
            form.lut,
            "maps its values through a Modality LUT, which is not applied here",
            f"{hu}, with slope and intercept",
        ),
        (not HOUNSFIELD.match(about.rescale_type), f"holds values of type {about.rescale_type}, not HU", hu),
    )
    return next(((what, then) for fault, what, then in faults if fault), None) or _plane_fault(header)


def _plane_fault(header: Header) -> tuple[str, str]:
    try:
        turn_of(header, "")
    except BadScan as error:
        return error.what, error.next_step
    return "", ""


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
        largest = max(candidates, key=lambda s: s.slices)
        then = f"{largest.next_step}, or name the series to use by its series_uid"
        raise BadScan(where, f"has no axial CT series ({reasons})", then)
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
