"""What counts where the checkpoint that training goes on from differs from what fit is given."""

from __future__ import annotations

import json
import warnings
import zipfile

import pytest

import pylstm
from support.resumed import CALLER, fit, same, whole
from support.trainings import net

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
            assert caught[0].filename == CALLER
        assert got == history
        assert same(model, again)


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_an_ended_training_is_not_silent_where_nothing_is_shown(tmp_path, ends):
    path = tmp_path / "c.npz"
    history = fit(net(), 9, [ends(), pylstm.ModelCheckpoint(path)])
    with pytest.warns(UserWarning, match="ended by a callback after epoch 2, and so nothing is added") as said:
        assert fit(net(5), 9, [ends(), pylstm.ModelCheckpoint(path)], resume="auto") == history
    assert len(said) == 1
    assert said[0].filename == CALLER


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
    assert said[0].filename == CALLER
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
        assert said[0].filename == CALLER
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
