"""What is loaded is what was checked, and what it is asked from is a path."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import pylstm
from pylstm.files import tensors as files
from support.files import check_whole, filled

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
DATA = Path(__file__).parent / "data"


def test_a_file_that_is_replaced_during_the_load_is_read_as_it_was(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    filled(1.0).save(path)
    with files.opened(path) as contents:
        filled(2.0).save(path)
        for name in contents.tensors:
            np.testing.assert_array_equal(contents.read(name), 1.0)
    check_whole(pylstm.load(path))


@pytest.mark.parametrize("change", ["cut", "over", "longer"])
def test_a_file_that_is_written_to_during_the_load_is_an_error(tmp_path, suffix, change):
    """Cut short it was the end of the process: a mapping of memory that is no longer there."""
    path = tmp_path / f"m.{suffix}"
    filled(2.0, 100).save(path)
    other = path.read_bytes()
    filled(1.0, 100).save(path)
    os.utime(path, ns=(1, 1))  # the clock of file systems is coarse: long ago

    def read():
        with files.opened(path) as contents:
            names = list(contents.tensors)
            found = [contents.read(names[0])]
            with open(path, "r+b") as file:
                if change == "cut":
                    file.truncate(5000)
                elif change == "over":
                    file.write(other)
                else:
                    file.seek(0, os.SEEK_END)
                    file.write(b"more")
            return [*found, *(contents.read(name) for name in names[1:])]

    with pytest.raises(pylstm.ModelFileError, match=r"cut short|written to|checksum"):
        read()


def test_a_checkpoints_own_arrays_are_not_read_by_load(tmp_path):
    data = bytearray((DATA / "version1_checkpoint.npz").read_bytes())
    at = data.index(b"training/optimizer/0.weight/mean.npy") + 36
    at = data.index(b"\n", at) + 1
    data[at] ^= 1
    path = tmp_path / "m.npz"
    path.write_bytes(data)
    pylstm.load(path)


@pytest.mark.parametrize(
    ("path", "error"),
    [(5, TypeError), (b"m.npz", TypeError), ("\ud800.npz", ValueError), ("a\0b.npz", ValueError), ([], TypeError)],
    ids=ascii,
)
def test_what_is_no_path_is_an_error_that_names_it(path, error):
    model = pylstm.Sequential([pylstm.Linear(2, 2)])
    x = np.zeros((2, 2))
    calls = {
        "path": [lambda: model.save(path), lambda: pylstm.load(path), lambda: pylstm.ModelCheckpoint(path)],
        "resume": [lambda: model.fit(x, x, loss="mse", optimizer=pylstm.SGD(), resume=path, verbose=0)],
    }
    for name, some in calls.items():
        for call in some:
            with pytest.raises(error, match=f"^{name} "):
                call()
