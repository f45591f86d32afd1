"""Random trainings with faults at every point, checked against a model of what is true. `--help` says how to run it.

A machine trains, saves, loads and resumes one model in random order (Hypothesis draws and shrinks it), while layers,
losses, metrics, schedules, callbacks, the optimizer and the disk fail, Ctrl-C comes, and numbers become NaN. Each fit
is run twice: undisturbed on a copy, which writes down the state before every batch, and with the fault. What has to
hold: a failed operation leaves the state of some batch, or, if none was taken, everything as it was; resuming from any
checkpoint equals the undisturbed run to the bit; a loaded model is the saved one; EarlyStopping leaves the weights of
the best epoch of its own history.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import errno
import math
import os
import pickle
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

import pylstm
from pylstm.losses import by_name as losses
from pylstm.training import schedules

ROWS, STEPS, BATCH = 14, 5, 5  # three batches, the last one smaller
OPTIMIZERS = {
    "sgd": lambda: pylstm.SGD(0.05),
    "momentum": lambda: pylstm.SGD(0.02, 0.9, nesterov=True, lazy=True),
    "adagrad": lambda: pylstm.Adagrad(0.05, weight_decay=0.01),
    "rmsprop": lambda: pylstm.RMSprop(0.01, momentum=0.5),
    "adam": lambda: pylstm.Adam(0.02),
    "lazy": lambda: pylstm.AdamW(0.02, lazy=True),
}
SCHEDULES = {
    "none": lambda: None,
    "step": lambda: pylstm.StepLR(1, 0.5),
    "plateau": lambda: pylstm.ReduceOnPlateau(0.5, patience=0, monitor="figure"),
    "warm-up": lambda: pylstm.WarmUp(1, pylstm.ReduceOnPlateau(0.5, patience=0, monitor="loss")),
}
RAISED = {"memory": MemoryError, "error": RuntimeError, "disk": OSError, "twice Ctrl-C": KeyboardInterrupt}
ACTIONS = [*RAISED, "Ctrl-C", "nan", "inf"]
POINTS = ["layer", "backward", "loss", "metric", "schedule", "begin", "end_epoch", "end", "update", "disk"]


class Faults:
    """Counts how often each point is passed, and does what was asked for at one of them."""

    def __init__(self, point=None, number=0, action=None):
        self.point, self.number, self.action, self.struck = point, number, action, False
        self.counts = dict.fromkeys(POINTS, 0)

    def pass_by(self, point):
        """What to multiply the point's result by."""
        self.counts[point] += 1
        if self.struck or point != self.point or self.counts[point] != self.number:
            return 1.0
        self.struck = True
        if self.action in ("nan", "inf"):
            return float(self.action)
        if self.action.endswith("Ctrl-C"):
            for _ in range(1 if self.action == "Ctrl-C" else 2):
                signal.raise_signal(signal.SIGINT)
            return 1.0
        raise RAISED[self.action](errno.ENOSPC, "planted")


def everything(model, optimizer):
    """All that may change, in a form that compares."""
    state = optimizer.state_dict()
    return {
        "params": {name: value.tobytes() for name, value in model.params.items()},
        "slots": {(n, slot): a.tobytes() for n, own in state["slots"].items() for slot, a in own.items()},
        "steps": state["steps"],
        "dropout": model._dropout_state(),
        "lr": state["lr"],
        "fit": (model._loss, model._metrics and [metric.__name__ for metric in model._metrics]),
        "metadata": copy.deepcopy(model.metadata),
    }


class Probe(pylstm.Callback):
    """First of the callbacks: fails where it is asked to, and knows the end of each epoch."""

    def __init__(self, faults):
        self.faults, self.epochs, self.last = faults, {}, None

    def begin(self, training):
        self.training = training
        self.faults.pass_by("begin")

    def end_epoch(self, training):
        self.epochs[training.epoch] = everything(training.model, training.optimizer)["params"]
        self.faults.pass_by("end_epoch")

    def end(self, training):
        self.last = everything(training.model, training.optimizer)
        self.faults.pass_by("end")


class Watched(schedules.Schedule):
    """A schedule that writes down the state before every batch."""

    def __init__(self, inner, run):
        self.inner, self.run = schedules.as_schedule(inner), run

    def factor(self, epoch, batch, batches):
        self.run.states.append(everything(self.run.model, self.run.optimizer))
        self.run.places.append(epoch * batches + batch)
        return self.inner.factor(epoch, batch, batches) * self.run.faults.pass_by("schedule")

    def end_epoch(self, logs):
        self.inner.end_epoch(logs)

    def state_dict(self):
        return self.inner.state_dict()

    def load_state_dict(self, state):
        self.inner.load_state_dict(state)


class Run:
    """One fit of `model` as `plan` says, with at most one fault."""

    def __init__(self, model, optimizer, plan, data, folder, faults=None, resume=None):
        self.model, self.optimizer, self.plan, self.data = model, optimizer, plan, data
        self.folder, self.faults, self.resume = folder, faults or Faults(), resume
        self.states, self.places, self.history, self.error = [], [], None, None

    def go(self):
        plan, faults = self.plan, self.faults
        self.before = everything(self.model, self.optimizer)
        self.taken = self.optimizer._updates

        def figure(y, targets, lengths):  # noqa: ARG001
            value = float(np.abs(y).sum())
            return (math.nan if int(value * 1000) % 7 == 0 else value) * faults.pass_by("metric")

        self.probe = Probe(faults)
        self.stop = pylstm.EarlyStopping(plan["patience"], plan["monitor"]) if plan["patience"] else None
        keep = pylstm.ModelCheckpoint(self.folder / "{epoch}.npz") if plan["keep"] else None
        callbacks = [callback for callback in (self.probe, self.stop, keep) if callback is not None]
        with self.planted():
            try:
                self.history = self.model.fit(
                    *self.data, loss="mse", metrics=[figure], optimizer=self.optimizer, batch_size=BATCH, verbose=0,
                    epochs=plan["epochs"], seed=plan["seed"], callbacks=callbacks, resume=self.resume,
                    schedule=Watched(SCHEDULES[plan["schedule"]](), self), truncate=plan["truncate"],
                    validation_data=self.data if plan["validate"] else None, **plan["clip"],
                )  # fmt: skip
            except (MemoryError, RuntimeError, OSError, KeyboardInterrupt, FloatingPointError, ValueError) as error:
                self.error = error
        if self.error is not None and not faults.struck:
            raise AssertionError("an undisturbed fit failed") from self.error
        self.updates = self.optimizer._updates - self.taken
        self.after = everything(self.model, self.optimizer)
        return self

    def planted(self):
        """Patches that pass by the faults."""
        faults, pool = self.faults, self.model.layers[2]
        forward, mse, replace, dense = pool.forward, losses.BY_NAME["mse"], os.replace, self.optimizer._dense

        def layer(*args, **options):
            y, backward = forward(*args, **options)
            y = y * np.float32(faults.pass_by("layer"))

            def back(dy):
                dx, dparams = backward(dy)
                return dx * np.float32(faults.pass_by("backward")), dparams

            return y, back

        def loss(*args, **options):
            found = mse(*args, **options)
            if not options.get("need_gradient", True):  # in validation an infinite loss is a figure like others
                return found
            return found._replace(total=found.total * faults.pass_by("loss"))

        def update(*args):
            faults.pass_by("update")
            return dense(*args)

        def rename(*args):
            faults.pass_by("disk")
            return replace(*args)

        @contextlib.contextmanager
        def patches():
            pool.forward, self.optimizer._dense = layer, update
            try:
                with mock.patch.object(os, "replace", rename), mock.patch.dict(losses.BY_NAME, mse=loss):
                    yield
            finally:
                del pool.forward, self.optimizer._dense

        return patches()


def same_history(a, b):
    a, b = ({k: v for k, v in history.items() if k != "seconds"} for history in (a, b))
    np.testing.assert_equal(a, b)


class Training(RuleBasedStateMachine):
    """The machine."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.checkpoints, self.runs = [], 0
        self.saved = None

    def teardown(self):
        signal.signal(signal.SIGINT, self.handler)
        self.folder.cleanup()

    @initialize(per_step=st.booleans(), optimizer=st.sampled_from(list(OPTIMIZERS)), seed=st.integers(0, 10**6))
    def begin(self, per_step, optimizer, seed):
        self.per_step, self.kind = per_step, optimizer
        self.model, self.optimizer = self.fresh(seed), OPTIMIZERS[optimizer]()
        rng = np.random.default_rng(seed)
        x = [rng.integers(0, 12, rng.integers(1, STEPS + 1)) for _ in range(ROWS)]
        y = [rng.standard_normal((len(row), 2)).astype("f") for row in x]
        self.data = (x, y) if per_step else (x, rng.standard_normal((ROWS, 2)).astype("f"))

    def fresh(self, seed):
        recurrent = pylstm.LSTM(3, 4, 2, batch_first=True, dropout=0.2)
        pool = pylstm.Activation("tanh") if self.per_step else pylstm.MeanOverTime()
        layers = [pylstm.Embedding(12, 3), recurrent, pool, pylstm.Dropout(0.3), pylstm.Linear(4, 2)]
        return pylstm.Sequential(layers, seed=seed)

    plans = st.fixed_dictionaries({
        "epochs": st.integers(1, 4),
        "seed": st.integers(0, 1000),
        "schedule": st.sampled_from(list(SCHEDULES)),
        "patience": st.sampled_from([0, 1, 2]),
        "monitor": st.sampled_from(["figure", "loss"]),
        "keep": st.booleans(),
        "validate": st.booleans(),
        "truncate": st.sampled_from([None, 2]),
        "clip": st.sampled_from([{}, {"clip_norm": 0.1}, {"clip_value": 0.01}]),
    })  # fmt: skip
    faults = st.builds(Faults, st.sampled_from(POINTS), st.integers(1, 9), st.sampled_from(ACTIONS))

    def new_folder(self):
        self.runs += 1
        folder = self.path / str(self.runs)
        folder.mkdir()
        return folder

    def undisturbed(self, plan):
        twin = Run(*copy.deepcopy((self.model, self.optimizer)), plan, self.data, self.new_folder())
        return twin.go()

    def note_checkpoints(self, run, truth):
        for path in run.folder.iterdir():
            assert path.suffix == ".npz"  # nothing half-written is left
            assert truth.plan["keep"]
            self.checkpoints.append((path, int(path.stem), truth))

    # ---- trainings -----------------------------------------------------------------------------------------------

    @rule(plan=plans)
    def fit(self, plan):
        plan = plan if self.per_step else {**plan, "truncate": None}
        truth = self.undisturbed(plan)
        run = Run(self.model, self.optimizer, plan, self.data, self.new_folder()).go()
        assert run.after == truth.after
        same_history(run.history, truth.history)
        self.check_best(run)
        self.note_checkpoints(run, truth)

    @rule(plan=plans, faults=faults)
    def fit_with_a_fault(self, plan, faults):
        plan = plan if self.per_step else {**plan, "truncate": None}
        truth = self.undisturbed(plan)
        run = Run(self.model, self.optimizer, plan, self.data, self.new_folder(), copy.copy(faults)).go()
        self.check(run, truth)
        if not (run.faults.struck and run.faults.point == "metric" and run.faults.action in ("nan", "inf")):
            self.note_checkpoints(run, truth)  # others figures may have led to another end

    @precondition(lambda self: self.checkpoints)
    @rule(pick=st.integers(0, 10**6), seed=st.integers(0, 1000), lr=st.floats(0.001, 1))
    def resume(self, pick, seed, lr):
        path, _, truth = self.checkpoints[pick % len(self.checkpoints)]
        self.model, self.optimizer = self.fresh(seed), OPTIMIZERS[self.kind]()
        self.optimizer.lr = lr
        run = Run(self.model, self.optimizer, truth.plan, self.data, self.new_folder(), resume=path).go()
        assert {**run.after, "metadata": None} == {**truth.after, "metadata": None}
        same_history(run.history, truth.history)
        self.check_best(run)

    @precondition(lambda self: self.checkpoints)
    @rule(pick=st.integers(0, 10**6), faults=faults)
    def resume_with_a_fault(self, pick, faults):
        path, epoch, truth = self.checkpoints[pick % len(self.checkpoints)]
        run = Run(self.model, self.optimizer, truth.plan, self.data, self.new_folder(), copy.copy(faults), path).go()
        self.check(run, truth, epoch)

    @precondition(lambda self: self.checkpoints)
    @rule(pick=st.integers(0, 10**6))
    def resume_with_other_callbacks(self, pick):
        path = self.checkpoints[pick % len(self.checkpoints)][0]
        before = everything(self.model, self.optimizer)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self.model.fit(*self.data, loss="mse", optimizer=self.optimizer, resume=path, seed=3, verbose=0)
            except ValueError:  # of a schedule that fit is not given either
                assert everything(self.model, self.optimizer) == before
            else:
                assert any("with other callbacks" in str(one.message) for one in said)

    def check(self, run, truth, epoch=0):
        """A run with a fault: an error where one must be, and a state that the undisturbed run was in."""
        faults = run.faults
        if not faults.struck:
            assert {**run.after, "metadata": None} == {**truth.after, "metadata": None}
            same_history(run.history, truth.history)
            return
        if faults.action in RAISED:
            assert isinstance(run.error, RAISED[faults.action]), run.error
        elif faults.action in ("nan", "inf"):
            if faults.point in ("loss", "layer", "backward"):
                assert isinstance(run.error, FloatingPointError), run.error
            if faults.point == "schedule":
                assert isinstance(run.error, ValueError), run.error
        else:
            assert run.error is None
        assert run.after["metadata"] == run.before["metadata"]
        if run.updates == 0 and run.error is not None:
            assert run.after == run.before
            return
        for value in run.model.params.values():
            assert np.isfinite(value).all()
        if faults.action in ("nan", "inf") and faults.point == "metric":
            self.check_best(run)  # what happens may depend on the figures
            return
        if run.updates:
            states = [*truth.states, truth.probe.last]
            if run.plan["truncate"] is None:
                batches = len(range(0, ROWS, BATCH))
                expected = states[epoch * batches + run.updates]
                for name in ("slots", "steps", "dropout"):
                    assert run.after[name] == expected[name], name
                if run.stop is None or run.stop.best_epoch is None:
                    assert run.after["params"] == expected["params"]
        self.check_best(run)

    def check_best(self, run):
        """EarlyStopping's weights are those of the best epoch of its history, however training ended."""
        if run.stop is None:
            return
        seen = figures = run.probe.training.history.get(run.plan["monitor"], [])
        if run.error is not None and run.faults.point == "end_epoch":
            seen = seen[:-1]  # the probe failed before EarlyStopping was told
        best = run.stop.best_epoch
        finite = [value for value in seen if not math.isnan(value)]
        assert (best is None) == (not finite)
        if best is not None:
            assert figures[best] == min(finite)
            assert figures.index(min(finite)) == best
            if best in run.probe.epochs:  # and not before a resume
                assert run.after["params"] == run.probe.epochs[best]

    # ---- files -----------------------------------------------------------------------------------------------------

    @rule(suffix=st.sampled_from([".npz", ".safetensors"]), note=st.text(max_size=5))
    def save(self, suffix, note):
        path = self.path / f"saved{suffix}"
        before = everything(self.model, self.optimizer)
        self.model.save(path, metadata={"note": note})
        after = everything(self.model, self.optimizer)
        assert after == {**before, "metadata": {"note": note}}
        self.saved = path, after, self.model.predict(self.data[0])
        self.load()

    @precondition(lambda self: self.saved)
    @rule()
    def load(self):
        path, state, outputs = self.saved
        model = pylstm.load(path)
        again = everything(model, pylstm.SGD())
        assert all(again[name] == state[name] for name in ("params", "dropout", "metadata"))
        np.testing.assert_equal(model.predict(self.data[0]), outputs)

    @precondition(lambda self: self.saved)
    @rule(action=st.sampled_from(["disk", "memory", "twice Ctrl-C"]))
    def save_with_a_fault(self, action):
        before, faults = everything(self.model, self.optimizer), Faults("disk", 1, action)
        try:
            with mock.patch.object(os, "replace", side_effect=lambda *_: faults.pass_by("disk")):
                self.model.save(self.saved[0])
        except RAISED[action]:
            pass
        else:
            raise AssertionError("the disk is full, and nobody says so")
        assert everything(self.model, self.optimizer) == before
        assert [p for p in self.path.iterdir() if not p.is_dir() and not p.name.startswith("saved.")] == []
        self.load()

    # ---- the rest --------------------------------------------------------------------------------------------------

    @rule()
    def looking_changes_nothing(self):
        before = everything(self.model, self.optimizer)
        self.model.predict(self.data[0])
        self.model.evaluate(*self.data, loss="mse", metrics=[])
        assert everything(self.model, self.optimizer) == before

    @rule()
    def copies_are_equal(self):
        before = everything(self.model, self.optimizer)
        model, optimizer = pickle.loads(pickle.dumps((self.model, self.optimizer)))
        after = everything(model, optimizer)
        assert all(after[name] == before[name] for name in before if name != "fit")  # functions are not pickled
        self.model, self.optimizer = model, optimizer

    @rule(bad=st.sampled_from([math.nan, math.inf, "shape", "name"]), place=st.integers(0, 10))
    def a_bad_step(self, bad, place):
        before = everything(self.model, self.optimizer)
        grads = {name: np.ones(value.shape, "f") for name, value in self.model.params.items()}
        name = list(grads)[place % len(grads)]
        if bad == "name":
            grads["0.bias"] = np.ones(3, "f")
        elif bad == "shape":
            grads[name] = np.ones((*grads[name].shape, 2), "f")
        else:
            grads[name][(0,) * grads[name].ndim] = bad
        try:
            self.optimizer.step(self.model, grads)
        except (FloatingPointError, ValueError):
            assert everything(self.model, self.optimizer) == before
        else:
            raise AssertionError(f"a gradient with {bad} was taken")


def run(examples: int, steps: int, seed: int, shrink: bool = False) -> None:
    """So many machines of so many steps each; a failure is shrunk to a short one only if asked: that takes minutes."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=False,
        phases=phases, report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        run_state_machine_as_test(hypothesis_seed(seed)(type("Training", (Training,), {})), settings=chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", action="store_true", help="find the shortest way to a failure")
    args = parser.parse_args()
    end, seed = time.monotonic() + 60 * args.minutes, args.seed
    while time.monotonic() < end:
        try:
            run(20, 15, seed, args.shrink)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
        seed += 1
    print(f"{20 * (seed - args.seed)} machines: every state was one that may be")


if __name__ == "__main__":
    main()
