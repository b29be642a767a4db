"""Models as one file that a hospital runs on its own scans: weights, settings, thresholds, hashes; no scan of anybody.

`kit.json` inside names the SHA-256 of every other file, and the kit's number is the SHA-256 of `kit.json`: a return
(`returned.py`) carries that number, so that what a hospital computed is known to come from exactly these weights.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter, ValidationError

from elsewhere.errors import BadCheckpoint, BadOption, BadStudy, ElsewhereError
from elsewhere.files import write_whole
from elsewhere.model.network import Network, load_networks, versions
from elsewhere.scans.scan import Fact
from elsewhere.statistics.decision import OperatingPoint
from elsewhere.studies.exported import WHEN, anonymous
from elsewhere.studies.file import SITE_NAME
from elsewhere.studies.folder import Folder
from elsewhere.studies.known_model import KnownModel, ModelSettings, salted_hash, trained_model
from elsewhere.studies.records import read_identity
from elsewhere.table_format import RecordFormat

RECORD, README = "kit.json", "README.md"
ENDS = ("json", "safetensors")
PUBLIC = ("model", "protocol", "training_sites", "preparation", "sample", "versions", "iteration", "finding")
"""What a checkpoint's record keeps in a kit; its thresholds at other sites were chosen on their scans and stay home."""

MOST_BYTES = 1 << 34
MOST_RECORD = 1 << 26
AGAIN = "Copy it again, or ask the study for a new one (`elsewhere kit`)"
KIT = RecordFormat("kit", 1, ("study", "origin", "protocol", "models", "files", "versions"), AGAIN)


@dataclass(frozen=True)
class KitModel:
    """One model of a kit.

    Attributes:
        name: of the model.
        trained_on: its training sites.
        checkpoint: SHA-256 of the weights.
        point: where it calls a scan positive, chosen on validation scans of its training sites.
        settings: how it takes scans, and how its scores are judged.
        metadata: name -> range (numbers) or values (texts) of the scans that the study knows.
        learned_from: salted hashes of the voxels of its training and validation scans.
        members: number of its networks: above 1 for the mean of the folds of a cross-validation.
    """

    name: str
    trained_on: tuple[str, ...]
    checkpoint: str
    point: OperatingPoint
    settings: ModelSettings
    metadata: Mapping[str, tuple[Fact, ...]]
    learned_from: tuple[str, ...]
    members: int = 1

    @cached_property
    def known(self) -> frozenset[str]:
        """Those hashes, to be looked up."""
        return frozenset(self.learned_from)

    def learned_on(self, content_hash: str) -> bool:
        """Whether it was trained or chosen on a scan with this hash of its voxels."""
        return salted_hash(self.checkpoint, content_hash) in self.known


@dataclass(frozen=True)
class Kit:
    """What a kit's record says.

    Attributes:
        study: name of the study.
        origin: "real", "repacked" or "simulated" data behind the models.
        protocol: of the study.
        models: its networks, all of which take scans alike.
        files: name of each other file -> its SHA-256.
        versions: of what wrote it.
        finding: what positive scans show; "" where the study did not say.
        hospital: name of the hospital that it was made for, for the study's page; "" for any.
        number: SHA-256 of the record, of which it is no part.
    """

    study: str
    origin: str
    protocol: str
    models: tuple[KitModel, ...]
    files: Mapping[str, str]
    versions: Mapping[str, str]
    finding: str = ""
    hospital: str = ""
    number: str = ""

    @property
    def settings(self) -> ModelSettings:
        """How its networks take scans."""
        return self.models[0].settings


def make_kit(folder: Folder, names: Sequence[str], hospital: str, target: Path) -> Kit:
    """Write a kit of models of a finished study; what the study must know to take its returns is kept in its folder.

    Args:
        folder: the study's.
        names: of the models; none for all that the study trained.
        hospital: that it is made for; "" for any.
        target: the .zip, which must not be there yet.

    Raises:
        BadOption: the file is there, is not called .zip, or a name cannot name a hospital.
        BadStudy: no such study or model, or one that cannot travel.
        BadCheckpoint: weights are missing or damaged.
    """
    if target.suffix.lower() != ".zip":
        raise BadOption("--out", f"is {target}", "Give a file that ends in .zip")
    if target.exists():
        raise BadOption(str(target), "is there already", "Give another file, or move it away")
    check_hospital("--hospital", hospital)
    known = _models(folder, names)
    with TemporaryDirectory() as name:
        staged = Path(name)
        for place, one in enumerate(known):
            one.save(staged / str(place), PUBLIC)
        first, files = known[0], {file.name: _sha(file) for file in sorted(staged.iterdir())}
        models = tuple(map(_kit_model, known))
        made = Kit(first.study, first.origin, first.protocol, models, files, versions(), first.finding, hospital)
        KIT.write(staged / RECORD, asdict(made))
        (staged / README).write_text(_readme(known), encoding="utf-8")
        content = (staged / RECORD).read_bytes()
        write_whole(folder.kit(hashlib.sha256(content).hexdigest()), content)
        write_whole(target, partial(_pack, staged))
    return read_kit(target)


def check_hospital(where: str, name: str) -> None:
    """Refuse what cannot name a hospital on a page and in a file's name. Raises BadOption."""
    if name and not SITE_NAME.fullmatch(name):
        raise BadOption(where, f"is {name!r}", "Use letters, digits, space, '.', '_' and '-'")


def _models(folder: Folder, names: Sequence[str]) -> list[KnownModel]:
    identity = read_identity(folder)
    kinds = {product["name"]: product["kind"] for product in identity["settings"].get("products", ())}
    for name in names:
        if name in kinds:
            what = (
                f"{name} was not trained by this study (kind {kinds[name]!r}): its own code, or its table of scores, "
            )
            raise BadStudy(
                folder.root,
                f"{what}would have to travel, which a kit does not do",
                "Name networks that the study trained; give the hospital the program, and `elsewhere evaluate` there",
            )
    chosen = list(dict.fromkeys(names)) or list(identity["models"])
    if not chosen:
        raise BadStudy(folder.root, "trained no network", "Give a study that trained one")
    return [anonymous(trained_model(folder.root, name)) for name in chosen]


def _kit_model(model: KnownModel) -> KitModel:
    return KitModel(
        name=model.name,
        trained_on=model.trained_on,
        checkpoint=model.checkpoint,
        point=model.home_point,
        settings=model.settings,
        metadata=model.metadata,
        learned_from=tuple(sorted(model.learned_from)),
        members=model.members,
    )


def _readme(models: Sequence[KnownModel]) -> str:
    names = "".join(f"* {m.name}, trained on {', '.join(m.trained_on)}\n" for m in models)
    return (
        f"# Kit of the study {models[0].study}\n\n**Research use only. Not a medical device.**\n\n{names}\n"
        "On a machine of the hospital, which needs no network:\n\n"
        "    elsewhere visit kit.zip FOLDER --kind dicom --labels labels.csv\n\n"
        "It reads the scans, scores the networks there, shows all that would leave, asks, and writes return.json.\n"
        "Send that file back by whatever way you like. No scan, id, path or score of a single scan is in it.\n"
    )


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _pack(folder: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for file in sorted(folder.iterdir()):
            kind = zipfile.ZIP_STORED if file.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            target.writestr(zipfile.ZipInfo(file.name, WHEN), file.read_bytes(), kind)


# Reading -----------------------------------------------------------------------------------------------------------


def read_kit(path: Path) -> Kit:
    """What a kit says of itself; its weights are checked when they are loaded (`kit_networks`).

    Raises:
        BadCheckpoint: the file is missing, damaged, changed, or no kit.
    """
    with TemporaryDirectory() as name:
        file = Path(name) / RECORD
        with _opened(path) as archive:
            file.write_bytes(_member(path, archive, RECORD, MOST_RECORD))
        return read_kit_record(path, file)


def read_kit_record(where: Path, file: Path) -> Kit:
    """A kit's record, from its file; `where` is what messages name. Raises BadCheckpoint."""
    try:
        record = KIT.read(file)
        number = hashlib.sha256(file.read_bytes()).hexdigest()
        return replace(TypeAdapter(Kit).validate_python(record), number=number)
    except ElsewhereError as error:
        raise BadCheckpoint(where, f"{RECORD} {error.what}", AGAIN) from error
    except (ValidationError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadCheckpoint(where, f"{RECORD} holds other values ({_one_line(error)})", AGAIN) from error


def kit_networks(path: Path, kit: Kit, place: int) -> list[Network]:
    """The networks of one model of a kit, in evaluation mode on the processor: one, or those of its folds.

    Args:
        path: the .zip.
        kit: what it says.
        place: of the model among the kit's.

    Raises:
        BadCheckpoint: a file is missing, or is not the one whose hash the kit names.
    """
    with TemporaryDirectory() as name, _opened(path) as archive:
        for end in ENDS:
            member = f"{place}.{end}"
            content = _member(path, archive, member, MOST_BYTES)
            if hashlib.sha256(content).hexdigest() != kit.files.get(member):
                raise BadCheckpoint(path, f"its {member} is not the one that its {RECORD} names", AGAIN)
            (Path(name) / member).write_bytes(content)
        networks, record = load_networks(Path(name) / str(place))
    if record["sha256"] != kit.models[place].checkpoint:
        what = f"the weights of {kit.models[place].name} are not those that its {RECORD} names"
        raise BadCheckpoint(path, what, AGAIN)
    return networks


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise BadCheckpoint(path, "no such file", "Give a kit written by `elsewhere kit`") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, io.UnsupportedOperation, EOFError, RuntimeError) as error:
        raise BadCheckpoint(path, f"is damaged or no zip ({_one_line(error)})", AGAIN) from error
    except NotImplementedError as error:
        raise BadCheckpoint(path, f"is damaged ({_one_line(error)})", AGAIN) from error


def _member(path: Path, archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    there = {one.filename: one.file_size for one in archive.infolist()}
    if name not in there:
        held = ", ".join(sorted(there)[:5]) or "nothing"
        raise BadCheckpoint(path, f"is no kit: it has no {name} (it holds {held})", AGAIN)
    if there[name] > most:
        raise BadCheckpoint(path, f"says that its {name} has {there[name]:,} bytes", AGAIN)
    try:
        return archive.read(name)
    except ValueError as error:
        raise BadCheckpoint(path, f"is damaged ({_one_line(error)})", AGAIN) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
