"""Files made to cost memory and time, or to break a training that resumes: refused cheaply, and nothing has changed."""

from __future__ import annotations

import copy
import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import pylstm

try:
    import resource
except ImportError:  # Windows
    resource = None


def safetensors(text, tensors=None, data=b"", header=None):
    """A file of these header entries, or with exactly this header."""
    if header is None:
        entries = {"__metadata__": {"pylstm": text if isinstance(text, str) else json.dumps(text)}}
        header = json.dumps({**entries, **(tensors or {})}).encode()
    return struct.pack("<Q", len(header)) + header + data


def floats(names):
    """One number each: the cheapest tensors there are."""
    return {n: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, n in enumerate(names)}


def structure(layers, dropout=(), metadata=None):
    return {"format": "pylstm model", "version": 1, "layers": layers, "dropout": list(dropout), "loss": None,
            "metrics": None, "metadata": metadata or {}}  # fmt: skip


def rnn(layers, **options):
    config = {"input_size": 1, "hidden_size": 1, "num_layers": layers, "bias": True, "batch_first": True,
              "dropout": 0.0, "bidirectional": True, "nonlinearity": "tanh", "recurrent_bias": True,
              "dtype": "float32"}  # fmt: skip
    return {"class": "RNN", "config": {**config, **options}}


def activation():
    return {"class": "Activation", "config": {"function": "tanh"}}


def wrapped(specs, depth, name="Sequential"):
    for _ in range(depth):
        specs = [{"class": name, "layers": specs}]
    return specs


def zip_of(entries, text="{}", end=None):
    """A zip whose directory has these (name, place) besides the text, and whatever `end` makes of its end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("structure.json", text)
    data = buffer.getvalue()
    at = data.rfind(b"PK\x05\x06")
    start = struct.unpack("<L", data[at + 16 : at + 20])[0]
    more = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, place) + name
        for name, place in entries
    )
    directory = data[start:at] + more
    count = min(1 + len(entries), 0xFFFF)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)
    return data[:start] + directory + (tail if end is None else end(len(data[:start]), len(directory)))


def zip64_end(start, size):
    """zipfile would believe the zip64 record, whatever the plain one says."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**40, 2**40, 2**50, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    return record + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, start, 0)


def marked(metadata):
    return json.dumps({**structure([activation()], metadata=7), "marked": True}).replace("7", metadata)


MiB = 2**20
HOSTILE = {
    "sub-layers": ("safetensors", lambda: safetensors(
        structure([rnn(600)] * 1000), floats(f"t{i}" for i in range(5000)), bytes(20_000))),
    "sub-layers in containers": ("safetensors", lambda: safetensors(
        structure(wrapped([rnn(2500, bidirectional=False)] + [activation()] * 9, 14)),
        floats(f"{'0.' * 15}{kind}_l{k}" for k in range(2500)
               for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), bytes(40_000))),
    "most sub-layers": ("safetensors", lambda: safetensors(
        structure([rnn(65536, bias=False)]), floats(f"t{i}" for i in range(60_000)), bytes(240_000))),
    "layers": ("npz", lambda: zip_of([], json.dumps(structure([activation()] * 60_000)))),
    "layers in containers": ("npz", lambda: zip_of([], json.dumps(structure(wrapped([activation()] * 16_000, 15))))),
    "containers": ("npz", lambda: zip_of([], json.dumps(structure(wrapped([activation()], 1) * 40_000)))),
    "columns": ("npz", lambda: zip_of([], json.dumps(structure(wrapped([activation()] * 20_000, 1, "Columns"))))),
    "dropouts": ("npz", lambda: zip_of([], json.dumps(structure(
        [{"class": "Dropout", "config": {"p": 0.5, "same_for_all_steps": False}}] * 16_000, [1, 2] * 16_000)))),
    "tensors of nothing": ("safetensors", lambda: safetensors(structure([activation()]), {
        f"{i:x}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(200_000)})),
    "shapes": ("safetensors", lambda: safetensors(structure([activation()]), {
        "a": {"dtype": "F32", "shape": [0] * 100_000, "data_offsets": [0, 0]}})),
    "header of dicts": ("safetensors", lambda: safetensors("", header=b"[" + b"{}," * (5 * MiB) + b"{}]")),
    "header of keys": ("safetensors", lambda: safetensors(
        "", header=b"{" + b",".join(b'"%x":0' % i for i in range(MiB)) + b"}")),
    "header of brackets": ("safetensors", lambda: safetensors("", header=b"[" * (16 * MiB - 8))),
    "header of quotes": ("safetensors", lambda: safetensors("", header=b'{"a":"' + b'\\"' * (7 * MiB))),
    "header of spaces": ("safetensors", lambda: safetensors("", header=b" " * (16 * MiB - 8))),
    "duplicate key at the end": ("npz", lambda: zip_of(
        [], "{" + ",".join(f'"{i:x}":0' for i in [*range(300_000), 299_999]) + "}")),
    "long number": ("npz", lambda: zip_of([], '{"format":' + "9" * (4 * MiB - 20) + "}")),
    "long fraction": ("npz", lambda: zip_of([], '{"format":0.' + "9" * (4 * MiB - 20) + "}")),
    "number beyond float64": ("npz", lambda: zip_of(
        [], json.dumps(structure([activation()], metadata={"a": 7})).replace("7", "1e999"))),
    "text of dicts": ("npz", lambda: zip_of([], '{"format":[' + "{}," * (4 * MiB // 3 - 20) + "{}]}")),
    "half a character": ("npz", lambda: zip_of([], json.dumps(
        structure([activation()], metadata={"a": "\ud800"})))),
    "half a character in the header": ("safetensors", lambda: safetensors(
        json.dumps(structure([activation()], metadata={"a": "\ud800"}), ensure_ascii=False))),
    "directory": ("npz", lambda: zip_of([(b"%d.npy" % i, 0) for i in range(65_000)])),
    "directory of one name": ("npz", lambda: zip_of([(b"", 0)] * 65_533)),
    "directory beyond its count": ("npz", lambda: zip_of([(b"%d.npy" % i, 0) for i in range(70_000)])),
    "zip64": ("npz", lambda: zip_of([], end=zip64_end)),
    "directory anywhere": ("npz", lambda: zip_of([], end=lambda start, size: struct.pack(  # noqa: ARG005
        "<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))),
    "message": ("npz", lambda: zip_of([], json.dumps({**structure([]), "version": "x" * (3 * MiB)}))),
    "unknown names": ("npz", lambda: zip_of([], json.dumps({**structure([]), "x" * MiB: 1, "y" * MiB: 1}))),
    "long text of keys": ("npz", lambda: zip_of([], '{"format":{' + ",".join(f'"{i:x}":0' for i in range(MiB)) + "}}")),
    "long text of words": ("npz", lambda: zip_of([], '["' + '","'.join(f"{i:x}" for i in range(MiB)) + '"]')),
    "long text of numbers": ("npz", lambda: zip_of([], "[" + "300," * (4 * MiB) + "0]")),
    "long text of values": ("npz", lambda: zip_of([], "[" + "1," * (16 * MiB) + "0]")),
    "long text of a wide character": ("npz", lambda: zip_of([], '"' + "a" * (8 * MiB) + '\U0001f600"')),
    "long text of halves": ("npz", lambda: zip_of([], '"' + "\\ud83d\\ude00" * MiB + '\\ud83d"')),
    "long text of backslashes": ("npz", lambda: zip_of([], '"' + "\\" * (12 * MiB) + '"')),
    "long text of a range": ("npz", lambda: zip_of([], marked('{"range":[1000,[' + "0," * (8 * MiB - 99) + "0]]}"))),
    "long text of the most": ("npz", lambda: zip_of([], marked('{"range":[1000,[' + "0," * (MiB - 1) + "0]]}"))),
    "dtype": ("safetensors", lambda: safetensors("{}", {
        "a": {"dtype": ["x" * MiB], "shape": [], "data_offsets": [0, 4]}}, b"1234")),
}  # fmt: skip

# An interpreter of its own: how much it may have is a limit of the whole process, and a hang ends it.
LOADER = """
import os, resource, signal, sys, pylstm
folder = sys.argv[1]
pylstm.load(os.path.join(folder, "good.npz"))
signal.alarm(300)
for name in sorted(os.listdir(folder)):
    path = os.path.join(folder, name)
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    room = (96 << 20) + (32 if "text" in name else 8) * os.path.getsize(path)
    resource.setrlimit(resource.RLIMIT_AS, (now + room, resource.RLIM_INFINITY))
    try:
        pylstm.load(path)
        print(name, "loaded")
    except pylstm.ModelFileError as error:
        print(name, "refused", len(str(error)))
    except BaseException as error:
        print(name, type(error).__name__)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of memory, and /proc")
def test_hostile_files_cost_little(tmp_path):
    """Each within 96 MiB and eight times its own size; of a long text, which is checked in full, 32 times."""
    names = {}
    for i, (name, (suffix, make)) in enumerate(HOSTILE.items()):
        file = f"{i:02}{'text' if name.startswith('long text') else ''}.{suffix}"
        names[file] = name
        (tmp_path / file).write_bytes(make())
    pylstm.Sequential([pylstm.Linear(2, 2)]).save(tmp_path / "good.npz")
    found = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert len(lines) == len(HOSTILE) + 1, found.stderr[-2000:]
    may_load = {"layers in containers", "dropouts", "long text of the most"}
    for file, outcome, *length in lines:
        name = names.get(file, "good")
        assert outcome == "refused" or (outcome == "loaded" and name in {*may_load, "good"}), (name, outcome)
        assert not length or int(length[0]) < 1500, (name, "a message without an end")
    assert resource is not None


# ---- the state of a training -----------------------------------------------------------------------------------------


def problem():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (8, 3))
    return x, (x.sum(1) % 2).astype(float)


def network(seed=0):
    return pylstm.Sequential(
        [pylstm.Embedding(6, 3), pylstm.Dropout(0.25), pylstm.GRU(3, 4, 2, dropout=0.1, batch_first=True),
         pylstm.LastStep(), pylstm.Linear(4, 1)], seed=seed,
    )  # fmt: skip


class Own(pylstm.Callback):
    """Somebody's own: it minds its numbers late, when it has taken half of them over, and gives no copies."""

    def __init__(self):
        self.seen, self.ratio = [1], 1.0

    def state_dict(self):
        return {"seen": self.seen, "divisor": 1}

    def load_state_dict(self, state):
        self.seen[:] = list(state["seen"])
        self.ratio = 1 / state["divisor"]


def parts(tmp_path):
    return {
        "optimizer": pylstm.Adam(), "schedule": pylstm.WarmUp(1, pylstm.ReduceOnPlateau(patience=0)),
        "callbacks": [Own(), pylstm.EarlyStopping(50), pylstm.ModelCheckpoint(tmp_path / "c.npz")],
    }  # fmt: skip


def run(net, options, epochs, resume=None):
    x, y = problem()
    return net.fit(
        x, y, loss="binary_cross_entropy", verbose=0, validation_data=(x, y), seed=0, epochs=epochs, resume=resume,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    run(network(), parts(folder), 2)
    with zipfile.ZipFile(folder / "c.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("structure.json")), members


def put(*keys):
    *keys, value = keys

    def apply(training):
        for key in keys[:-1]:
            training = training[key]
        training[keys[-1]] = value

    return apply


HUGE, WORDS = 10**400, ["x", None, True, [], {}, 1.5]
STATES = {
    **{f"epoch {value!r:.9}": put("epoch", value) for value in [-1, HUGE, 2**60, *WORDS]},
    **{f"entropy {value!r:.9}": put("entropy", value) for value in [-1, *WORDS]},
    **{f"history {value!r:.9}": put("history", "loss", [value]) for value in [HUGE, *WORDS[:-1]]},
    **{f"histories {value!r:.9}": put("history", value) for value in [1, None, [1], "x"]},
    **{f"lr {value!r:.9}": put("optimizer", "lr", value) for value in [-1, HUGE, "inf", "nan", *WORDS[:-1]]},
    **{f"steps {value!r:.9}": put("optimizer", "steps", "0.weight", value) for value in [-1, HUGE, 2**60, *WORDS]},
    **{
        f"all steps {value!r:.9}": put("optimizer", "steps", value) for value in [1, [1], None, {"0.weight": 1, "b": 1}]
    },
    **{f"type {value!r:.9}": put("optimizer", "type", value) for value in ["SGD", None, 3, []]},
    **{f"optimizer {value!r:.9}": put("optimizer", value) for value in [1, [1], None, {}]},
    **{f"schedule {value!r:.9}": put("schedule", value) for value in [1, [1], None, {}, {"other": 1}]},
    **{f"kind {value!r:.9}": put("schedule_kind", value) for value in [1, True, [], {}]},
    **{f"factor {value!r:.9}": put("schedule", "factor", value) for value in [-1, HUGE, "inf", "nan", *WORDS[:-1]]},
    **{f"plateau {value!r:.9}": put("schedule", "bad", value) for value in [HUGE, "inf", *WORDS]},
    **{f"best {value!r:.9}": put("callbacks", 1, "state", "best", value) for value in [HUGE, *WORDS[:-1]]},
    **{f"bad {value!r:.9}": put("callbacks", 1, "state", "bad", value) for value in [HUGE, "inf", *WORDS]},
    **{f"best epoch {value!r:.9}": put("callbacks", 1, "state", "best_epoch", value) for value in [HUGE, -5, *WORDS]},
    **{f"extra {value!r:.9}": put("callbacks", 1, "state", "0.weight2", value) for value in [1, *WORDS]},
    **{f"checkpoint {value!r:.9}": put("callbacks", 2, "state", "best", value) for value in [HUGE, *WORDS[:-1]]},
    **{f"own {value!r:.9}": put("callbacks", 0, "state", {"seen": [2], "divisor": value}) for value in [0, "x", None]},
    **{f"state {value!r:.9}": put("callbacks", 1, "state", value) for value in [1, None, {}, "xy", [1]]},
    **{f"callbacks {value!r:.9}": put("callbacks", value) for value in [1, None, {}, [], [1], [{"class": "Own"}]]},
    **{f"stopped {value!r:.9}": put("stopped", value) for value in [0, 1, *WORDS[:2], *WORDS[3:]]},
    **{f"settings {value!r:.9}": put("settings", value) for value in [1, "x", None, [], {"lr": HUGE}, {"lr": [1]}]},
    "no epoch": lambda training: training.pop("epoch"),
    "no optimizer": lambda training: training.pop("optimizer"),
}
COUNTERS = {  # the model's, of which load must be wary, too
    "seed": (0, [-1, 2**64, HUGE, *WORDS]),
    "calls": (1, [-1, 2**64, HUGE, *WORDS]),
    "recurrent seed": (2, [-1, 2**64, *WORDS]),
    "recurrent calls": (3, [-1, 2**32, HUGE, *WORDS]),
}


def write(path, structure, members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("structure.json", json.dumps(structure))
        for name, data in members.items():
            archive.writestr(name, data)


def check_nothing_changed(tmp_path, bad, error=ValueError):
    net, options = network(seed=3), parts(tmp_path)
    run(net, options, 1)  # everything has a state of its own
    callbacks = options["callbacks"]
    # what begins anew in every fit, before it resumes, is not the file's doing
    begun = [vars(callbacks[0]), vars(options["schedule"].then)]
    before = copy.deepcopy([begun, options["optimizer"].state_dict(), net.state_dict(), net._dropout_state()])
    net._loss, net._metrics = "mse", ["accuracy"]
    best = dict(vars(callbacks[1]))
    with pytest.raises(error) as caught:
        run(net, options, 5, resume=bad)
    assert str(caught.value)
    after = [begun, options["optimizer"].state_dict(), net.state_dict(), net._dropout_state()]
    np.testing.assert_equal(after, before)
    assert (net._loss, net._metrics) == ("mse", ["accuracy"])
    np.testing.assert_equal(vars(callbacks[1]), best)


def test_states_that_are_malformed(tmp_path, checkpoint):
    structure, members = checkpoint
    bad = tmp_path / "bad.npz"
    for name, damage in STATES.items():
        other = copy.deepcopy(structure)
        damage(other["training"])
        write(bad, other, members)
        try:
            check_nothing_changed(tmp_path, bad)
        except BaseException as error:
            raise AssertionError(name) from error
        pylstm.load(bad)  # which does not look at them


def test_counters_of_dropout_that_are_malformed(tmp_path, checkpoint):
    structure, members = checkpoint
    bad = tmp_path / "bad.npz"
    for name, (place, values) in COUNTERS.items():
        for value in values:
            other = copy.deepcopy(structure)
            other["dropout"][place] = value
            write(bad, other, members)
            with pytest.raises(pylstm.ModelFileError, match="the state of dropout is malformed"):
                pylstm.load(bad)
        check_nothing_changed(tmp_path, bad, pylstm.ModelFileError)
        assert name


def test_the_greatest_counters_still_train(tmp_path, checkpoint):
    structure, members = checkpoint
    other = copy.deepcopy(structure)
    other["dropout"] = [2**64 - 1, 2**64 - 1, 2**64 - 1, 2**32 - 1]
    path = tmp_path / "m.npz"
    write(path, other, members)
    net = pylstm.load(path)
    for _ in range(3):
        net.forward(problem()[0])
        net.save(path)
        net = pylstm.load(path)
    assert net._dropout_state() == [2**64 - 1, 2, 2**64 - 1, 2]


def array(shape, dtype=np.float32):
    buffer = io.BytesIO()
    np.save(buffer, np.ones(shape, dtype))
    return buffer.getvalue()


ARRAYS = {
    "slot of another shape": {"training/optimizer/0.weight/mean.npy": array((3, 6))},
    "slot of another dtype": {"training/optimizer/0.weight/mean.npy": array((6, 3), np.float64)},
    "slot too many": {"training/optimizer/0.weight/more.npy": array((6, 3))},
    "weights of another shape": {"training/callback1/0.weight.npy": array((3, 6))},
    "weights of another dtype": {"training/callback1/0.weight.npy": array((6, 3), np.float64)},
    "weight too many": {"training/callback1/9.weight.npy": array((6, 3))},
    "callback that is not there": {"training/callback3/a.npy": array(3)},
    "callback counted from the end": {"training/callback-1/best.npy": array(3)},
    "nobody's": {"training/other.npy": array(3)},
    "weight missing": {"training/callback1/0.weight.npy": None},
    "slot missing": {"training/optimizer/0.weight/mean.npy": None},
}


@pytest.mark.parametrize("fault", ARRAYS)
def test_arrays_that_do_not_fit(tmp_path, checkpoint, fault):
    structure, members = checkpoint
    bad = tmp_path / "bad.npz"
    merged = {name: data for name, data in {**members, **ARRAYS[fault]}.items() if data is not None}
    write(bad, structure, merged)
    check_nothing_changed(tmp_path, bad)


def test_a_good_checkpoint_still_resumes_beside_these(tmp_path, checkpoint):
    structure, members = checkpoint
    write(tmp_path / "good.npz", structure, members)
    whole, net = network(), network(seed=5)
    want = run(whole, parts(tmp_path), 4)
    os.remove(tmp_path / "c.npz")
    got = run(net, parts(tmp_path), 4, resume=tmp_path / "good.npz")
    assert got["loss"] == want["loss"]
    for name, value in whole.params.items():
        np.testing.assert_array_equal(net.params[name], value)
