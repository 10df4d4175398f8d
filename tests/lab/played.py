"""Roles of a test, each in a process of its own that says JSON lines; ended with the test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

STRANGERS = Path(__file__).with_name("strangers_at_work.py")

READY_WITHIN = 20
"""Seconds for a role's first word: an interpreter, on a machine that others use too."""


@define
class Played:
    """A role in a process of its own, and what it said."""

    process: trio.Process
    said: list[dict] = field(factory=list)
    _first: trio.Event = field(factory=trio.Event)

    async def listen(self):
        rest = b""
        async for piece in self.process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            self.said += [json.loads(line) for line in lines]
            if self.said:
                self._first.set()
        assert self.said, f"{self.process.args} ended without a word"

    async def first(self):
        await self._first.wait()
        return self.said[0]

    @property
    def done(self):
        """How much it says that it has done."""
        return self.said[-1].get("done", 0)


@asynccontextmanager
async def open_role(role, **options):
    """Play a role of strangers_at_work.py from its first word until the end of the body."""
    command = [sys.executable, str(STRANGERS), role, json.dumps(options)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        async with trio.open_nursery() as nursery:
            played = Played(process)
            nursery.start_soon(played.listen)
            with trio.fail_after(READY_WITHIN):
                await played.first()
            yield played
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def a_free_port():
    """Return a UDP port that nobody has at the moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
