"""From which file training goes on, and what counts where it differs from what fit is given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
import zipfile

import pytest

import pylstm
from pylstm.training import resuming
from support.trainings import data, net

OPTIONS = {"loss": "mse", "batch_size": 8, "verbose": 0}


def fit(model, epochs, callbacks, lr=1e-3, **options):
    return model.fit(
        *data(), optimizer=options.pop("optimizer", None) or pylstm.Adam(lr), epochs=epochs, callbacks=callbacks,
        **{**OPTIONS, "seed": 1, **options},
    )  # fmt: skip


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def same(one, two):
    return all(value.tobytes() == two.params[name].tobytes() for name, value in one.params.items())


def whole(epochs=4):
    model = net()
    return model, fit(model, epochs, [])["loss"]


# ---- a training that was ended ---------------------------------------------------------------------------------------


class Ends(pylstm.Callback):
    def end_epoch(self, training):
        if training.epoch == 1:
            training.stop()


ENDS = {
    "stop": Ends,
    "function": lambda: lambda epoch, _: epoch == 1,
    "early": lambda: pylstm.EarlyStopping(1, "lr"),
}


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("resume", ["auto", "path"])
def test_a_training_that_a_callback_ended_adds_nothing_and_says_so(tmp_path, capsys, ends, resume):
    path = tmp_path / "c.npz"
    model, again = net(), net(5)
    history = fit(model, 9, [ends(), pylstm.ModelCheckpoint(path)])
    assert len(history["loss"]) == 2
    for _ in range(2):  # as often as wanted
        said = pytest.warns(UserWarning, match="ended by a callback after epoch 2, and so nothing is added.*patience")
        if resume == "auto":
            got = fit(again, 9, [ends(), pylstm.ModelCheckpoint(path)], resume="auto", verbose=2)
            assert "after epoch 2, and so nothing is added" in capsys.readouterr().out
        else:
            with said as caught:
                got = fit(again, 9, [ends(), pylstm.ModelCheckpoint(path)], resume=path)
            assert caught[0].filename == __file__
        assert got == history
        assert same(model, again)


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_an_ended_training_is_not_silent_where_nothing_is_shown(tmp_path, ends):
    path = tmp_path / "c.npz"
    history = fit(net(), 9, [ends(), pylstm.ModelCheckpoint(path)])
    with pytest.warns(UserWarning, match="ended by a callback after epoch 2, and so nothing is added") as said:
        assert fit(net(5), 9, [ends(), pylstm.ModelCheckpoint(path)], resume="auto") == history
    assert len(said) == 1
    assert said[0].filename == __file__


def test_more_patience_goes_on(tmp_path):
    path = tmp_path / "c.npz"
    fit(net(), 9, [pylstm.EarlyStopping(1, "lr"), pylstm.ModelCheckpoint(path)])
    history = fit(net(5), 9, [pylstm.EarlyStopping(4, "lr"), pylstm.ModelCheckpoint(path)], resume=path)
    assert len(history["loss"]) == 5


def test_epochs_that_were_trained_already_are_told(tmp_path):
    path = tmp_path / "c.npz"
    fit(net(), 3, [pylstm.ModelCheckpoint(path)])
    with pytest.warns(UserWarning, match="is of epoch 3, and epochs=2 counts from the beginning.*nothing is added"):
        assert len(fit(net(), 2, [pylstm.ModelCheckpoint(path)], resume=path)["loss"]) == 3


# ---- what counts -----------------------------------------------------------------------------------------------------


class Counts(pylstm.Callback):
    def __init__(self):
        self.count = 0

    def end_epoch(self, training):  # noqa: ARG002
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_the_callbacks_of_fit_count(tmp_path):
    path = tmp_path / "c.npz"
    fit(net(), 2, [Counts(), pylstm.ModelCheckpoint(path)])
    mine, stop = Counts(), pylstm.EarlyStopping(3, "loss")
    with pytest.warns(UserWarning, match="those that fit is given count. EarlyStopping of fit will begin now") as said:
        fit(net(), 4, [stop, mine, pylstm.ModelCheckpoint(path)], resume=path)
    assert said[0].filename == __file__
    assert mine.count == 4  # found by its class, wherever it stands
    with pytest.warns(UserWarning, match="EarlyStopping, Counts, ModelCheckpoint of the checkpoint will not go on"):
        history = fit(net(), 6, [], resume=path)
    assert history["loss"] == whole(6)[1]


def test_an_early_stopping_of_another_figure_begins_anew(tmp_path):
    path = tmp_path / "c.npz"
    fit(net(), 2, [pylstm.EarlyStopping(9, "loss"), pylstm.ModelCheckpoint(path)])
    other = pylstm.EarlyStopping(9, "lr", mode="max")
    with pytest.warns(UserWarning, match="EarlyStopping of the checkpoint will not go on. EarlyStopping of fit"):
        fit(net(), 4, [other, pylstm.ModelCheckpoint(path)], resume=path)
    assert other.best_epoch == 2
    both = [pylstm.EarlyStopping(9, "loss", mode="max"), pylstm.EarlyStopping(9, "lr", mode="max")]
    with pytest.warns(UserWarning, match="EarlyStopping of fit will begin now"):
        fit(net(), 5, [*both, pylstm.ModelCheckpoint(path)], resume=path)
    assert [one.best_epoch for one in both] == [4, 2]  # not exchanged, though both are of one class


def test_functions_come_and_go(tmp_path, no_warnings):  # noqa: ARG001
    path = tmp_path / "c.npz"
    fit(net(), 2, [pylstm.ModelCheckpoint(path), lambda *_: None])
    fit(net(), 3, [pylstm.ModelCheckpoint(path)], resume=path)
    history = fit(net(), 4, [lambda *_: None, lambda *_: None, pylstm.ModelCheckpoint(path)], resume=path)
    assert history["loss"] == whole()[1]


class Halves(pylstm.Callback):
    def end_epoch(self, training):
        training.optimizer.lr /= 2


def test_the_checkpoints_learning_rate_counts(tmp_path):
    path = tmp_path / "c.npz"
    fit(net(), 2, [Halves(), pylstm.ModelCheckpoint(path)])
    with warnings.catch_warnings():  # the program as it was, and the same optimizer
        warnings.simplefilter("error")
        history = fit(net(), 4, [Halves(), pylstm.ModelCheckpoint(path)], resume=path)
        assert history["lr"] == [1e-3 / 2**k for k in range(4)]
        fit(net(), 5, [Halves(), pylstm.ModelCheckpoint(path)], resume=path)
    with pytest.warns(UserWarning, match="another learning rate: the checkpoint's counts, 3.125e-05, not.* 0.1.*lr in"):
        history = fit(net(), 6, [Halves(), pylstm.ModelCheckpoint(path)], lr=0.1, resume=path)
    assert history["lr"] == [1e-3 / 2**k for k in range(6)]


@pytest.mark.parametrize(("given", "message"), [
    ({"seed": 2}, "another seed: the checkpoint's counts, not 2"),
    ({"optimizer": pylstm.Adam(weight_decay=0.1)}, r"another optimizer: what fit is given.* Adam\(.*decay=0.1.*0.0"),
    ({"schedule": pylstm.Cosine(9)}, r"another schedule: what fit is given counts, Cosine\(epochs=9"),
    ({"schedule": pylstm.WarmUp(2, pylstm.Cosine(7))}, r"counts, WarmUp\(epochs=2, then=Cosine\(epochs=7"),
])  # fmt: skip
def test_other_options_are_told(tmp_path, given, message):
    path = tmp_path / "c.npz"
    fit(net(), 2, [pylstm.ModelCheckpoint(path)], schedule=pylstm.Cosine(4))
    with pytest.warns(UserWarning, match=message):
        fit(net(), 3, [pylstm.ModelCheckpoint(path)], resume=path, **{"schedule": pylstm.Cosine(4), **given})


def plateau(**options):
    return pylstm.ReduceOnPlateau(patience=0, gamma=0.5, threshold=1.0, monitor="loss", **options)


def halves(epoch, batch, batches):  # noqa: ARG001
    return 0.5


KINDS = {
    "none": (lambda: None, 1.0), "function": (lambda: halves, 0.5),
    "plateau": (plateau, 1.0), "warm-up plateau": (lambda: pylstm.WarmUp(1, plateau()), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("after", KINDS)
@pytest.mark.parametrize("before", KINDS)
def test_another_kind_of_schedule_begins_with_its_own_state(tmp_path, before, after, known):
    path = tmp_path / "c.npz"
    fit(net(), 3, [pylstm.ModelCheckpoint(path)], schedule=KINDS[before][0]())
    if not known:  # a file of before the kind was written
        rewrite(path, lambda training: [training.pop("schedule_kind"), training.pop("settings")])
    make, factor = KINDS[after]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rates = fit(net(), 5, [pylstm.ModelCheckpoint(path)], schedule=make(), resume=path)["lr"]
    stateful = "plateau" in before, "plateau" in after
    if before == after or (not known and stateful[0] == stateful[1]):  # of old files nobody can tell
        assert not said
    else:
        assert len(said) == 1
        assert "another schedule: what fit is given counts, " in str(said[0].message)
        assert ("begins with its own state" in str(said[0].message)) == any(stateful)
        assert said[0].filename == __file__
        assert rates[3] == 1e-3 * factor
    if stateful[1]:
        assert rates[4] <= rates[3]


def test_a_plateau_goes_on_as_it_was(tmp_path, no_warnings):  # noqa: ARG001
    path = tmp_path / "c.npz"
    want = fit(net(), 6, [], schedule=plateau())["lr"]
    assert want[-1] < 1e-3
    for epochs in (4, 6):
        got = fit(net(5), epochs, [pylstm.ModelCheckpoint(path)], schedule=plateau(), resume="auto")["lr"]
    assert got == want


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    structure = json.loads(members["structure.json"])
    change(structure["training"])
    members["structure.json"] = json.dumps(structure).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_warning_that_is_an_error_changes_nothing(tmp_path, no_warnings):  # noqa: ARG001
    path = tmp_path / "c.npz"
    fit(net(), 2, [pylstm.ModelCheckpoint(path)])
    model, optimizer = net(5), pylstm.Adam(0.5)
    before = model.state_dict()
    with pytest.raises(UserWarning, match="another learning rate"):
        fit(model, 3, [pylstm.ModelCheckpoint(path)], resume=path, optimizer=optimizer)
    assert all((model.params[name] == value).all() for name, value in before.items())
    assert optimizer.lr == 0.5


# ---- which file ------------------------------------------------------------------------------------------------------


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
    assert w[0].filename == __file__
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
