"""What both QUIC programs are asked for, so that they are called, and answer, alike.

    quic_NAME.py serve DATAGRAM_BYTES FOLDER            the acceptor, until it is ended
    quic_NAME.py TASK DATAGRAM_BYTES FOLDER SECONDS     a dialler; prints {figure: value}

The acceptor leaves its UDP port and its key in FOLDER.

A stream's first byte says what the acceptor does with it: `SWALLOW` counts to the end and answers
the count, `ANSWER` waits for the end and answers with as much again, `STALL` is never read on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from attrs import frozen

from fabric.net.tls import NodeKey, create_key, load_key

KIB = 1024
MIB = 1024 * KIB
SWALLOW, ANSWER, STALL = b"B", b"R", b"S"
REQUEST = ANSWER + bytes(KIB - 1)
DIALLERS = 16
"""Identities that dial at the same time."""

Figures = dict[str, float]


@frozen
class Task:
    """One call of a program."""

    datagram_bytes: int
    folder: Path
    seconds: float

    def own_key(self) -> NodeKey:
        """The acceptor's; made by the first who asks."""
        path = self.folder / "node.key"
        return load_key(path) if path.exists() else create_key(path)

    def announce(self, port: int) -> None:
        """Lets diallers begin: the file appears whole."""
        written = self.folder / "port.new"
        written.write_text(str(port))
        written.rename(self.port_file)

    @property
    def port_file(self) -> Path:
        return self.folder / "port"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.port_file.read_text())


Work = Callable[[Task], Coroutine[object, object, Figures]]


def main(runner: Callable[[Work, Task], Figures], works: Mapping[str, Work]) -> None:
    """Does what the command line asks for, under the runner of the program's own event loop."""
    match sys.argv[1:]:
        case [name, datagram_bytes, folder, *rest] if name in works:
            task = Task(int(datagram_bytes), Path(folder), float(rest[0]) if rest else 0.0)
            print(json.dumps(runner(works[name], task)), flush=True)
        case _:
            sys.exit(__doc__)
