"""A file that is there whole, or as it was before: whatever fails, and whoever else writes the same one meanwhile.

It is written under a name of its own beside its place, synced, and renamed. That name is random and made with O_EXCL:
no two saves share one (a process number would not do: containers have the same ones), and a link that somebody
planted is not followed.

Nobody tidies up after `kill -9` but the next save to the same file, and that must not take the file of a save that
still runs, be it in another thread, process or container. So who writes holds a lock (flock) on what it writes, which
the system lets go when the process dies, and nobody deletes a file that it could not lock itself. Step by step:

- flock belongs to an open file, not to a process, so it works between threads, too, and between containers, as the
  file is one and the same; a process number, a start time or an age would say nothing there.
- Between making its file and locking it, a save can lose it to a tidier who locks it first. It finds out at once: its
  own lock fails, or the name does not lead to its file any more; it then takes another name. Nothing is written before.
- A tidier who opened a file before it was locked fails to lock it afterwards. One who locks it after its save has
  renamed it, and let go, finds its old name gone: what it deletes is the name, and no name is ever used twice.
- Where there are no such locks (some network file systems, Windows) nothing is tidied up: a file that is left over does
  less harm than one that is lost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
_END = ".part"
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An open file to write; at the end of the block it takes the place of `path`, after an exception it is gone.

    What is there already keeps its mode and, where that is allowed, its owner; a new file has the mode that the umask
    gives. A link stays a link: what it leads to is replaced. Raises OSError.
    """
    target = os.path.realpath(path)
    before = _look(target)
    folder, name = os.path.split(target)
    prefix = _prefix(name)
    _tidy(folder, prefix)
    partial, descriptor = _create(folder, prefix, 0o666 if before is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            if before is not None:
                _take_over(descriptor, before)
            os.fsync(descriptor)  # else a crash of the machine may leave the new name and none of the bytes
            if fcntl is not None:
                os.replace(partial, target)  # still locked: nobody tidies it up before it has its name
        if fcntl is None:
            os.replace(partial, target)  # Windows renames no open file
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(folder)


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raises the OSError that `replacing` would, but for a full disk. What is there stays, and nothing else does."""
    target = os.path.realpath(path)
    _look(target)
    folder, name = os.path.split(target)
    partial, descriptor = _create(folder, _prefix(name), 0o600)
    try:
        os.close(descriptor)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def _prefix(name: str) -> str:
    # short whatever the length of the name, which may have all that the file system allows
    return f".pylstm-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}-"


def _look(target: str) -> os.stat_result | None:
    """What is there now."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):  # realpath followed all but a loop
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), target)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(found.st_mode):  # a device would be lost
        raise OSError(errno.EINVAL, "not a regular file, and a model cannot take its place", target)
    return found


def _create(folder: str, prefix: str, mode: int) -> tuple[str, int]:
    """A new file of our own, empty and locked: its name, and an open descriptor."""
    while True:
        partial = os.path.join(folder, prefix + secrets.token_hex(8) + _END)
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, mode)
        except FileExistsError:
            continue
        except OSError as error:
            error.filename = folder  # the random name says nothing to anybody
            raise
        if fcntl is None or _locked(descriptor, partial) is not False:
            return partial, descriptor
        os.close(descriptor)  # lost to somebody who tidied up just now
        with contextlib.suppress(OSError):
            os.unlink(partial)


def _locked(descriptor: int, name: str) -> bool | None:
    """Lock the file: True if it is ours now and has that name, False if somebody else has it, None without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except FileNotFoundError:
        return False


def _tidy(folder: str, prefix: str) -> None:
    """Delete what saves to the same file left that died."""
    if fcntl is None:
        return
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries if entry.name.startswith(prefix) and entry.name.endswith(_END)]
    except OSError:
        return  # it may be written to, but not be listed
    for name in names:
        with contextlib.suppress(OSError):  # gone, a link, somebody else's
            descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK | _FLAGS)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode) and _locked(descriptor, name):
                    os.unlink(name)
            finally:
                os.close(descriptor)


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """The owner, where that is allowed, and the mode of the file that was there."""
    if not hasattr(os, "fchmod"):
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    with contextlib.suppress(OSError):  # file systems without modes
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)


def _sync_folder(folder: str) -> None:
    """The rename itself to the disk; the file is whole either way."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
