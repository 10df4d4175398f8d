"""Carries out admission: frames to and from streams, deadlines, and the decisions of the core."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.admission import PATIENCE, Acceptor, Admit, Dialler, Refuse, Send, TimedOut
from fabric.core.codec import MAX_ANSWER, MAX_FRAME, MAX_HELLO, FrameReader, encode
from fabric.core.frames import CHALLENGE_KIND, Frame, Refused
from fabric.errors import RefusedError, RemoteProtocolError
from fabric.runtime.closing import aclose, code_of_close
from fabric.runtime.inbound import printable
from fabric.runtime.local import AnyStream
from fabric.trio_quic import Connection, ConnectionClosed, QuicError, Stream

HELLO_WITHIN: Final = 4.5
"""Seconds for a dialler's Hello. The driver gives a stranger five from its first packet on; this
ends before, so that the dialler hears what was missing."""

Enter: TypeAlias = Callable[[Admit, "Control"], None]
"""Takes over an admitted connection. Never blocks."""


@define(eq=False)
class Control:
    """The control stream of a connection, and what was read of it."""

    connection: Connection
    stream: Stream
    reader: FrameReader = field(factory=lambda: FrameReader(limit=MAX_HELLO))

    async def receive(self) -> Frame:
        """Return the next frame; an end of the stream before that is malformed."""
        return await next_frame(self.stream, self.reader)


async def receive_hello(connection: Connection, acceptor: Acceptor, enter: Enter) -> None:
    """Judge whoever dialled, and hand the connection to *enter* if it is a peer.

    Raises :exc:`RefusedError` when it is not: the dialler was told, the connection is closed.
    """
    async with _closed_when_refused(connection):
        until = trio.current_time() + HELLO_WITHIN
        with trio.move_on_at(until) as waiting:
            control = Control(connection, await connection.accept_stream())
        if waiting.cancelled_caught:
            raise RefusedError(Code.NO_HELLO)
        try:
            event = await _in_time(control.receive, until)
            _carry_out(acceptor.receive(event, trio.current_time()), control, enter)
        except RefusedError as refused:
            _say_no(control.stream, refused, acceptor)
            raise
        except RemoteProtocolError as error:
            _say_no(control.stream, RefusedError(error.code, error.detail), acceptor)
            raise


async def send_hello(connection: Connection, dialler: Dialler, enter: Enter) -> None:
    """Introduce this node, and hand the connection to *enter* once both ends have agreed.

    Raises :exc:`RefusedError` when either does not; the connection is then closed.
    """
    async with _closed_when_refused(connection):
        stream = connection.open_stream_nowait()
        if stream is None:
            raise RefusedError(Code.STREAM_REFUSED, "not even for Hello", hop="peer")
        control = Control(connection, stream, FrameReader(limit=MAX_ANSWER))
        until = trio.current_time() + PATIENCE
        challenge = await _in_time(lambda: _challenge(connection), until)
        _carry_out(dialler.receive(challenge, trio.current_time()), control, enter)
        answer = await _in_time(control.receive, trio.current_time() + PATIENCE)
        _carry_out(dialler.receive(answer, trio.current_time()), control, enter)


@asynccontextmanager
async def _closed_when_refused(connection: Connection) -> AsyncIterator[None]:
    """Close *connection* with the code of whatever ends the exchange; all as RefusedError."""
    try:
        yield
    except RefusedError as refused:
        await aclose(connection, refused.code, refused.detail)
        raise
    except RemoteProtocolError as error:
        await aclose(connection, error.code, error.detail)
        raise RefusedError(error.code, error.detail) from error
    except QuicError as error:
        if connection.closed is None:  # it reset a stream of the exchange
            await aclose(connection, Code.UNEXPECTED_FRAME)
        assert connection.closed is not None
        raise refusal_of(connection.closed) from error


async def _in_time(source: Callable[[], Awaitable[Frame]], until: float) -> Frame | TimedOut:
    with trio.move_on_at(until):
        return await source()
    return TimedOut()


async def _challenge(connection: Connection) -> Frame:
    kind, stream = await connection.accept_unidirectional()
    if kind != CHALLENGE_KIND:
        raise RemoteProtocolError(Code.UNEXPECTED_FRAME, f"a one-way stream of kind {kind}")
    challenge = await next_frame(stream, FrameReader(limit=MAX_HELLO))
    stream.stop(Code.DONE)
    return challenge


async def next_frame(stream: AnyStream, reader: FrameReader) -> Frame:
    """Read until *reader* has a whole frame. An end of the stream before that is malformed."""
    while (frame := reader.next_frame()) is None:
        data = await stream.receive_some()
        if not data:
            raise RemoteProtocolError(Code.MALFORMED_FRAME, "the stream ended within a frame")
        reader.feed(data)
    return frame


def _carry_out(effects: list[Send | Admit | Refuse], control: Control, enter: Enter) -> None:
    # Nothing waits in here: between the verdict and the moment that the link is known to its
    # peer nothing else may be decided. What is sent always fits a fresh stream's credit.
    for effect in effects:
        match effect:
            case Refuse(code, detail, by_peer):
                raise RefusedError(code, detail, hop="peer" if by_peer else "")
            case Admit():
                control.connection.admit()
                control.reader.widen(MAX_FRAME)
                enter(effect, control)
            case Send(frame):
                control.stream.send_nowait(encode(frame))


def _say_no(stream: Stream, refused: RefusedError, acceptor: Acceptor) -> None:
    frame = Refused(
        code=refused.code.value,
        reason=printable(refused.detail),
        hop=acceptor.we.me.name,
        roots=acceptor.missed_roots,
        record=acceptor.tombstone,
    )
    with suppress(QuicError, trio.ClosedResourceError):  # it has gone: nobody is left to be told
        stream.send_nowait(encode(frame), fin=True)


def refusal_of(closed: ConnectionClosed) -> RefusedError:
    """Return *closed* as the refusal that it was."""
    code = code_of_close(closed)
    detail = closed.reason.removeprefix(code.label).strip()
    return RefusedError(code, detail, hop="peer" if closed.by_peer else "")
