"""A visit: one TCP connection that came in by a listener, and what is said of it at its end."""

from __future__ import annotations

from typing import ClassVar, Protocol

import structlog
import trio
from attrs import define

from fabric.config import HostPort, ListenerConfig
from fabric.errors import RefusedError
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog
from services.lifetime import Lifetime

log = structlog.get_logger()


@define(eq=False)
class Visit:
    """One accepted connection: by which rules, from where, into which channel."""

    config: ListenerConfig
    client: HostPort
    """The socket's other end, or whom the PROXY header names."""

    life: Lifetime
    channel: str = ""
    """The channel's id; empty before there is one."""


class VisitorsBook(Protocol):
    """Hears of each visit twice: as it comes, and how it ended. Neither may block."""

    is_log: ClassVar[bool]
    """Whether what it writes stands in the node's log, in place of the channel's own line."""

    def came(self, visit: Visit) -> None: ...
    def closed(self, visit: Visit) -> None: ...
    def refused(self, visit: Visit, why: RefusedError) -> None: ...


@define(eq=False)
class IngressBook:
    """Counts every visit and logs it in one line; of the refused only what ``RefusalLog`` lets by.

    The lines bear the configured address of the listener, so that one name stands for it in
    configuration, log and metrics.
    """

    is_log: ClassVar[bool] = True

    _metrics: Metrics
    _refusals: RefusalLog

    def came(self, visit: Visit) -> None:
        self._metrics.ingress_accepted.add(str(visit.config.listen))

    def closed(self, visit: Visit) -> None:
        life = visit.life
        log.info(
            "ingress.closed",
            listener=str(visit.config.listen),
            service=visit.config.service,
            channel=visit.channel,
            client=str(visit.client),
            sent_bytes=life.sent_bytes,
            received_bytes=life.received_bytes,
            age_s=round(life.age, 3),
            code=life.code,
        )

    def refused(self, visit: Visit, why: RefusedError) -> None:
        listener = str(visit.config.listen)
        self._metrics.ingress_refused.add(listener, why.code)
        self._refusals.refused(
            "ingress.refused",
            why.code,
            trio.current_time(),
            listener=listener,
            service=visit.config.service,
            client=str(visit.client),
            channel=why.channel_id,
            hop=why.hop,
            detail=why.detail,
        )
