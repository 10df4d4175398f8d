"""Trust and time: dates ahead, expiry, survival grace, oblivion, and what a date may move."""

import pytest

from fabric.codes import Code
from fabric.core.clocks import MOST_AHEAD, Alarm, Floor, Times
from fabric.core.lifetimes import (
    MOST_SEQUENCE_AHEAD,
    SURVIVAL_GRACE,
    TOMBSTONE_EXTRA,
    dated_by_the_fabric,
    forgotten_at,
    longest_life,
    standing_of,
)
from fabric.core.records import DAY, NODE, Role
from fabric.core.trust import Accepted, Rejected, Standing, Trust
from fabric.testing.records import BORN, AFabric, payload_with, public, signed, some_bare_records

FABRIC = AFabric()
TRUST = Trust(FABRIC.id, FABRIC.signed(FABRIC.root()))
HOME_KEY = FABRIC.node_key("home-1")
NODE_KEYS = {FABRIC.node_id("home-1"): public(HOME_KEY)}
IN_2099 = 4_070_908_800

RECORDS = some_bare_records(FABRIC)
ENDING = [each for each in RECORDS if each.KIND != "trust_root"]


def judged(record, now, *, floor=0):
    envelope = FABRIC.signed(record)
    return TRUST.judge(envelope, Times(now, floor), key_of=NODE_KEYS.get)


def code_of(verdict):
    assert isinstance(verdict, Rejected), verdict
    assert not verdict.is_attack
    return verdict.code


def kinds(record):
    return record.KIND


# -- before its time --
@pytest.mark.parametrize("record", ENDING, ids=kinds)
def test_what_is_dated_more_than_a_day_ahead_is_not_yet_valid(record):
    assert code_of(judged(record, BORN - MOST_AHEAD - 1)) is Code.NOT_YET_VALID
    assert judged(record, BORN - MOST_AHEAD).standing is Standing.LIVE


def test_a_clock_that_is_an_hour_off_refuses_nothing():
    for record in RECORDS:
        assert judged(record, BORN - 3600).standing is Standing.LIVE


def test_not_yet_valid_and_expired_are_told_apart():
    offers = FABRIC.offers("home-1")

    early = judged(offers, BORN - 2 * DAY)
    late = judged(offers, offers.expires_at)

    assert early.code is Code.NOT_YET_VALID
    assert late.standing.code is Code.RECORD_EXPIRED


def test_the_floor_makes_a_clock_that_is_behind_take_what_is_signed_now():
    node = FABRIC.node("home-1")

    assert code_of(judged(node, BORN - 300 * DAY)) is Code.NOT_YET_VALID
    assert judged(node, BORN - 300 * DAY, floor=BORN).standing is Standing.LIVE


def test_the_floor_makes_what_has_expired_expire_on_a_clock_that_stands_still():
    offers = FABRIC.offers("home-1")

    assert judged(offers, BORN, floor=offers.expires_at).standing is Standing.EXPIRED


# -- one date in 2099 --
def test_a_nodes_word_dated_2099_is_refused_and_moves_nobodys_floor():
    verdict = judged(FABRIC.offers("home-1", issued_at=IN_2099), BORN)

    assert code_of(verdict) is Code.NOT_YET_VALID
    assert verdict.dated is None


def test_a_nodes_word_raises_no_floor_even_where_it_counts():
    ahead = judged(FABRIC.offers("home-1", issued_at=BORN + DAY), BORN)

    assert isinstance(ahead, Accepted)
    assert ahead.dated is None


@pytest.mark.parametrize("record", RECORDS, ids=kinds)
def test_only_what_the_root_or_the_directory_signed_may_raise_the_floor(record):
    may = record.AUTHOR in (Role.ROOT, Role.DIRECTORY)

    assert judged(record, BORN).dated == (BORN if may else None)


def test_a_directory_record_dated_2099_is_refused_and_the_floor_alarms():
    verdict = judged(FABRIC.policy(issued_at=IN_2099), BORN)
    floor = Floor.opened(BORN)

    assert code_of(verdict) is Code.NOT_YET_VALID
    (alarm,) = floor.raise_to(verdict.dated, BORN)
    assert isinstance(alarm, Alarm)
    assert alarm.code is Code.FLOOR_TOO_FAR
    assert floor.times(BORN).now == BORN


def test_a_sequence_of_2099_counts_and_its_owner_outdoes_it():
    far = FABRIC.offers("home-1", sequence=IN_2099)
    again = FABRIC.offers("home-1", sequence=IN_2099 + 1)

    assert isinstance(judged(far, BORN), Accepted)
    assert isinstance(judged(again, BORN), Accepted)
    assert again.order > far.order


def test_nobody_puts_a_sequence_at_the_end_of_all_numbers():
    last = BORN + MOST_SEQUENCE_AHEAD

    assert code_of(judged(FABRIC.offers("home-1", sequence=2**53 - 1), BORN)) is (
        Code.GENERATION_LEAP
    )
    assert isinstance(judged(FABRIC.offers("home-1", sequence=last), BORN), Accepted)
    assert code_of(judged(FABRIC.offers("home-1", sequence=last + 1), BORN)) is (
        Code.GENERATION_LEAP
    )
    assert isinstance(judged(FABRIC.offers("home-1", sequence=last + 1), BORN + 1), Accepted)


def test_an_opaque_words_sequence_is_bounded_too():
    later = payload_with(FABRIC.offers("home-1", sequence=2**53 - 1), kind="mood")

    verdict = TRUST.judge(signed(later, HOME_KEY), Times(BORN), key_of=NODE_KEYS.get)

    assert code_of(verdict) is Code.GENERATION_LEAP


# -- after its time --
@pytest.mark.parametrize("record", ENDING, ids=kinds)
def test_everything_is_live_until_it_expires_and_held_until_it_is_forgotten(record):
    expired = Standing.GRACE if record.KIND == "node" else Standing.EXPIRED

    assert judged(record, record.expires_at - 1).standing is Standing.LIVE
    assert judged(record, record.expires_at).standing is expired
    assert judged(record, forgotten_at(record) - 1).standing is Standing.EXPIRED
    assert code_of(judged(record, forgotten_at(record))) is Code.RECORD_TOO_OLD


def test_an_expired_node_record_admits_its_node_for_thirty_days_and_permits_nothing():
    node = FABRIC.node("home-1")
    in_grace = judged(node, node.expires_at + SURVIVAL_GRACE - 1).standing
    over = judged(node, node.expires_at + SURVIVAL_GRACE).standing

    assert in_grace.admits
    assert not in_grace.permits
    assert in_grace.code is Code.SURVIVAL_GRACE
    assert not over.admits
    assert over.code is Code.RECORD_EXPIRED


def test_a_live_record_admits_and_permits_and_there_is_nothing_to_say():
    live = judged(FABRIC.node("home-1"), BORN).standing

    assert live.admits
    assert live.permits
    assert live.code is None


@pytest.mark.parametrize("record", [FABRIC.node("home-1", revoked=True), FABRIC.service("demo")])
def test_grace_is_for_the_living_and_for_nodes_alone(record):
    assert standing_of(record, record.expires_at) is Standing.EXPIRED


def test_a_record_is_forgotten_at_the_end_of_a_utc_day_thirty_days_after_it_expired():
    record = FABRIC.offers("home-1")

    assert forgotten_at(record) % DAY == 0
    assert 30 * DAY <= forgotten_at(record) - record.expires_at < 31 * DAY
    at_midnight = FABRIC.offers("home-1", expires_at=(BORN // DAY + 2) * DAY)
    assert forgotten_at(at_midnight) == at_midnight.expires_at + 30 * DAY


@pytest.mark.parametrize("revoked", [False, True])
def test_a_node_record_is_held_for_as_long_beyond_its_grace(revoked):
    record = FABRIC.node("home-1", expires_at=(BORN // DAY + 90) * DAY, revoked=revoked)
    assert forgotten_at(record) == record.expires_at + SURVIVAL_GRACE + 30 * DAY


def test_a_trust_root_is_not_subject_to_its_dates():
    root = FABRIC.root()

    assert judged(root, BORN - 1000 * DAY).standing is Standing.LIVE
    assert judged(root, root.expires_at + 1000 * DAY).standing is Standing.EXPIRED


# -- how long a life may be --
@pytest.mark.parametrize("record", ENDING, ids=kinds)
@pytest.mark.parametrize("revoked", [False, True])
def test_no_record_lives_longer_than_twice_what_is_usual_for_its_kind(record, revoked):
    most = BORN + 2 * record.LIFE + (TOMBSTONE_EXTRA if revoked else 0)

    def ending(at):
        return payload_with(record, expires_at=at, **({"revoked": True} if revoked else {}))

    def verdict(payload):
        keys = [HOME_KEY] if record.AUTHOR == NODE else FABRIC.enough(Role(record.AUTHOR))
        return TRUST.judge(signed(payload, *keys), Times(BORN), key_of=NODE_KEYS.get)

    assert isinstance(verdict(ending(most)), Accepted)
    assert code_of(verdict(ending(most + 1))) is Code.LIFE_TOO_LONG


def test_a_tombstone_may_outlive_the_longest_record_by_a_week():
    longest = FABRIC.node("home-1", expires_at=BORN + longest_life(FABRIC.node("home-1")))
    tombstone = FABRIC.node(
        "home-1", revoked=True, generation=2, expires_at=longest.expires_at + 7 * DAY
    )

    assert isinstance(judged(longest, BORN), Accepted)
    assert isinstance(judged(tombstone, BORN), Accepted)


@pytest.mark.parametrize(
    ("record", "life"),
    [(FABRIC.policy(), 2 * 3650 * DAY), (FABRIC.offers("home-1"), 180 * DAY)],
    ids=["a role's", "a node's"],
)
def test_a_kind_to_come_lives_no_longer_than_any_kind_does(record, life):
    keys = [HOME_KEY] if record.AUTHOR == NODE else FABRIC.enough(Role.DIRECTORY)

    def verdict(at):
        payload = payload_with(record, kind="weather", expires_at=at)
        return TRUST.judge(signed(payload, *keys), Times(BORN), key_of=NODE_KEYS.get)

    assert isinstance(verdict(BORN + life), Accepted)
    assert code_of(verdict(BORN + life + 1)) is Code.LIFE_TOO_LONG


def test_a_later_version_of_a_known_kind_lives_as_long_as_that_kind():
    payload = payload_with(FABRIC.head(expires_at=BORN + 7201), v=2)
    by = FABRIC.enough(Role.ORCHESTRATOR)

    assert code_of(TRUST.judge(signed(payload, *by), Times(BORN), key_of=NODE_KEYS.get)) is (
        Code.LIFE_TOO_LONG
    )


def test_a_nodes_word_is_never_dated_by_the_fabric_though_it_be_opaque():
    payload = payload_with(FABRIC.offers("home-1"), kind="mood")

    verdict = TRUST.judge(signed(payload, HOME_KEY), Times(BORN), key_of=NODE_KEYS.get)

    assert dated_by_the_fabric(verdict.record) is None
