"""Channels that others opened: accepted or refused here, each by the service's handler."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from fabric.codes import Code
from fabric.core.channel import State
from fabric.core.codec import encode
from fabric.core.frames import Accepted, Refused
from fabric.errors import ChannelBroken, LocalProtocolError
from fabric.runtime.channels import Channel
from fabric.runtime.local import AnyStream
from fabric.trio_quic import QuicError


class InboundChannel(Channel):
    """A channel that was asked for. The handler answers, unless the service accepts by itself."""

    __slots__ = ("_load", "_me", "answer_by", "on_accepted")

    _stream: AnyStream

    def __init__(self, *args: Any, me: str, load: int, **facts: Any) -> None:  # noqa: ANN401
        """*me*: this node's name; *load*: channels of the service open here, this one included."""
        super().__init__(*args, direction="in", **facts)
        self.answer_by: trio.CancelScope | None = None
        """The scope whose deadline bounds the answer; lifted by the answer."""
        self.on_accepted: Callable[[], None] = _nobody
        """Called once, when the answer was yes."""
        self._me = me
        self._load = load

    async def accept(self) -> None:
        """Tell the opener yes; bytes flow from now on.

        Raises :exc:`ChannelBroken` if the opener has gone meanwhile.
        """
        self.accept_nowait()
        await trio.lowlevel.checkpoint()

    def accept_nowait(self) -> None:
        """As :meth:`accept`, without a checkpoint: an answer always fits the initial credit."""
        self._check_unanswered()
        try:
            self._stream.send_nowait(encode(Accepted(load=self._load)))
        except (QuicError, trio.ClosedResourceError) as error:
            self._break(error)
        self.opened()
        self._register.metrics.channels_opened.add(self.service, "in")
        self._lift_deadline()
        self.on_accepted()

    async def refuse(self, code: Code, detail: str = "") -> None:
        """Tell the opener no, with *code*. Does nothing if the opener has gone."""
        self.refuse_nowait(code, detail)
        await trio.lowlevel.checkpoint()

    def refuse_nowait(self, code: Code, detail: str = "") -> None:
        """As :meth:`refuse`, without a checkpoint."""
        if self.state is State.BROKEN:
            return
        self._check_unanswered()
        self.refused(code)
        self._lift_deadline()
        send_refusal(self._stream, code, detail, hop=self._me, channel_id=self.id)

    def _check_unanswered(self) -> None:
        if self.state is State.BROKEN:
            raise ChannelBroken(self.code or Code.INTERNAL_ERROR)
        if self.state is not State.OPENING:
            raise LocalProtocolError(f"channel {self.id} was answered already")

    def _lift_deadline(self) -> None:
        if self.answer_by is not None:
            self.answer_by.deadline = math.inf
            self.answer_by = None


def _nobody() -> None:
    """Be called for nobody."""


def send_refusal(stream: AnyStream, code: Code, detail: str, *, hop: str, channel_id: str) -> None:
    """Say no on a channel's stream: the frame, FIN, and STOP_SENDING with the code.

    Never blocks; nothing if the other end has gone.
    """
    refusal = Refused(
        code=code.value, reason=printable(detail), hop=hop, channel_id=bytes.fromhex(channel_id)
    )
    with suppress(QuicError, trio.ClosedResourceError):  # who listens no more may still talk
        stream.send_nowait(encode(refusal), fin=True)
    stream.stop(code)


def printable(text: str, *, most: int = 400) -> str:
    """Return *text* as a frame may carry it: an exception's words may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)[:most]
