"""What a connection or a stream ends with, all of them :exc:`trio.BrokenResourceError`."""

from __future__ import annotations

from typing import Self

import trio


class QuicError(trio.BrokenResourceError):
    """The other end, or the network, ended this; :attr:`code` says why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    def again(self) -> Self:
        """Return a new instance that says the same.

        An end is kept and raised many times; raised itself, it would gather tracebacks and hold
        the frames of everyone it ever reached.
        """
        fresh = self.__new__(type(self))
        fresh.__dict__.update(self.__dict__)
        fresh.args = self.args
        return fresh


class StreamReset(QuicError):
    """The peer reset its sending side: what it had to say will not be complete."""

    def __init__(self, code: int) -> None:
        super().__init__(code, f"stream reset by peer, code {code}")


class StreamStopped(QuicError):
    """The peer reads no further: nothing more can be sent."""

    def __init__(self, code: int) -> None:
        super().__init__(code, f"peer stopped reading, code {code}")


class ConnectionClosed(QuicError):
    """The connection is over, for every stream on it.

    ``code`` is an application code unless :attr:`is_transport`, when it is one of RFC 9000
    section 20.1 (0x100 + n: TLS alert n). ``reason`` is the closer's text.
    """

    def __init__(
        self, code: int, reason: str, *, by_peer: bool, is_transport: bool = False
    ) -> None:
        who = "by peer" if by_peer else "here"
        what = f"transport code 0x{code:x}" if is_transport else f"code {code}"
        super().__init__(code, f"connection closed {who}, {what}: {reason or 'no reason given'}")
        self.reason = reason
        self.by_peer = by_peer
        self.is_transport = is_transport


class HandshakeTimeout(ConnectionClosed):
    """No handshake within the dialler's deadline: a wrong address, or UDP does not pass."""
