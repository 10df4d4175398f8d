"""The log lines of a local fabric's nodes, read back: by position, by channel, by client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from cli.exits import Json
from cli.local.fabric import LocalFabric

TAIL_BYTES = 64 * 1024
"""How far back the last lines of a log are looked for."""


@frozen
class LogLine:
    """One line as a node printed it; :attr:`facts` is empty where it was no JSON object."""

    node: str
    text: str
    facts: Json

    @property
    def time(self) -> str:
        """ISO 8601 in UTC, which sorts as text; empty where the line has none."""
        return str(self.facts.get("time", ""))


def lines_of_channel(fabric: LocalFabric, channel_id: str) -> list[LogLine]:
    """Every line of every node that holds *channel_id* (or starts of it), oldest first."""
    found = [
        line
        for name in fabric.names
        for line in _lines(name, _read(fabric.log_file(name)))
        if channel_id in line.text
    ]
    return sorted(found, key=lambda line: line.time)


def last_lines(fabric: LocalFabric, name: str, count: int) -> list[LogLine]:
    """The end of the log of *name*: why a process ended, most of the time."""
    path = fabric.log_file(name)
    size = path.stat().st_size if path.exists() else 0
    return list(_lines(name, _read(path, max(0, size - TAIL_BYTES))))[-count:]


def lines_since(fabric: LocalFabric, name: str, position: int) -> Iterator[LogLine]:
    """Lines that *name* printed after its log was *position* bytes long."""
    return _lines(name, _read(fabric.log_file(name), position))


def position(fabric: LocalFabric, name: str) -> int:
    """The length of the log of *name* in bytes, to be given to :func:`lines_since`."""
    path = fabric.log_file(name)
    return path.stat().st_size if path.exists() else 0


def _read(path: Path, start: int = 0) -> Iterable[str]:
    try:
        with path.open("rb") as log:
            log.seek(start)
            for line in log:
                yield line.decode("utf-8", "replace").rstrip("\n")
    except FileNotFoundError:
        return


def _lines(node: str, texts: Iterable[str]) -> Iterator[LogLine]:
    for text in texts:
        try:
            facts = json.loads(text)
        except ValueError:  # a traceback, or what a library printed
            facts = {}
        yield LogLine(node, text, facts if isinstance(facts, dict) else {})
