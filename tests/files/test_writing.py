"""Saving: whole files only, whoever else saves to the same place."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.files import atomic
from support.files import check_whole, filled

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


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
