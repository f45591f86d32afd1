"""From which file training goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings

import pytest

import pylstm
from pylstm.training import resuming
from support.resumed import CALLER, fit, same, whole
from support.trainings import net


def test_auto_begins_and_goes_on(tmp_path, capsys, no_warnings):  # noqa: ARG001
    keep = [pylstm.ModelCheckpoint(tmp_path / "c.npz")]
    want, losses = whole()
    assert fit(net(), 2, keep, resume="auto", verbose=2)["loss"] == losses[:2]
    assert "going on" not in capsys.readouterr().out
    model = net(5)
    assert fit(model, 4, keep, resume="auto", verbose=2)["loss"] == losses
    assert "going on after epoch 2 of " in capsys.readouterr().out
    assert same(model, want)
    with pytest.raises(ValueError, match=r"resume='auto' looks where a ModelCheckpoint writes.*give one"):
        fit(net(), 2, [], resume="auto")


@pytest.mark.parametrize("name", ["m-{epoch}.npz", "m-{epoch:03d}-{loss:.3f}.npz", "{{a}}[1]{loss:.6f}.npz",
                                  "{epoch:x}.npz", "{epoch:*>4}-{epoch}.npz"])  # fmt: skip
@pytest.mark.parametrize("explicit", [False, True])
def test_the_newest_of_a_pattern(tmp_path, no_warnings, name, explicit):  # noqa: ARG001
    keep = [pylstm.ModelCheckpoint(tmp_path / name)]
    fit(net(), 11, keep)
    assert len(os.listdir(tmp_path)) == 11
    for path in tmp_path.iterdir():  # copied about: times say nothing
        os.utime(path, (1, 1))
    (tmp_path / "m-0012.txt").write_text("")
    (tmp_path / "other@99.npz").write_text("")
    model = net(5)
    history = fit(model, 13, keep, resume=tmp_path / name if explicit else "auto")
    assert history["loss"] == whole(13)[1]
    assert same(model, whole(13)[0])


def negative(outputs, targets, lengths=None):  # noqa: ARG001
    loss, gradient = pylstm.mse(outputs, targets)
    return loss - 5.0, gradient


def tiny(outputs, targets, lengths=None):  # noqa: ARG001
    loss, gradient = pylstm.mse(outputs, targets)
    return loss * 1e-6, gradient


@pytest.mark.parametrize(("name", "loss"), [
    ("m-{epoch:03d}-{loss:.3f}.npz", negative), ("m-{epoch}-{loss:.2e}.npz", tiny), ("m-{epoch}-{loss}.npz", tiny),
    ("m.{epoch}.{loss:.3f}.npz", "mse"), ("{loss:.2e}-{epoch}.npz", tiny), ("{loss}{epoch}.npz", negative),
    ("{epoch:,}{loss:g}.npz", "mse"), ("{epoch}{epoch:x}{lr}.npz", "mse"), ("{epoch:.0e}-{epoch}.npz", "mse"),
    ("m{epoch:x}.npz", "mse"), ("{epoch:#o}{loss:*>50}.npz", "mse"), ("{epoch:b}-{loss:@^12.3f}.npz", "mse"),
    ("{epoch:.>4}.npz", "mse"), ("{epoch:9>6,}.npz", "mse"), ("{epoch:0^5}.npz", "mse"),
    ("{epoch:->4}--{loss:-^9.3}.npz", negative), ("{epoch:_}{lr:%}_{loss:+.2f}.npz", negative),
])  # fmt: skip
def test_names_that_can_be_read_in_several_ways(tmp_path, no_warnings, name, loss):  # noqa: ARG001
    """Which epoch a file is of is the file's to say."""
    keep = [pylstm.ModelCheckpoint(tmp_path / name)]
    losses = fit(net(), 18, keep, loss=loss)["loss"]
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(kept) == 18
    for epochs in (19, 20):
        found = fit(net(5), epochs, keep, loss=loss, resume="auto")["loss"]
        assert found[:18] == losses
        assert len(found) == epochs
        assert len(list(tmp_path.iterdir())) == epochs
    assert all(path.read_bytes() == data for path, data in kept.items())


def test_only_files_that_can_be_the_newest_are_read(tmp_path, monkeypatch):
    keep = [pylstm.ModelCheckpoint(tmp_path / "m-{epoch:03d}-{loss:.3f}.npz")]
    fit(net(), 12, keep, loss=negative)
    read, paths = resuming.read, []
    monkeypatch.setattr(resuming, "read", lambda training, path: [paths.append(path), read(training, path)][1])
    fit(net(), 13, keep, loss=negative, resume="auto")
    assert len(paths) == 1


@pytest.mark.parametrize("name", ["m{epoch:c}.npz", "{loss:/>20}.npz"])
def test_forms_that_make_no_number_are_refused(name):
    with pytest.raises(ValueError, match="makes no number that a file's name can hold"):
        pylstm.ModelCheckpoint(name)


def test_what_is_none_of_this_training_is_left_out(tmp_path):
    keep = [pylstm.ModelCheckpoint(tmp_path / "m-{epoch}.npz")]
    fit(net(), 3, keep)
    good = (tmp_path / "m-3.npz").read_bytes()
    (tmp_path / "m-4.npz").write_bytes(good[: len(good) // 2])  # half-written, by a copy
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 1
    (tmp_path / "m-5.npz").write_bytes(damaged)
    net().save(tmp_path / "m-6.npz")  # a model alone
    shutil.copy(tmp_path / "m-1.npz", tmp_path / "m-7.npz")  # of epoch 1
    other = pylstm.Sequential([pylstm.Embedding(20, 3), pylstm.MeanOverTime(), pylstm.Linear(3, 1)], seed=0)
    fit(other, 1, [pylstm.ModelCheckpoint(tmp_path / "m-8.npz")])
    (tmp_path / "m-9.npz").mkdir()
    (tmp_path / "m-10.npz").symlink_to(tmp_path / "nothing")
    (tmp_path / "m-011.npz").write_bytes(good)  # not what {epoch} makes
    (tmp_path / "m-\u0663.npz").write_bytes(good)
    message = r"leaves out.*m-8.npz.*another model.*m-7.npz.*another epoch.*m-6.*m-5.*m-4.*goes on from .*m-3.npz"
    with pytest.warns(UserWarning, match=message) as w:
        history = fit(net(5), 4, keep, resume="auto")
    assert w[0].filename == CALLER
    assert history["loss"] == whole()[1]


def test_a_file_that_is_none_does_not_stop_auto(tmp_path):
    path = tmp_path / "c.npz"
    net().save(path)
    with pytest.warns(UserWarning, match="without the state of a training.*training begins anew"):
        assert fit(net(), 2, [pylstm.ModelCheckpoint(path)], resume="auto")["loss"] == whole(2)[1]
    with pytest.raises(FileNotFoundError, match="no checkpoint of this training has such a name"):
        fit(net(), 2, [], resume=tmp_path / "x-{epoch}.npz")


def test_of_several_checkpoints_the_newest(tmp_path, no_warnings):  # noqa: ARG001
    keep = [
        pylstm.ModelCheckpoint(tmp_path / "a.npz", every=2),
        pylstm.ModelCheckpoint(tmp_path / "b-{epoch}.npz", every=3),
    ]
    fit(net(), 3, keep)
    assert fit(net(5), 4, keep, resume="auto")["loss"] == whole()[1]
    assert fit(net(6), 4, keep, resume="auto")["loss"] == whole()[1]


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
import pylstm
from pylstm.files import atomic, tensors
from support.resumed import OPTIONS, fit, same, whole
from support.trainings import data, net

def slow(epoch, logs):
    print("epoch", epoch, flush=True)
    if epoch == 2:  # of the next file, a part is written when the process is killed
        right = tensors.zipfile.ZipFile.writestr
        def hang(*args):
            right(*args)
            args[0].fp.flush()
            print("half", flush=True)
            time.sleep(600)
        tensors.zipfile.ZipFile.writestr = hang

net = net()
net.fit(*data(), loss="mse", batch_size=8, optimizer=pylstm.Adam(), epochs=4, seed=1, verbose=0, resume="auto",
        callbacks=[slow, pylstm.ModelCheckpoint(sys.argv[2])])
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("name", ["c.npz", "c-{epoch:02d}.npz"])
def test_killed_in_the_middle_of_a_save(tmp_path, name):
    support = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = [sys.executable, "-P", "-c", PROGRAM] if sys.version_info >= (3, 11) else [sys.executable, "-c", PROGRAM]
    process = subprocess.Popen([*program, support, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
    try:
        while (line := process.stdout.readline()) and line != "half\n":
            pass
        assert line == "half\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    left = [entry for entry in os.listdir(tmp_path) if entry.endswith(".part")]
    assert len(left) == 1  # half of a file, under a name that is nobody's
    model = net(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep = [lambda *_: None, pylstm.ModelCheckpoint(tmp_path / name)]
        history = fit(model, 4, keep, resume="auto")
    want, losses = whole()
    assert history["loss"] == losses
    assert same(model, want)
