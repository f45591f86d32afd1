"""The next day of a series with gaps: an LSTM forecasts hourly temperatures, next to what is simpler than it.

Values that are missing go in as the last one that was known, with a second number that says so and a third that counts
the hours since; where the future is missing, nothing is learned from it and nothing is counted. The model gives changes
from the last known value. The series is cut in time: the model learns from the first part, the second says when to
stop, the third gives the figures, which are mean absolute errors. Beside the model stand persistence (the last known
value goes on), the same hour of the day before, and a linear regression from the same inputs, made for every hour
ahead, its ridge chosen on the second part.

Data: a CSV file (UTF-8) with a header, times in the first column, such as 2024-03-01 13:00, in rising order and evenly
spaced, and numbers in another; empty cells, and rows that are not there, are gaps. Without --data: three years of
hourly temperatures, drawn here: the cycles of day and year, the first weaker under clouds, weather that comes and goes,
cold fronts, noise, and gaps. docs/guide/examples.md names published series.
"""

from __future__ import annotations

import argparse
import csv
import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
FORM = "a CSV file with a header, times like 2024-03-01 13:00 in the first column and numbers in another"
MISSING = {"", "nan", "na", "n/a", "null", "none", "-"}
DAY, YEAR = 86400.0, 365.2425 * 86400.0  # seconds


class Series(NamedTuple):
    """Evenly spaced values, NaN where there is none."""

    name: str
    seconds: Array  # (T,), since 1970
    values: Array  # (T,)

    @property
    def step(self) -> float:
        return float(self.seconds[1] - self.seconds[0])


# ---- the data --------------------------------------------------------------------------------------------------------


def drawn(hours: int, seed: int) -> Series:
    """Hourly temperatures of a place that is not there."""
    rng = np.random.default_rng(seed)
    seconds = 1577836800.0 + 3600.0 * np.arange(hours)  # from the beginning of 2020
    cloud = slow_noise(rng, hours, memory=30)
    weather = 3.0 * slow_noise(rng, hours, memory=90)
    fronts = np.where(rng.random(hours) < 1 / 130, -rng.uniform(3, 8, hours), 0.0)
    clear = 1 / (1 + np.exp(-3 * cloud))  # 0 under clouds, 1 without
    season = -np.cos(2 * np.pi * (seconds / YEAR - 0.04))
    daily = -np.cos(2 * np.pi * (seconds / DAY - 0.1))
    values = 10 + 9 * season + (1 + (4 + 2 * season) * clear) * daily + weather - 1.5 * clear
    values += faded(fronts, memory=40) + 0.3 * rng.standard_normal(hours)
    values[rng.random(hours) < 0.02] = np.nan
    for start in np.flatnonzero(rng.random(hours) < 1 / 250):  # the thermometer is out of order
        values[start : start + rng.integers(3, 31)] = np.nan
    return Series("temperature", seconds, np.round(values, 1))


def slow_noise(rng: np.random.Generator, steps: int, memory: float) -> Array:
    """Of mean 0 and variance 1; what it is now fades within so many steps."""
    keep = math.exp(-1 / memory)
    return faded(math.sqrt(1 - keep**2) * rng.standard_normal(steps), memory)


def faded(pushes: Array, memory: float) -> Array:
    """Each push lifts the value, and fades."""
    keep, value, values = math.exp(-1 / memory), 0.0, np.empty(len(pushes))
    for i, push in enumerate(pushes):
        value = keep * value + push
        values[i] = value
    return values


def read(path: Path, column: str | None) -> Series:
    """A column of a CSV file, on an even grid of times."""
    try:
        return read_rows(path, column)
    except csv.Error as error:  # a cell without end, say
        raise common.DataError(f"{path} is no CSV file: {error}; expected {FORM}") from None


def read_rows(path: Path, column: str | None) -> Series:
    text = common.text_of(path, FORM)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(text.splitlines(), delimiter=delimiter)
    names = [name.strip() for name in next(rows)]
    if len(names) < 2:
        raise common.DataError(f"{path} has a single column, {common.cut(header)!r}; expected {FORM}")
    if column is not None and column not in names[1:]:
        raise common.DataError(f"{path} has no column {column!r} of numbers; it has {', '.join(names[1:])}")
    place = len(names) - 1 if column is None else names.index(column)
    seconds, values = [], []
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        line = f"{path}, line {rows.line_num}"
        cell = row[place].strip() if place < len(row) else ""
        try:
            time = datetime.fromisoformat(row[0].strip().replace("Z", "+00:00"))
        except ValueError:
            raise common.DataError(f"{line}: {common.cut(row[0])!r} is no time; expected {FORM}") from None
        try:
            value = math.nan if cell.lower() in MISSING else float(cell)
        except ValueError:
            value = math.inf
        if math.isinf(value):
            raise common.DataError(f"{line}: {common.cut(cell)!r} is no number; expected {FORM}")
        seconds.append((time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp())
        values.append(value)
        if len(seconds) > 1 and seconds[-1] <= seconds[-2]:
            raise common.DataError(
                f"{line}: {row[0]} is not after the time before it; expected {FORM}, in rising order"
            )
    if np.isfinite(values).sum() < common.FEWEST:
        raise common.DataError(
            f"{path} has fewer than {common.FEWEST} numbers in column {names[place]!r}; expected {FORM}"
        )
    return on_a_grid(path, names[place], np.array(seconds), np.array(values))


def on_a_grid(path: Path, name: str, seconds: Array, values: Array) -> Series:
    """With NaN in the rows that are not there."""
    step = float(np.median(np.diff(seconds)))
    steps = (seconds - seconds[0]) / step
    places = np.round(steps).astype(np.int64)
    if abs(steps - places).max() > 0.01 or places[-1] > 20 * len(places):
        raise common.DataError(f"{path} has times that are not evenly spaced, mostly by {step:g} s; expected {FORM}")
    grid = np.full(places[-1] + 1, np.nan)
    grid[places] = values
    return Series(name, seconds[0] + step * np.arange(len(grid)), grid)


# ---- what goes in ----------------------------------------------------------------------------------------------------


def table(series: Series, mean: float, scale: float) -> Array:
    """(T, 9): what is known at each step, 7 numbers, and what is to be forecast, 2: the value and whether there is one.

    Known are the value, or the last one that there was; whether it is of now; how long ago it was; hour and season.
    """
    seen = np.isfinite(series.values)
    scaled = np.where(seen, (series.values - mean) / scale, 0.0)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))  # -1: nothing yet, so the mean, 0
    held = np.where(last < 0, 0.0, scaled[last])
    age = np.log1p(np.arange(len(seen)) - last) / 4
    phases = [2 * np.pi * series.seconds / period for period in (DAY, YEAR)]
    waves = [wave(phase) for phase in phases for wave in (np.sin, np.cos)]
    return np.stack([held, seen, age, *waves, scaled, seen], axis=1).astype(np.float32)


def masked_error(
    output: Array,
    targets: Array,
    lengths: None = None,  # noqa: ARG001
    *,
    inputs: Array,
) -> tuple[float, Array, float]:
    """The mean squared error over the values that there are, its gradient, and their number.

    output: (N, future), changes from the last known value, which inputs (N, past, 7) have: the model need not learn
    where the series is, but where it goes. targets: (N, future, 2), values and whether they are there.
    """
    difference = (output + inputs[:, -1:, 0] - targets[..., 0]) * targets[..., 1]
    count = max(1.0, float(targets[..., 1].sum()))
    return float((difference**2).sum()) / count, 2 * difference / np.float32(count), count


def mean_error(forecast: Array, y: Array, scale: float) -> Array:
    """(future,): the mean absolute error at each step ahead, in the series' own unit."""
    errors: Array = (abs(forecast - y[..., 0]) * y[..., 1]).sum(0) / np.maximum(1, y[..., 1].sum(0)) * scale
    return errors


class Linear:
    """For each step ahead, the linear function of all inputs of a window with the least squared error, plus a ridge."""

    def __init__(self, train: pylstm.Windows, validation: pylstm.Windows) -> None:
        x = self.inputs(train.x)
        sums = [((x * y[:, 1:]).T @ x, (x * y[:, 1:]).T @ y[:, 0]) for y in np.moveaxis(train.y, 1, 0)]
        best = math.inf
        for ridge in (0.3, 3.0, 30.0, 300.0):
            penalty = ridge * np.eye(x.shape[1])
            weights = np.stack([np.linalg.solve(gram + penalty, moment) for gram, moment in sums], axis=1)
            error = ((self.inputs(validation.x) @ weights - validation.y[..., 0]) ** 2 * validation.y[..., 1]).sum()
            if error < best:
                best, self.weights = error, weights

    def inputs(self, x: Array) -> Array:
        """(N, past * 7 + 1)"""
        flat = x.reshape(len(x), -1)
        return np.concatenate([flat, np.ones_like(flat[:, :1])], axis=1, dtype=np.float64)

    def __call__(self, x: Array) -> Array:
        forecast: Array = self.inputs(x) @ self.weights
        return forecast


# ---- the comparison --------------------------------------------------------------------------------------------------


def parts(count: int, args: argparse.Namespace) -> tuple[int, int]:
    """Of so many steps, those at which the parts to stop by and for the figures begin."""
    if count < (needed := 12 * (args.past + args.future)):
        raise common.DataError(
            f"{args.data or 'the series'} has {count:,} steps, too few for windows of {args.past} known and "
            f"{args.future} to forecast: give at least {needed:,}, or lower --past or --future"
        )
    return int(0.7 * count), int(0.85 * count)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="CSV file (see above)")
    add("--column", metavar="NAME", help="the column to forecast (default: the last one)")
    add("--past", type=common.positive_int, default=48, help="steps that are known (default: 48)")
    add("--future", type=common.positive_int, default=24, help="steps to forecast (default: 24)")
    add("--stride", type=common.positive_int, default=3, help="steps from one window to the next (default: 3)")
    add("--hidden", type=common.positive_int, default=48, help="units of the LSTM (default: 48)")
    add("--epochs", type=common.positive_int, default=15, help="passes over the windows at most (default: 15)")
    add("--hours", type=common.positive_int, default=3 * 8766, help="of temperatures to draw (default: three years)")
    add("--seed", type=common.seed, default=0)
    add("--out", type=common.model_file, help="where the model goes (.npz or .safetensors)")
    args = parser.parse_args()
    if args.column is not None and args.data is None:
        parser.error("argument --column: is for a file, --data")
    return args


def main() -> None:
    args = parse_arguments()
    series = read(args.data, args.column) if args.data else drawn(args.hours, args.seed)
    count = len(series.values)
    cuts = parts(count, args)
    known = series.values[: cuts[0]]
    if not np.isfinite(known).any():
        raise common.DataError(f"{args.data} has no numbers in its first 70%, which is learned from; expected {FORM}")
    mean, scale = float(np.nanmean(known)), float(np.nanstd(known)) or 1.0
    gaps = np.isnan(series.values)
    print(f"{series.name}: {count:,} steps of {series.step / 3600:g} h, {gaps.mean():.1%} of them missing")

    windows = pylstm.windows(
        table(series, mean, scale), args.past, args.future, args.stride, inputs=slice(0, 7), targets=[7, 8]
    )
    train, validation, test = windows.split(*cuts)
    print(f"{len(train.x):,} windows to learn from, {len(validation.x):,} to stop by, {len(test.x):,} for the figures")

    model = pylstm.Sequential([
        pylstm.LSTM(7, args.hidden, batch_first=True),
        pylstm.LastStep(),
        pylstm.Linear(args.hidden, args.future),
    ], seed=args.seed)  # fmt: skip
    print(model.summary())
    model.fit(
        train.x, train.y, loss=masked_error, optimizer=pylstm.AdamW(5e-3), batch_size=64, epochs=args.epochs,
        validation_data=(validation.x, validation.y), schedule=pylstm.Cosine(args.epochs), clip_norm=1.0,
        seed=args.seed, callbacks=[pylstm.EarlyStopping(patience=4)],
    )  # fmt: skip

    per_day = round(DAY / series.step)
    forecasts = {
        "persistence": np.repeat(test.x[:, -1:, 0], args.future, axis=1),
        "linear regression": Linear(train, validation)(test.x),
        "LSTM": model.predict(test.x) + test.x[:, -1:, 0],
    }
    if 2 <= per_day <= args.past:
        day_before = test.x[:, [args.past - per_day + i % per_day for i in range(args.future)], 0]
        forecasts = {"persistence": forecasts.pop("persistence"), "the day before": day_before, **forecasts}
    ahead = sorted({1, args.future // 4 or 1, args.future // 2 or 1, args.future})
    out_of_order = test.x[:, -3:, 1].sum(1) == 0
    print("\nmean absolute error, of the last part of the series")
    print(f"{'steps ahead':20}" + "".join(f"{step:8}" for step in ahead) + f"{'mean':>8}{'in a gap':>10}")
    means = {}
    for name, forecast in forecasts.items():
        errors = mean_error(forecast, test.y, scale)
        means[name] = errors.mean()
        hard = (
            mean_error(forecast[out_of_order], test.y[out_of_order], scale).mean() if out_of_order.any() else math.nan
        )
        print(f"{name:20}" + "".join(f"{errors[step - 1]:8.2f}" for step in ahead) + f"{means[name]:8.2f}{hard:10.2f}")
    print(f"in a gap: forecasts made when nothing was known of the last 3 steps, {out_of_order.sum():,} of them")
    for name in [name for name in means if name != "LSTM"]:
        change = means["LSTM"] / means[name] - 1
        print(f"the LSTM's mean is {abs(change):.1%} {'below' if change < 0 else 'above'} that of {name}")

    print("\nthe last forecast, beside what came:")
    for step in range(0, args.future, max(1, args.future // 8)):
        came, there = test.y[-1, step]
        when = datetime.fromtimestamp(series.seconds[test.starts[-1] + args.past + step], timezone.utc)
        value = f"{came * scale + mean:7.1f}" if there else "missing"
        print(f"  {when:%Y-%m-%d %H:%M}  {forecasts['LSTM'][-1, step] * scale + mean:7.1f}  {value}")
    if args.out is not None:
        model.save(args.out, metadata={"mean": mean, "scale": scale, "past": args.past, "column": series.name})


if __name__ == "__main__":
    common.run(main)
