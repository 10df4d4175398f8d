"""What this node says about itself, signed with its own key: where it is and what it offers.

Theory of operation
===================

A word is said when it differs from what the directory holds of this node, when half of its life is
over, and when somebody else's copy of it has a higher number than ours: after a restart, from a
clone, or from whoever stole the key. Its number is on the disk before anything bears it
(:mod:`fabric.store.sequences`).

Nothing is said before this node's own record is held: nobody could tell whose word it is.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

import structlog
import trio
from attrs import define, field

from fabric.core.admission import Myself
from fabric.core.codec.records import encode_record
from fabric.core.directory import Directory
from fabric.core.envelope import Envelope, sign_payload
from fabric.core.records import (
    Candidate,
    EndpointRecord,
    Key,
    NodeRecord,
    OffersRecord,
    OwnWord,
)
from fabric.store.peer_cache import PeerCache

log = structlog.get_logger()

PLANE: Final = "own_words"

SETTLING: Final = 0.05
"""Seconds for which changes are gathered: a start offers its services one by one."""

APART: Final = 2.0
"""Seconds between two words of one kind: peers take one in five seconds, and three at once."""

LOOK_EVERY: Final = 60.0
"""Seconds between two looks at whether half of a life is over, and where this machine is."""

MOST_ECHOES: Final = 4
ECHO_WINDOW: Final = 60.0
"""So many words in our name that we did not say, within so many seconds, are no leftover of a
restart, which makes one of each kind: another process has this node's key."""

Content: TypeAlias = Mapping[str, Any]
"""The fields of a record that say something."""


@define(eq=False, kw_only=True)
class OwnWords:
    """The words of one node. :meth:`run` says them; everything else only changes what to say."""

    me: Myself
    directory: Directory
    cache: PeerCache
    publish: Callable[[Envelope], None]
    unix_now: Callable[[], float]
    rng: random.Random
    _find: Callable[[], tuple[Candidate, ...]] | None = field(init=False, default=None)
    _contents: dict[type[OwnWord], Content] = field(init=False, factory=dict)
    _above: dict[type[OwnWord], int] = field(init=False, factory=dict)
    """Kinds that have to be said again, and above which number."""
    _said_at: dict[type[OwnWord], float] = field(init=False, factory=dict)
    contested: Callable[[], None] = field(init=False)
    """Called when somebody goes on saying words in this node's name."""
    _echoes: deque[float] = field(init=False, factory=lambda: deque(maxlen=MOST_ECHOES))
    """When others' words in this node's name were heard last."""
    _half_life: float = field(init=False)
    _changed: trio.Event = field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._half_life = self.rng.uniform(0.45, 0.55)  # or a fleet set up at once signs at once

    # -- what to say --
    def be_at(self, candidates: tuple[Candidate, ...]) -> None:
        """Say that this node may be reached at *candidates*."""
        self._put(EndpointRecord, {"candidates": candidates})

    def follow(self, find: Callable[[], tuple[Candidate, ...]]) -> None:
        """As :meth:`be_at`, with what *find* returns now and each minute: machines move."""
        self._find = find
        self.be_at(find())

    def offer(self, services: tuple[str, ...]) -> None:
        """Say that this node serves *services*, sorted; nothing is said of none, ever."""
        self._put(OffersRecord, {"services": services})

    def reissue(self, key: Key, above: int) -> None:
        """Say again what is held at *key*, under a number above *above*."""
        kind = next(
            (each for each in (EndpointRecord, OffersRecord) if key.kind == each.KIND), None
        )
        if kind is None or key.subject != self.me.node_id:
            return
        self._above[kind] = max(above, self._above.get(kind, 0))
        self._changed.set()
        self._echoes.append(trio.current_time())
        if len(self._echoes) == MOST_ECHOES and self._echoes[-1] - self._echoes[0] < ECHO_WINDOW:
            self.contested()

    def changed(self, key: Key) -> None:
        """Look again: the directory holds something else at *key*."""
        if key == Key(NodeRecord.KIND, self.me.node_id):
            self._changed.set()

    def _look_where(self) -> None:
        if self._find is not None:
            self.be_at(self._find())

    def _put(self, kind: type[OwnWord], content: Content) -> None:
        if self._contents.get(kind) != content:
            self._contents[kind] = content
            self._changed.set()

    # -- saying it --
    async def run(self) -> NoReturn:
        """Say what has to be said, until cancelled."""
        while True:
            self._look_where()
            self._changed = trio.Event()
            for kind in list(self._contents):
                if self._is_due(kind):
                    await self._say(kind)
            with trio.move_on_after(LOOK_EVERY):
                await self._changed.wait()
                await trio.sleep(SETTLING)

    def _is_due(self, kind: type[OwnWord]) -> bool:
        node = self.directory.get(Key(NodeRecord.KIND, self.me.node_id))
        if node is None or node.record.revoked:
            return False
        held = self.directory.get(Key(kind.KIND, self.me.node_id))
        if held is None:
            return kind in self._above or any(self._contents[kind].values())
        if kind in self._above or self._says_else(kind, held.record):
            return True
        life = held.record.expires_at - held.record.issued_at
        return self.unix_now() >= held.record.issued_at + self._half_life * life

    def _says_else(self, kind: type[OwnWord], record: object) -> bool:
        content = self._contents[kind]
        return any(getattr(record, name, None) != value for name, value in content.items())

    async def _say(self, kind: type[OwnWord]) -> None:
        if kind in self._said_at:
            await trio.sleep_until(self._said_at[kind] + APART)
        key = Key(kind.KIND, self.me.node_id)
        now = self.unix_now()
        above = max(self._above.pop(kind, 0), self.directory.next_sequence(key, now) - 1)
        sequence = await self.cache.claim_sequence(kind.KIND, now, above=above)
        self.publish(self._signed(kind, sequence, int(now)))
        self._said_at[kind] = trio.current_time()
        log.info("own_word.said", kind=kind.KIND, sequence=sequence)

    def _signed(self, kind: type[OwnWord], sequence: int, now: int) -> Envelope:
        record = kind(
            fabric=self.me.fabric_id,
            subject=self.me.node_id,
            issued_at=now,
            expires_at=now + kind.LIFE,
            sequence=sequence,
            **self._contents[kind],
        )
        return sign_payload(encode_record(record), self.me.key, self.me.sign)
