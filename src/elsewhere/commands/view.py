"""Scans of a study, and a model of it, in; one page that draws them with what the network looked at out."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from numpy.typing import NDArray

from elsewhere import engine
from elsewhere.commands import split_names
from elsewhere.errors import BadScan, BadStudy
from elsewhere.files import short_name, write_whole
from elsewhere.model.declared import Declared, OwnNetwork
from elsewhere.model.network import load_checkpoint, read_checkpoint_record
from elsewhere.model.network_settings import PAPER
from elsewhere.model.prediction import predict
from elsewhere.model.runnable import hash_of, threshold_of
from elsewhere.model.saliency import Saliency, find_saliency
from elsewhere.model.sample import evaluation_windows
from elsewhere.pages.viewer.page import Occasion, Overlay, Preset, Shown, Window, render
from elsewhere.scans.display import (
    FINEST_OVERLAY,
    Frame,
    Picture,
    draw_overlay,
    draw_scan,
    prepared_frame,
    spread,
    whole_frame,
)
from elsewhere.scans.intake import ended, prepared_as
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import list_site, reader
from elsewhere.scans.store import Shelf
from elsewhere.scans.units import USUAL_OFFSET
from elsewhere.scans.volume import Units, Volume, content_hash, lung_box
from elsewhere.studies.asking import model_to_run
from elsewhere.studies.exported import is_exported, read_model
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.known_model import KnownModel
from elsewhere.studies.looking import Looked, look_at_all, look_of
from elsewhere.studies.marked_slices import Marks, read_marked_slices
from elsewhere.studies.predictions import fitting_predictions, join_predictions
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.products import read_products
from elsewhere.studies.records import SCORES, ScanRow, usable_rows

HU_PRESETS = (Preset("lung", -1350, 150), Preset("mediastinum", -160, 240))
"""Level -600, width 1500, and level 40, width 400."""
GREY_PRESETS = (Preset("as published", 0, 255), Preset("bright half", 128, 255), Preset("dark half", 0, 128))
CUBE = "the size of its voxels is not known here, so it is drawn as a cube"
GRIDS = ("prepared", "original")
DEPTHS = (8, 16)


@dataclass(frozen=True)
class Wish:
    """How scans are to be shown.

    Attributes:
        grid: "prepared", as the network sees them, or "original", as they were read.
        bits: 8 or 16 per voxel.
        marks: (scan, slice from 1 at the top of the scan as read) -> word; None where nobody marked slices.
    """

    grid: str = "prepared"
    bits: int = 8
    marks: Marks | None = None


@dataclass(frozen=True)
class Stretch:
    """How slices of one grid lie along another: theirs = first + factor * ours, counted at the slices' edges."""

    first: float = 0.0
    factor: float = 1.0

    def there(self, ours: float) -> float:
        """Place on the other grid."""
        return self.first + self.factor * ours

    def back(self, theirs: float) -> float:
        """Place on our grid."""
        return (theirs - self.first) / self.factor


@dataclass(frozen=True)
class Drawn:
    """A scan drawn, and where other grids lie in it.

    Attributes:
        picture: the scan.
        frame: of the prepared grid, for overlays.
        size: rows and columns of the prepared grid.
        words: what is drawn.
        prepared: prepared slices -> displayed slices.
        source: slices as read -> displayed slices; None where that is not known.
    """

    picture: Picture
    frame: Frame
    size: tuple[int, int]
    words: str
    prepared: Stretch
    source: Stretch | None


def view(
    study: Annotated[Path, typer.Argument(help="Study file (TOML), or the folder of a study that was run.")],
    out: Annotated[Path | None, typer.Argument(help="The study's folder [runs/NAME].")] = None,
    *,
    scan: Annotated[
        list[str] | None, typer.Option(help="Scans to show, SITE/SCAN, with commas between or repeated.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model whose scores and overlay are shown, or its .zip.")] = None,
    hardest: Annotated[int, typer.Option(min=0, help="Also the N test scans that this model gets most wrong.")] = 0,
    grid: Annotated[
        str, typer.Option(help="What is drawn: prepared (as the network sees it) or original.")
    ] = "prepared",
    bits: Annotated[int, typer.Option(help="8 (small) or 16 (every CT number) for each voxel.")] = 8,
    marks: Annotated[Path | None, typer.Option(help="Table of slices marked by people: scan, slice, mark.")] = None,
    page: Annotated[Path | None, typer.Option(help="File to write [OUT/views/NAME.html].")] = None,
) -> Path:
    """Write a page that draws scans, with what the network looked at. It holds patient data. Research use only."""
    plan, folder = open_study(study, out)
    _check(grid, bits, model, hardest)
    _through_protocol(plan, folder, model)  # refuses before anything is drawn
    rows = usable_rows(folder)
    names = {f"{row.site}/{row.scan}" for row in rows}
    wanted = [one for text in scan or () for one in ([text] if text in names else split_names([text]))]
    chosen = [_row(rows, name, folder) for name in wanted]
    foreign = model in {product.name for product in plan.products}
    chosen += [row for row in _hardest(folder, rows, model, hardest, foreign) if row not in chosen]
    if not chosen:
        raise BadStudy("--scan", "names no scan", "Give --scan SITE/SCAN, or --model NAME --hardest N")
    wish = Wish(grid, bits, read_marked_slices(marks, chosen) if marks else None)
    target = page or folder.view(_file_name(chosen, model))
    write_view(plan, folder, chosen, target, model=model, wish=wish)
    return target


def write_view(
    study: Study, folder: Folder, rows: Sequence[ScanRow], target: Path, *, model: str | None = None, wish: Wish
) -> None:
    """Draw the scans of some rows of scans.parquet onto one page, and say how large it became.

    Raises:
        BadScan: a scan cannot be read.
        BadStudy: the page would be too large, or the marks cannot be placed.
        BadCheckpoint: the model's weights are missing or damaged.
    """
    declared = _through_protocol(study, folder, model)
    ask = _asker(study, folder, model, rows) if declared is None else None
    if declared is not None:
        cases = _as_scanned(study, folder, rows, wish, declared)
    elif wish.grid == "original":
        cases = {i: _case(study, rows[i], wish, ask, volume) for i, volume in _originals(study, rows)}
    else:
        tasks = [(study, row, wish, ask) for row in rows]
        cases = dict(engine.run(_case, tasks, workers=1, describe="Drawing scans"))
    try:
        text = render([cases[i] for i in range(len(rows))], _occasion(study, folder, model))
    except ValueError as error:
        raise BadStudy(target, str(error), "Give fewer --scan, --grid prepared or --bits 8") from error
    write_whole(target, text)
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    engine.say(f"{target} ({size}). It holds patient data.", "The page:")


def _check(grid: str, bits: int, model: str | None, hardest: int) -> None:
    if grid not in GRIDS:
        raise BadStudy("--grid", f"is {grid!r}", f"Use one of {', '.join(GRIDS)}")
    if bits not in DEPTHS:
        raise BadStudy("--bits", f"is {bits}", "Use 8 or 16")
    if hardest and not model:
        raise BadStudy("--hardest", "is given without --model", "Say for which model: --model NAME")
    if hardest and model and is_exported(Path(model)):
        raise BadStudy("--hardest", "is given with an exported model, which this study did not test", "Give --scan")


# Which scans ------------------------------------------------------------------------------------------------------


def _row(rows: Collection[ScanRow], name: str, folder: Folder) -> ScanRow:
    found = [row for row in rows if f"{row.site}/{row.scan}" == name]
    if not found:
        site = name.partition("/")[0]
        known = sorted(f"{row.site}/{row.scan}" for row in rows if row.site == site)
        sites = ", ".join(dict.fromkeys(row.site for row in rows))
        then = f"Its first is {known[0]}" if known else f"Sites: {sites}; write it as SITE/SCAN"
        raise BadStudy(folder.scans, f"has no usable scan {name!r}", then)
    return found[0]


def _hardest(folder: Folder, rows: Collection[ScanRow], model: str | None, count: int, foreign: bool) -> list[ScanRow]:
    """The test scans whose probability is farthest from their label."""
    if not (model and count):
        return []
    if foreign:
        known = [(r, r.probability) for r in read_products(folder) if r.model == model and r.probability is not None]
        ordered = sorted(known, key=lambda one: (-abs(one[0].label - one[1]), one[0].site, one[0].scan))
        return [_row(rows, f"{r.site}/{r.scan}", folder) for r, _ in ordered[:count]]
    sites = [s for s in dict.fromkeys(row.site for row in rows) if folder.predictions(model, s).is_file()]
    if not sites:
        raise BadStudy(folder.root, f"has no predictions of {model!r}", "Run `elsewhere study` first")
    found = join_predictions([fitting_predictions(folder, model, site) for site in sites])
    tests = found.subset("test").deterministic
    order = np.lexsort((tests.scans, tests.sites, -np.abs(tests.labels - tests.probabilities)))
    worst = tests.where(order[:count])
    return [_row(rows, f"{site}/{scan}", folder) for site, scan in zip(worst.sites, worst.scans, strict=True)]


def _file_name(rows: Sequence[ScanRow], model: str | None) -> str:
    names = [f"{rows[0].site}-{rows[0].scan}", *([f"and-{len(rows) - 1}-more"] if rows[1:] else [])]
    named = [Path(model).stem if is_exported(Path(model)) else model] if model else []
    return short_name(re.sub(r"[^\w.+-]+", "-", "-".join([*names, *named])))


# One scan ---------------------------------------------------------------------------------------------------------

Answer = tuple[list[tuple[int, int, float]], Saliency]
"""Windows as (first stored slice, one past the last, probability), and what the network looked at."""
Ask = Callable[[ScanRow], Answer]


def _asker(study: Study, folder: Folder, model: str | None, rows: Sequence[ScanRow]) -> Ask | None:
    """What asks the model about a scan; None without a model."""
    if model is None:
        return None
    exported = _exported(study, model)
    if exported is None and model not in study.trainings:
        raise BadStudy(folder.root, f"has no model {model!r}", f"Choose one of its models: {', '.join(study.models)}")
    if exported is not None and exported.members > 1:
        what = f"is the mean of {exported.members} networks, and the view shows what one of them looked at"
        raise BadStudy(exported.where, what, f"Export {exported.name.partition('~')[0]} itself")
    network = load_checkpoint(folder.checkpoint(model))[0] if exported is None else exported.load()[0]
    read, long = shelf_reader(rows), network.settings.input[0]
    say = float if exported is None else exported.adjusted

    def ask(row: ScanRow) -> Answer:
        case = case_of(row)
        found = predict(network, case, read, study.sample, study.prediction.stride)
        starts = evaluation_windows(case.slices, long, study.prediction.stride)
        windows = [(s, min(s + long, case.slices), say(float(p))) for s, p in zip(starts, found, strict=True)]
        return windows, find_saliency(network, case, read, study.sample, study.prediction.stride)

    return ask


def _through_protocol(study: Study, folder: Folder, model: str | None) -> Declared | None:
    """What is asked as a model that was not trained here is, having no gradients; None for networks that have them."""
    if model in study.ensembles or (model in study.trainings and study.network.kind != PAPER):
        return OwnNetwork(name=model, checkpoint=folder.checkpoint(model), stride=study.prediction.stride)
    return None if model is None else model_to_run(study, model, "--model")


def _as_scanned(
    study: Study, folder: Folder, rows: Sequence[ScanRow], wish: Wish, declared: Declared
) -> dict[int, Shown]:
    """Scans as they were read, which is how a model that was not trained here is given them, and what it looked at."""
    sources = _sources(study, rows)
    volumes = dict(_originals(study, rows))
    looks = [look_of(study, folder, row, sources[row.site, row.scan], declared) for row in rows]
    shown: dict[int, Shown] = {}
    for i, (row, looked) in enumerate(zip(rows, look_at_all(looks), strict=True)):
        drawn = _own_grid(volumes[i], row, wish, looked)
        case = _shown(row, wish, drawn)
        window = Window(0, drawn.picture.slices, looked.saliency.probability)
        shown[i] = replace(case, windows=(window,), overlay=_overlay(looked.saliency, drawn, looked.slices))
    return shown


def _exported(study: Study, model: str) -> KnownModel | None:
    """The model of an exported file; None where the name is no file's.

    Raises:
        BadStudy: it takes scans that are prepared otherwise than this study's.
    """
    if not is_exported(Path(model)):
        return None
    known = read_model(Path(model))
    if (known.settings.preparation, known.settings.sample) != (study.preparation, study.sample):
        what = f"takes scans that are prepared otherwise than those of the study {study.name}"
        raise BadStudy(model, what, "Show scans of a study with the same [network] input, [preparation] and [sample]")
    return known


def _case(study: Study, row: ScanRow, wish: Wish, ask: Ask | None, original: Volume | None = None) -> Shown:
    drawn = _original(study, row, wish, original) if original else _prepared(study, row, wish)
    windows, overlay = _asked(ask(row), drawn, row) if ask else ((), None)
    return replace(_shown(row, wish, drawn), windows=windows, overlay=overlay)


def _shown(row: ScanRow, wish: Wish, drawn: Drawn) -> Shown:
    """A scan drawn, without what a model makes of it."""
    hu = drawn.picture.units == "HU"
    return Shown(
        site=row.site,
        patient=row.patient,
        scan=row.scan,
        label=row.label,
        subset=row.subset,
        nifti=drawn.picture.nifti,
        slices=drawn.picture.slices,
        units="HU" if hu else "grey value",
        drawn=drawn.words,
        presets=HU_PRESETS if hu else GREY_PRESETS,
        marks=_placed(wish.marks, row, drawn),
    )


def _prepared(study: Study, row: ScanRow, wish: Wish) -> Drawn:
    """The scan as the network sees it, from the store."""
    facts, cropped = row.facts, study.preparation.crop == "lungs"
    shelf = Shelf({(row.site, row.scan): Path(row.file)})
    voxels = shelf.read(row.site, row.scan, 0, row.slices)
    pixel, thick = (float(facts.get(name) or 0) for name in ("pixel_spacing_mm", "slice_spacing_mm"))
    spacing = (thick, pixel, pixel) if pixel and thick and not cropped else None
    source = (row.source_slices, row.rows, row.columns)
    frame = prepared_frame(voxels.shape if cropped else source, spacing, None, voxels.shape)
    words = [f"The scan as the network sees it, {_size(voxels)}", *(["cropped to the lungs"] if cropped else [])]
    words += [] if spacing else [CUBE]
    if study.preparation.encoding == "hu" and row.units == "relative":
        words.append("grey values taken back to HU through an assumed window")
    units, offset = _stored_units(study, row, facts)
    picture = draw_scan(voxels, units, offset, frame, wish.bits)
    stretch = None if cropped else Stretch(0.0, len(voxels) / row.source_slices)
    return Drawn(picture, frame, study.preparation.size[1:], _words(words, picture, wish.bits), Stretch(), stretch)


def _stored_units(study: Study, row: ScanRow, facts: Mapping[str, Any]) -> tuple[Units, float | None]:
    if study.preparation.encoding == "hu" or row.units == "HU":
        return "HU", 0.0
    if row.units == "ct_number":
        return "ct_number", float(facts.get("declared_offset") or USUAL_OFFSET)
    return "relative", None


def _original(study: Study, row: ScanRow, wish: Wish, volume: Volume) -> Drawn:
    """The scan as it was read."""
    return _prepared_in(volume, prepared_as(study.preparation, row.facts), row.slices, wish)


def _own_grid(volume: Volume, row: ScanRow, wish: Wish, looked: Looked) -> Drawn:
    """The scan as it was read, with the grid on which a model that was not trained here looked at it."""
    if looked.preparation is not None:
        return _prepared_in(volume, prepared_as(looked.preparation, row.facts), looked.slices, wish)
    size = Preparation(size=volume.voxels.shape[:3], grid="fixed")
    return _prepared_in(volume, size, looked.slices, wish)


def _prepared_in(volume: Volume, preparation: Preparation, slices: int, wish: Wish) -> Drawn:
    """The scan as it was read, and where a prepared grid of so many slices lies in it."""
    box = None
    if preparation.crop == "lungs":
        box = lung_box(volume, preparation.margin, preparation.relative_window)
    whole = whole_frame(volume.voxels.shape, volume.spacing)
    shape = (slices, *(preparation.size[1:]))
    frame = prepared_frame(volume.voxels.shape, volume.spacing, box, shape)
    words = [f"The scan as it was read, {_size(volume.voxels)}", *([] if volume.spacing else [CUBE])]
    picture = draw_scan(volume.voxels, volume.units, volume.offset, whole, wish.bits)
    stretch = Stretch(frame.corner[0] / whole.spacing[0], frame.spacing[0] / whole.spacing[0])
    return Drawn(picture, frame, preparation.size[1:], _words(words, picture, wish.bits), stretch, Stretch())


def _originals(study: Study, rows: Sequence[ScanRow]) -> Iterator[tuple[int, Volume]]:
    """(index, volume) of each row, from its own files; in a process of its own, which a decoder's fault may end."""
    sources = _sources(study, rows)
    tasks = [(study, row, sources.get((row.site, row.scan))) for row in rows]

    def died(index: int, how: engine.Ended) -> NoReturn:
        raise ended(sources[rows[index].site, rows[index].scan], str(how))

    yield from engine.run(_read, tasks, workers=1, describe="Reading scans", died=died)


def _sources(study: Study, rows: Sequence[ScanRow]) -> dict[tuple[str, str], Scan]:
    """The chosen scans as their sites' folders hold them now."""
    found: dict[tuple[str, str], Scan] = {}
    for name in dict.fromkeys(row.site for row in rows):
        site = study.site(name)
        listed = list_site(site.kind, site.root, site.name, site.labels, site.options)
        found |= {(name, scan.scan): scan for scan in listed.scans}
    return found


def _read(study: Study, row: ScanRow, source: Scan | None) -> Volume:
    """The scan's volume, which must be the one that was prepared."""
    site = study.site(row.site)
    if source is None:
        raise BadScan(site.root, f"no longer holds scan {row.scan!r}", "Restore it, or show --grid prepared")
    volume = reader(site.kind).read(source)
    if content_hash(volume.voxels) != row.content_hash:
        raise BadScan(f"{site.name}/{row.scan}", "is not what was prepared", "Run `elsewhere prepare` again")
    return volume


def _size(voxels: NDArray[Any]) -> str:
    return " x ".join(map(str, voxels.shape)) + " voxels (slices, rows, columns)"


def _words(words: Sequence[str], picture: Picture, bits: int) -> str:
    unit = " HU" if picture.units == "HU" else ""
    if picture.step == 1:
        depth = f"{bits} bit, every value as stored"
    else:
        depth = f"8 bit: steps of {picture.step:.1f}{unit} from {picture.low:.0f} to {picture.high:.0f}{unit}"
    return "; ".join([*words, depth]) + "."


def _asked(answer: Answer, drawn: Drawn, row: ScanRow) -> tuple[tuple[Window, ...], Overlay]:
    windows = tuple(Window(drawn.prepared.there(a), drawn.prepared.there(b), p) for a, b, p in answer[0])
    return windows, _overlay(answer[1], drawn, row.slices)


def _overlay(looked: Saliency, drawn: Drawn, slices: int) -> Overlay:
    """The evidence of the most COVID-like window, spread over the scan; other slices have none."""
    rows, columns = (min(n, FINEST_OVERLAY) for n in drawn.size)
    window = spread(looked.cells, (looked.length, rows, columns))[looked.top : looked.top + looked.count]
    shares = np.zeros((slices, rows, columns), np.float32)
    shares[looked.start : looked.start + looked.count] = window / (window.max() or 1)
    sums = shares.sum(axis=(1, 2), dtype=np.float64)
    places = np.array([drawn.prepared.back(i + 0.5) for i in range(drawn.picture.slices)])
    inside = (places >= 0) & (places < slices)
    profile = np.where(inside, sums[np.clip(places.astype(int), 0, slices - 1)], 0.0)
    total = profile.sum()
    frame = drawn.frame.coarser(drawn.size[0] / rows, drawn.size[1] / columns)
    start, stop = (round(drawn.prepared.there(n)) for n in (looked.start, looked.start + looked.count))
    covered = max(start, 0), max(min(stop, drawn.picture.slices), start + 1)
    words = _looked_words(looked, *covered)
    return Overlay(draw_overlay(shares, frame), profile / total if total else profile, words, *covered)


def _looked_words(looked: Saliency, start: int, stop: int) -> str:
    if not looked.cells.any():
        return "Nothing in the scan spoke for the positive class to this model: there is nothing to draw."
    cells = " x ".join(map(str, looked.cells.shape))
    if looked.method == "occlusion":
        return (
            f"Occlusion map: how much the log-odds of positive fall where one of {cells} blocks (slices, rows, "
            "columns) is taken away, which is what is denser than aerated lung; smoothed between blocks. Blocks "
            "without which they rise are not drawn, and what two blocks show only together does not show."
        )
    return (
        f"HiResCAM of the most positive window (slices {start + 1} to {stop}): where its evidence for positive came "
        f"from, on {cells} cells, smoothed between them. Evidence against is not drawn."
    )


def _placed(marks: Marks | None, row: ScanRow, drawn: Drawn) -> dict[int, str] | None:
    """Marks of slices as read -> marks of displayed slices, from 0; None where this scan has none."""
    own = {number: word for (scan, number), word in (marks or {}).items() if scan == row.scan}
    if not own:
        return None
    if drawn.source is None:
        where = f"{row.site}/{row.scan}"
        raise BadStudy(where, "was cropped to the lungs, so its slices cannot be marked", "Use --grid original")
    placed: dict[int, str] = {}
    for number, word in sorted(own.items()):
        top, bottom = drawn.source.there(number - 1), drawn.source.there(number)
        covered = {int((top + bottom) / 2), *range(round(top), round(bottom))}
        placed |= {i: word or placed.get(i, "") for i in covered}
    return placed


def _as_typed(words: Sequence[str]) -> str:
    """A command line with the last part of each path: the page may leave the house."""
    shown, before = ["elsewhere"], ""
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        named = value if "--scan" in (before, option) else Path(value).name
        shown.append(f"{option}{equals}{named or value}")
        before = word
    return shlex.join(shown)


def _occasion(study: Study, folder: Folder, model: str | None) -> Occasion:
    command = _as_typed(sys.argv[1:]) if sys.argv[1:2] == ["view"] else "elsewhere view"
    if model is None:
        return Occasion(study.name, study.origin, command=command)
    if (known := _exported(study, model)) is not None:
        named = known.name, known.trained_on, known.point.threshold, known.checkpoint
        return Occasion(study.name, study.origin, *named, command)
    if (declared := model_to_run(study, model, "--model")) is not None:
        return Occasion(study.name, study.origin, model, (), threshold_of(declared), hash_of(declared), command)
    record = read_checkpoint_record(folder.checkpoint(model))
    scores = SCORES.read(folder.scores) if folder.scores.is_file() else []
    own = (r.threshold for r in scores if (r.model, r.threshold_reading) == (model, "model"))
    point = next(own, None)
    return Occasion(study.name, study.origin, model, study.trained_on(model), point, str(record["sha256"]), command)
