"""One HTTP/1.1 connection as events: h11 over a trio stream, every wait under a deadline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import h11
import trio
from attrs import define, field, frozen

from fabric.codes import Code

PIECE_BYTES = 64 * 1024
"""What one read takes, and what a client must take within the write deadline to count as alive."""

EARLY_BYTES = 64 * 1024
"""Pipelined requests held while an answer is under way; beyond it, reading waits for its end."""

LINGER_S = 1.0
LINGER_BYTES = 1024 * 1024
"""How long and how much of an unwanted request is read, and thrown away, after its refusal."""


@frozen(kw_only=True)
class Limits:
    """What one client may cost. Times are seconds."""

    connections: int = 64
    """At once; more are told 503. Each costs about 30 KB, and a descriptor."""

    head_bytes: int = 16 * 1024
    body_bytes: int = 1024 * 1024
    head_within: float = 10.0
    """From a request's first byte to the end of its headers."""

    body_within: float = 30.0
    """Spent waiting for the client's body, all pieces together; the app's own time is free."""

    idle_within: float = 60.0
    """Between requests, and before the first."""

    write_within: float = 10.0
    """For each 64 KiB of an answer: a client that has stopped reading is cut off."""

    grace: float = 5.0
    """For answers under way at shutdown."""


class Refusal(Exception):
    """A request that the server itself answers. Never leaves :mod:`fabric.net`."""

    def __init__(self, status: int, code: Code, detail: str = "") -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail


class ClientGone(OSError):
    """The client hung up or stopped reading. An OSError, as ASGI asks of ``send``."""


@define(eq=False)
class Shutdown:
    """Tells idle connections to end now, and busy ones to end with their answer."""

    begun: bool = field(default=False, init=False)
    _idle: set[trio.CancelScope] = field(factory=set, init=False)

    def begin(self) -> None:
        self.begun = True
        for scope in self._idle:
            scope.cancel()

    @contextmanager
    def idling(self, seconds: float) -> Iterator[None]:
        """Bound the wait inside by *seconds* and by shutdown."""
        with trio.move_on_after(0 if self.begun else seconds) as scope:
            self._idle.add(scope)
            try:
                yield
            finally:
                self._idle.discard(scope)


@contextmanager
def _too_slow_after(seconds: float) -> Iterator[None]:
    try:
        with trio.fail_after(max(0.0, seconds)):
            yield
    except trio.TooSlowError:
        raise Refusal(408, Code.REQUEST_TOO_SLOW) from None


@define(eq=False)
class Wire:
    """Owns *stream*. One task may read and one write at the same time."""

    stream: trio.abc.Stream
    limits: Limits
    shutdown: Shutdown
    gone: bool = field(default=False, init=False)
    """Nothing sensible can be written any more."""

    _patience: float = field(default=0.0, init=False)
    """Seconds left to wait for the rest of the body."""

    _h11: h11.Connection = field(init=False)

    @_h11.default
    def _new_h11(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head_bytes)

    async def next_request(self) -> h11.Request | None:
        """Wait for the head of the next request.

        None when the client ended or kept silent, or when the server shuts down. Raises
        :exc:`Refusal` for what is no request or too slow, :exc:`ClientGone`.
        """
        if not await self._has_begun():
            return None
        self._patience = self.limits.body_within
        deadline = trio.current_time() + self.limits.head_within
        while (event := self._parse()) is h11.NEED_DATA:
            with _too_slow_after(deadline - trio.current_time()):
                await self._feed()
        return event if isinstance(event, h11.Request) else None

    async def _has_begun(self) -> bool:
        if self._unread():
            return not self.shutdown.begun
        with self.shutdown.idling(self.limits.idle_within):
            return await self._feed()
        return False

    async def next_piece(self) -> bytes | None:
        """Wait for more of the request's body; None is its end. Raises as :meth:`next_request`."""
        while (event := self._parse()) is h11.NEED_DATA:
            began = trio.current_time()
            with _too_slow_after(self._patience):
                alive = await self._feed()
            self._patience -= trio.current_time() - began
            if not alive:
                raise ClientGone("hung up in the middle of a request")
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def hang_up(self) -> bool:
        """Wait until the client hangs up, once its request is read: True.

        False, early: it has pipelined so much that reading on has to wait.
        """
        while self._unread() < EARLY_BYTES:
            if not await self._feed():
                return True
        return False

    def _unread(self) -> int:
        return len(self._h11.trailing_data[0])

    def _parse(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            code = Code.REQUEST_TOO_LARGE if status in (413, 431) else Code.BAD_REQUEST
            raise Refusal(status, code, f"{error}.") from None

    async def _feed(self) -> bool:
        """Read once. False is the end of what the client sends."""
        try:
            data = await self.stream.receive_some(PIECE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.gone = True
            raise ClientGone("broke off") from error
        self._h11.receive_data(bytes(data))
        return bool(data)

    @property
    def wants_continue(self) -> bool:
        """Whether the client waits for leave to send its body."""
        return self._h11.they_are_waiting_for_100_continue

    async def send(self, *events: h11.Event) -> None:
        """Write *events* in one go.

        Raises :exc:`ClientGone`, and :exc:`h11.LocalProtocolError` for a bug of the app.
        """
        if self.gone:
            raise ClientGone("hung up before")
        data = b"".join(self._h11.send(event) or b"" for event in events)
        self.gone = True  # until all is out: a write that is cut leaves half an event behind
        try:
            for start in range(0, len(data), PIECE_BYTES):
                with trio.fail_after(self.limits.write_within):
                    await self.stream.send_all(data[start : start + PIECE_BYTES])
        except trio.TooSlowError:
            raise ClientGone("stopped reading") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone("broke off") from error
        self.gone = False

    def recycle(self) -> bool:
        """Make ready for another request; False if this connection cannot have one."""
        if self.gone or (self._h11.our_state, self._h11.their_state) != (h11.DONE, h11.DONE):
            return False
        self._h11.start_next_cycle()
        return True

    async def linger(self) -> None:
        """Before closing: let the client read the last answer, which the kernel would throw
        away together with what it still sends."""
        if self.gone:
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            with trio.move_on_after(LINGER_S):
                if isinstance(self.stream, trio.abc.HalfCloseableStream):
                    await self.stream.send_eof()
                await self._discard(LINGER_BYTES)

    async def _discard(self, most: int) -> None:
        while most > 0 and (data := await self.stream.receive_some(PIECE_BYTES)):
            most -= len(data)
