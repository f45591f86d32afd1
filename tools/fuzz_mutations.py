"""Changes to model files for `fuzz_files.py`: a file is taken apart, changed, and put together again."""

from __future__ import annotations

import copy
import io
import json
import struct
import zipfile

import numpy as np

INTERESTING = [0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53,
               2**53 + 1, 2**60, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400]  # fmt: skip
WORDS = ["", "x", "inf", "-inf", "nan", "float64", "float32", "Sequential", "Residual", "Columns", "LSTM", "RNN",
         "Dropout", "Adam", "\ud800", "\0", "__metadata__", "../../x", "a" * 300, "mse", "accuracy"]  # fmt: skip


# ---- files taken apart -----------------------------------------------------------------------------------------------


class Parts:
    """A file as what it says: the structure (JSON, or bytes once it is none), and members or a header with data."""

    def __init__(self, kind, text, members, header=None, data=b""):
        self.kind, self.text, self.members, self.header, self.data = kind, text, members, header, data

    def bytes(self) -> bytes:
        text = self.text if isinstance(self.text, bytes) else dump(self.text)
        if self.kind == "npz":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                archive.writestr(zipfile.ZipInfo("structure.json"), text)
                for name, value in self.members:
                    archive.writestr(zipfile.ZipInfo(name), value)
            return buffer.getvalue()
        header = self.header
        if isinstance(header, dict):
            header = dump({"__metadata__": {"pylstm": text.decode("utf-8", "replace")}, **header})
        return struct.pack("<Q", len(header)) + header + self.data


def dump(value) -> bytes:
    return json.dumps(value).encode()


def take_apart(data: bytes) -> Parts | None:
    """None for what is too broken."""
    try:
        if data[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [name for name in archive.namelist() if name != "structure.json"]
                text = archive.read("structure.json")
                members = [[name, archive.read(name)] for name in names[:200]]
            return Parts("npz", read_json(text), members)
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        text = header.pop("__metadata__")["pylstm"].encode()
        return Parts("safetensors", read_json(text), [], header, data[8 + length :])
    except Exception:
        return None


def read_json(text: bytes):
    try:
        return json.loads(text)
    except ValueError:
        return text


# ---- changes ---------------------------------------------------------------------------------------------------------


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Another file: mostly one that is right but for a few things."""
    for _ in range(int(pick([1, 1, 1, 2, 3], rng))):
        parts = take_apart(data) if rng.random() < 0.85 else None
        try:
            data = broken(data, rng) if parts is None else changed(parts, rng).bytes()
        except Exception:  # a change that cannot be written down
            data = broken(data, rng)
        if len(data) > 200_000:
            data = data[:200_000]
    return data


def changed(parts: Parts, rng) -> Parts:
    kind = int(rng.integers(12))
    if kind < 6:
        if isinstance(parts.text, bytes):
            parts.text = broken(parts.text, rng)
        elif kind == 5:
            parts.text = broken(dump(parts.text), rng)
        elif kind < 3 and isinstance(parts.text, dict) and parts.text:  # what is small is met as often as what is large
            key = pick(list(parts.text), rng)
            key = "training" if "training" in parts.text and rng.random() < 0.5 else key
            parts.text[key] = another_tree(parts.text[key], rng)
        else:
            parts.text = another_tree(parts.text, rng)
    elif parts.kind == "npz":
        change_members(parts, rng, kind)
    elif kind < 10 and parts.header:
        parts.header = another_tree(parts.header, rng)
    elif kind == 10 and parts.header:  # another shape, offsets that fit it
        at = 0
        for entry in parts.header.values():
            if rng.random() < 0.2:
                entry["shape"] = another_tree(entry["shape"], rng)
            size = int(np.prod([n for n in entry["shape"] if isinstance(n, int) and 0 <= n < 1000], dtype=np.int64)) * 4
            entry["data_offsets"] = [at, at + size]
            at += size
        parts.data = parts.data[:at].ljust(min(at, 100_000), b"\0")
    else:
        parts.data = broken(parts.data, rng)
    return parts


def change_members(parts: Parts, rng, kind) -> None:
    members = parts.members
    if not members:
        members.append(["0.weight.npy", b"\x93NUMPY\x01\x00"])
    at = int(rng.integers(len(members)))
    name, value = members[at]
    if kind == 6:
        members.pop(at)
    elif kind == 7:
        members.append(
            [pick([name, "evil.py", "9.weight.npy", "training/x.npy", "training/callback0/x.npy"], rng), value]
        )
    elif kind == 8:
        members[at][1] = broken(value, rng)
    elif kind == 9:  # another shape or dtype, data that fit it
        array = np.load(io.BytesIO(value))
        shape = [int(pick([n, 0, 1, 2, n + 1], rng)) for n in array.shape]
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(shape, pick(["<f4", "<f8", ">f4", "<i4", "<f2"], rng)))
        members[at][1] = buffer.getvalue()
    elif kind == 10:
        other = int(rng.integers(len(members)))
        members[at], members[other] = members[other], members[at]
    else:
        members[at][0] = broken(name.encode(), rng).decode("latin1")


def pick(options, rng):
    return options[int(rng.integers(len(options)))]


def junk(rng):
    kind = int(rng.integers(8))
    if kind < 3:
        return pick(INTERESTING, rng) * pick([1, 1, 1, -1], rng)
    if kind == 3:
        return pick(WORDS, rng)
    if kind == 4:
        return pick([None, True, False, [], {}, [1], {"a": 1}, [[]], 0.5, -0.0, 1e308, 5e-324, float("inf")], rng)
    if kind == 5:
        return float(rng.standard_normal())
    value = pick([1, "x"], rng)
    for _ in range(int(pick([2, 20, 190, 210, 900], rng))):
        value = [value] if rng.random() < 0.9 else {"a": value}
    return value


def places(tree, found=None, depth=0):
    """(container, key) of every value."""
    found = [] if found is None else found
    if depth < 40 and isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found.append((tree, key))
            places(value, found, depth + 1)
    return found


def another_tree(tree, rng):
    tree = copy.deepcopy(tree)
    found = places(tree)
    if not found:
        return junk(rng)
    owner, key = pick(found, rng)
    kind = int(rng.integers(9))
    if kind < 3:
        owner[key] = junk(rng)
    elif kind == 3 and isinstance(owner[key], (int, float)) and not isinstance(owner[key], bool):
        owner[key] = pick([owner[key] + 1, owner[key] - 1, -owner[key], owner[key] * 2, float(owner[key])], rng)
    elif kind == 4:
        del owner[key]
    elif kind == 5 and isinstance(owner, list):
        count = int(pick([1, 1, 3, 100], rng))
        owner[key:key] = [copy.deepcopy(owner[key]) for _ in range(count)]
    elif kind == 5:
        owner[str(pick(WORDS, rng))] = owner[key]
    elif kind == 6:
        other, where = pick(found, rng)
        owner[key] = copy.deepcopy(other[where])
    elif kind == 7 and isinstance(owner[key], dict) and "class" in owner[key]:  # a layer in a container
        name = pick(["Sequential", "Residual", "Columns"], rng)
        for _ in range(int(pick([1, 1, 2, 20], rng))):
            owner[key] = {"class": name, "layers": [owner[key]]}
            if name == "Sequential" and rng.random() < 0.5:
                owner[key]["metadata"] = {"a": junk(rng)}
    else:
        owner[key] = junk(rng) if rng.random() < 0.5 else [owner[key]]
    return tree


def broken(data: bytes, rng) -> bytes:
    """Bytes changed, cut out, doubled, made a number; in a zip often a field of it."""
    data = bytearray(data)
    if not data:
        return b"{}"
    kind = int(rng.integers(7))
    signs = [i for sign in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for i in find_all(data, sign)]
    if kind < 3 and signs:
        at = min(len(data) - 1, pick(signs, rng) + int(rng.integers(4, 46)))
        width = int(pick([1, 2, 4, 8], rng))
        number = pick([n for n in INTERESTING if n < 256**width], rng) if rng.random() < 0.7 else int(rng.integers(256))
        data[at : at + width] = int(number).to_bytes(width, "little")
    elif kind < 4:
        for at in rng.integers(0, len(data), int(rng.integers(1, 4))):
            data[at] ^= 1 << int(rng.integers(8))
    elif kind == 4:
        a, b = sorted(rng.integers(0, len(data) + 1, 2))
        data = data[:a] + data[b:] if rng.random() < 0.5 else data[:b] + data[a:b] + data[b:]
    elif kind == 5:
        digits = [i for i, byte in enumerate(data[:20_000]) if 48 <= byte < 58]
        if digits:
            at = pick(digits, rng)
            data[at : at + 1] = pick([b"0", b"9", b"-1", b"1e9", b"1e999", b"99999999999999999999", b"0.5"], rng)
    else:
        at = int(rng.integers(len(data)))
        data[at : at + int(rng.integers(3))] = pick([b'"', b"\\u", b"{", b"[", b",", b"\xff", b"\0", b"}"], rng)
    return bytes(data)


def find_all(data, what):
    at, found = data.find(what), []
    while at >= 0:
        found.append(at)
        at = data.find(what, at + 1)
    return found
