"""Saving: whole files only, whoever else saves to the same place; what saves, loads; files of before still load."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.model import atomic, files

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
DATA = Path(__file__).parent / "data"


@pytest.fixture(params=["npz", "safetensors"])
def suffix(request):
    if request.param == "safetensors":
        pytest.importorskip("safetensors")
    return request.param


def filled(value, size=20):
    """A model whose parameters all are `value`: a mixture of two shows."""
    model = pylstm.Sequential([pylstm.Linear(size, size), pylstm.Linear(size, size)], seed=0)
    model.load_state_dict({name: np.full(p.shape, value) for name, p in model.params.items()})
    model.metadata = {"value": value}
    return model


def check_whole(model):
    value = model.metadata["value"]
    for name, array in model.params.items():
        np.testing.assert_array_equal(array, np.float32(value), err_msg=name)


# ---- files of before -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["version1.npz", "version1.safetensors"])
def test_a_file_of_version_1_loads_to_the_same_values(name):
    model = pylstm.load(DATA / name)
    for key, value in model.params.items():
        want = ((np.arange(value.size).reshape(value.shape) % 17 - 8) / 16).astype(np.float32)
        np.testing.assert_array_equal(value, want, err_msg=key)
    assert len(model.params) == 32
    assert model.metadata == {"words": ["a", "ß", "字", "\n"], "n": 3, "deep": [{"x": [1.5, None, True]}]}
    with zipfile.ZipFile(DATA / "version1.npz") as archive:
        dropout = json.loads(archive.read("structure.json"))["dropout"]
    assert model._dropout_state() == dropout
    assert model(np.zeros((2, 3, 2), int)).shape == (2, 2)


def test_a_checkpoint_of_version_1_resumes_with_the_same_values():
    path = DATA / "version1_checkpoint.npz"
    model = pylstm.load(path)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (20, 5))
    y = (x.sum(1) % 2).astype(int)
    optimizer, schedule = pylstm.Adam(), pylstm.ReduceOnPlateau(patience=0)
    keep = [pylstm.EarlyStopping(5), pylstm.ModelCheckpoint("unused.npz")]
    history = model.fit(
        x, y, loss="binary_cross_entropy", optimizer=optimizer, verbose=0, epochs=3, validation_data=(x, y),
        schedule=schedule, callbacks=keep, resume=path,
    )  # fmt: skip
    with np.load(path) as file:
        state = json.loads(bytes(zipfile.ZipFile(path).read("structure.json")))["training"]
        assert history == state["history"]
        assert len(history["loss"]) == 3
        for name, slots in optimizer.state_dict()["slots"].items():
            for slot, value in slots.items():
                np.testing.assert_array_equal(value, file[f"training/optimizer/{name}/{slot}"])
        best = keep[0].state_dict()
        for name, value in model.params.items():  # EarlyStopping ends with the best
            np.testing.assert_array_equal(value, file[f"training/callback0/{name}"])
        assert best["best"] == state["callbacks"][0]["state"]["best"]
    assert schedule.state_dict() == state["schedule"]


def test_loading_needs_no_other_library(monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert len(pylstm.load(DATA / "version1.safetensors").params) == 32


# ---- one file, many writers ------------------------------------------------------------------------------------------


def test_threads_that_save_to_one_path(tmp_path, suffix, monkeypatch):
    """Each save is whole, though the process number is the same: in containers it may be, too."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / f"m.{suffix}"
    filled(0.0).save(path)
    faults: list[BaseException] = []
    stop = threading.Event()

    def write(value):
        try:
            for k in range(25):
                filled(value + k / 32).save(path)
        except BaseException as error:
            faults.append(error)

    def read():
        try:
            while not stop.is_set():
                check_whole(pylstm.load(path))
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(float(k),)) for k in range(4)]
    reader = threading.Thread(target=read)
    for thread in [*writers, reader]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not faults
    check_whole(pylstm.load(path))
    assert os.listdir(tmp_path) == [path.name]


SAVER = """
import os, sys, numpy as np, pylstm
os.getpid = lambda: 7
path, value, count, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = pylstm.Sequential([pylstm.Linear(size, size), pylstm.Linear(size, size)], seed=0)
model.load_state_dict({name: np.full(p.shape, value) for name, p in model.params.items()})
print("begun", flush=True)
for k in range(count):
    model.save(path, metadata={"value": value})
print("done", flush=True)
"""


def saver(path, value, count, size=20):
    command = [sys.executable, "-c", SAVER, str(path), str(value), str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=path.parent)


def test_processes_that_save_to_one_path(tmp_path):
    path = tmp_path / "m.npz"
    savers = [saver(path, value, 60) for value in (1.0, 2.0, 3.0)]
    for process in savers:
        process.stdout.readline()
    while any(process.poll() is None for process in savers):
        if path.exists():
            check_whole(pylstm.load(path))
    for process in savers:
        assert process.stdout.read() == b"done\n"
        assert process.wait() == 0
        process.stdout.close()
    check_whole(pylstm.load(path))
    assert os.listdir(tmp_path) == [path.name]


@POSIX
@pytest.mark.slow
def test_what_a_killed_save_leaves_the_next_one_takes_away(tmp_path):
    """But never what a save is still writing: another one saves all the time, and must not fail."""
    path = tmp_path / "m.npz"
    filled(0.0, 300).save(path)
    rng = np.random.default_rng(0)
    left = 0
    steady = saver(path, 1.0, 10**9, 300)
    steady.stdout.readline()
    try:
        for k in range(8):
            victim = saver(path, 2.0 + k, 10**9, 300)
            victim.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            victim.kill()
            victim.wait()
            victim.stdout.close()
            check_whole(pylstm.load(path))
            left = max(left, len(os.listdir(tmp_path)))
            assert steady.poll() is None
    finally:
        steady.kill()
        steady.wait()
        steady.stdout.close()
    filled(3.0, 300).save(path)
    check_whole(pylstm.load(path))
    assert os.listdir(tmp_path) == [path.name]
    assert left > 1  # or this test has seen nothing


@POSIX
def test_a_file_that_is_being_written_stays_and_one_that_is_not_goes(tmp_path):
    path = tmp_path / "m.npz"
    with atomic.replacing(path) as file:  # as a save of another thread or process
        file.write(b"half")
        (running,) = os.listdir(tmp_path)
        dead = tmp_path / (running[: -len("0123.part")] + "dead.part")
        dead.write_bytes(b"left over")
        with atomic.replacing(path) as second:
            second.write(b"second")
        assert sorted(os.listdir(tmp_path)) == sorted([running, path.name])
        assert path.read_bytes() == b"second"
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert os.listdir(tmp_path) == [path.name]


@POSIX
def test_a_save_that_lost_its_file_before_it_was_locked_takes_another(tmp_path, monkeypatch):
    path, locked, calls = tmp_path / "m.npz", atomic._locked, []

    def late(descriptor, name):
        calls.append(name)
        if len(calls) == 1:
            os.unlink(name)  # somebody tidied up between open and flock
        if len(calls) == 2:  # somebody has it locked at this moment
            other = os.open(name, os.O_RDWR)
            atomic.fcntl.flock(other, atomic.fcntl.LOCK_EX)
            try:
                return locked(descriptor, name)
            finally:
                os.close(other)
        return locked(descriptor, name)

    monkeypatch.setattr(atomic, "_locked", late)
    filled(1.0).save(path)
    assert len(set(calls)) == 3
    check_whole(pylstm.load(path))
    assert os.listdir(tmp_path) == [path.name]


# ---- whatever fails --------------------------------------------------------------------------------------------------


@POSIX
def test_a_planted_link_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "m.npz"
    victim.write_text("precious")
    planted = [tmp_path / f".m.npz.{os.getpid()}.part"]
    prefix = ".pylstm-" + hashlib.sha256(b"m.npz").hexdigest()[:16] + "-"
    planted += [tmp_path / (prefix + "0" * 16 + ".part")]
    for link in planted:
        link.symlink_to(victim)
    filled(1.0).save(path)
    assert victim.read_text() == "precious"
    assert all(link.is_symlink() for link in planted)
    check_whole(pylstm.load(path))


@POSIX
def test_the_random_name_is_made_exclusively(tmp_path, monkeypatch):
    """Were it guessed, the planted link would still not be followed: another name is taken."""
    victim, path = tmp_path / "victim", tmp_path / "m.npz"
    victim.write_text("precious")
    words = iter(["a" * 16, "b" * 16])
    monkeypatch.setattr(atomic.secrets, "token_hex", lambda n: next(words))  # noqa: ARG005
    prefix = ".pylstm-" + hashlib.sha256(b"m.npz").hexdigest()[:16] + "-"
    (tmp_path / (prefix + "a" * 16 + ".part")).symlink_to(victim)
    filled(1.0).save(path)
    assert victim.read_text() == "precious"
    check_whole(pylstm.load(path))


FULL = """
import os, resource, sys, tempfile, pylstm
model = pylstm.Sequential([pylstm.Linear(300, 300)], seed=0)
with tempfile.TemporaryDirectory() as folder:  # imports all it needs while that can still be compiled to files
    model.save(os.path.join(folder, os.path.basename(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    model.save(sys.argv[1], metadata={"a": 1})
except OSError as error:
    print("refused", error.errno)
"""


@POSIX
@pytest.mark.parametrize("limit", [0, 5, 2000, 200_000])
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix, limit):
    path = tmp_path / f"m.{suffix}"
    filled(1.0).save(path)
    before = path.read_bytes()
    command = [sys.executable, "-B", "-c", FULL, str(path), str(limit)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.startswith("refused")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()])
def test_a_save_that_fails_late_leaves_the_old_file_and_the_model(tmp_path, suffix, monkeypatch, step, error):
    path = tmp_path / f"m.{suffix}"
    filled(1.0).save(path)
    before = path.read_bytes()
    model = filled(2.0)

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        model.save(path, metadata={"other": 1})
    assert model.metadata == {"value": 2.0}
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    did = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (did.append(stat.S_ISDIR(os.fstat(fd).st_mode)), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (did.append("replace"), replace(a, b)))
    filled(1.0).save(tmp_path / "m.npz")
    assert did == ([False, "replace", True] if os.name == "posix" else [False, "replace"])


# ---- the file's place ------------------------------------------------------------------------------------------------


@POSIX
def test_modes(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    before = os.umask(0o027)
    try:
        filled(1.0).save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o444, 0o664):
            path.chmod(mode)
            filled(2.0).save(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


@POSIX
def test_links_stay_links(tmp_path):
    (tmp_path / "far").mkdir()
    far, link, second = tmp_path / "far" / "model.npz", tmp_path / "m.npz", tmp_path / "second.npz"
    link.symlink_to(Path("far") / "model.npz")
    second.symlink_to(link)
    for value in (1.0, 2.0):  # a dangling link first
        filled(value).save(second)
        assert pylstm.load(far).metadata == {"value": value}
        assert link.is_symlink()
        assert second.is_symlink()
        assert not far.is_symlink()
    assert os.listdir(tmp_path / "far") == ["model.npz"]
    loop = tmp_path / "loop.npz"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="loop"):
        filled(1.0).save(loop)
    assert loop.is_symlink()


@POSIX
def test_only_files_are_replaced(tmp_path):
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(IsADirectoryError):
        filled(1.0).save(tmp_path / "d.npz")
    os.mkfifo(tmp_path / "p.npz")
    with pytest.raises(OSError, match="not a regular file"):
        filled(1.0).save(tmp_path / "p.npz")
    with pytest.raises(pylstm.ModelFileError, match="no regular file"):
        pylstm.load(tmp_path / "p.npz")  # and does not wait for somebody to write
    assert sorted(os.listdir(tmp_path)) == ["d.npz", "p.npz"]


@pytest.mark.parametrize("name", ["m" * 251 + ".npz", "ß" * 125 + "x.npz", "-rf *.npz", "a\nb.npz"])
def test_names(tmp_path, name, monkeypatch):
    if os.name != "posix":
        pytest.skip("names of POSIX")
    monkeypatch.chdir(tmp_path)
    filled(1.0).save(name)  # a relative one, too
    filled(2.0).save(tmp_path / name)
    check_whole(pylstm.load(name))
    assert os.listdir(tmp_path) == [name]


# ---- reading what was checked ----------------------------------------------------------------------------------------


def test_a_file_that_is_replaced_during_the_load_is_read_as_it_was(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    filled(1.0).save(path)
    with files.opened(path) as contents:
        filled(2.0).save(path)
        for name in contents.tensors:
            np.testing.assert_array_equal(contents.read(name), 1.0)
    check_whole(pylstm.load(path))


@pytest.mark.parametrize("change", ["cut", "over", "longer"])
def test_a_file_that_is_written_to_during_the_load_is_an_error(tmp_path, suffix, change):
    """Cut short it was the end of the process: a mapping of memory that is no longer there."""
    path = tmp_path / f"m.{suffix}"
    filled(2.0, 100).save(path)
    other = path.read_bytes()
    filled(1.0, 100).save(path)
    os.utime(path, ns=(1, 1))  # the clock of file systems is coarse: long ago

    def read():
        with files.opened(path) as contents:
            names = list(contents.tensors)
            found = [contents.read(names[0])]
            with open(path, "r+b") as file:
                if change == "cut":
                    file.truncate(5000)
                elif change == "over":
                    file.write(other)
                else:
                    file.seek(0, os.SEEK_END)
                    file.write(b"more")
            return [*found, *(contents.read(name) for name in names[1:])]

    with pytest.raises(pylstm.ModelFileError, match=r"cut short|written to|checksum"):
        read()


def test_a_checkpoints_own_arrays_are_not_read_by_load(tmp_path):
    data = bytearray((DATA / "version1_checkpoint.npz").read_bytes())
    at = data.index(b"training/optimizer/0.weight/mean.npy") + 36
    at = data.index(b"\n", at) + 1
    data[at] ^= 1
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    pylstm.load(path)


# ---- what saves, loads -----------------------------------------------------------------------------------------------


class Word(str):
    __slots__ = ()


def nest(depth):
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def loop():
    value: dict = {"b": []}
    value["b"].append(value)
    return value


def wide():
    value = [0]
    for _ in range(40):
        value = [value, value]
    return value


REFUSED = {
    "no_text_key": ({"a": {1: "a", "1": "b"}}, TypeError, r"the keys of metadata\['a'\] must be str, got int: 1"),
    "none_key": ({None: 1}, TypeError, "the keys of metadata must be str, got NoneType"),
    "bytes": ({"a": [1, 2, 3, b"x"]}, TypeError, r"metadata\['a'\]\[3\] must be .* got bytes"),
    "nan": ({"a": [0, {"b": np.nan}]}, TypeError, r"metadata\['a'\]\[1\]\['b'\] must be .* finite float.* got nan"),
    "infinity": ({"a": -np.inf}, TypeError, r"metadata\['a'\] must be .* got -inf"),
    "numpy_integer": ({"a": np.int64(3)}, TypeError, r"metadata\['a'\] must be .* got numpy.int64"),
    "array": ({"a": np.zeros(2)}, TypeError, r"metadata\['a'\] must be .* got numpy.ndarray"),
    "surrogate": ({"a": ["x", "\ud800"]}, ValueError, r"metadata\['a'\]\[1\] holds half a character"),
    "surrogate_key": ({"a": {"\udfff": 1}}, ValueError, r"a key of metadata\['a'\] holds half a character"),
    "itself": ({"a": loop()}, ValueError, r"metadata\['a'\]\['b'\]\[0\] holds itself"),
    "deep": ({"a": nest(1000)}, ValueError, r"metadata\['a'\]\[0\].* is nested too deeply"),
    "wide": ({"a": wide()}, ValueError, "more than 4 MiB of text"),
    "long_number": ({"a": 10**1001}, ValueError, r"metadata\['a'\] is an integer of more than 1000 digits"),
    "same_key": ({"a": {Word("k"): 1}}, None, ""),
    "no_dict": ([("a", 1)], TypeError, "metadata must be a dict, got list"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_could_not_be_loaded_is_refused(tmp_path, suffix, fault):
    metadata, error, message = REFUSED[fault]
    model = filled(1.0)
    if error is None:
        model.save(tmp_path / f"m.{suffix}", metadata=metadata)
        assert pylstm.load(tmp_path / f"m.{suffix}").metadata == {"a": {"k": 1}}
        return
    with pytest.raises(error, match=message):
        model.save(tmp_path / f"m.{suffix}", metadata=metadata)
    assert model.metadata == {"value": 1.0}
    if fault != "wide":  # a second or two
        model.metadata = metadata  # or set by hand
        with pytest.raises(error, match=message):
            model.save(tmp_path / f"m.{suffix}")
    assert os.listdir(tmp_path) == []


def random_value(rng, depth=0):
    kind = int(rng.integers(9 if depth < 5 else 7))
    if kind == 0:
        return "".join(chr(int(c)) for c in rng.integers(0, 0xD7FF, rng.integers(6)))
    if kind == 1:
        return "".join(str(rng.choice(['"', "\\", "\x00", "\u2028", "{", "[", ",", "\\ud800"])) for _ in range(5))
    if kind == 2:
        return int(rng.integers(-(2**63), 2**63)) ** int(rng.integers(1, 40))
    if kind == 3:
        return float(np.frombuffer(rng.bytes(8))[0]) if rng.integers(2) else float(rng.standard_normal())
    if kind in (4, 5, 6):
        return [None, True, False][kind - 4]
    if kind == 7:
        return [random_value(rng, depth + 1) for _ in range(int(rng.integers(4)))]
    return {rng.bytes(2).hex() + '"\\': random_value(rng, depth + 1) for _ in range(3)}


def test_random_metadata_comes_back_equal_or_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    path, model, saved = tmp_path / f"m.{suffix}", filled(1.0), 0
    for _ in range(60):
        metadata = {f"k{i}": random_value(rng) for i in range(5)}
        try:
            model.save(path, metadata=metadata)
        except (TypeError, ValueError) as error:
            assert "metadata" in str(error)  # noqa: PT017
            continue
        saved += 1
        assert pylstm.load(path).metadata == metadata == model.metadata
    assert saved > 10


def test_tuples_become_lists_and_nothing_is_shared(tmp_path):
    given = {"a": (1, [2, (3,)]), "b": np.float64(0.1)}
    model = filled(1.0)
    model.save(tmp_path / "m.npz", metadata=given)
    given["a"][1].append("later")
    assert model.metadata == {"a": [1, [2, [3]]], "b": 0.1}
    assert pylstm.load(tmp_path / "m.npz").metadata == model.metadata


def test_inner_metadata_is_kept(tmp_path, suffix):
    inner = filled(1.0)
    deeper = pylstm.Sequential([pylstm.Residual([inner]), pylstm.Activation("tanh")])
    deeper.metadata = {"deeper": ["ß"]}
    model = pylstm.Sequential([deeper])
    model.save(tmp_path / f"m.{suffix}")
    other = pylstm.load(tmp_path / f"m.{suffix}")
    assert other.layers[0].metadata == {"deeper": ["ß"]}
    assert other.layers[0].layers[0].layers[0].metadata == {"value": 1.0}
    inner.metadata = {"value": {3}}
    with pytest.raises(TypeError, match=r"metadata of an inner Sequential\['value'\] must be"):
        model.save(tmp_path / f"m.{suffix}")


class Mine(pylstm.Sequential):
    pass


@pytest.mark.parametrize("make", [lambda m: Mine(m.layers), lambda m: pylstm.Sequential([Mine(m.layers)])])
def test_a_subclass_is_refused_by_name(tmp_path, make):
    model = make(filled(1.0))
    with pytest.raises(TypeError, match=r"Mine is not a layer of pylstm.*make a Sequential of its \.layers"):
        model.save(tmp_path / "m.npz")
    keep = pylstm.ModelCheckpoint(tmp_path / "m.npz")
    x = np.zeros((4, 20), np.float32)
    before = model.state_dict()
    with pytest.raises(TypeError, match="Mine is not a layer"):  # before an epoch has been spent
        model.fit(x, x + 1, loss="mse", optimizer=pylstm.SGD(), callbacks=[keep], verbose=0)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, before[name])
    assert os.listdir(tmp_path) == []


def test_containers_as_deep_as_can_be_loaded(tmp_path):
    model = pylstm.Linear(2, 2)
    for _ in range(15):
        model = pylstm.Residual([model])
    model = pylstm.Sequential([model])
    model.save(tmp_path / "m.npz")
    assert repr(pylstm.load(tmp_path / "m.npz")) == repr(model)
    with pytest.raises(ValueError, match="16 deep"):
        pylstm.Sequential([model]).save(tmp_path / "deep.npz")
    assert os.listdir(tmp_path) == ["m.npz"]


def test_more_layers_than_a_file_takes(tmp_path):
    part = pylstm.Activation("relu")
    with pytest.raises(ValueError, match="at most 16384 layers"):
        pylstm.Sequential([part] * 2**14).save(tmp_path / "m.npz")
    many = pylstm.Sequential([pylstm.RNN(1, 1, 2**14, batch_first=True)])
    with pytest.raises(ValueError, match="at most 65534 arrays"):
        many.save(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []


class Keeps(pylstm.Callback):
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = dict(state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": np.zeros(3, np.int64)}, "callback0/a' is of int64"),
        ({"a": {3: 1}}, r"the keys of training\['callbacks'\]\[0\]\['state'\]\['a'\] must be str"),
        ({"a": object()}, r"training\['callbacks'\]\[0\]\['state'\]\['a'\] must be .* got object"),
        ({"a\0": np.zeros(3)}, "cannot be the name of an array"),
        ({"a": ["\ud800"]}, "half a character"),
    ],
)
def test_states_that_could_not_be_loaded_are_refused(tmp_path, state, message):
    x = np.zeros((4, 20), np.float32)
    keep = pylstm.ModelCheckpoint(tmp_path / "m.npz")
    with pytest.raises((TypeError, ValueError), match=message):
        filled(1.0).fit(x, x, loss="mse", optimizer=pylstm.SGD(), callbacks=[Keeps(state), keep], verbose=0)
    assert os.listdir(tmp_path) == []


def test_states_of_all_kinds_come_back(tmp_path):
    state = {"a": np.arange(3.0), "zero": np.array(2.5), "b": [1, None, "x", True, -np.inf], "c": np.float32(0.5)}
    x, path = np.zeros((4, 20), np.float32), tmp_path / "m.npz"
    keep = pylstm.ModelCheckpoint(path)
    options = {"loss": "mse", "verbose": 0, "epochs": 1}
    filled(1.0).fit(x, x, optimizer=pylstm.SGD(), callbacks=[Keeps(state), keep], **options)
    found = Keeps({})
    filled(1.0).fit(x, x, optimizer=pylstm.SGD(), callbacks=[found, keep], resume=path, **options)
    np.testing.assert_array_equal(found.state["a"], state["a"])
    assert found.state["zero"].shape == ()
    assert (found.state["b"], found.state["c"]) == ([1, None, "x", True, "-inf"], 0.5)


def test_a_loss_of_ones_own_does_not_become_the_librarys_by_its_name(tmp_path):
    def mse(y, targets, lengths=None):  # noqa: ARG001
        return 0.0, np.zeros_like(y)

    model, x = filled(1.0), np.zeros((4, 20), np.float32)
    for loss, want in [(mse, None), (pylstm.mse, "mse"), ("mse", "mse")]:
        model.fit(x, x, loss=loss, optimizer=pylstm.SGD(), verbose=0)
        model.save(tmp_path / "m.npz")
        assert pylstm.load(tmp_path / "m.npz")._loss == want


# ---- paths of checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{epoch.__class__}.npz", "holds {epoch.__class__}"),
        ("{epoch[0]}.npz", "holds {epoch"),
        ("{}.npz", "holds {}"),
        ("{0}.npz", "holds {0}"),
        ("{epoch!r}.npz", "holds {epoch}"),
        ("{epoch:{loss}}.npz", "holds {epoch}"),
        ("{epoch", "expected '}'"),
        ("epoch}.npz", "Single '}'"),
        ("{epoch:q}.npz", "Unknown format code"),
        ("{loss:d}.npz", "Unknown format code"),
        ("m.pkl", "must end in .npz or .safetensors"),
    ],
)
def test_paths_that_cannot_be_filled_are_refused_at_once(path, message):
    with pytest.raises(ValueError, match=message):
        pylstm.ModelCheckpoint(path)


def test_unknown_figures_are_refused_before_the_first_epoch(tmp_path):
    model, x = filled(1.0), np.zeros((4, 20), np.float32)
    before = model.state_dict()
    keep = pylstm.ModelCheckpoint(tmp_path / "{y}.npz")
    with pytest.raises(ValueError, match=r"holds \{y\}, but there are only epoch, loss, lr, seconds, val_loss"):
        model.fit(x, x + 1, loss="mse", optimizer=pylstm.SGD(), callbacks=[keep], verbose=0)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, before[name])


def test_paths_with_figures_and_braces(tmp_path):
    model, x = filled(0.5), np.zeros((4, 20), np.float32)
    keep = pylstm.ModelCheckpoint(tmp_path / "{{a}}-{epoch:03d}-{loss:.1f}-{val_loss:.1f}.npz")
    options = {"loss": "mse", "optimizer": pylstm.SGD(0.0), "verbose": 0, "validation_data": (x, x)}
    model.fit(x, model(x), callbacks=[keep], **options)
    (name,) = os.listdir(tmp_path)
    assert name.startswith("{a}-001-0.0-")


class Adds(pylstm.Callback):
    def end_epoch(self, training):
        training.logs["mine"] = 3.0


def test_a_callbacks_own_figure_may_stand_in_a_path(tmp_path):
    model, x = filled(0.5), np.zeros((4, 20), np.float32)
    keep = [Adds(), pylstm.ModelCheckpoint(tmp_path / "{mine:.0f}.npz")]
    model.fit(x, x, loss="mse", optimizer=pylstm.SGD(), callbacks=keep, verbose=0)
    assert os.listdir(tmp_path) == ["3.npz"]
