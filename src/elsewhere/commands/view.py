"""Scans of a study, and a model of it, in; one page that draws them with what the network looked at out."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import typer

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
    draw_overlay,
    spread,
)
from elsewhere.scans.intake import ended
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import list_site, reader
from elsewhere.scans.volume import Volume, content_hash
from elsewhere.studies.asking import DICOM, model_to_run
from elsewhere.studies.drawn import Drawn, draw_original, draw_own_grid, draw_prepared
from elsewhere.studies.exported import is_exported, read_model
from elsewhere.studies.file import Study
from elsewhere.studies.folder import Folder, open_study
from elsewhere.studies.known_model import KnownModel
from elsewhere.studies.looking import look_at_all, look_of
from elsewhere.studies.marked_slices import Marks, read_marked_slices
from elsewhere.studies.predictions import fitting_predictions, join_predictions
from elsewhere.studies.prepared import case_of, shelf_reader
from elsewhere.studies.products import read_products
from elsewhere.studies.records import SCORES, ScanRow, usable_rows

HU_PRESETS = (Preset("lung", -1350, 150), Preset("mediastinum", -160, 240))
"""Level -600, width 1500, and level 40, width 400."""
GREY_PRESETS = (Preset("as published", 0, 255), Preset("bright half", 128, 255), Preset("dark half", 0, 128))
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
    seg: Annotated[
        Path | None, typer.Option(help="Folder: each overlay also as a DICOM segmentation of its series.")
    ] = None,
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
    if seg is not None:
        _check_seg(plan, chosen, model, grid)
    target = page or folder.view(_file_name(chosen, model))
    shown = write_view(plan, folder, chosen, target, model=model, wish=wish)
    if seg is not None:
        _write_segmentations(plan, chosen, shown, seg, _occasion(plan, folder, model))
    return target


def write_view(
    study: Study, folder: Folder, rows: Sequence[ScanRow], target: Path, *, model: str | None = None, wish: Wish
) -> list[Shown]:
    """Draw the scans of some rows of scans.parquet onto one page, and say how large it became.

    Returns:
        what the page shows of each.

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
    shown = [cases[i] for i in range(len(rows))]
    try:
        text = render(shown, _occasion(study, folder, model))
    except ValueError as error:
        raise BadStudy(target, str(error), "Give fewer --scan, --grid prepared or --bits 8") from error
    write_whole(target, text)
    size = f"{len(text.encode()) / 1e6:.1f} MB"
    engine.say(f"{target} ({size}). It holds patient data.", "The page:")
    return shown


def _check_seg(study: Study, rows: Sequence[ScanRow], model: str | None, grid: str) -> None:
    if model is None:
        raise BadStudy("--seg", "is given without --model, so there is no overlay", "Say of which model: --model NAME")
    other = next((r.site for r in rows if study.site(r.site).kind != DICOM), None)
    if other is not None:
        what = f"writes DICOM, and {other} has none (kind = {study.site(other).kind!r})"
        raise BadStudy("--seg", what, "Save the overlay as NIfTI from the page")
    if study.preparation.crop != "none" and grid != "original":
        what = "is given, and scans cropped to the lungs do not know where they lie"
        raise BadStudy("--seg", what, "Give --grid original")


def _write_segmentations(
    study: Study, rows: Sequence[ScanRow], shown: Sequence[Shown], place: Path, occasion: Occasion
) -> None:
    """One DICOM segmentation for each scan with something to draw."""
    from elsewhere.scans.dicom.segmentation import Maker, write_segmentation  # noqa: PLC0415 - pydicom takes its time

    sources = _sources(study, rows)
    for row, one in zip(rows, shown, strict=True):
        if one.overlay is None or not one.overlay.profile.any():
            continue
        maker = Maker(occasion.model, occasion.checkpoint, one.overlay.words)
        path, where = place / f"{_file_name([row], occasion.model)}.dcm", f"{row.site}: {row.scan}"
        if (row.site, row.scan) not in sources:
            raise BadScan(study.site(row.site).root, f"no longer holds scan {row.scan!r}", "Restore it")
        write_segmentation(path, sources[row.site, row.scan].files, where, one.overlay.nifti, maker)
        engine.say(f"{path}. It holds patient data.", "Segmentation:")


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
        drawn = draw_own_grid(volumes[i], row, wish.bits, looked)
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
    drawn = draw_original(study, row, wish.bits, original) if original else draw_prepared(study, row, wish.bits)
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
