"""The life of a channel, as one of its ends sees it.

Theory of operation
===================

A channel is one stream of its own. The opener sends ``Open`` and nothing more; the other end
answers ``Accepted``, and raw bytes follow both ways, or ``Refused``, and the stream is over.
Each direction then ends by FIN on its own. Every other end is a break, carries a code, and ends
both directions: a truncated transfer must not look complete.

::

    OPENING --accepted--> OPEN --sent_eof--> SENT_EOF --got_eof---> DONE
       |                    |  --got_eof---> GOT_EOF  --sent_eof--> DONE
       refused              broke, from OPEN, SENT_EOF and GOT_EOF
       v                    v
    REFUSED               BROKEN
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fabric.errors import LocalProtocolError


class State(enum.StrEnum):
    """Where a channel is. The last three are final."""

    OPENING = "opening"
    OPEN = "open"
    SENT_EOF = "sent_eof"
    GOT_EOF = "got_eof"
    DONE = "done"
    REFUSED = "refused"
    BROKEN = "broken"


class Event(enum.StrEnum):
    """What happens to it, at this end or by word of the other."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    SENT_EOF = "sent_eof"
    GOT_EOF = "got_eof"
    BROKE = "broke"


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.OPENING, Event.ACCEPTED): State.OPEN,
        (State.OPENING, Event.REFUSED): State.REFUSED,
        (State.OPENING, Event.BROKE): State.BROKEN,
        (State.OPEN, Event.SENT_EOF): State.SENT_EOF,
        (State.OPEN, Event.GOT_EOF): State.GOT_EOF,
        (State.SENT_EOF, Event.GOT_EOF): State.DONE,
        (State.GOT_EOF, Event.SENT_EOF): State.DONE,
        (State.OPEN, Event.BROKE): State.BROKEN,
        (State.SENT_EOF, Event.BROKE): State.BROKEN,
        (State.GOT_EOF, Event.BROKE): State.BROKEN,
    }
)
"""The whole machine; what is absent is illegal."""

FINAL: Final = frozenset({State.DONE, State.REFUSED, State.BROKEN})


def after(state: State, event: Event) -> State:
    """Return the state after *event*, or raise :exc:`LocalProtocolError`: a bug of ours."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LocalProtocolError(f"a channel is {state}: {event} is not legal now") from None
