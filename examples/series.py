"""Several series at once, with gaps and noise: the next 24 hours of one of them, and how far off they may be.

Two ways to forecast, both by an LSTM that gives quantiles (the pinball loss). *At once*: what it has read of the past
gives all 24 hours together. *Step by step*: it says of every series what comes next, draws from that, and takes what it
has drawn for known; forty such paths, 24 steps long, spread as the future may. Every value goes in with a second number
that says whether it was there; where one is missing stands the last one that was. What is missing is no target.

Beside both stand persistence and a linear regression from the same inputs for every hour ahead, whose intervals are
those of their errors on the part before the last. The series are cut in time: 70% to learn from, 15% to stop by, 15%
for the figures: absolute error, pinball loss, and the share of what came that lies in the interval of 90%.

Data: a CSV file as forecast.py takes it, with any number of columns of numbers. Without --data: a year and a half of
hourly temperature, sunshine and demand for electricity, drawn here: demand follows the clock, the week, and how far it
is too cold or too warm. docs/guide/examples.md names published series.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import common
import forecast
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
WEEK = 7 * forecast.DAY


class Table(NamedTuple):
    """Evenly spaced values of several series, NaN where there is none."""

    names: list[str]
    seconds: Array  # (T,)
    values: Array  # (T, F), in their own units; the first one is forecast


class Scale(NamedTuple):
    mean: Array  # (F,)
    size: Array


# ---- the data --------------------------------------------------------------------------------------------------------


def drawn(hours: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    seconds = 1577836800.0 + 3600.0 * np.arange(hours)
    day, week = seconds % forecast.DAY / 3600, seconds % WEEK / forecast.DAY
    season = -np.cos(2 * np.pi * (seconds / forecast.YEAR - 0.04))
    clear = 1 / (1 + np.exp(-2 * forecast.slow_noise(rng, hours, memory=20)))
    sun = clear * np.maximum(0, np.sin(np.pi * (day - 6 + season) / (12 + 2 * season))) * (day > 6 - season)
    weather = 3.5 * forecast.slow_noise(rng, hours, memory=70)
    warmth = 12 + 9 * season + weather + forecast.faded(1.6 * sun, memory=5)
    felt = warmth + 1.5 * forecast.slow_noise(rng, hours, memory=8)
    work = np.where((week + 3) % 7 < 5, 1.0, 0.6)  # 1970 began with a Thursday
    people = np.exp(-(((day - 9) / 2.5) ** 2)) + 1.2 * np.exp(-(((day - 19) / 3) ** 2))
    demand = 40 + 12 * work * people + 1.1 * np.maximum(0, 15 - felt) + 1.8 * np.maximum(0, felt - 21) - 5 * sun
    values = np.stack([demand, warmth, sun], axis=1)
    values += rng.standard_normal(values.shape) * (1.0, 0.6, 0.05)
    values[rng.random(values.shape) < 0.03] = np.nan
    for column in range(3):
        for start in np.flatnonzero(rng.random(hours) < 1 / 300):  # out of order
            values[start : start + rng.integers(3, 25), column] = np.nan
    return Table(["demand", "temperature", "sunshine"], seconds, values)


def read(path: Path, column: str | None) -> Table:
    text = common.text_of(path, forecast.FORM)
    header = text.split("\n", 1)[0]
    names = [name.strip() for name in header.split(max(",;\t", key=header.count))][1:]
    target = forecast.read(path, column)  # by default the last one
    others = [forecast.read(path, name) for name in names if name != target.name]
    return Table(
        [series.name for series in (target, *others)],
        target.seconds,
        np.stack([series.values for series in (target, *others)], axis=1),
    )


def known(table: Table, scale: Scale) -> Array:
    """(T, 2 F + 4): values, or the last ones that there were; whether they are of now; hour and day of the week."""
    scaled = (table.values - scale.mean) / scale.size
    phases = [2 * np.pi * table.seconds / period for period in (forecast.DAY, WEEK)]
    waves = np.stack([wave(phase) for phase in phases for wave in (np.sin, np.cos)], axis=1)
    return np.concatenate([common.last_known(scaled), np.isfinite(scaled), waves], axis=1, dtype=np.float32)


# ---- the models ------------------------------------------------------------------------------------------------------


@pylstm.register
class AtOnce(pylstm.Model):
    """(N, past, inputs) -> (N, future, levels): quantiles of the first series, all hours together."""

    def __init__(self, inputs: int, hidden: int, future: int) -> None:
        self.inputs, self.hidden, self.future = inputs, hidden, future
        self.lstm = pylstm.LSTM(inputs, hidden, batch_first=True)
        self.head = pylstm.Linear(hidden, future * len(LEVELS))

    def run(self, x: Any) -> Any:
        y, _ = self.lstm(x)
        return self.head(y[:, -1]).reshape(len(x), self.future, len(LEVELS)) + x[:, -1, :1][:, None]


@pylstm.register
class StepByStep(pylstm.Model):
    """(N, T, inputs) -> (N, T, series, levels): quantiles of every series, one step ahead of each step."""

    def __init__(self, inputs: int, hidden: int, series: int) -> None:
        self.inputs, self.hidden, self.series = inputs, hidden, series
        self.lstm = pylstm.LSTM(inputs, hidden, batch_first=True)
        self.head = pylstm.Linear(hidden, series * len(LEVELS))

    def run(self, x: Any) -> Any:
        return self.ahead(self.lstm(x)[0], x)

    def ahead(self, y: Any, x: Any) -> Any:
        """What the LSTM's outputs say, as changes from the values that are known."""
        shape = (*x.shape[:-1], self.series)
        return self.head(y).reshape(*shape, len(LEVELS)) + x[..., : self.series].reshape(*shape, 1)

    def paths(self, past: Array, future: Array, count: int, seed: int) -> Array:
        """(N, count, steps): futures of the first series, drawn step by step.

        past: (N, T, inputs). future: (N, steps, inputs), of which only the clock is looked at.
        """
        rng = np.random.default_rng(seed)
        y, (h, c) = self.lstm(past)
        stream = self.lstm.stream(count * len(past))
        stream.state = (np.repeat(h, count, axis=1), np.repeat(c, count, axis=1))
        quantiles = np.repeat(self.ahead(y[:, -1], past[:, -1]), count, axis=0)
        found = np.empty((len(quantiles), future.shape[1]), np.float32)
        for step in range(future.shape[1]):
            values = drawn_from(quantiles, rng)
            found[:, step] = values[:, 0]
            clock = np.repeat(future[:, step, 2 * self.series :], count, axis=0)
            x = np.concatenate([values, np.ones_like(values), clock], axis=1)
            quantiles = self.ahead(stream.step(x), x)
        return found.reshape(len(past), count, -1)


def drawn_from(quantiles: Array, rng: np.random.Generator) -> Array:
    """A number of each distribution (.., levels) by its quantiles, straight between them and a bit beyond."""
    rows = np.sort(quantiles, axis=-1)
    first, last = 2 * rows[..., :1] - rows[..., 1:2], 2 * rows[..., -1:] - rows[..., -2:-1]
    rows = np.concatenate([(rows[..., :1] * 3 + first) / 4, rows, (rows[..., -1:] * 3 + last) / 4], axis=-1)
    levels = np.array([0.0, *LEVELS, 1.0], np.float32)
    at = rng.random(rows.shape[:-1], np.float32)
    k = np.clip(np.searchsorted(levels, at, side="right") - 1, 0, len(LEVELS))[..., None]
    low, high = np.take_along_axis(rows, k, -1)[..., 0], np.take_along_axis(rows, k + 1, -1)[..., 0]
    share = (at - levels[k[..., 0]]) / (levels[k[..., 0] + 1] - levels[k[..., 0]])
    return np.asarray(low + share * (high - low), np.float32)


# ---- what stands beside them -----------------------------------------------------------------------------------------


def with_intervals(forecasts: Array, errors: Array) -> Array:
    """(N, future, levels): a forecast and the quantiles that its errors (M, future) had."""
    found: Array = forecasts[..., None] + np.nanquantile(errors, LEVELS, axis=0).T
    return found


def regression(x: Array, y: Array, ridge: float = 30.0) -> Array:
    """(past * inputs + 1, future): for each hour ahead the weights of all inputs, where there was a target."""
    flat, weights = flattened(x), []
    for target in y.T:
        there = np.isfinite(target)
        part = flat[there]
        gram = part.T @ part + ridge * np.eye(part.shape[1])
        weights.append(np.linalg.solve(gram, part.T @ target[there]))
    return np.stack(weights, axis=1)


def flattened(x: Array) -> Array:
    return np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1))], axis=1, dtype=np.float64)


def figures(name: str, quantiles: Array, y: Array, size: float, ahead: list[int]) -> float:
    """Prints a line, in the series' own unit. Returns the pinball loss."""
    there = np.isfinite(y)
    middle = quantiles[..., LEVELS.index(0.5)]
    errors = [np.nanmean(abs(middle - y)[:, step - 1]) * size for step in ahead]
    difference = np.nan_to_num(y)[..., None] - quantiles
    pinball = (
        np.maximum(np.array(LEVELS) * difference, (np.array(LEVELS) - 1) * difference).mean(-1)[there].mean() * size
    )
    inside = ((y >= quantiles[..., 0]) & (y <= quantiles[..., -1]))[there].mean()
    width = (quantiles[..., -1] - quantiles[..., 0]).mean() * size
    mean = np.nanmean(abs(middle - y)) * size
    print(
        f"{name:18}"
        + "".join(f"{error:8.2f}" for error in errors)
        + f"{mean:8.2f}{pinball:9.3f}{inside:9.1%}{width:8.2f}"
    )
    return float(pinball)


# ---- the comparison --------------------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="CSV file (see above)")
    add("--column", metavar="NAME", help="the column to forecast (default: the last one)")
    add("--past", type=common.positive_int, default=48, help="steps that are known (default: 48)")
    add("--future", type=common.positive_int, default=24, help="steps to forecast (default: 24)")
    add("--stride", type=common.positive_int, default=3, help="steps from one window to the next (default: 3)")
    add("--hidden", type=common.positive_int, default=48, help="units of each LSTM (default: 48)")
    add("--epochs", type=common.positive_int, default=12, help="passes over the windows at most (default: 12)")
    add("--hours", type=common.positive_int, default=13149, help="of series to draw (default: a year and a half)")
    add("--paths", type=common.positive_int, default=40, help="futures to draw, step by step (default: 40)")
    add("--seed", type=common.seed, default=0)
    add("--model", type=common.model_file, help="where the models go, NAME-at-once and NAME-step-by-step; if they are "
        "there, they are loaded instead of trained")  # fmt: skip
    add("--picture", type=common.picture_file, help="where a picture of forecasts goes (.png)")
    args = parser.parse_args()
    if args.column is not None and args.data is None:
        parser.error("argument --column: is for a file, --data")
    return args


def main() -> None:
    args = parse_arguments()
    table = read(args.data, args.column) if args.data else drawn(args.hours, args.seed)
    count = len(table.values)
    cuts = forecast.parts(count, args)
    learned = table.values[: cuts[0]]
    for name, column in zip(table.names, learned.T, strict=True):
        if not np.isfinite(column).any():
            raise common.DataError(
                f"{args.data} has no numbers in the first 70% of column {name!r}, which is learned from"
            )
    sizes = np.nanstd(learned, axis=0)
    scale = Scale(np.nanmean(learned, axis=0), np.where(sizes > 0, sizes, 1.0))
    form = {"names": table.names, "past": args.past, "future": args.future, "hidden": args.hidden}
    models = loaded(args.model, form)
    if models is not None:  # what they learned was scaled so
        scale = Scale(*(np.array(models[0].metadata[name]) for name in ("mean", "size")))
    missing = np.isnan(table.values).mean(0)
    print(f"{count:,} steps; missing: " + ", ".join(f"{a} {b:.1%}" for a, b in zip(table.names, missing, strict=True)))

    inputs = known(table, scale)
    wanted = ((table.values - scale.mean) / scale.size).astype(np.float32)
    both = np.concatenate([inputs, wanted], axis=1)
    width = inputs.shape[1]
    train, validation, test = pylstm.windows(
        both, args.past, args.future, args.stride, inputs=slice(0, width), targets=width
    ).split(*cuts)
    if not np.isfinite(test.y).any():
        raise common.DataError(
            f"{args.data} has no numbers of {table.names[0]!r} in its last 15%, which is for the figures"
        )
    print(f"{len(train.x):,} windows to learn from, {len(validation.x):,} to stop by, {len(test.x):,} for the figures")

    if models is None:
        models = learn(inputs, wanted, cuts, train, validation, args)
        for path, model in zip(files(args.model) if args.model else [], models, strict=False):
            model.save(path, metadata={**form, "mean": scale.mean.tolist(), "size": scale.size.tolist()})
    at_once, by_steps = models

    clock = pylstm.windows(inputs, args.past, args.future, args.stride).split(*cuts)[2].y
    paths = by_steps.paths(np.array(test.x), clock, args.paths, args.seed)
    weights = regression(train.x, train.y)
    forecasts = {
        "persistence": with_intervals(
            np.repeat(test.x[:, -1:, 0], args.future, axis=1), validation.y - validation.x[:, -1:, 0]
        ),
        "linear regression": with_intervals(
            flattened(test.x) @ weights, validation.y - flattened(validation.x) @ weights
        ),
        "LSTM at once": at_once.predict(test.x),
        "LSTM step by step": np.moveaxis(np.quantile(paths, LEVELS, axis=1), 0, -1),
    }
    ahead = sorted({1, args.future // 4 or 1, args.future // 2 or 1, args.future})
    print(f"\n{table.names[0]}: mean absolute error, by steps ahead and of all; pinball loss; intervals of 90%")
    print(f"{'':18}" + "".join(f"{step:8}" for step in ahead) + "     all  pinball   inside   width")
    losses = {name: figures(name, q, test.y, scale.size[0], ahead) for name, q in forecasts.items()}
    for name in ("LSTM at once", "LSTM step by step"):
        change = losses[name] / losses["linear regression"] - 1
        print(
            f"the pinball loss of {name} is {abs(change):.1%} {'below' if change < 0 else 'above'} linear regression's"
        )
    if args.picture is not None:
        draw(args.picture, table, scale, test, forecasts)
        print(f"three forecasts are drawn in {args.picture}")


def learn(
    inputs: Array,
    wanted: Array,
    cuts: tuple[int, int],
    train: pylstm.Windows,
    validation: pylstm.Windows,
    args: argparse.Namespace,
) -> tuple[AtOnce, StepByStep]:
    """inputs: (T, inputs), what is known. wanted: (T, series), values, NaN where there is none."""
    at_once = AtOnce(inputs.shape[1], args.hidden, args.future)
    by_steps = StepByStep(inputs.shape[1], args.hidden, wanted.shape[1])

    def chunks(begin: int, end: int) -> tuple[Array, Array]:
        """Inputs, and of every step the values of the next one."""
        length = args.past + args.future
        found = pylstm.windows(inputs[begin : end - 1], length - 1, 1, length // 3)
        following = pylstm.windows(wanted[begin + 1 : end], length - 1, 1, length // 3)
        return found.x, following.x

    data = {
        at_once: (train, validation),
        by_steps: (chunks(0, cuts[0]), chunks(*cuts)),
    }
    for model, (learned, watched) in data.items():
        print(f"{type(model).__name__}: {model.num_parameters:,} parameters")
        model.redraw(args.seed)
        model.fit(
            *learned, loss=pylstm.QuantileLoss(LEVELS), missing="nan", optimizer=pylstm.AdamW(5e-3), batch_size=32,
            epochs=args.epochs, validation_data=tuple(watched), schedule=pylstm.Cosine(args.epochs), clip_norm=1.0,
            seed=args.seed, metrics=[], callbacks=[pylstm.EarlyStopping(patience=4)],
        )  # fmt: skip
    return at_once, by_steps


def files(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}-{way}{path.suffix}") for way in ("at-once", "step-by-step")]


def loaded(path: Path | None, form: dict[str, Any]) -> tuple[AtOnce, StepByStep] | None:
    """The models of earlier, if both are there."""
    if path is None or not all(one.is_file() for one in files(path)):
        return None
    first, second = files(path)
    return common.kept(first, AtOnce, "mean", "size", **form), common.kept(second, StepByStep, "mean", "size", **form)


def draw(path: Path, table: Table, scale: Scale, test: pylstm.Windows, forecasts: dict[str, Array]) -> None:
    """Three windows of the last part: what was known, what came, and the forecasts with their intervals."""
    from matplotlib.figure import Figure

    past, future = test.x.shape[1], test.y.shape[1]
    figure = Figure(figsize=(12, 8), layout="constrained")
    for row, at in enumerate(np.linspace(0, len(test.x) - 1, 3).astype(int)):
        axes = figure.add_subplot(3, 1, row + 1)
        steps = np.arange(-past, future)
        begin = test.starts[at]
        axes.plot(steps, table.values[begin : begin + past + future, 0], "k.-", lw=0.8, ms=4, label="measured")
        for name, colour in (("linear regression", "tab:gray"), ("LSTM at once", "tab:blue"),
                             ("LSTM step by step", "tab:orange")):  # fmt: skip
            q = forecasts[name][at] * scale.size[0] + scale.mean[0]
            axes.plot(steps[past:], q[:, 2], color=colour, label=name)
            axes.fill_between(steps[past:], q[:, 0], q[:, -1], color=colour, alpha=0.15, lw=0)
        axes.axvline(-0.5, color="k", lw=0.5)
        axes.set_ylabel(table.names[0])
    axes.set_xlabel("steps; shaded: intervals of 90%; gaps: nothing was measured")
    figure.axes[0].legend(ncols=4, fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    common.run(main)
