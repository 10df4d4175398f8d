"""One end of anti-entropy over a whole directory, and as much of gossip as it needs."""

from collections import deque

from attrs import evolve

from fabric.core.clocks import Times
from fabric.core.codec.envelopes import unpack_envelope
from fabric.core.directory import Directory
from fabric.core.exchange import (
    Exchange,
)
from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import TrustRoot
from fabric.core.sync import Broken, Done, Send, Take
from fabric.core.trust import Accepted, Adopted, Trust
from fabric.errors import RecordError
from fabric.testing.records import BORN, AFabric, a_key_of

FABRIC = AFabric()
CLOCK = Times(BORN + 60)
THEIRS = NodeId("x" * 32)
FIRST = FABRIC.root()
STRANGER = a_key_of("directory/of another root")

_signed = {}


def envelope_of(record, *keys):
    """Signing takes longer than all else here, so each record is signed once."""
    spelled = repr(record), keys
    if spelled not in _signed:
        _signed[spelled] = FABRIC.signed(record, *keys)
    return _signed[spelled]


def a_chain(length):
    """Return the trust roots of version 1 to *length*."""
    return [evolve(FIRST, version=version) for version in range(1, length + 1)]


class Node:
    """One end: an exchange over a directory of its own, and as much of gossip as it needs."""

    def __init__(self, *records, roots=(FIRST,), offset=0, holds_root=True):
        self.directory = Directory()
        self.trust = Trust(FABRIC.id, envelope_of(roots[0]))
        for root in roots:
            self.trust.adopt([envelope_of(root)], CLOCK)
        self.exchange = Exchange(self.directory, self.trust, offset=offset)
        self.now = 0.0
        self.restart()
        if holds_root:
            self.hold(roots[-1])
        self.hold(*records)

    def restart(self):
        """Whatever was on its way is lost."""
        self.exchange.restart()
        self.inbox, self.is_writing = deque(), False
        self.effects, self.sent, self.came, self.refused = [], [], [], []

    def hold(self, *records, keys=()):
        """Hold *records* without asking whether they may be."""
        for record in records:
            self.keep(record, envelope_of(record, *keys))

    def keep(self, record, envelope):
        outcome = self.directory.apply(record, envelope, Heard(THEIRS), CLOCK.now).outcome
        return outcome.is_kept

    # -- as gossip does --
    def take(self, packed):
        try:
            envelope = unpack_envelope(packed)
        except RecordError as error:
            self.refused.append(error.code)
            return
        match self.trust.judge(envelope, CLOCK, key_of=self.directory.key_of):
            case Accepted(record=record):
                self.came.append(record)
                self.follow(record, envelope)
                if self.keep(record, envelope):
                    self.exchange.gained()
            case rejected:
                self.refused.append(rejected.code)

    def follow(self, record, envelope):
        if isinstance(record, TrustRoot):
            adopted = self.trust.adopt([envelope], CLOCK)
            if any(isinstance(each, Adopted) for each in adopted):
                self.exchange.forgive()

    def tell(self, effects):
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case Send(frame):
                    self.is_writing = True
                    self.sent.append(frame)
                    self.other.inbox.append(frame)
                case Take(envelopes):
                    for each in envelopes:
                        self.take(each)
                case Done():
                    self.tell(self.exchange.ended(effect, self.now))
        return effects

    def begin(self):
        return self.tell(self.exchange.begin(self.now))

    def hear_root(self):
        """Hear on a probe what the other holds; return whether a round began for it."""
        return bool(self.tell(self.exchange.hear_root(self.other.root, self.now)))

    def read(self):
        return self.tell(self.exchange.receive(self.inbox.popleft(), self.now))

    def written(self):
        self.is_writing = False
        return self.tell(self.exchange.written(self.now))

    def wait(self, seconds):
        self.now += seconds
        return self.tell(self.exchange.tick(self.now))

    # -- what there is to see --
    @property
    def root(self):
        return self.directory.digests.root()

    def of(self, kind):
        return [each for each in self.effects if isinstance(each, kind)]

    def used(self, record):
        held = self.directory.get(record.key)
        return held and held.record

    def wanted(self):
        """Return how many records it asked for in its last round."""
        return len(self.of(Done)[-1].wanted)


def linked(one, other):
    one.other, other.other = other, one
    return one, other


def run(*nodes):
    while busy := [each for each in nodes if each.inbox or each.is_writing]:
        for node in busy:
            if node.inbox:
                node.read()
            if node.is_writing:
                node.written()
    assert not any(each.of(Broken) for each in nodes)


def compare(one, other):
    """Let *one* begin a round now, and both end it."""
    assert one.begin()
    run(one, other)


def wait(seconds, *nodes):
    for node in nodes:
        node.wait(seconds)


def a_fabric_of(*names):
    nodes = [FABRIC.node(name) for name in names]
    words = [FABRIC.offers(name, "demo") for name in names]
    return [*nodes, *words, FABRIC.service("demo"), FABRIC.policy()]


def who_refuse(number=1):
    """Return a node, and another that holds *number* records which the first refuses."""
    other = Node()
    other.hold(*(FABRIC.service(f"s{n}") for n in range(number)), keys=[STRANGER])
    return linked(Node(), other)
