"""What a machine proves before it does work for another one: the same folders, room in them, the same versions.

Engines send this file itself (it needs nothing but Python), so that a machine without elsewhere, or with another one,
can still say what is the matter.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import secrets
import socket
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Any

MARK = ".elsewhere-canary-"
MOST_NAMES = 1000  # of a folder, that are compared
ROOM = 65536  # bytes that must find place
VERSIONED = ("torch", "numpy")
_marks: dict[str, list[Any]] = {}
"""Token -> the marks that this process holds open, and locked, while it asks."""


def ask(reads: list[str], writes: list[str], place: str) -> str:
    """What a machine is asked, as text; leaves a mark in the folders that are written, which are made.

    Args:
        reads: folders and files that it must have as this one has them.
        writes: folders that must be the same there, and writable.
        place: working folder.

    Raises:
        OSError: this machine cannot write them itself.
    """
    token, marks = secrets.token_hex(8), list[Any]()
    for folder in writes:
        Path(folder).mkdir(parents=True, exist_ok=True)
        marks.append(Path(folder, MARK + token).open("w+"))  # noqa: SIM115 - `forget` closes it
        marks[-1].write(token)
        marks[-1].flush()
    _marks[token] = marks
    return json.dumps(
        {
            "token": token,
            "locked": os.environ.get("ELSEWHERE_LOCKS") != "local" and all(map(_takes, marks)),
            "reads": {path: _look(path) for path in reads},
            "writes": writes,
            "place": place,
            "versions": _versions(),
        }
    )


def forget(asked: str) -> None:
    """Remove the marks of `ask`."""
    asks = json.loads(asked)
    for mark in _marks.pop(asks["token"], []):
        mark.close()
    for folder in asks["writes"]:
        with suppress(OSError):
            Path(folder, MARK + asks["token"]).unlink()


def prove(asked: str) -> str:
    """A machine's answer: its host and what is not as it was asked for, as text."""
    asks, faults = json.loads(asked), list[list[str]]()
    for path in [*asks["reads"], asks["place"]]:
        try:
            if _look(path) != asks["reads"].get(path, _look(path)):
                faults.append([path, "is not the same as on the machine that asks"])
        except OSError as error:
            faults.append([path, f"cannot be read there ({error.strerror})"])
    for folder in asks["writes"]:
        with suppress(StopIteration):
            faults.append([folder, next(_unshared(folder, asks["token"]))])
    here = _versions()
    faults += [
        [name, f"is {here[name]} there and {wanted} here"]
        for name, wanted in asks["versions"].items()
        if here[name] != wanted
    ]
    unlocked = [folder for folder in asks["writes"] if asks["locked"] and _is_unlocked(folder, asks["token"])]
    return json.dumps({"host": socket.gethostname(), "faults": faults, "unlocked": unlocked})


def _is_unlocked(folder: str, token: str) -> bool:
    """Whether nothing is seen here of the lock that the machine that asks holds, for as long as it lives."""
    with suppress(OSError), Path(folder, MARK + token).open("r+") as mark:
        return _takes(mark)
    return False


def _takes(mark: Any) -> bool:
    """Lock a file, unless somebody has, or the system or the file system has no locks."""
    try:
        import fcntl  # noqa: PLC0415 - not on every system

        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _unshared(folder: str, token: str) -> Any:
    """What keeps a folder from being the same one there, and writable."""
    try:
        if Path(folder, MARK + token).read_text() != token:
            yield "is another folder there"
    except OSError as error:
        what = "is not there" if not Path(folder).is_dir() else "is another folder there, not a shared one"
        yield what if error.errno == errno.ENOENT else f"cannot be read there ({error.strerror})"
    name = f"{MARK}{token}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with open(os.path.join(folder, name), "xb") as file:
            file.write(bytes(ROOM))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield f"cannot be written there ({error.strerror})"
    finally:
        with suppress(OSError):
            os.unlink(os.path.join(folder, name))


def _look(path: str) -> str:
    """A folder's first names, or a file's size."""
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if not name.startswith(MARK))[:MOST_NAMES]
        return hashlib.sha256(repr(names).encode(errors="surrogateescape")).hexdigest()
    return str(os.stat(path).st_size)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "elsewhere": "not installed"}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    try:
        spec = util.find_spec("elsewhere")
    except ValueError:  # a module without one
        spec = None
    if spec is not None and spec.origin is not None:
        code, root = hashlib.sha256(), Path(spec.origin).parent
        for file in sorted(root.rglob("*.py")):
            code.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
        version = __import__("elsewhere").__version__
        found["elsewhere"] = f"{version} (code {code.hexdigest()[:8]})"
    return found


class Agent:
    """Stands on a machine for one worker: proves first, then has tasks done in a process of its own.

    A plain class, which an engine makes its own.
    """

    def __init__(self) -> None:
        self.attendant: Any = None

    def prove(self, asked: str) -> str:
        """See `prove` of this module."""
        return prove(asked)

    def begin(self, given: bytes) -> None:
        """Make ready to do tasks, as `elsewhere.engine.attendant.Attendant` is told."""
        from elsewhere.engine.attendant import Attendant  # noqa: PLC0415 - only once the versions are proven

        self.attendant = Attendant(given)

    def work(self, task: bytes) -> Any:
        """The messages of one task, pickled, as they come."""
        yield from self.attendant.messages(task)

    def stop(self) -> None:
        """End the process; what it has written half goes."""
        if self.attendant is not None:
            self.attendant.stop()


def do_share(asked: str, folder: str, share: str) -> None:
    """A job of an array: prove what is asked, leave the answer, and do a share of the tasks where all is well."""
    proof = prove(asked)
    path = Path(folder, "proofs", share)
    half = path.with_name(f".{share}.{secrets.token_hex(8)}")
    half.write_text(proof)
    half.replace(path)
    if not json.loads(proof)["faults"]:
        from elsewhere.engine.share import work_off  # noqa: PLC0415 - only once the versions are proven

        work_off(Path(folder), share)
