"""A datagram network in memory: delay, loss, reordering, duplication, cuts, moving addresses.

It runs on trio's clock and owns no task, so under ``MockClock`` an hour of weather passes in the
time that the endpoints need to think about it. All chance comes from one seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from fabric.trio_quic.udp import UdpCounters

Address: TypeAlias = tuple[str, int]

Observer: TypeAlias = Callable[[bytes, Address, Address], None]
"""Sees every datagram sent: (bytes, source, destination)."""

MAX_WAITING = 8192
"""Datagrams that one transport holds; what comes beyond is lost, as in a full socket buffer."""


@frozen(kw_only=True)
class Weather:
    """What happens to a datagram on its way. Times in seconds, chances from 0 to 1."""

    delay: float = 0.01
    """One way."""
    jitter: float = 0.0
    """At most so much more, drawn for each datagram; order is kept unless ``reorder`` says so."""
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    """Chance that one takes twice the delay and is overtaken."""


CLEAR = Weather()


class Network:
    """Where transports meet. Not thread-safe; use it inside one ``trio.run``."""

    def __init__(self, *, seed: int = 0, weather: Weather = CLEAR) -> None:
        self.weather = weather
        self.observers: list[Observer] = []
        self.loses: Callable[[bytes, Address, Address], bool] = lambda *_datagram: False
        """Decides on top of the weather that a datagram is lost."""
        self.lost = 0
        """Datagrams that did not arrive, for whatever reason."""
        self._random = random.Random(seed)
        self._by_address: dict[Address, MemoryTransport] = {}
        self._cut: set[frozenset[str]] = set()
        self._order = itertools.count()
        self._hosts = itertools.count(1)

    def transport(self, address: Address | None = None, *, joins: bool = False) -> MemoryTransport:
        """Attach a new transport. *joins*: it hands over runs of equal datagrams, as GRO does."""
        if address is None:
            address = (f"10.0.0.{next(self._hosts)}", 4433)
        made = MemoryTransport(self, address, joins=joins)
        self._by_address[address] = made
        return made

    def cut(self, one: str, other: str) -> None:
        """Let nothing pass between two hosts until :meth:`heal`; what is on its way arrives."""
        self._cut.add(frozenset((one, other)))

    def partition(self, *sides: Iterable[str]) -> None:
        """Let nothing pass between hosts of different *sides*, until :meth:`heal`.

        Hosts of no side meet everybody, as before.
        """
        for one, other in itertools.combinations([tuple(side) for side in sides], 2):
            for pair in itertools.product(one, other):
                self.cut(*pair)

    def heal(self) -> None:
        """End every cut."""
        self._cut.clear()

    def send(self, datagram: bytes, source: Address, to: Address) -> None:
        """Carry *datagram*, whoever sends it: *source* is believed, as on the real network."""
        for observer in self.observers:
            observer(datagram, source, to)
        target, weather, chance = self._by_address.get(to), self.weather, self._random.random
        is_cut = frozenset((source[0], to[0])) in self._cut
        is_lost = is_cut or self.loses(datagram, source, to) or chance() < weather.loss
        if target is None or is_lost:
            self.lost += 1
            return
        copies = 2 if chance() < weather.duplicate else 1
        for _ in range(copies):
            overtaken = chance() < weather.reorder
            travel = weather.delay * (2 if overtaken else 1) + weather.jitter * chance()
            target.arrive(datagram, source, travel, in_order=not overtaken)

    def move(self, transport: MemoryTransport, old: Address, new: Address) -> None:
        """Let *new* reach *transport*; *old* reaches nobody any more."""
        del self._by_address[old]
        self._by_address[new] = transport

    def detach(self, address: Address, transport: MemoryTransport) -> None:
        """Let *address* reach nobody, unless another than *transport* has it by now."""
        if self._by_address.get(address) is transport:
            del self._by_address[address]

    def next_order(self) -> int:
        return next(self._order)


@define(eq=False)
class MemoryTransport:
    """One socket of a :class:`Network`; satisfies :class:`fabric.trio_quic.Transport`."""

    network: Network
    address: Address
    joins: bool = field(kw_only=True)
    counters: UdpCounters = field(factory=UdpCounters)
    blocked: bool = False
    """Never: this network queues or loses, it does not push back."""
    is_plugged: bool = field(init=False, default=True)
    _waiting: list[tuple[float, int, bytes, Address]] = field(factory=list)
    _latest: dict[Address, float] = field(factory=dict)
    _arrivals: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def receive(self) -> tuple[bytes, int, Address] | None:
        """Return what has arrived by now, a run of equal datagrams of one source if it joins."""
        first = self._next_arrived()
        if first is None:
            return None
        self.counters.reads += 1
        data, source = first
        if not self.joins:
            return data, 0, source
        run, size = [data], len(data)
        while self._continues(run, size, source):
            run.append(heapq.heappop(self._waiting)[2])
        return b"".join(run), size, source

    def send(self, datagrams: Sequence[bytes], to: Address) -> None:
        """Hand all to the network."""
        self.counters.sends += 1
        self.counters.datagrams_sent += len(datagrams)
        for datagram in datagrams if self.is_plugged else ():
            self.network.send(datagram, self.address, to)

    def rebind(self, address: Address) -> None:
        """Be seen under another address from now on, as behind a NAT that forgot us."""
        self.network.move(self, self.address, address)
        self.address = address

    def arrive(self, datagram: bytes, source: Address, travel: float, *, in_order: bool) -> None:
        """Take delivery in *travel* seconds, not before earlier ones of *source* if *in_order*."""
        if len(self._waiting) >= MAX_WAITING:
            self.network.lost += 1
            return
        due = trio.current_time() + travel
        if in_order:
            due = self._latest[source] = max(due, self._latest.get(source, due))
        heapq.heappush(self._waiting, (due, self.network.next_order(), datagram, source))
        self._arrivals.unpark_all()

    async def wait_readable(self) -> None:
        """Wait until a datagram has arrived. A checkpoint in any case."""
        await trio.lowlevel.checkpoint()
        while not self._has_arrived():
            with trio.CancelScope(deadline=self._waiting[0][0] if self._waiting else float("inf")):
                await self._arrivals.park()

    async def wait_unblocked(self) -> None:
        await trio.lowlevel.checkpoint()

    def unplug(self) -> None:
        """Neither send nor get anything from now on, as when the machine is lost."""
        self.is_plugged = False
        self.network.detach(self.address, self)

    def close(self) -> None:
        self.network.detach(self.address, self)

    def _has_arrived(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= trio.current_time()

    def _next_arrived(self) -> tuple[bytes, Address] | None:
        if not self._has_arrived():
            return None
        _due, _order, data, source = heapq.heappop(self._waiting)
        return data, source

    def _continues(self, run: list[bytes], size: int, source: Address) -> bool:
        """Whether the next arrival may join *run*: only its last may be shorter than *size*."""
        if not self._has_arrived() or len(run[-1]) < size or size * (len(run) + 1) > 65_535:
            return False
        _due, _order, data, its_source = self._waiting[0]
        return its_source == source and len(data) <= size
