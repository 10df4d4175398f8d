"""Exceptions raised by the fabric, arranged by who has to act on them."""

from __future__ import annotations

import trio

from fabric.codes import Code


class FabricError(Exception):
    """Base class; catch it only at a process boundary."""


class LocalProtocolError(FabricError):
    """*We* broke the contract: a bug here, never something the peer sent."""


class RemoteProtocolError(FabricError):
    """The *peer* broke the contract; close with :attr:`code` and count it."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code.label}: {detail or code.sentence}")
        self.code = code
        self.detail = detail


class RecordError(FabricError):
    """Bytes that are no record or no envelope, wherever they came from; :attr:`code` says why."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code.label}: {detail or code.sentence}")
        self.code = code
        self.detail = detail


class ConfigError(FabricError):
    """A configuration cannot be used. The *operator* acts: :attr:`mistakes` lists all of them."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class RefusedError(FabricError):
    """Somebody said no, with a coded reason: the operator or the caller acts on the remedy."""

    def __init__(
        self, code: Code, detail: str = "", *, hop: str = "", channel_id: str = ""
    ) -> None:
        what = detail or code.sentence
        where = f" (at {hop})" if hop else ""
        super().__init__(f"{code.label}: {what}{where} Remedy: {code.remedy}")
        self.code = code
        self.detail = detail
        self.hop = hop
        """Name of the node that refused; empty when it was this one."""
        self.channel_id = channel_id


class UnreachableError(FabricError):
    """The environment stands in the way (a path, a peer, a process); retrying may help."""


class ChannelBroken(FabricError, trio.BrokenResourceError):
    """A channel ended by something else than FIN, here or at its other end; :attr:`code` says why.

    What was received before it is not all that was sent.
    """

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code.label}: {detail or code.sentence}")
        self.code = code
