"""One logging setup for every process: colour for people, JSON for machines, on standard error.

Theory of operation
===================

An ingress writes one line per connection, thousands a second, from the one thread that also
moves the bytes. So a line is one processor, one ``write`` and no lock: 7 us all in all.
And since a log reader that has stopped (a full pipe, a hung journal) must not stop the node,
a line is written only when the descriptor can take it; those that are lost are counted and told
by the next one that goes through.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import TextIO

import structlog
from attrs import define, field

from fabric.config import LogConfig
from fabric.runtime.plain import Plain, plain, to_json

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(settings: LogConfig, *, node: str, stream: TextIO | None = None) -> None:
    """Set up structlog for this process, its lines bearing the name of *node*.

    Called once, from ``main``; everything else only calls ``structlog.get_logger()``. *stream*
    (standard error by default) is borrowed: its descriptor must outlive the process's last line.
    """
    stream = stream or sys.stderr
    person = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    render = _console(node, colors=_wants_color(stream)) if person else JsonLine(node)
    sink = LineSink(stream.fileno())
    structlog.configure(
        processors=[render],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=True,
    )


def hush() -> None:
    """Say nothing below a warning, and that on stderr, in a program that set up no logging.

    Without this structlog would print every line on stdout, into what the program itself prints.
    A program that calls :func:`configure` or :func:`structlog.configure` is left as it is.
    """
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        )


def _wants_color(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")


@define(eq=False)
class JsonLine:
    """structlog's last processor: one line of JSON, ``time``, ``level``, ``event`` first."""

    _node: str
    _second: int = field(default=-1, init=False)
    _stamp: str = field(default="", init=False)

    def __call__(self, _: object, level: str, event: MutableMapping[str, object]) -> bytes:
        failure = _pop_traceback(event)
        line: dict[str, object] = {"time": self._time(), "level": level}
        line["event"] = event.pop("event")
        line["node"] = self._node
        line.update(event)
        line.update(failure)
        return to_json(line).encode() + b"\n"

    def _time(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:  # formatting a date takes longer than the rest of the line
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03}Z"


def _pop_traceback(event: MutableMapping[str, object]) -> Mapping[str, object]:
    """Turn ``exc_info`` into text. Without the frames' variables: they may hold keys."""
    if not event.get("exc_info"):
        event.pop("exc_info", None)
        return {}
    return {"exception": structlog.processors.format_exc_info(None, "", event)["exception"]}


def _console(node: str, *, colors: bool) -> structlog.typing.Processor:
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    paint = structlog.dev.ConsoleRenderer(
        colors=colors,
        pad_event_to=28,
        exception_formatter=structlog.dev.plain_traceback,  # rich's shows variables: keys
    )

    def render(logger: object, level: str, event: MutableMapping[str, object]) -> bytes:
        shown = {key: _printable(plain(value)) for key, value in event.items()}
        shown |= {"exc_info": event["exc_info"]} if event.get("exc_info") else {}
        shown |= {"level": level, "logger": node}
        return f"{paint(logger, level, stamp(logger, level, shown))}\n".encode()

    return render


def _printable(value: Plain) -> object:
    """Text from outside must not steer the terminal that it is read on."""
    return ascii(value) if isinstance(value, str) and not value.isprintable() else value


@define(eq=False)
class LineSink:
    """The descriptor that lines go to. Writes whole lines, never waits, counts what is lost."""

    _descriptor: int
    _poll: select.poll = field(factory=select.poll, init=False)
    _lost: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._poll.register(self._descriptor, select.POLLOUT)

    def msg(self, line: bytes) -> None:
        """Write *line*, or count it as lost when nobody can take it now."""
        try:
            if not self._is_writable():
                self._lost += 1
                return
            if self._lost:
                line += self._confession()
            os.write(self._descriptor, line)
        except OSError:  # the reader of the pipe is gone; whoever looks next may find another
            self._lost += 1

    debug = info = warning = error = critical = msg

    def _is_writable(self) -> bool:
        # For a pipe this means room for 4096 bytes, more than any line but a traceback's.
        return any(flags & select.POLLOUT for _, flags in self._poll.poll(0))

    def _confession(self) -> bytes:
        lost, self._lost = self._lost, 0
        return b'{"level":"warning","event":"log.dropped","lines":%d}\n' % lost
