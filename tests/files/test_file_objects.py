"""Models in file objects: memory, open files, streams that cannot seek, and objects of somebody's own."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile

import numpy as np
import pytest

import pylstm
from support.files import check_whole, every_layer, filled, ids


class Plain:
    """The least that a file can be: here it takes a few bytes at a time, or does not say how many."""

    def __init__(self, data=b"", most=None, says=True):
        self.data, self.at, self.most, self.says = bytearray(data), 0, most, says

    def write(self, data):
        taken = bytes(data)[: self.most]
        self.data += taken
        return len(taken) if self.says else None

    def read(self, count):
        part = bytes(self.data[self.at : self.at + min(count, self.most or count)])
        self.at += len(part)
        return part


def test_memory(suffix, tmp_path):
    model, buffer = every_layer(), io.BytesIO()
    model.metadata = {"words": ["甲", "b"]}
    model.save(buffer, format=suffix)
    model.save(tmp_path / f"m.{suffix}")
    assert buffer.getvalue() == (tmp_path / f"m.{suffix}").read_bytes()
    assert not buffer.closed
    buffer.seek(0)
    again = pylstm.load(buffer)
    assert again.metadata == model.metadata
    np.testing.assert_array_equal(again.predict(ids()), model.predict(ids()))
    buffer.seek(0)
    assert pylstm.load(buffer, format=suffix).num_parameters == model.num_parameters


def test_without_a_name_it_is_npz_and_a_name_counts(tmp_path):
    buffer = io.BytesIO()
    filled(1.0).save(buffer)
    assert buffer.getvalue()[:2] == b"PK"
    for name in ("m.npz", "m.safetensors", "M.NPZ"):
        if "safe" in name:
            pytest.importorskip("safetensors")
        with open(tmp_path / name, "wb") as file:
            filled(2.0).save(file, metadata={"value": 2.0})
        check_whole(pylstm.load(tmp_path / name))
        with open(tmp_path / name, "rb") as file:
            check_whole(pylstm.load(file))
    with open(tmp_path / "m.npz", "wb") as file, pytest.raises(ValueError, match=r"format is 'safetensors', but"):
        filled(2.0).save(file, format="safetensors")
    with tempfile.TemporaryFile() as file:  # whose name is a number
        filled(3.0).save(file)
        file.seek(0)
        check_whole(pylstm.load(file))


def test_a_path_of_another_name(tmp_path, suffix):
    path = tmp_path / "model.bin"
    filled(1.0).save(path, format=suffix)
    check_whole(pylstm.load(path, format=suffix))
    with pytest.raises(ValueError, match=r"must end in .npz or .safetensors, got 'model.bin'; .* format='npz'"):
        pylstm.load(path)
    with pytest.raises(ValueError, match=r"format='npz'"):
        filled(1.0).save(path)
    other = {"npz": "safetensors", "safetensors": "npz"}[suffix]
    with pytest.raises(ValueError, match=rf"format is '{other}', but the name ends in .{suffix}"):
        filled(1.0).save(tmp_path / f"m.{suffix}", format=other)
    with pytest.raises(pylstm.ModelFileError):
        pylstm.load(path, format=other)
    assert os.listdir(tmp_path) == ["model.bin"]


def test_behind_something_else(suffix):
    buffer = io.BytesIO()
    buffer.write(b"a header of somebody's")
    filled(1.0).save(buffer, format=suffix)
    buffer.seek(22)
    check_whole(pylstm.load(buffer))


@pytest.mark.parametrize(("most", "says"), [(7, True), (1000, True), (None, False)])
def test_objects_of_somebodys(most, says, suffix):
    file = Plain(b"", most, says)
    filled(1.0).save(file, format=suffix)
    check_whole(pylstm.load(Plain(file.data, most)))


def test_streams_that_cannot_seek(suffix, tmp_path):
    ours, theirs = socket.socketpair()
    out, into = ours.makefile("wb"), theirs.makefile("rb")
    thread = threading.Thread(target=lambda: (filled(1.0, 300).save(out, format=suffix), out.close(), ours.close()))
    thread.start()
    check_whole(pylstm.load(into))
    thread.join()
    into.close()
    theirs.close()
    for opened in (gzip.open, bz2.open):
        with opened(tmp_path / "m", "wb") as file:
            filled(2.0).save(file, format=suffix)
        with opened(tmp_path / "m", "rb") as file:
            check_whole(pylstm.load(file))
    with zipfile.ZipFile(tmp_path / "z", "w") as archive, archive.open("inner", "w") as file:
        filled(3.0).save(file, format=suffix)
    with zipfile.ZipFile(tmp_path / "z") as archive, archive.open("inner") as file:
        check_whole(pylstm.load(file))


def test_weights_alone(suffix):
    class Net(pylstm.Model):
        def __init__(self, seed):
            self.head = pylstm.Linear(3, 2, seed=seed)

        def run(self, x):
            return self.head(x)

    one, other, buffer = Net(0), Net(1), io.BytesIO()
    one.save_weights(buffer, format=suffix)
    buffer.seek(0)
    other.load_weights(buffer)
    np.testing.assert_array_equal(one.params["head.weight"], other.params["head.weight"])


# ---- what fails ------------------------------------------------------------------------------------------------------


def closed():
    file = io.BytesIO()
    file.close()
    return file


class Reads:
    def __init__(self, part):
        self.part = part

    def read(self, count=-1):  # noqa: ARG002
        return self.part


def nowhere(mode):
    return open(os.devnull, mode)


def named(mode):
    return tempfile.NamedTemporaryFile(mode)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (closed, ValueError, "a file that is closed: BytesIO"),
        (io.StringIO, TypeError, "a file of text, and a model is bytes: open it with mode 'wb'"),
        (lambda: nowhere("w"), TypeError, "a file of text"),
        (lambda: named("w"), TypeError, "a file of text"),
        (lambda: nowhere("rb"), ValueError, "not opened for writing: mode 'wb'"),
        (lambda: 3, TypeError, "a file that is open, got int"),
        (lambda: b"m.npz", TypeError, "got bytes"),
        (lambda: None, TypeError, "got None"),
        (lambda: Reads(b""), TypeError, "cannot be written to, Reads"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_to(make, error, text):
    model, file = filled(1.0), make()
    with pytest.raises(error, match=text):
        model.save(file, metadata={"other": 1})
    assert model.metadata == {"value": 1.0}
    if hasattr(file, "close"):
        file.close()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (closed, ValueError, "a file that is closed"),
        (io.StringIO, TypeError, "a file of text, and a model is bytes: open it with mode 'rb'"),
        (lambda: nowhere("wb"), ValueError, "not opened for reading: mode 'rb'"),
        (lambda: b"PK", TypeError, r"got bytes: io.BytesIO\(data\) makes a file of it"),
        (lambda: 3, TypeError, "got int"),
        (io.BytesIO, pylstm.ModelFileError, r"nothing to read: it is empty, or at its end; .*file.seek\(0\)"),
        (lambda: Reads("text"), TypeError, "whose read gives str"),
        (lambda: Reads(None), BlockingIOError, "does not block"),
        (lambda: io.BytesIO(b"PK\x03\x04 and nothing more"), pylstm.ModelFileError, "npz"),
        (lambda: io.BytesIO(b"what is this?"), pylstm.ModelFileError, "cut off, or something else"),
        (lambda: io.BytesIO(b"\2\0\0\0\0\0\0\0{}"), pylstm.ModelFileError, "not a model"),
    ],
)
def test_what_cannot_be_read(make, error, text):
    file = make()
    with pytest.raises(error, match=text):
        pylstm.load(file)
    if hasattr(file, "close"):
        file.close()


def test_wrong_formats():
    for value in ("zip", "NPZ", "", 1):
        with pytest.raises((ValueError, TypeError), match="format must be 'npz' or 'safetensors'"):
            filled(1.0).save(io.BytesIO(), format=value)
        with pytest.raises((ValueError, TypeError), match="format must be 'npz' or 'safetensors'"):
            pylstm.load(io.BytesIO(), format=value)


def test_damage_is_seen(suffix):
    buffer = io.BytesIO()
    filled(1.0).save(buffer, format=suffix)
    data = buffer.getvalue()
    for wrong in (data[:-1], data[: len(data) // 2], data + b"x", data[:3], data[:20]):
        with pytest.raises(pylstm.ModelFileError):
            pylstm.load(io.BytesIO(wrong))


def test_a_stream_without_an_end_is_not_read_for_ever(suffix, monkeypatch):
    class Endless(Plain):
        given = 0

        def read(self, count):
            part = super().read(count)
            self.given += count
            return part + b"\0" * (count - len(part))

    from pylstm.files import streams

    monkeypatch.setattr(streams, "_NPZ_LIMIT", 2**22)
    file = Plain()
    filled(1.0).save(file, format=suffix)
    endless = Endless(file.data)
    with pytest.raises(pylstm.ModelFileError):
        pylstm.load(endless)
    assert endless.given < 2**23


def test_nothing_is_written_of_what_cannot_be_saved():
    model, file = filled(1.0), Plain()
    with pytest.raises(TypeError, match="metadata"):
        model.save(file, metadata={"a": object()})
    assert not file.data
    assert model.metadata == {"value": 1.0}


class Failing(io.BytesIO):
    """A disk with room for so many bytes."""

    room = 500

    def write(self, data):
        if self.room < len(data):
            super().write(bytes(data)[: self.room])
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_what_a_failed_write_left_is_cut_off():
    file, model = Failing(), filled(1.0)
    file.room = 10**6
    file.write(b"before")
    file.room = 500
    with pytest.raises(OSError, match="No space left"):
        model.save(file, metadata={"other": 1})
    assert file.getvalue() == b"before"
    assert file.tell() == 6
    assert model.metadata == {"value": 1.0}
    for count in (0, -1, 10**9, "7"):
        file = Plain()
        file.write = lambda data, count=count: count  # noqa: ARG005
        with pytest.raises(OSError, match="said it took"):
            model.save(file)


FULL = """
import resource, signal, sys, pylstm
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
model = pylstm.Sequential([pylstm.Linear(60, 60)])
for buffering in (0, -1):
    with open(sys.argv[1], "wb", buffering) as file:
        file.write(b"mine")
        try:
            model.save(file)
        except OSError as error:
            print("refused", error.errno)
    print(open(sys.argv[1], "rb").read())
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_full_disk(tmp_path):
    found = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "m.npz")], cwd=tmp_path, check=True,
                           capture_output=True, text=True)  # fmt: skip
    assert found.stdout.splitlines() == ["refused 27", "b'mine'"] * 2


def test_a_write_that_tells_its_count_in_another_way():
    class Writes:
        def __init__(self, answer):
            self.data, self.answer = b"", answer

        def write(self, data):
            self.data += bytes(data)
            return self.answer(len(data))

    model = pylstm.Sequential([pylstm.Linear(2, 1)], seed=0)
    file = Writes(np.int64)
    model.save(file)
    assert pylstm.load(io.BytesIO(file.data)).params["0.weight"].tobytes() == model.params["0.weight"].tobytes()
    with pytest.raises(OSError, match="said it took True"):
        model.save(Writes(bool))
