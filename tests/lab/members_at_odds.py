"""Members of the fabric that misuse their good name, each a process of its own.

``members_at_odds.py ROLE GO --config FILE`` is a node like any other until the file GO is there.
From then on it floods every peer, as fast as they read and without a pause, until it is killed.
Once a second it logs ``flood.sent`` with how many records it has written by then.

========  ==============================================================
forge     records of another member with signatures that are wrong
invent    records whose signers nobody knows
mint      a thousand new words of its own a second, each rightly signed
coin      the same, in ever new kinds that only a later release could know
========  ==============================================================
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
import trio
from attrs import define, evolve, field
from nacl.signing import SigningKey

from cli.daemon import FABRICD, raise_descriptor_limit
from fabric import open_node
from fabric.core.codec import encode
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.envelope import Envelope, Signature
from fabric.core.frames import MOST_RECORDS, Records
from fabric.core.identity import node_id_of
from fabric.net.tls import load_key
from fabric.runtime import links, logs
from fabric.runtime.admin import serve_admin
from fabric.testing.records import AFabric, payload_with, signed
from fabric.trio_quic import QuicError

log = structlog.get_logger()

DISTINCT = 200 * MOST_RECORDS
"""Of what is false so much is made beforehand; then it is sent again and again."""

MINTED = 1000
"""Words a second."""

MINTED_S = 15
"""Seconds for which there are words."""

HOPS = 8


@define(eq=False)
class Flood:
    """One such member, at work on all peers that it has."""

    node: object
    fabric: AFabric
    key: SigningKey
    go: Path
    me: str = field(init=False)
    sent: int = 0
    busy: set = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.me = self.node.node_id

    # -- what is false --
    def forged(self) -> Iterator[Envelope]:
        """Words of the first other member, under a key that everybody knows."""
        known = self.node.knowledge.readings.members()
        victim = min(node for node in known if node != self.me)
        for envelope, signature in self._alike(victim):
            yield evolve(envelope, signatures=(evolve(signature, value=os.urandom(64)),))

    def invented(self) -> Iterator[Envelope]:
        """Words of members that do not exist."""
        for envelope, _signature in self._alike(self.me):
            stranger = Signature(node_id_of(os.urandom(32)), os.urandom(64))
            yield evolve(envelope, signatures=(stranger,))

    def _alike(self, subject: str) -> Iterator[tuple[Envelope, Signature]]:
        first = self.fabric.now + DISTINCT  # not to be mistaken for a date
        record = self.fabric.offers("whoever", subject=subject, sequence=first)
        envelope = signed(record, self.key)
        before, after = envelope.payload.split(b"%d" % first)
        for number in range(first, first + DISTINCT):
            payload = b"%b%d%b" % (before, number, after)
            yield evolve(envelope, payload=payload), envelope.signatures[0]

    async def repeat(self, envelopes: Iterator[Envelope]) -> None:
        """Write them to every link, and to those that are made anew, as fast as is taken."""
        items = [item(each) for each in envelopes]
        frames = [
            encode(Records(items=tuple(items[start : start + MOST_RECORDS])))
            for start in range(0, len(items), MOST_RECORDS)
        ]
        await self._begin()
        async with trio.open_nursery() as nursery:
            while True:
                for link in self.node.overlay.peers.standing_links():
                    if link not in self.busy:
                        self.busy.add(link)
                        nursery.start_soon(self._pour, link, frames)
                for node in self.node.knowledge.readings.members():
                    self.node.overlay.peers.nudge(node)
                await trio.sleep(0.05)

    async def _pour(self, link: object, frames: list[bytes]) -> None:
        for frame in itertools.cycle(frames):
            if not await self._write(link, frame):
                return
            self.sent += MOST_RECORDS

    async def _write(self, link: object, data: bytes) -> bool:
        try:
            async with link._telling:
                await link.control.stream.send_all(data)
        except (QuicError, trio.ClosedResourceError):
            return False
        return True

    # -- what is true, and far too much --
    async def mint(self, words: Iterator[Envelope]) -> None:
        """Tell every peer each of *words*, a hundredth of a second's worth at a time."""
        batch = MINTED // 100
        made = [
            (some[-1], encode(Records(items=tuple(map(item, some)))))
            for some in (list(itertools.islice(words, batch)) for _ in range(MINTED_S * 100))
        ]
        await self._begin()
        due = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number, (newest, frame) in enumerate(made):
                if number % 10 == 0:
                    self.node.overlay.gossip.publish(newest)  # so that pages bring it too
                self.sent += batch
                for link in self.node.overlay.peers.standing_links():
                    if link not in self.busy:
                        self.busy.add(link)
                        nursery.start_soon(self._hand_over, link, frame)
                due += batch / MINTED
                await trio.sleep_until(due)

    async def _hand_over(self, link: object, frame: bytes) -> None:
        await self._write(link, frame)
        self.busy.discard(link)

    def minted(self) -> Iterator[Envelope]:
        for number in itertools.count(self.fabric.now + 100):
            say = (self.fabric.endpoint, self.fabric.offers, self.fabric.sightings)[number % 3]
            yield signed(say("whoever", subject=self.me, sequence=number), self.key)

    def coined(self) -> Iterator[Envelope]:
        """Each in a kind that comes before the last one by name: those are the ones kept."""
        word = self.fabric.offers("whoever", subject=self.me, sequence=self.fabric.now + 100)
        before, after = payload_with(word, kind="x-KIND", services=None).split(b"x-KIND")
        for number in itertools.count():
            yield signed(b"%bx-%d%b" % (before, 10_000_000 - number, after), self.key)

    async def _begin(self) -> None:
        log.info("flood.ready")
        while not self.go.exists():
            await trio.sleep(0.02)

    async def report(self) -> None:
        while True:
            log.info("flood.sent", records=self.sent)
            await trio.sleep(1)


def item(envelope: Envelope) -> tuple[bytes, int, bytes, int]:
    return pack_envelope(envelope), HOPS, os.urandom(8), 0


async def main(role: str, go: Path, config: object) -> None:
    assert links.TELL_WITHIN > 0  # or this would change nothing:
    links.TELL_WITHIN = math.inf  # it does not mind that its peers read nothing
    seed = SigningKey(load_key(config.key_file).seed)
    async with open_node(config, roles={"admin": serve_admin}) as node:
        now = int(node.knowledge.unix_now())
        flood = Flood(node, AFabric(node.me.fabric_id, now=now), seed, go)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood.report)
            match role:
                case "forge":
                    await flood.repeat(flood.forged())
                case "invent":
                    await flood.repeat(flood.invented())
                case "mint":
                    await flood.mint(flood.minted())
                case "coin":
                    await flood.mint(flood.coined())


if __name__ == "__main__":
    the_role, the_go, _, the_file = sys.argv[1:]
    loaded = FABRICD.load(Path(the_file))
    logs.configure(loaded.log, node=loaded.name)
    raise_descriptor_limit()
    trio.run(main, the_role, Path(the_go), loaded)
