"""Models of a study that can be run, and its test scans, in; each model's answer to each scan, kept, out.

Raw scans are read through the readers of their sites, once for all models, and handed over as they were scanned: what a
model does with them is its declaration's affair. A program that takes several scans at once is given them together.
Answers and refusals are kept under a key of the model's files, its declaration and the scan's files, however many were
asked about at once; a scan that a model fails on is asked again at the next start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from elsewhere import engine
from elsewhere.errors import BadScan, BadStudy
from elsewhere.model.cuda import device_of
from elsewhere.model.declared import Declared
from elsewhere.model.network_settings import NetworkSettings
from elsewhere.model.runnable import hash_of, open_model
from elsewhere.model.runnable.command import Program
from elsewhere.model.runnable.protocol import GivenScan, Refused, RunnableModel
from elsewhere.scans import store
from elsewhere.scans.intake import ended
from elsewhere.scans.preparation import Preparation
from elsewhere.scans.regions import REGIONS_VERSION, VIEWS, find_regions
from elsewhere.scans.scan import Scan
from elsewhere.scans.sites import list_site, reader
from elsewhere.scans.units import declared_window
from elsewhere.scans.volume import Volume, content_hash
from elsewhere.studies.file import Site, Study
from elsewhere.studies.folder import Folder
from elsewhere.studies.kept import keep_record, kept_record, key
from elsewhere.studies.models import Product, kept_model
from elsewhere.studies.records import ScanRow, read_identity

DICOM = "dicom"
Place = tuple[str, str, str]
"""Model, site, scan."""


@dataclass(frozen=True)
class Answer:
    """What a model said of a scan.

    Attributes:
        windows: probability of each window; none where it gave no answer.
        reason: why it gave none, or "".
        refused: whether the model itself refused the scan; it would do so again.
        remarks: what whoever reads its scores should know.
    """

    windows: tuple[float, ...] = ()
    reason: str = ""
    refused: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def probability(self) -> float | None:
        """Of the scan: the highest of its windows (a model that takes their mean gives one); None without an answer."""
        return max(self.windows, default=None)


@dataclass(frozen=True)
class Question:
    """One scan, and the models that have not answered it.

    Attributes:
        kind: of its site.
        scan: the scan.
        content: hash of its voxels as they were prepared; "" where nobody knows it.
        models: each with its hash, and the file that keeps its answer.
        device: to run networks on.
        part: of the scan that they are shown, one of `VIEWS`; "" for all of it.
    """

    kind: str
    scan: Scan
    content: str
    models: tuple[tuple[Declared, str, Path], ...]
    device: str
    part: str = ""


def ask_models(
    study: Study,
    folder: Folder,
    rows: Sequence[ScanRow],
    models: Sequence[Declared],
    workers: int | None = None,
    *,
    part: str = "",
) -> dict[Place, Answer]:
    """Every model's answer to every scan, or to a part of it; those that are kept are not asked for again.

    Args:
        study: the study.
        folder: its folder.
        rows: usable scans.
        models: to ask.
        workers: processes; None means one per core.
        part: of each scan that they are shown, one of `VIEWS`; "" for all of it.

    Raises:
        BadCheckpoint: a model's file is missing or damaged.
        BadStudy: a model is not what the study file says of it.
    """
    hashes = {model.name: hash_of(model) for model in models}
    of_part = [part, REGIONS_VERSION] if part else []
    found: dict[Place, Answer] = {}
    questions: list[Question] = []
    for site in study.sites:
        own = [row for row in rows if row.site == site.name]
        lacking: dict[str, list[tuple[Declared, str, Path]]] = {}
        for row in own:
            for model in models:
                place = folder.answer(key("answers", hashes[model.name], *_identity(row), *of_part))
                if (answer := _kept(place)) is None:
                    lacking.setdefault(row.scan, []).append((model, hashes[model.name], place))
                else:
                    found[model.name, row.site, row.scan] = answer
        asked = _questions(study, site, [r for r in own if r.scan in lacking], lacking, found)
        questions += [replace(question, part=part) for question in asked]
    words = f"Running models on {part.replace('_', ' ')}" if part else "Running models"
    for question, answers in _carried_out(questions, workers, f"{words} ({study.name})"):
        for (model, _, _), answer in zip(question.models, answers, strict=True):
            found[model.name, question.scan.site, question.scan.scan] = answer
    return found


def ask_about_new(
    site: Site, scans: Sequence[Scan], model: Declared, folder: Folder, workers: int | None = None
) -> dict[str, Answer]:
    """A model's answer to each scan of a site that no study prepared, by the scans' ids; kept under their files.

    Args:
        site: the site.
        scans: of it.
        model: to ask.
        folder: of the study that the model stands in.
        workers: processes; None means one per core.

    Raises:
        BadCheckpoint, BadStudy, BadInstallation: as `ask_models`.
    """
    accelerator = str(read_identity(folder)["settings"]["training"]["accelerator"])
    sha, device = hash_of(model), device_of(accelerator)
    form = site.kind, reader(site.kind).READER_VERSION
    found: dict[str, Answer] = {}
    questions: list[Question] = []
    for scan in scans:
        try:
            place = folder.answer(key("answers", sha, store.key(scan, site.root, form, Preparation())))
        except BadScan as error:
            found[scan.scan] = Answer(reason=error.what)
            continue
        if (answer := _kept(place)) is None:
            questions.append(Question(site.kind, scan, "", ((model, sha, place),), device))
        else:
            found[scan.scan] = answer
    done = _carried_out(questions, workers, f"Running {model.name}")
    return found | {question.scan.scan: answers[0] for question, answers in done}


def _questions(
    study: Study,
    site: Site,
    rows: Sequence[ScanRow],
    lacking: Mapping[str, Sequence[tuple[Declared, str, Path]]],
    found: dict[Place, Answer],
) -> list[Question]:
    """One question for each scan; to scans that are gone the answer is that."""
    if not rows:
        return []
    listed = {s.scan: s for s in list_site(site.kind, site.root, site.name, site.labels, site.options).scans}
    device = device_of(study.training.accelerator)
    questions = []
    for row in rows:
        if row.scan in listed:
            questions.append(Question(site.kind, listed[row.scan], row.content_hash, tuple(lacking[row.scan]), device))
        else:
            gone = Answer(reason="the scan is no longer at its site")
            found |= {(model.name, row.site, row.scan): gone for model, _, _ in lacking[row.scan]}
    return questions


def _carried_out(
    questions: Sequence[Question], workers: int | None, describe: str
) -> list[tuple[Question, tuple[Answer, ...]]]:
    """Every question with its answers; a batch that its process died of is asked about scan by scan."""
    done, left = _asked_once(together(questions), workers, describe)
    alone, _ = _asked_once([[question] for question in left], workers, f"{describe}, one by one")
    return done + alone


def _asked_once(
    groups: Sequence[Sequence[Question]], workers: int | None, describe: str
) -> tuple[list[tuple[Question, tuple[Answer, ...]]], list[Question]]:
    """Questions with their answers, and those of batches whose process died."""
    left: list[Question] = []

    def died(index: int, how: engine.Ended) -> list[tuple[Answer, ...]]:
        if len(groups[index]) > 1:
            left.extend(groups[index])
            return []
        (question,) = groups[index]
        return [(Answer(reason=ended(question.scan, str(how)).what),) * len(question.models)]

    if groups and groups[0][0].device == "cuda":
        workers = workers or 1  # processes side by side on one card only slow each other down
    tasks = [(group,) for group in groups]
    found = engine.run(ask_together, tasks, workers=workers, describe=describe, died=died) if tasks else ()
    return [pair for index, answers in found for pair in zip(groups[index], answers, strict=False)], left


def together(questions: Sequence[Question]) -> list[Sequence[Question]]:
    """Questions in groups that are asked in one go: alone, but for a model that takes several scans at once."""
    groups: list[Sequence[Question]] = []
    several: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        alone = tuple(model for model in question.models if model[0].scans_at_once == 1)
        if alone:
            groups.append([replace(question, models=alone)])
        for model in question.models:
            if model not in alone:
                several.setdefault((model[0].name, question.scan.site), []).append(replace(question, models=(model,)))
    for asked in several.values():
        size = asked[0].models[0][0].scans_at_once or len(asked)
        groups += [asked[i : i + size] for i in range(0, len(asked), size)]
    return groups


def ask_together(questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
    """The answers of a group of questions; a program's to a batch are kept as those to single scans are.

    Raises:
        BadCheckpoint, BadStudy, BadInstallation: a model cannot be opened, or is not what is said of it.
        OSError: the folder cannot be written.
    """
    declared, sha, _ = questions[0].models[0]
    if declared.scans_at_once == 1:
        return [ask(question) for question in questions]
    model = opened(declared, sha, questions[0].device)
    if not isinstance(model, Program):
        raise NotImplementedError(type(model).__name__)
    said = model.score_several([partial(_read, question) for question in questions])
    why = f"it failed when it was given several scans at once ({said.failed}), and was asked about each alone"
    remarks = (*model.remarks, *((why,) if said.failed else ()))
    answers = [_of_outcome(outcome, remarks) for outcome in said.outcomes]
    for question, answer in zip(questions, answers, strict=True):
        _keep(question.models[0][2], answer)
    return [(answer,) for answer in answers]


def ask(question: Question) -> tuple[Answer, ...]:
    """Read one scan, and ask each of a question's models; answers and refusals are kept, failures are not.

    Raises:
        BadCheckpoint, BadStudy, BadInstallation: a model cannot be opened, or is not what is said of it.
        OSError: the folder cannot be written.
    """
    try:
        given = _read(question)
    except BadScan as error:
        return tuple(Answer(reason=error.what) for _ in question.models)
    return tuple(_asked(given, question, *model) for model in question.models)


def _read(question: Question) -> GivenScan:
    given = read_given(question.kind, question.scan, question.content)
    return part_of(given, question.part) if question.part else given


def _asked(given: GivenScan, question: Question, declared: Declared, sha: str, place: Path) -> Answer:
    return _keep(place, answer_of(opened(declared, sha, question.device), given))


def _keep(place: Path, answer: Answer) -> Answer:
    if answer.windows or answer.refused:
        keep_record(place, asdict(answer))
    return answer


@lru_cache(maxsize=4)
def opened(  # the hash is part of the cache's key
    declared: Declared,
    sha: str,  # noqa: ARG001
    device: str,
    trusted: NetworkSettings | None = None,
) -> RunnableModel:
    """A model, opened once in each process; raises as `open_model`."""
    torch.set_num_threads(min(2, torch.get_num_threads()))
    return open_model(declared, device, trusted)


def answer_of(model: RunnableModel, given: GivenScan) -> Answer:
    """What a model says of a scan; one that it fails on is an answer with a reason, never an end.

    Raises:
        BadCheckpoint, BadStudy, BadInstallation: the model is not what is said of it.
    """
    try:
        windows = tuple(float(p) for p in model.score(given))
    except BadScan as error:
        return _of_outcome(error, model.remarks)
    return Answer(windows, remarks=model.remarks)


def _of_outcome(outcome: float | BadScan, remarks: tuple[str, ...]) -> Answer:
    if isinstance(outcome, BadScan):
        return Answer(reason=outcome.what, refused=isinstance(outcome, Refused), remarks=remarks)
    return Answer((outcome,), remarks=remarks)


def read_given(kind: str, scan: Scan, content: str = "") -> GivenScan:
    """A scan as it is handed to a model.

    Args:
        kind: of its site.
        scan: the scan.
        content: hash of its voxels as they were prepared; "" where nobody knows it.

    Raises:
        BadScan: it cannot be read, or its voxels are others.
    """
    try:
        volume = reader(kind).read(scan)
    except BadScan:
        raise
    except Exception as error:  # one bad scan never stops a site, whatever a codec does with it
        what = f"cannot be read ({type(error).__name__}: {error})"
        raise BadScan(f"{scan.site}: {scan.scan}", what, "Take the scan out, or report it with this message") from error
    if content and content_hash(volume.voxels) != content:
        raise BadScan(f"{scan.site}: {scan.scan}", "is not what was prepared", "Run `elsewhere prepare` again")
    return given_of(scan, volume, scan.files if kind == DICOM else ())


def part_of(given: GivenScan, part: str) -> GivenScan:
    """A part of a scan, one of `VIEWS`, in HU on the scan's own grid; it has no DICOM files.

    Raises:
        BadScan: no lungs were found, or nothing lies outside the body.
    """
    volume = given.in_hu()
    regions = find_regions(volume.voxels)
    if not regions.has_lungs or (part == "border_only" and not regions.has_outside):
        what = "nothing lies outside the body in it" if regions.has_lungs else "no lungs were found in it"
        raise BadScan(given.name, what, "Look at it with `elsewhere view`")
    return replace(given, volume=replace(volume, voxels=VIEWS[part](volume.voxels, regions)), dicom=())


def given_of(scan: Scan, volume: Volume, dicom: tuple[Path, ...] = ()) -> GivenScan:
    """A scan with these voxels, as it is handed to a model."""
    window = declared_window({**volume.facts, **scan.facts})
    return GivenScan(scan.site, scan.patient, scan.scan, volume, window, dicom)


def _identity(row: ScanRow) -> list[object]:
    """What an answer may depend on: voxels, their size, headers (the stored file's name is a hash of the files)."""
    window = declared_window(row.facts) or (None, None)
    return [row.site, row.scan, Path(row.file).name, row.content_hash, row.units, *window]


def _kept(place: Path) -> Answer | None:
    record = kept_record(place)
    if not record:
        return None
    return Answer(tuple(record["windows"]), record["reason"], record["refused"], tuple(record["remarks"]))


def product_of(folder: Folder, name: str) -> Declared | None:
    """The model of this name that a study can run; None where it has none, or only its scores.

    Raises:
        BadStudy: as `declared_models`.
    """
    return next((declared for declared, _ in declared_models(folder) if declared.name == name), None)


def declared_models(folder: Folder) -> list[tuple[Declared, str]]:
    """The models of a finished study that can be run, as study.json keeps them, and the hash of each one's files then.

    Raises:
        BadStudy: there is no study, or its record is damaged or of another version.
    """
    found = []
    for record in read_identity(folder)["settings"].get("products", ()):
        declared = kept_model(folder.study, record, folder.place)
        if not isinstance(declared, Product):
            found.append((declared, str(record["sha256"])))
    return found


def can_be_run(study: Study) -> list[str]:
    """Names of a study's models that were not trained here and can be asked about changed scans."""
    return [m.name for m in study.products if isinstance(m, Declared) and not m.only_as_scanned]


def model_to_run(study: Study, name: str, option: str) -> Declared | None:
    """The model of this name that was not trained here and can be asked about changed scans; None for another name.

    Args:
        study: the study.
        name: of the model.
        option: that named it, for messages.

    Raises:
        BadStudy: it cannot; the message says why.
    """
    found = next((model for model in study.products if model.name == name), None)
    if found is None:
        return None
    then = f"Those that can: {', '.join([*study.models, *can_be_run(study)]) or 'none'}"
    if isinstance(found, Product):
        what = f"names {name!r}, of which only a table of scores is known: it cannot be shown changed scans"
        raise BadStudy(option, what, then)
    if found.only_as_scanned:
        raise BadStudy(option, f"names {name!r}, which {found.only_as_scanned}", then)
    return found
