"""Training: it learns, it resumes bit by bit after kill -9, it refuses what it cannot do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import socket
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from elsewhere.errors import BadCheckpoint, BadOption, BadScan, BadStudy
from elsewhere.model import training as under_test
from elsewhere.model.network import Network, NetworkSettings, amend_checkpoint, load_checkpoint
from elsewhere.model.prediction import predict
from elsewhere.model.sample import Case, SampleSettings, seed_of
from elsewhere.model.selection import Check
from elsewhere.model.state import State, lock, read_state, save_state
from elsewhere.model.training import Batches, Job, TrainingSettings, train

NETWORK = NetworkSettings(
    input=(6, 8, 8), filters=(8, 8), kernels=((3, 3, 3),) * 2, pools=((2, 2, 2),), dense=(128,), dense_groups=8
)
SAMPLE = SampleSettings(intensity=(0.8, 1.2))
SETTINGS = TrainingSettings(
    iterations=12, batch=2, learning_rate=1e-3, validate_every=5, save_every=3, threads=1, accelerator="cpu"
)
CASES = [Case("ab"[i % 2], f"p{i}", f"s{i}", i // 2 % 2, 5 + i % 3, 0, 200) for i in range(12)]
RECORD = {"model": "a+b", "split_hash": "0123"}


def read(case: Case, start: int, stop: int):
    """Positives are brighter in a corner."""
    voxels = np.random.default_rng(seed_of(case.scan)).integers(0, 100, (case.slices, 8, 8)).astype(np.int16)
    voxels[:, 2:6, 2:6] += 100 * case.label
    return voxels[start:stop]


def run(folder: Path, settings: TrainingSettings = SETTINGS, **changed) -> Path:
    arguments = {
        "network_settings": NETWORK,
        "sample_settings": SAMPLE,
        "training_settings": settings,
        "training": CASES[:8],
        "validation": CASES[8:],
        "read": read,
        "folder": folder,
        "record": RECORD,
        "progress": None,
    }
    return train(**(arguments | changed))


def results(folder: Path) -> dict[str, bytes]:
    """Every byte that a training leaves, but for TensorBoard's events, which hold times."""
    names = ("checkpoint.safetensors", "checkpoint.json", "curves.csv", "state/current.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """What an uninterrupted training leaves."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return results(folder)


class Killed(BaseException):
    """Stands for kill -9 inside one process: nothing in the code catches it."""


def kill_at(iteration: int):
    def progress(done, total, text):
        if done == iteration:
            raise Killed

    return progress


def test_it_learns(tmp_path):
    stem = run(tmp_path, replace(SETTINGS, iterations=60, validate_every=20, tensorboard=False))
    network, record = load_checkpoint(stem)
    right = [(predict(network, case, read, SAMPLE).max() > 0.5) == case.label for case in CASES]
    assert sum(right) >= 11
    assert record["validation_accuracy"] == 1.0
    assert record["model"] == "a+b"
    assert record["sample"]["intensity"] == [0.8, 1.2]
    assert record["training"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("iteration", [1, 3, 4, 5, 6, 10, 11])
def test_resuming_after_any_iteration_gives_the_same_bytes(tmp_path, whole, iteration):
    with pytest.raises(Killed):
        run(tmp_path, progress=kill_at(iteration))
    run(tmp_path)
    assert results(tmp_path) == whole


@pytest.mark.parametrize("name", ["save_checkpoint", "save_state", "validation_probabilities"])
def test_resuming_after_a_kill_between_two_files_gives_the_same_bytes(tmp_path, whole, monkeypatch, name):
    """At iterations 5 and 10: before the checkpoint, between checkpoint and state, during validation."""
    for _ in range(2):
        calls, real = [], getattr(under_test, name)

        def killed(*arguments, real=real, calls=calls):
            calls.append(1)
            if len(calls) == 2:
                raise Killed
            return real(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(under_test, name, killed)
            try:
                run(tmp_path)
            except Killed:
                continue
    run(tmp_path)
    assert results(tmp_path) == whole


KILLS = """
import os, random, shutil, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lightning.fabric, tensorboard.summary.writer
from test_training import run

folder, rng, kills, longest = Path(sys.argv[2]) / "killed", random.Random(1), 0, 0.3
while kills < 5:
    child = os.fork()
    if not child:
        run(folder)
        os._exit(0)
    time.sleep(rng.uniform(0.1, 1) * longest)
    os.kill(child, signal.SIGKILL)
    if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
        kills += 1
    else:  # it had ended: from the beginning, with shorter lives
        shutil.rmtree(folder)
        kills, longest = 0, longest / 2
run(folder)
print(kills)
"""


def test_sigkill_at_random_moments_gives_the_same_bytes(tmp_path, whole):
    """Real processes, really killed; forked from one that has its imports behind it, so that there are many."""
    command = [sys.executable, "-c", KILLS, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    assert int(done.stdout) == 5
    assert results(tmp_path / "killed") == whole


def test_a_finished_training_is_not_repeated(tmp_path, monkeypatch):
    stem = run(tmp_path)
    monkeypatch.setattr(under_test, "_launch", lambda *_: pytest.fail("trained again"))
    assert run(tmp_path) == stem
    assert run(tmp_path, replace(SETTINGS, save_every=99, tensorboard=False)) == stem


def test_a_finished_training_goes_on_where_more_iterations_are_asked_for(tmp_path, whole):
    run(tmp_path, replace(SETTINGS, iterations=10))
    run(tmp_path)
    assert results(tmp_path) == whole


def test_a_schedule_that_depends_on_the_iterations_is_not_lengthened(tmp_path):
    settings = replace(SETTINGS, schedule="cosine", tensorboard=False)
    run(tmp_path, replace(settings, iterations=10))
    with pytest.raises(BadStudy, match=r"training\.iterations = 10, now it is 12"):
        run(tmp_path, settings)
    with pytest.raises(BadStudy, match=r"training\.iterations = 10, now it is 5"):
        run(tmp_path, replace(settings, iterations=5))


@pytest.mark.parametrize("iteration", [0, 9])
def test_patience_ends_a_training_that_gets_no_better_and_a_kill_changes_nothing(tmp_path, monkeypatch, iteration):
    accuracies = {2: 0.5, 4: 0.75, 6: 0.75, 8: 0.5, 10: 0.9, 12: 0.9}

    def check(done, loss, cases, probabilities, *, balanced):
        return Check(done, loss, accuracies[done], 0.5, None)

    monkeypatch.setattr(under_test, "score_check", check)
    settings = replace(SETTINGS, validate_every=2, patience=2)
    if iteration:
        with pytest.raises(Killed):
            run(tmp_path, settings, progress=kill_at(7))
    stem = run(tmp_path, settings)
    state = read_state(tmp_path / "state" / "current.safetensors")
    assert (state.iteration, state.best_iteration) == (8, 4)
    record = load_checkpoint(stem)[1]
    assert (record["iteration"], record["selection"]["checks"], record["by_chance"]["checks"]) == (4, 4, 4)
    assert run(tmp_path, settings) == stem
    assert read_state(tmp_path / "state" / "current.safetensors").iteration == 8
    with pytest.raises(BadStudy, match=r"training\.patience = 2, now it is"):
        run(tmp_path, replace(settings, patience=0))


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_a_finished_training_without_its_checkpoint_is_repeated(tmp_path, whole, damage):
    run(tmp_path)
    weights = tmp_path / "checkpoint.safetensors"
    weights.unlink() if damage == "removed" else weights.write_bytes(weights.read_bytes()[:50])
    run(tmp_path)
    assert results(tmp_path) == whole


CHANGES = {
    "training.learning_rate = 0.001, now it is 0.01": {"training_settings": replace(SETTINGS, learning_rate=0.01)},
    "training.seed = 0, now it is 1": {"training_settings": replace(SETTINGS, seed=1)},
    "network.dropout = 0.5, now it is 0.1": {"network_settings": replace(NETWORK, dropout=0.1)},
    "sample.padding = minimum, now it is literal_zero": {"sample_settings": replace(SAMPLE, padding="literal_zero")},
    "record.split_hash = 0123, now it is 9": {"record": RECORD | {"split_hash": "9"}},
    "training_scans = .*, now it is ": {"training": CASES[:7]},
    "stride = 32, now it is 2": {"stride": 2},
}


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("started")
    with pytest.raises(Killed):
        run(folder, progress=kill_at(4))
    return folder


@pytest.mark.parametrize("message", CHANGES)
def test_changed_settings_are_named(started, message):
    with pytest.raises(BadStudy, match=f"this training was started with {message}"):
        run(started, **CHANGES[message])


@pytest.fixture(scope="module")
def stateless(tmp_path_factory) -> Path:
    """A finished training whose state was removed."""
    folder = tmp_path_factory.mktemp("stateless")
    run(folder, replace(SETTINGS, iterations=1))
    (folder / "state" / "current.safetensors").unlink()
    amend_checkpoint(folder / "checkpoint", preparation={"size": 1})
    return folder


@pytest.mark.parametrize(
    ("change", "whole", "message"),
    [
        ({"training": CASES[:7]}, False, "started with other scans: files, labels or the split have changed"),
        ({"validation": [replace(CASES[8], label=1), *CASES[9:]]}, False, "started with other scans"),
        ({"record": RECORD | {"preparation": {"size": 2}}}, False, "record.preparation.*size|preparation"),
        ({"network": replace(NETWORK, dropout=0.1)}, True, "network.dropout = 0.5, now it is 0.1"),
        ({"settings": replace(SETTINGS, iterations=1, seed=1)}, True, "training.seed = 0, now it is 1"),
        ({"sample": replace(SAMPLE, padding="literal_zero")}, True, "sample.padding = minimum"),
    ],
    ids=["scans", "label", "preparation", "network", "training", "sample"],
)
def test_without_its_state_a_training_is_compared_by_its_checkpoint(stateless, change, whole, message):
    record, settings = RECORD | {"preparation": {"size": 1}}, replace(SETTINGS, iterations=1)
    job = Job(NETWORK, SAMPLE, settings, CASES[:8], CASES[8:], read, stateless, record, None)
    under_test.check_kept(job, whole=True)
    changed = replace(job, **change)
    if whole:
        under_test.check_kept(changed, whole=False)
    with pytest.raises(BadStudy, match=message):
        under_test.check_kept(changed, whole=whole)


def test_a_damaged_checkpoint_without_a_state_is_trained_anew(tmp_path):
    run(tmp_path, replace(SETTINGS, iterations=1))
    (tmp_path / "state" / "current.safetensors").unlink()
    (tmp_path / "checkpoint.json").write_text("{")
    job = Job(NETWORK, SAMPLE, SETTINGS, CASES[:7], CASES[8:], read, tmp_path, RECORD, None)
    under_test.check_kept(job, whole=True)


def test_validation_strides_as_the_training_is_told(tmp_path, monkeypatch):
    strides, real = [], under_test.predict_many

    def spied(*arguments):
        strides.append(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(under_test, "predict_many", spied)
    run(tmp_path, replace(SETTINGS, iterations=1, tensorboard=False), stride=3)
    assert strides == [3]


def test_a_full_disk_is_an_error_of_the_disk_and_leaves_the_old_state(tmp_path):
    """A limit on the size of files stands for a full disk: the write fails half-way."""
    network, path = Network(NETWORK), tmp_path / "current.safetensors"
    optimizer = torch.optim.Adam(network.parameters())
    save_state(path, State({}, iteration=1), network, optimizer)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_state(path, State({}, iteration=2), network, optimizer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before


def test_a_second_training_waits_and_finds_the_work_done(tmp_path, capfd):
    """As a job that was started again while its first copy lives on: in a process of its own, as on another node."""
    run(tmp_path)
    files = [tmp_path / name for name in ("checkpoint.safetensors", "checkpoint.json", "state/current.safetensors")]
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    with lock(tmp_path / "state"):
        second = get_context("spawn").Process(target=run, args=(tmp_path,))
        second.start()
        said = ""
        while "waiting for it to end" not in said and second.is_alive():
            said += capfd.readouterr().err
        assert f"process {os.getpid()} on {socket.gethostname()} is training this model" in said
        assert second.is_alive()
    second.join()
    assert second.exitcode == 0
    assert [(file.stat().st_mtime_ns, file.read_bytes()) for file in files] == before


def test_a_second_training_takes_up_what_a_killed_one_left(tmp_path):
    run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=kill_at(7))
    with ThreadPoolExecutor(1) as pool:
        with lock(tmp_path / "killed" / "state"):
            second = pool.submit(run, tmp_path / "killed")
        second.result()
    whole, killed = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("whole", "killed"))
    assert whole == killed


def test_damaged_state(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "current.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadCheckpoint, match=r"current\.safetensors: the training's state is damaged"):
        run(tmp_path)


def test_one_class(tmp_path):
    positives = [case for case in CASES if case.label == 1]
    with pytest.raises(BadStudy, match="all 6 training scans have label 1"):
        run(tmp_path, training=positives)
    short = replace(SETTINGS, iterations=1, tensorboard=False)
    assert run(tmp_path, short, training=positives, record={"allow_one_class": True}).name == "checkpoint"


@pytest.mark.parametrize("name", ["training", "validation"])
def test_no_scans(tmp_path, name):
    with pytest.raises(BadStudy, match=f"there are no {name} scans"):
        run(tmp_path, **{name: []})


def test_rectangles_cannot_be_turned(tmp_path):
    with pytest.raises(BadStudy, match=r"sample\.turn: inputs of 8 rows and 16 columns cannot be turned"):
        run(tmp_path, network_settings=replace(NETWORK, input=(6, 8, 16)))


def test_infinite_loss_names_the_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda logits, _: logits.sum() * torch.inf)
    with pytest.raises(BadScan, match=r"[ab]: s\d, [ab]: s\d: the training loss is (inf|-inf|nan) at iteration 0"):
        run(tmp_path)


@pytest.mark.parametrize("name", ["iterations", "batch", "validate_every", "save_every", "devices"])
def test_numbers_are_checked(name):
    with pytest.raises(BadStudy, match=rf"training\.{name}: is 0. Give 1 or more"):
        replace(SETTINGS, **{name: 0})


def test_learning_rate_is_checked():
    with pytest.raises(BadStudy, match=r"training\.learning_rate: is 0"):
        replace(SETTINGS, learning_rate=0.0)


def test_curves_have_a_row_per_validation_and_one_at_the_end(whole):
    lines = whole["curves.csv"].decode().splitlines()
    assert lines[0] == "iteration,training_loss,validation_accuracy,validation_log_loss,validation_auc"
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "10", "12"]


def test_first_maximum_is_kept(tmp_path, monkeypatch):
    labels = np.array([case.label for case in CASES[8:]])
    wrong = iter([2, 1, 1])  # so many scans of four

    def made(*_):
        return np.where(np.arange(4) < next(wrong), 1 - labels, labels).astype(float)

    monkeypatch.setattr(under_test, "validation_probabilities", made)
    record = load_checkpoint(run(tmp_path))[1]
    assert record["iteration"] == 10
    assert record["validation_accuracy"] == 0.75


def test_state_counts_iterations(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, progress=kill_at(10))
    state = read_state(tmp_path / "state" / "current.safetensors")
    assert state.iteration == 10
    assert [row[0] for row in state.curves] == [5, 10]


def test_tensorboard_events_are_written(tmp_path):
    run(tmp_path)
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


class FakeMlflow(types.ModuleType):
    """A client that notes what it is told, until `gone`."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = types.SimpleNamespace(name="mlflow")
        self.runs, self.metrics, self.parameters, self.artifacts, self.gone = [], [], {}, [], False

    def _told(self) -> None:
        if self.gone:
            raise ConnectionError("no route")

    def start_run(self, run_id, run_name):
        self._told()
        assert run_name
        self.runs.append(run_id)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    def end_run(self):
        self._told()

    def log_metrics(self, values, step):
        self._told()
        self.metrics += [(name, step) for name in values]

    def log_params(self, values):
        self.parameters.update(values)

    def log_artifact(self, path):
        self._told()
        self.artifacts.append(Path(path).name)


@pytest.fixture
def mlflow(monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///x.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    return fake


def test_mlflow_is_used_where_it_is_set_up(tmp_path, mlflow):
    with pytest.raises(Killed):
        run(tmp_path, progress=kill_at(6))
    assert mlflow.parameters["training.iterations"] == str(SETTINGS.iterations)
    assert any(name.startswith("network.") for name in mlflow.parameters)
    assert not mlflow.artifacts
    mlflow.parameters.clear()
    run(tmp_path)
    assert not mlflow.parameters
    assert mlflow.artifacts == ["curves.csv", "checkpoint.json", "checkpoint.safetensors"]
    assert mlflow.runs == [None, "r1"]
    assert ("validation_accuracy", 12) in mlflow.metrics


def test_a_server_that_goes_away_costs_no_training(tmp_path, mlflow, capfd):
    def leave(done, *_):
        mlflow.gone = done >= 6

    run(tmp_path / "a", progress=leave)
    assert capfd.readouterr().err.count("MLflow takes no more numbers (ConnectionError: no route)") == 1
    assert not mlflow.artifacts
    mlflow.gone = False
    run(tmp_path / "b")
    assert (tmp_path / "a" / "curves.csv").read_bytes() == (tmp_path / "b" / "curves.csv").read_bytes()


def test_a_server_that_is_not_there_is_said_before_the_training(tmp_path, mlflow):
    mlflow.gone = True
    with pytest.raises(BadOption, match=r"MLFLOW_TRACKING_URI is 'sqlite:///x.db', where no run can be begun.*unset"):
        run(tmp_path)


def make_job(**changed) -> Job:
    settings = replace(SETTINGS, **changed)
    return Job(NETWORK, SAMPLE, settings, CASES[:8], CASES[8:], read, Path(), RECORD, None)


def test_devices_share_out_the_draws_of_one_device():
    with Batches(make_job(batch=4), 0, 1) as alone:
        expected = [case for i in range(5) for case in alone.take(i)[2]]
    shared = [Batches(make_job(), rank, 2) for rank in range(2)]
    assert [case for i in range(5) for one in shared for case in one.take(i)[2]] == expected


def test_torch_is_left_as_it_was(tmp_path):
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    run(tmp_path, replace(SETTINGS, iterations=2))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random_state)


DEVICES = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_training import run, SETTINGS
for folder in sys.argv[2:]:
    run(Path(folder), replace(SETTINGS, devices=2, tensorboard=False))
"""


def test_two_devices_train_together_and_agree(tmp_path):
    """Two processes with gloo: half the batch each, the same weights at the end of two runs."""
    folders = [str(tmp_path / name) for name in ("one", "two")]
    command = [sys.executable, "-c", DEVICES, str(Path(__file__).parent), *folders]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert results(tmp_path / "one") == results(tmp_path / "two")
    assert json.loads((tmp_path / "one" / "checkpoint.json").read_text())["training"]["devices"] == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore")  # torch.compile's remarks on its own parts
@pytest.mark.parametrize("kept", [{}, {"card_gib": 1.0}])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_cuda_trains_and_resumes(tmp_path, precision, kept):
    settings = replace(SETTINGS, accelerator="cuda", precision=precision, **kept)
    run(tmp_path / "whole", settings)
    with pytest.raises(Killed):
        run(tmp_path / "killed", settings, progress=kill_at(7))
    run(tmp_path / "killed", settings)
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_where_volumes_are_kept_changes_nothing(tmp_path):
    """Settings of the loader may differ between a kill and the restart."""
    run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", progress=kill_at(7))
    run(tmp_path / "killed", replace(SETTINGS, loaders=1, card_gib=2.5, pinned_gib=1.0))
    whole, killed = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("whole", "killed"))
    assert whole == killed


@pytest.mark.parametrize(("name", "value"), [("loaders", 0), ("card_gib", -1.0), ("pinned_gib", -0.5)])
def test_settings_of_the_loader_are_checked(name, value):
    with pytest.raises(BadStudy, match=rf"training\.{name}: is {value}\. Give"):
        TrainingSettings(**{name: value})


def test_a_file_system_without_locks_is_said_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for code in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EIO):

        def refuse(*_: object, code: int = code) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", refuse)
        if code == errno.EIO:
            with pytest.raises(OSError, match="Input/output error"), lock(tmp_path / "state"):
                pass
        else:
            with lock(tmp_path / "state"):
                assert "this file system has no file locks" in capsys.readouterr().err
