"""Who gets a connection, who a Retry, who nothing: the judgement by itself, in made-up time."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fabric.trio_quic.settings import Settings
from fabric.trio_quic.strangers import Strangers, Verdict, is_loopback, prefix

HERE = ("127.0.0.1", 50_000)
LIMITS = Settings()


def judged(strangers, address=HERE, now=0.0, *, known=False, proven=False):
    verdict = strangers.judge(address, now, known=known, proven=proven)
    if verdict is Verdict.ACCEPT:
        strangers.arrived(address, known=known)
    return verdict


def filled(count, address=HERE, *, limits=LIMITS, known=False):
    """Return strangers of whom *count* are there, one every 20 ms, their handshakes done."""
    strangers = Strangers(limits)
    for number in range(count):
        assert judged(strangers, address, number / 50, known=known) is Verdict.ACCEPT
        strangers.completed()
    return strangers


def elsewhere(number):
    return (f"198.51.{number // 250}.{number % 250}", 4433)


def test_a_first_stranger_is_accepted():
    assert judged(Strangers(LIMITS)) is Verdict.ACCEPT


def test_above_50_handshakes_in_flight_strangers_must_prove_their_address():
    strangers = Strangers(LIMITS)
    verdicts = [judged(strangers, now=number / 50) for number in range(60)]
    assert verdicts == [Verdict.ACCEPT] * 51 + [Verdict.RETRY] * 9
    assert judged(strangers, now=2.0, proven=True) is Verdict.ACCEPT


def test_above_100_a_second_strangers_must_prove_their_address():
    strangers = Strangers(LIMITS)
    for number in range(100):
        assert judged(strangers, now=number / 200) is Verdict.ACCEPT
        strangers.completed()
    assert judged(strangers, now=0.5) is Verdict.RETRY
    assert judged(strangers, now=2.0) is Verdict.ACCEPT


def test_a_steady_rate_below_100_a_second_needs_no_proof():
    strangers = Strangers(LIMITS)
    for number in range(2_000):
        assert judged(strangers, now=number / 99) is Verdict.ACCEPT
        strangers.completed()
        strangers.settled(HERE, known=False)


def test_no_more_than_256_strangers_stay_unadmitted():
    strangers = filled(256)
    assert judged(strangers, now=60.0) is Verdict.DROP
    assert judged(strangers, now=60.0, proven=True) is Verdict.DROP
    strangers.settled(HERE, known=False)
    assert judged(strangers, now=60.0) is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("party", "neighbour", "other"),
    [
        ("203.0.113.9", "203.0.113.9", "203.0.113.10"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9", "::ffff:203.0.113.10"),
    ],
)
def test_one_prefix_gets_8_of_them(party, neighbour, other):
    strangers = filled(8, (party, 1000))
    assert judged(strangers, (neighbour, 2000), 60.0, proven=True) is Verdict.DROP
    assert judged(strangers, (other, 1000), 60.0) is Verdict.ACCEPT


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_has_no_cap_per_prefix(host):
    assert is_loopback((host, 1))
    filled(200, (host, 1000))


def test_known_addresses_are_spared_retry_and_have_room_of_their_own():
    strangers = filled(256)
    for number in range(64):
        assert judged(strangers, now=10.0 + number / 1e6, known=True) is Verdict.ACCEPT
    assert judged(strangers, now=10.1, known=True) is Verdict.DROP
    strangers.settled(HERE, known=True)
    assert judged(strangers, now=10.1, known=True) is Verdict.ACCEPT


def test_known_addresses_take_no_room_of_strangers():
    strangers = filled(64, known=True)
    assert judged(strangers, now=60.0) is Verdict.ACCEPT


def test_zero_turns_retry_off():
    strangers = Strangers(evolve(LIMITS, retry_above=0, stranger_cap=0))
    assert {judged(strangers, now=0.0) for _ in range(5_000)} == {Verdict.ACCEPT}


def test_zero_turns_the_caps_off():
    strangers = filled(500, elsewhere(1), limits=evolve(LIMITS, stranger_cap=0))
    assert strangers.unadmitted == 500


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["arrive", "complete", "settle"]),
            st.integers(0, 9),
            st.booleans(),
            st.booleans(),
        ),
        max_size=200,
    )
)
def test_whatever_happens_the_counts_come_back_to_nothing(story):
    limits = evolve(LIMITS, stranger_cap=6, stranger_cap_per_prefix=2, stranger_cap_known=3)
    strangers, here, shaking = Strangers(limits), [], 0
    for now, (what, number, known, proven) in enumerate(story):
        if what == "arrive":
            verdict = judged(strangers, elsewhere(number), now / 40, known=known, proven=proven)
            if verdict is Verdict.ACCEPT:
                here.append((elsewhere(number), known))
                shaking += 1
        elif what == "complete" and shaking:
            strangers.completed()
            shaking -= 1
        elif what == "settle" and here:
            address, was_known = here.pop()
            strangers.settled(address, known=was_known)
        unknown = [prefix(address) for address, was_known in here if not was_known]
        assert strangers.unadmitted == len(unknown) <= 6
        assert strangers.known == len(here) - len(unknown) <= 3
        assert all(unknown.count(one) <= 2 for one in unknown)
    for address, was_known in here:
        strangers.settled(address, known=was_known)
    assert strangers.unadmitted == strangers.known == 0
    assert not strangers._per_prefix
