"""What many processes print, heard by one clock: when each of them first said something.

A thread reads all their pipes, so that none of them ever waits for us, and notes by the monotonic
clock when a line came that somebody expects. Whoever is compared prints its line at the moment it
knows, and both are heard in the same way: what the hearing costs, it costs both.
"""

from __future__ import annotations

import os
import re
import selectors
import threading
import time
from collections.abc import Iterable

from attrs import define, field

from tests.bench.processes import DidNotFinish

READ_BYTES = 1 << 16


@define(eq=False)
class Expected:
    """Lines that match, one from each of some processes, and when the first of each came."""

    pattern: re.Pattern[bytes]
    missing: set[str]
    times: dict[str, float] = field(factory=dict)
    _complete: threading.Event = field(init=False, factory=threading.Event)

    def hear(self, name: str, line: bytes, now: float) -> None:
        if name in self.missing and self.pattern.search(line):
            self.times[name] = now
            self.missing.discard(name)
            if not self.missing:
                self._complete.set()

    def wait(self, within: float) -> dict[str, float]:
        """Return the time of each, once all have said it. Raises DidNotFinish."""
        if not self._complete.wait(within):
            waited, missing = self.pattern.pattern.decode(), ", ".join(sorted(self.missing))
            raise DidNotFinish(f"{waited} was not said within {within:.0f} s by {missing}")
        return self.times


class Ears:
    """Reads the pipes of processes until the end of the ``with``."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._opened: list[int] = []
        self._expected: tuple[Expected, ...] = ()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="ears", daemon=True)

    def __enter__(self) -> Ears:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()
        self._selector.close()
        for descriptor in self._opened:
            os.close(descriptor)

    def pipe(self, name: str) -> int:
        """Return where the process *name* is to print; whoever starts it closes this end."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        self._opened.append(reading)
        self._selector.register(reading, selectors.EVENT_READ, _Pipe(name))
        return writing

    def expect(self, pattern: bytes, names: Iterable[str]) -> Expected:
        """Listen from now on for a line that *pattern* is found in, from each of *names*."""
        expected = Expected(re.compile(pattern), set(names))
        self._expected = (*(each for each in self._expected if each.missing), expected)
        return expected

    def _run(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.1):
                now = time.monotonic()
                piece = os.read(key.fd, READ_BYTES)
                if not piece:
                    self._selector.unregister(key.fd)
                for line in key.data.lines(piece):
                    for expected in self._expected:
                        expected.hear(key.data.name, line, now)


@define(eq=False)
class _Pipe:
    name: str
    _rest: bytes = field(init=False, default=b"")

    def lines(self, piece: bytes) -> list[bytes]:
        """Return the lines that *piece* completes."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return whole
