"""What a node says of itself: when, under which number, and to which bound."""

import random

import pytest
import trio
from attrs import evolve

from fabric.core.admission import Myself
from fabric.core.codec.records import decode_record
from fabric.core.directory import Directory
from fabric.core.holding import Heard
from fabric.core.identity import FabricId, Instance, NodeName
from fabric.core.records import DAY, Candidate, CandidateKind, EndpointRecord, Key, OffersRecord
from fabric.runtime.own_words import ECHO_WINDOW, LOOK_EVERY, MOST_ECHOES, OwnWords
from fabric.testing.records import BORN, AFabric, public

HERE = Candidate(address="192.0.2.1:4433", kind=CandidateKind.PUBLIC)
THERE = Candidate(address="192.0.2.2:4433", kind=CandidateKind.PUBLIC)


class Numbers:
    """Stands in for the cache: draws numbers, and remembers that it did."""

    def __init__(self):
        self.last = 0

    async def claim_sequence(self, kind, unix_now, *, above=0):
        self.last = max(self.last, int(unix_now), above) + 1
        return self.last


class Speaker:
    """A node's own words, published into its directory."""

    def __init__(self, nursery):
        self.fabric, self.directory = AFabric(), Directory()
        self.key = self.fabric.node_key("home")
        self.offset = 0.0
        self.published, self.contests = [], []
        me = Myself(
            name=NodeName("home"),
            key=public(self.key),
            fabric_id=FabricId(self.fabric.id),
            instance=Instance(bytes(16)),
            boot_seq=1,
            sign=lambda message: self.key.sign(message).signature,
        )
        self.words = OwnWords(
            me=me,
            directory=self.directory,
            cache=Numbers(),
            publish=self.publish,
            unix_now=self.unix_now,
            rng=random.Random(1),
        )
        self.words.contested = lambda: self.contests.append(trio.current_time())
        nursery.start_soon(self.words.run)

    def unix_now(self):
        return BORN + self.offset + trio.current_time()

    def hold(self, record):
        """Let the directory take *record*, as if a peer had sent it."""
        envelope = self.fabric.signed(record)
        self.directory.apply(record, envelope, Heard(), self.unix_now())
        self.words.changed(record.key)

    def publish(self, envelope):
        record = decode_record(envelope.payload)
        self.published.append(record)
        self.directory.apply(record, envelope, Heard(), self.unix_now())

    def said(self, kind):
        return [each for each in self.published if isinstance(each, kind)]


@pytest.fixture
async def speaker(nursery):
    yield Speaker(nursery)
    nursery.cancel_scope.cancel()


@pytest.fixture
async def known(speaker):
    speaker.hold(speaker.fabric.node("home"))
    return speaker


async def test_nothing_is_said_before_anybody_could_tell_whose_word_it_is(speaker, autojump_clock):
    speaker.words.be_at((HERE,))
    await trio.sleep(10)
    assert not speaker.published
    speaker.hold(speaker.fabric.node("home"))
    await trio.sleep(1)
    assert [each.candidates for each in speaker.published] == [(HERE,)]


async def test_a_revoked_node_says_nothing_more(known, autojump_clock):
    known.hold(evolve(known.fabric.node("home"), generation=2, revoked=True))
    known.words.be_at((HERE,))
    await trio.sleep(10)
    assert not known.published


async def test_what_changed_is_said_under_a_higher_number_and_what_did_not_is_not(
    known, autojump_clock
):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    known.words.be_at((HERE,))
    await trio.sleep(5)
    known.words.be_at((THERE,))
    await trio.sleep(5)
    first, second = known.said(EndpointRecord)
    assert (first.candidates, second.candidates) == ((HERE,), (THERE,))
    assert second.sequence > first.sequence


async def test_a_start_that_offers_one_service_after_the_other_says_so_once(known, autojump_clock):
    for number in range(5):
        known.words.offer(tuple(f"s{each}" for each in range(number + 1)))
        await trio.sleep(0.005)
    await trio.sleep(5)
    assert [each.services for each in known.said(OffersRecord)] == [("s0", "s1", "s2", "s3", "s4")]


async def test_who_never_offered_anything_says_nothing_of_offers(known, autojump_clock):
    known.words.offer(())
    await trio.sleep(5)
    assert not known.published


async def test_who_offers_nothing_any_more_says_so(known, autojump_clock):
    known.words.offer(("demo",))
    await trio.sleep(5)
    known.words.offer(())
    await trio.sleep(5)
    assert [each.services for each in known.said(OffersRecord)] == [("demo",), ()]


async def test_words_that_change_all_the_time_are_two_seconds_apart(known, autojump_clock):
    for number in range(100):
        known.words.offer((f"s{number}",))
        await trio.sleep(0.1)
    await trio.sleep(5)
    assert 5 <= len(known.said(OffersRecord)) <= 7
    assert known.said(OffersRecord)[-1].services == ("s99",)


async def test_a_word_is_said_again_once_half_of_its_life_is_over(known, autojump_clock):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    known.offset = 3 * DAY
    await trio.sleep(120)
    assert len(known.published) == 1
    known.offset = 4 * DAY
    await trio.sleep(120)
    assert len(known.published) == 2
    assert known.published[1].expires_at - known.published[1].issued_at == 7 * DAY


async def test_what_is_held_from_before_a_restart_and_still_true_is_not_said_again(
    known, autojump_clock
):
    known.hold(known.fabric.endpoint("home", "192.0.2.1:4433"))
    held = known.directory.get(Key("endpoint", known.words.me.node_id)).record
    known.words.be_at(held.candidates)
    await trio.sleep(120)
    assert not known.published


async def test_an_echo_with_a_higher_number_is_talked_over(known, autojump_clock):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    key = known.published[0].key
    known.words.reissue(key, 2 * BORN)
    await trio.sleep(5)
    assert known.published[1].sequence > 2 * BORN
    assert not known.contests


async def test_who_is_contradicted_again_and_again_calls_it_a_second_process(
    known, autojump_clock
):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    for number in range(4):
        known.words.reissue(known.published[0].key, 2 * BORN + 10 * number)
        await trio.sleep(5)
    assert known.contests


async def test_words_of_others_are_not_this_nodes_to_say(known, autojump_clock):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    known.words.reissue(Key("endpoint", known.fabric.node_id("away")), 5)
    known.words.reissue(Key("sightings", known.words.me.node_id), 5)
    await trio.sleep(5)
    assert len(known.published) == 1


async def test_a_machine_that_moves_is_said_to_be_elsewhere_within_a_minute(known, autojump_clock):
    places = [(HERE,)]
    known.words.follow(lambda: places[-1])
    await trio.sleep(200)
    places.append((THERE,))
    await trio.sleep(LOOK_EVERY + 1)
    assert [each.candidates for each in known.said(EndpointRecord)] == places


async def test_who_is_contradicted_now_and_then_does_not(known, autojump_clock):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    for number in range(8):
        known.words.reissue(known.published[0].key, 2 * BORN + 10 * number)
        await trio.sleep(ECHO_WINDOW / (MOST_ECHOES - 1))
    assert not known.contests


async def test_of_two_echoes_the_higher_is_talked_over(known, autojump_clock):
    known.words.be_at((HERE,))
    await trio.sleep(5)
    for above in (2 * BORN, BORN):
        known.words.reissue(known.published[0].key, above)
    await trio.sleep(5)
    assert known.published[1].sequence > 2 * BORN
