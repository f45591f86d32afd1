"""HDF5: what is written is read again, by h5py, too, where that is installed; damaged files are refused with words."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from pylstm import ModelFileError
from pylstm.files.hdf5.reading import Contents, Dataset
from pylstm.files.hdf5.writing import Tree, written
from pylstm.files.sources import Memory


def tree():
    root = Tree({"backend": "numpy", "long": "é" * 50_000, "names": ["a", "bcd", ""], "none": [],
                 "many": [f"{i}" * 40 for i in range(2000)]})  # fmt: skip
    rng = np.random.default_rng(0)
    for i in range(300):  # more than a node of the tree has by default
        own = root.at(f"layers/layer_{i}/vars")
        own.items["0"] = rng.normal(size=(i % 4, i)).astype(np.float32)
        own.attributes["name"] = f"ü{i}"
    for dtype in ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">f8", ">i4"]:
        root.items[f"of {dtype}"] = np.arange(5).astype(dtype)
    root.items["number"] = np.array(3.5)
    return root


@pytest.fixture(scope="module")
def data():
    return written(tree())


def test_what_is_written_is_read(data):
    same(Contents(Memory(data)).root, tree())


def same(found, wanted):
    assert found.attributes.keys() == wanted.attributes.keys()
    for name, value in wanted.attributes.items():
        assert (found.attributes[name] if isinstance(value, str) else list(found.attributes[name])) == value
    assert found.items.keys() == wanted.items.keys()
    for name, value in wanted.items.items():
        if isinstance(value, Tree):
            same(found.items[name], value)
        else:
            array = found.items[name].read()
            assert array.dtype == value.dtype.newbyteorder("=")
            assert array.shape == value.shape
            assert np.array_equal(array, value)


def test_by_way(data):
    root = Contents(Memory(data)).root
    assert isinstance(root.find("layers/layer_7/vars/0"), Dataset)
    assert root.find("layers/layer_7/vars/0/further") is None
    assert root.group("layers/none") is None
    assert root.find("layers/layer_7/vars/0").name == "layers/layer_7/vars/0"


def test_not_hdf5():
    for other in (b"", b"PK", b"\x89HDF\r\n\x1a", b"x" * 200):
        with pytest.raises(ModelFileError, match="no HDF5"):
            Contents(Memory(other))


def test_every_cut_is_found():
    """Nothing that is missing is taken for something else."""
    small = written(small_tree())
    for end in range(8, len(small), 5):
        with pytest.raises(ModelFileError):
            read_all(Contents(Memory(small[:end])).root)


def small_tree():
    root = Tree({"title": "x" * 40})
    root.at("a/b").items["c"] = np.arange(12.0).reshape(3, 4)
    root.at("a").attributes["name"] = "a"
    return root


def read_all(group):
    for item in group.items.values():
        if isinstance(item, Dataset):
            item.read()
        else:
            read_all(item)


def test_changed_bytes_are_read_or_refused():
    """Every third byte changed: a file is read, or refused with a ModelFileError."""
    small = written(small_tree())
    for at in range(0, len(small), 3):
        for value in (255, small[at] ^ 1) if small[at] else (255,):
            changed = bytearray(small)
            changed[at] = value
            try:
                read_all(Contents(Memory(changed)).root)
            except ModelFileError as error:
                words(error)


def words(error):
    assert len(str(error)) > 15


def test_a_group_in_itself_is_refused():
    small = bytearray(written(small_tree()))
    root = struct.unpack_from("<Q", small, 64)[0]
    at = small.find(b"SNOD", 0)
    while at >= 0:  # every entry of every group leads to the root
        count = struct.unpack_from("<H", small, at + 6)[0]
        for k in range(count):
            struct.pack_into("<Q", small, at + 8 + 40 * k + 8, root)
        at = small.find(b"SNOD", at + 1)
    with pytest.raises(ModelFileError, match="inside of itself"):
        Contents(Memory(small))


def test_many_names_for_the_same_numbers_do_not_take_more_than_the_file():
    root = Tree()
    for i in range(100):
        root.items[f"{i}"] = np.arange(1000.0 if not i else 1.0)
    small = bytearray(written(root))
    contents = Contents(Memory(small))
    first = contents.root.items["0"]
    for _ in range(len(small) // 8000):
        first.read()
    with pytest.raises(ModelFileError, match="claim"):
        first.read()


# ---- beside h5py -----------------------------------------------------------------------------------------------------


def test_h5py_reads_what_is_written(data, tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "file.h5").write_bytes(data)
    with h5py.File(tmp_path / "file.h5") as file:
        beside(Contents(Memory(data)).root, file, h5py)
        assert file["layers"].attrs.keys() == set()
        assert len(file["layers"]) == 300


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_h5py_writes_is_read(tmp_path, libver):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver=libver) as file:
        for dtype in ["f2", "f4", "f8", "i1", "i8", "u2", ">f4", ">i2"]:
            file[f"numbers/{dtype}"] = np.arange(24).reshape(2, 3, 4).astype(dtype)
        file["number"], file["empty"] = np.float32(2), np.zeros((0, 3))
        file["numbers"].attrs["text"], file.attrs["bytes"] = "hello", b"some bytes"
        file.attrs["list"] = [b"one", b"three"]
        file.attrs["texts"] = np.array(["one", "three"], dtype=h5py.string_dtype())
        file.attrs["z"], file.attrs["none"] = np.arange(3), []
        file.create_dataset("compact", data=np.arange(4.0))
    data = path.read_bytes()
    with h5py.File(path) as file:
        beside(Contents(Memory(data)).root, file, h5py)


def beside(group, theirs, h5py):
    assert group.items.keys() == set(theirs.keys())
    for name, value in theirs.attrs.items():
        if isinstance(value, np.ndarray):
            value = [one.decode() if isinstance(one, bytes) else one for one in value]
            assert list(group.attributes[name]) == value
        else:
            assert group.attributes[name] == (value.decode() if isinstance(value, bytes) else value)
    for name, item in theirs.items():
        if isinstance(item, h5py.Group):
            beside(group.items[name], item, h5py)
        else:
            array = group.items[name].read()
            assert array.shape == item.shape
            assert np.array_equal(array, item[()])


@pytest.mark.parametrize(("how", "words"), [
    ({"chunks": (2, 2)}, "in chunks"), ({"compression": "gzip"}, "compressed"),
])  # fmt: skip
def test_what_is_not_read_says_what_to_do(tmp_path, how, words):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("a", data=np.ones((4, 4)), **how)
    with pytest.raises(ModelFileError, match=f"{words}.*h5repack"):
        Contents(Memory((tmp_path / "file.h5").read_bytes()))
    with h5py.File(tmp_path / "many.h5", "w", libver="latest") as file:
        for i in range(100):
            file[f"{i}"] = 1.0
    with pytest.raises(ModelFileError, match="fractal heap"):
        Contents(Memory((tmp_path / "many.h5").read_bytes()))


def test_texts_are_no_numbers(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["a"], file["b"] = "text", np.array([1j])
    root = Contents(Memory((tmp_path / "file.h5").read_bytes())).root
    for name in "ab":
        with pytest.raises(ModelFileError, match=f"'{name}' holds"):
            root.items[name].read()
