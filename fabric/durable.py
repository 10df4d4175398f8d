"""Small files that survive a crash: written aside, flushed, and only then given their name."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Give *path* the content *data*, whole or not at all, whatever stood there.

    Blocks for the disk, so it is for small and rare writes. Raises :exc:`OSError`.
    """
    _place(path, data, mode, os.replace)


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """As :func:`replace_file`, but raise :exc:`FileExistsError` where something stands."""
    _place(path, data, mode, _link)


def own_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make the folder *path*, and its parents, unless it is there already.

    Raises :exc:`PermissionError` for one of somebody else's among files that anybody may make,
    as in ``/tmp``: whoever took the name first could read or swap what is put there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=mode)
        _flush_folder(path.parent)  # or a crash could take it, with all that was put into it
    except FileExistsError:
        if path.parent.stat().st_mode & stat.S_IWOTH and not _is_own(path.lstat()):
            raise PermissionError(f"{path} is not a folder of this user's") from None
        if not path.is_dir():
            raise


def _is_own(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), 0)


def _place(path: Path, data: bytes, mode: int, name: Callable[[str, Path], None]) -> None:
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        name(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
    _flush_folder(path.parent)


def _link(aside: str, path: Path) -> None:
    os.link(aside, path)  # the one way to name a file that fails where the name is taken
    os.unlink(aside)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
