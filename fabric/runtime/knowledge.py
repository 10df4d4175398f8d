"""What a node knows when it starts: by what its operator gave it, and by what its disk remembers.

Nothing of it is believed for being on the disk: records are judged again, as a peer's would be,
except that what was good when it was stored may have been signed by keys that are retired since.
The trust root's file is the one thing that is believed because it is there.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import trio
from attrs import evolve, field, frozen

from fabric.codes import Code
from fabric.config import NodeConfig
from fabric.core import gossip_events as told
from fabric.core.clocks import Floor
from fabric.core.codec.records import decode_record
from fabric.core.directory import Directory
from fabric.core.envelope import Envelope
from fabric.core.gossip import Gossip
from fabric.core.identity import FabricId, NodeId
from fabric.core.readings import Readings
from fabric.core.records import NodeRecord, Record
from fabric.core.trust import Trust
from fabric.errors import ConfigError, RecordError
from fabric.runtime.gossip import FLOOR
from fabric.store.blocking import RunBlocking
from fabric.store.kept import Snapshot
from fabric.store.peer_cache import CACHE_FILE, PeerCache, open_peer_cache
from fabric.store.signed_files import load_records, load_trust_root


@frozen(eq=False)
class Knowledge:
    """The directory of one node and what it goes by. Belongs to the node's trio thread."""

    me: NodeId
    trust: Trust
    directory: Directory
    floor: Floor
    readings: Readings
    gossip: Gossip
    cache: PeerCache
    remembered: Snapshot
    """What the disk held at the start, but for records and roots: the directory has those."""
    unix_now: Callable[[], float] = field(repr=False)
    alarms: dict[Code, str]
    """What is wrong with the disk, with the details."""
    given: Envelope | None = None
    """The record of this node that its operator gave, whether or not it is good by the root held:
    whoever follows a later one can tell."""
    _effects: list[told.Effect] = field(init=False, factory=list)

    @property
    def fabric_id(self) -> FabricId:
        return FabricId(self.trust.fabric_id)

    def own_record(self) -> NodeRecord | None:
        """Return the record of this node, if it is a member."""
        sworn = self.readings.member(self.me)
        return None if sworn is None else sworn.record

    def recall(self, found: Snapshot, given: Iterable[Envelope]) -> None:
        """Take in what was *found* on the disk, and then what the operator gave."""
        roots = tuple(each.packed for each in found.roots)
        events: list[told.Event] = [told.HeardRoots(roots)] if roots else []
        events.append(told.Loaded(found.records))
        events += map(told.Published, given)
        now = told.Moment(trio.current_time(), self.unix_now())
        for event in events:
            self._effects.extend(self.gossip.receive(event, now))

    def take_effects(self) -> list[told.Effect]:
        """Return, once, what followed from taking all of it in: for whoever carries it out."""
        effects = self._effects[:]
        self._effects.clear()
        return effects


@asynccontextmanager
async def open_knowledge(
    config: NodeConfig,
    me: NodeId,
    rng: random.Random,
    *,
    unix_now: Callable[[], float],
    run_blocking: RunBlocking | None,
) -> AsyncGenerator[Knowledge]:
    """Read it all, and keep the cache open for the body of the ``async with``.

    Raises :exc:`ConfigError` for a trust root or records that cannot be read, and for a state
    folder that another process uses.
    """
    root, given = _given(config)
    path = config.state_dir / CACHE_FILE
    alarms: dict[Code, str] = {}
    async with open_peer_cache(
        path,
        run_blocking=run_blocking,
        on_alarm=alarms.__setitem__,
        on_clear=alarms.__delitem__,
    ) as cache:
        found = await cache.load()
        dates = [_record_in(root).issued_at, *_own_dates(given, me)]
        floor = Floor.opened(unix_now(), stored=_stored_floor(found), given=dates)
        trust = Trust(_record_in(root).fabric, root)
        directory = Directory()
        readings = Readings(directory, trust.fabric_id, lambda: floor.times(unix_now()).now)
        gossip = Gossip(me, directory=directory, trust=trust, floor=floor, rng=rng)
        knowledge = Knowledge(
            me,
            trust=trust,
            directory=directory,
            floor=floor,
            readings=readings,
            gossip=gossip,
            cache=cache,
            remembered=evolve(found, records=(), roots=()),
            unix_now=unix_now,
            alarms=alarms,
            given=_given_of(given, me),
        )
        knowledge.recall(found, given)
        del found, given  # megabytes, and this frame lives as long as the node
        yield knowledge


def _given(config: NodeConfig) -> tuple[Envelope, list[Envelope]]:
    root = load_trust_root(config.trust_root)
    return root, load_records(config.records, fabric=_record_in(root).fabric)


def _record_in(envelope: Envelope) -> Record:
    try:
        return decode_record(envelope.payload)
    except RecordError as error:  # the file was looked at already: it changed under us
        raise ConfigError([f"the trust root changed while it was read: {error}"]) from error


def _own_dates(given: Iterable[Envelope], me: NodeId) -> list[int]:
    """Return when the given records of this node were signed: its clock is not behind them."""
    return [record.issued_at for record, _ in _about(me, given)]


def _given_of(given: Iterable[Envelope], me: NodeId) -> Envelope | None:
    """Return the newest of the *given* records of this node."""
    found = sorted(_about(me, given), key=lambda each: each[0].order)
    return found[-1][1] if found else None


def _about(me: NodeId, given: Iterable[Envelope]) -> Iterator[tuple[NodeRecord, Envelope]]:
    for envelope in given:
        record = decode_record(envelope.payload)
        if isinstance(record, NodeRecord) and record.subject == me:
            yield record, envelope


def _stored_floor(remembered: Snapshot) -> int:
    stored = remembered.known().get(FLOOR, b"")
    return int(stored) if stored.isdigit() else 0
