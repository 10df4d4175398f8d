"""What a simulated fabric costs: frames and bytes, by node."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from fabric.core.frames import Frame
from fabric.core.identity import NodeId
from fabric.testing.sim.wire import ACKNOWLEDGEMENT, AROUND, BESIDE, Item, Way


@define(eq=False)
class Tally:
    """Counts since the last :meth:`begin`."""

    frames: Counter[NodeId] = field(init=False, factory=Counter)
    """That a node sent."""
    bytes_out: Counter[NodeId] = field(init=False, factory=Counter)
    bytes_in: Counter[NodeId] = field(init=False, factory=Counter)
    kinds: Counter[str] = field(init=False, factory=Counter)
    """Frames, by their kind."""
    kind_bytes: Counter[str] = field(init=False, factory=Counter)
    dropped: int = field(init=False, default=0)
    """Frames for which there was no room."""

    def begin(self) -> None:
        """Count from now on."""
        for each in (self.frames, self.bytes_out, self.bytes_in, self.kinds, self.kind_bytes):
            each.clear()
        self.dropped = 0

    def sent(self, sender: NodeId, frame: Frame, item: Item, resent: int) -> None:
        """Count *item*, and the *resent* datagrams of it that were lost."""
        size = item.size + AROUND * item.datagrams
        if resent and item.datagrams:
            size += resent * (AROUND + item.size // item.datagrams)
        name = type(frame).__name__
        self.frames[sender] += 1
        self.bytes_out[sender] += size
        self.kinds[name] += 1
        self.kind_bytes[name] += size

    def received(self, way: Way, item: Item, *, is_answered: bool) -> None:
        """Count *item* at who reads it, and what acknowledges it."""
        self.bytes_in[way.receiver] += item.size + AROUND * item.datagrams
        if item.datagrams:
            size = BESIDE if is_answered else ACKNOWLEDGEMENT * -(-item.datagrams // 2)
            self.counted(way.receiver, way.sender, size)
            self.kind_bytes["acknowledgement"] += size

    def counted(self, sender: NodeId, receiver: NodeId, size: int) -> None:
        self.bytes_out[sender] += size
        self.bytes_in[receiver] += size

    def bytes_both_ways(self, node: NodeId) -> int:
        return self.bytes_out[node] + self.bytes_in[node]
