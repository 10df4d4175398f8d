"""Keys as they are pressed, one at a time and without Return, of whoever sits at a terminal."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

MOST_WAITING = 16
"""Keys that are kept while a frame is drawn; of somebody who leans on one, the rest is dropped."""


@asynccontextmanager
async def open_keys() -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
    """Yield where each key comes out, and give the terminal back as it was.

    Where stdin is no terminal, none ever does.
    """
    send, receive = trio.open_memory_channel[str](MOST_WAITING)
    if not sys.stdin.isatty():
        yield receive
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read, terminal, send)
            yield receive
            nursery.cancel_scope.cancel()
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def _read(terminal: int, send: trio.MemorySendChannel[str]) -> None:
    while True:
        await trio.lowlevel.wait_readable(terminal)
        pressed = os.read(terminal, MOST_WAITING)
        if not pressed:
            return  # the terminal is gone; the signal for it is on its way
        for key in pressed.decode(errors="replace"):
            with suppress(trio.WouldBlock):
                send.send_nowait(key)
