"""Averages of the weights: what they are, who sees them when, and going on with them."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.fits import fit, model, same_bits, sequences


class Sees(pylstm.Callback):
    """Notes the weights that are trained, after every update, and those at the ends of epochs."""

    def __init__(self):
        self.trained, self.shown = [], []

    def end_batch(self, training):
        self.trained.append(training.model.state_dict())

    def end_epoch(self, training):
        self.shown.append(training.model.state_dict())


def whole(average, epochs=3, **options):
    x, y, _ = sequences()
    net, sees = model(), Sees()
    callbacks = [*options.pop("callbacks", []), sees, *([] if average is None else [average])]
    history = fit(net, x, y, epochs=epochs, callbacks=callbacks, **options)
    return net, sees, history


def same(one, two):
    return one.keys() == two.keys() and all(value.tobytes() == two[name].tobytes() for name, value in one.items())


def means(weights, update):
    """The averages after each of the weights, in float64."""
    found, average = [], None
    for k, params in enumerate(weights):
        wide = {name: value.astype(np.float64) for name, value in params.items()}
        average = wide if average is None else {n: average[n] + update(k) * (v - average[n]) for n, v in wide.items()}
        found.append(average)
    return found


def close(got, want):
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-7)


def test_ema_is_the_exponential_mean_of_the_weights_after_every_update():
    for every in (1, 4):
        net, sees, _ = whole(pylstm.EMA(0.8, every=every))
        want = means(sees.trained[every - 1 :: every], lambda _: 0.2)
        for epoch in range(3):
            close(sees.shown[epoch], want[6 * (epoch + 1) // every - 1])
        assert same(sees.shown[-1], net.state_dict())


def test_swa_is_the_mean_of_the_weights_at_the_ends_of_epochs():
    net, sees, _ = whole(pylstm.SWA(1, every=2), epochs=6)
    ends = sees.trained[5::6]
    assert same(sees.shown[0], ends[0])  # not yet
    want = means(ends[1::2], lambda k: 1 / (k + 1))
    for epoch in range(1, 6):
        close(sees.shown[epoch], want[(epoch - 1) // 2])
    close(net.params, {name: np.mean([end[name] for end in ends[1::2]], axis=0) for name in ends[0]})


def test_averages_follow_torch():
    torch = pytest.importorskip("torch")
    utils = torch.optim.swa_utils
    cases = [(pylstm.EMA(0.9), utils.get_ema_multi_avg_fn(0.9), 1), (pylstm.SWA(0), None, 6)]
    for mine, function, every in cases:
        net, sees, _ = whole(mine)
        theirs = torch.nn.ParameterDict({n.replace(".", "_"): torch.tensor(v) for n, v in net.params.items()})
        average = utils.AveragedModel(theirs, multi_avg_fn=function)
        for params in sees.trained[every - 1 :: every]:
            with torch.no_grad():
                for name, value in params.items():
                    theirs[name.replace(".", "_")].copy_(torch.tensor(value))
            average.update_parameters(theirs)
        for name, value in net.params.items():
            want = average.module[name.replace(".", "_")].detach().numpy()
            np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [lambda: pylstm.EMA(0.9), lambda: pylstm.SWA(0)], ids=["EMA", "SWA"])
def test_training_goes_on_with_its_own_weights_and_validation_sees_the_averages(make):
    x, y, _ = sequences()
    plain, its, _ = whole(None, validation_data=(x, y))
    net, sees, history = whole(make(), validation_data=(x, y))
    assert all(same(one, two) for one, two in zip(its.trained, sees.trained, strict=True))
    assert not same_bits(plain, net)
    for shown, loss in zip(sees.shown, history["val_loss"], strict=True):
        plain.load_state_dict(shown)
        assert plain.evaluate(x, y, batch_size=16)["loss"] == loss


def test_early_stopping_keeps_the_best_averages():
    x, y, _ = sequences()
    stop = pylstm.EarlyStopping(2, "val_loss", mode="max")  # the first one is the best
    net, sees, history = whole(pylstm.EMA(0.9), callbacks=[stop], validation_data=(x, y))
    assert history["val_loss"][0] == max(history["val_loss"])
    assert same(net.state_dict(), sees.shown[0])


@pytest.mark.parametrize("make", [
    lambda: pylstm.EMA(0.9), lambda: pylstm.EMA(0.9, every=4), lambda: pylstm.SWA(0), lambda: pylstm.SWA(3),
], ids=["EMA", "EMA every 4", "SWA", "SWA from 3"])  # fmt: skip
@pytest.mark.parametrize("frozen", [(), (0, 4)], ids=["all", "frozen"])
def test_resumed_training_is_as_if_never_interrupted(make, frozen, tmp_path):
    x, y, _ = sequences()

    def trained(epochs, name, **options):
        net = model()
        if frozen:
            net.freeze(*frozen)
        keep = pylstm.ModelCheckpoint(tmp_path / name)
        history = fit(net, x, y, epochs=epochs, callbacks=[keep, make()] if epochs > 2 else [make(), keep],
                      validation_data=(x, y), **options)  # fmt: skip
        del history["seconds"]
        return net, history

    straight, history = trained(5, "straight.npz")
    trained(2, "c.npz")
    resumed, again = trained(5, "c.npz", resume="auto")
    assert same_bits(straight, resumed)
    assert history == again
    assert same_bits(pylstm.load(tmp_path / "c.npz"), resumed)  # a file has the averages


def test_a_training_that_ended_is_resumed_with_its_averages(tmp_path):
    x, y, _ = sequences()
    path = tmp_path / "c.npz"

    def trained():
        net = model()
        fit(net, x, y, epochs=2, callbacks=[pylstm.EMA(0.9), pylstm.ModelCheckpoint(path)], resume="auto")
        return net

    first = trained()
    assert same_bits(first, trained())


@pytest.mark.parametrize("frozen", ["0", "4"])
def test_what_is_frozen_stays_and_joins_when_it_is_trained(frozen):
    class Unfreezes(pylstm.Callback):
        def end_epoch(self, training):
            if training.epoch == 0:
                training.model.unfreeze()

    x, y, _ = sequences()
    net, sees = model(), Sees()
    net.freeze(frozen)
    before = net.state_dict()
    fit(net, x, y, callbacks=[pylstm.EMA(0.8), sees, Unfreezes()])
    name = f"{frozen}.weight"
    assert sees.shown[0][name].tobytes() == before[name].tobytes() == sees.trained[5][name].tobytes()
    close(net.params, means(sees.trained, lambda _: 0.2)[-1])


def test_the_same_bits_for_any_number_of_threads():
    nets = []
    for threads in (1, 2, 3):
        before = pylstm.get_num_threads()
        pylstm.set_num_threads(threads)
        try:
            nets.append(whole(pylstm.EMA(0.95))[0])
        finally:
            pylstm.set_num_threads(before)
    assert same_bits(nets[0], nets[1])
    assert same_bits(nets[0], nets[2])


@pytest.mark.parametrize("when", ["batch", "epoch"])
def test_where_an_error_ends_training_the_model_has_the_averages(when):
    class Fails(Sees):
        def end_batch(self, training):
            super().end_batch(training)
            if when == "batch" and training.epoch == 1:
                raise KeyError("mine")

        def end_epoch(self, training):
            super().end_epoch(training)
            if when == "epoch" and training.epoch == 1:
                raise KeyError("mine")

    x, y, _ = sequences()
    net, fails = model(), Fails()
    with pytest.raises(KeyError, match="mine"):
        fit(net, x, y, callbacks=[fails, pylstm.EMA(0.8)])
    close(net.params, means(fails.trained, lambda _: 0.2)[-1])


def test_a_second_fit_averages_anew():
    x, y, _ = sequences()
    average, net = pylstm.EMA(0.8), model()
    fit(net, x, y, epochs=1, callbacks=[average])
    sees = Sees()
    fit(net, x, y, epochs=1, callbacks=[average, sees])
    close(net.params, means(sees.trained, lambda _: 0.2)[-1])


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda: pylstm.EMA(1.0), "decay must be above 0 and below 1"), (lambda: pylstm.EMA(0), "decay must be above 0"),
    (lambda: pylstm.EMA("x"), "decay"), (lambda: pylstm.EMA(0.9, every=0), "every"), (lambda: pylstm.SWA(-1), "start"),
    (lambda: pylstm.SWA(0, every=0.5), "every"), (lambda: whole(pylstm.SWA(3)), "from epoch 3 on.*ends after 3 epochs"),
    (lambda: whole(pylstm.SWA(0), callbacks=[pylstm.EMA()]), "two averages of the weights"),
])  # fmt: skip
def test_wrong_averages_are_refused(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        wrong()


def test_layers_that_a_callback_freezes_are_averaged_as_they_stand():
    class Freezes(pylstm.Callback):
        def end_epoch(self, training):
            if training.epoch == 1:
                training.model.freeze(0)
            if training.epoch == 3:
                training.model.unfreeze(0)

    x, y, _ = sequences()
    net, sees = model(), Sees()
    fit(net, x, y, epochs=6, callbacks=[Freezes(), sees, pylstm.SWA(0)])
    ends = sees.trained[5::6]
    assert len(ends) == 6
    close(net.state_dict(), means(ends, lambda k: 1 / (k + 1))[-1])
