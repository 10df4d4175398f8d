"""What a Hello brings along goes into gossip, root by root, and only as far as it leads."""

from attrs import define, field

from fabric.codes import Code
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.gossip_events import Event, HeardRoots, Presented
from fabric.core.holding import Heard
from fabric.core.trust import Trust
from fabric.runtime.letters import NodeLetters
from tests.core.a_meeting import FABRIC, a_record, a_root, packed_roots

ME = FABRIC.node_id("me")
TELLER = FABRIC.node("away").key_bytes


@define
class AGossip:
    """Follows those roots that it is *good* for; everything else it refuses."""

    trust: Trust
    good: tuple[bytes, ...] = ()
    heard: list[Event] = field(factory=list)

    def judged(self, event: Event) -> Code | None:
        self.heard.append(event)
        if isinstance(event, HeardRoots) and event.packed[0] in self.good:
            return None
        return Code.UNKNOWN_SIGNER


def letters(good: tuple[bytes, ...] = ()) -> tuple[NodeLetters, AGossip]:
    trust = Trust(FABRIC.id, a_root(1))
    gossip = AGossip(trust, good)
    return NodeLetters(ME, trust, Directory(), gossip.judged), gossip


def test_the_first_root_that_is_refused_is_the_last_that_is_looked_at():
    mine, gossip = letters()

    mine.learn(packed_roots(2, 17), b"", TELLER)

    assert len(gossip.heard) == 1


def test_roots_are_heard_one_by_one_as_long_as_they_count():
    roots = packed_roots(2, 4)
    mine, gossip = letters(roots[:2])

    mine.learn(roots, b"", TELLER)

    assert [each.packed for each in gossip.heard] == [(root,) for root in roots]


def test_the_record_is_looked_at_whatever_became_of_the_roots():
    mine, gossip = letters()

    assert mine.learn(packed_roots(2, 3), b"a record", TELLER) is Code.UNKNOWN_SIGNER
    assert gossip.heard[-1] == Presented(TELLER, b"a record")


def test_nothing_brought_is_nothing_heard():
    mine, gossip = letters()

    assert mine.learn((), b"", TELLER) is None
    assert not gossip.heard


def test_its_own_record_is_shown_as_it_was_signed_and_none_where_none_is_held():
    mine, _gossip = letters()
    assert mine.own_record() == b""
    envelope = a_record("me")

    mine.directory.apply(FABRIC.node("me"), envelope, Heard(), FABRIC.now)

    assert mine.own_record() == pack_envelope(envelope)


def test_a_tombstone_is_shown_and_a_record_that_counts_is_not():
    mine, gossip = letters()
    key = FABRIC.node("away").key_bytes
    for generation, revoked in ((1, False), (2, True)):
        record = FABRIC.node("away", generation=generation, revoked=revoked)
        assert mine.tombstone_of(key) == b""
        mine.directory.apply(record, FABRIC.signed(record), Heard(), FABRIC.now)

    assert mine.tombstone_of(key) == pack_envelope(FABRIC.signed(record))
    mine.learn((), b"a record", TELLER, about=key)
    assert gossip.heard[-1] == Presented(TELLER, b"a record", about=key)


def test_roots_are_handed_on_from_the_version_that_is_asked_for():
    mine, _gossip = letters()

    assert mine.root_version == 1
    assert mine.roots_after(0, most_bytes=1 << 20) == packed_roots(1, 1)
    assert mine.roots_after(0, most_bytes=10) == ()
