"""Refusals in the log: the first few of each kind in full, then how many more there were.

A stranger can make a node refuse thousands of times a second; neither the disk nor the reader of
the log should pay for that, and the one refusal that matters should not drown in it.
"""

from __future__ import annotations

from typing import NoReturn

import structlog
import trio
from attrs import Factory, define

from fabric.codes import Code
from fabric.runtime.metrics import Metrics

log = structlog.get_logger()

LINES = 10
"""Lines per code and minute: enough to see who and why, 0.2/s per code at most."""

MINUTE = 60.0


@define
class _Window:
    opened: float
    written: int = 0
    suppressed: int = 0


@define(eq=False)
class RefusalLog:
    """Writes refusals under a limit per code; :meth:`run` tells what was left out."""

    _metrics: Metrics
    _windows: dict[Code, _Window] = Factory(dict)

    def refused(self, event: str, code: Code, now: float, **fields: object) -> None:
        """Log *event* with *code*, its sentence and its remedy, or count it as suppressed.

        *now* is in seconds of any clock that the caller keeps to.
        """
        window = self._windows.get(code)
        if window is None or now - window.opened >= MINUTE:
            window = self._reopen(code, now)
        if window.written >= LINES:
            window.suppressed += 1
            self._metrics.log_lines_suppressed.add(code)
            return
        window.written += 1
        log.warning(event, code=code, reason=code.sentence, remedy=code.remedy, **fields)

    def flush(self, now: float) -> None:
        """Write the summary of each code whose minute is over and had lines left out."""
        for code, window in self._windows.items():
            if window.suppressed and now - window.opened >= MINUTE:
                self._reopen(code, now)

    async def run(self) -> NoReturn:
        """Flush every minute of trio's clock, until cancelled."""
        while True:
            await trio.sleep(MINUTE)
            self.flush(trio.current_time())

    def _reopen(self, code: Code, now: float) -> _Window:
        past = self._windows.get(code)
        if past is not None and past.suppressed:
            over_s = round(now - past.opened)
            log.warning("log.suppressed", code=code, lines=past.suppressed, over_s=over_s)
        window = self._windows[code] = _Window(now)
        return window
