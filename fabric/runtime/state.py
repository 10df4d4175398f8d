"""The node's own small documents in its state folder, JSON or TOML by their suffix.

JSON is what only the node reads; TOML what an operator may look into. Each is replaced whole, so
that whatever ends the process, the file holds the old document or the new one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
import trio
from attrs import frozen

from fabric import durable
from fabric.errors import ConfigError

Document = Mapping[str, object]


@frozen
class _Format:
    loads: Callable[[str], Any]
    dumps: Callable[[Document], str]


_FORMATS = {
    ".json": _Format(json.loads, lambda document: json.dumps(document, sort_keys=True) + "\n"),
    ".toml": _Format(tomllib.loads, tomli_w.dumps),
}


def read_document(path: Path) -> Document | None:
    """What was last written to *path*; None if nothing was.

    Raises :exc:`ConfigError` for a file that is damaged, which only somebody else can have
    done: guessing would lose what the operator set. Raises :exc:`OSError` as the disk does.
    """
    try:
        document = _FORMATS[path.suffix].loads(path.read_bytes().decode())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ConfigError([_damaged(path, str(error))]) from error
    if not isinstance(document, dict):
        raise ConfigError([_damaged(path, "no table at its top")])
    return document


def write_document(path: Path, document: Document) -> None:
    """Replace *path* by *document*, readable by the owner alone; makes the folder if need be.

    Blocks until the disk has it: milliseconds on a good one. Raises :exc:`OSError`.
    """
    text = _FORMATS[path.suffix].dumps(document)
    durable.own_folder(path.parent)
    durable.replace_file(path, text.encode())


async def save_document(path: Path, document: Document) -> None:
    """As :func:`write_document`, from a thread. A cancelled caller waits for the disk too."""
    await trio.to_thread.run_sync(write_document, path, document)


def _damaged(path: Path, why: str) -> str:
    return f"{path}: is damaged ({why}); restore it, or remove it and lose what it held"
