"""What a Hello and its answers bring along: records of strangers, trust roots for who slept."""

import attrs
import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core.admission import EASY_HELLO_ROOTS, Admit, Refuse
from fabric.core.codec import MAX_ANSWER, MAX_HELLO, encode
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.envelope import Envelope
from fabric.core.frames import (
    MOST_ANSWER_ROOTS,
    MOST_HELLO_RECORD,
    MOST_HELLO_ROOTS,
    Hello,
    HelloOk,
    Refused,
)
from fabric.core.records import Role
from fabric.testing.factories import a_frame, a_key
from fabric.testing.records import BORN, DAY, signed
from tests.core.a_meeting import (
    AT_A_SEED,
    FABRIC,
    LATER_DIRECTORY,
    ANode,
    a_record,
    admitted,
    answer_of,
    challenge_of,
    frame_in,
    hello_from,
    packed_roots,
    refused_by_acceptor,
    refused_by_dialler,
    talk,
)


def a_later_record(name: str) -> Envelope:
    """Return a record that nobody can verify who holds the first trust root alone."""
    return signed(FABRIC.node(name), LATER_DIRECTORY)


def a_large_record(name: str) -> Envelope:
    return a_record(name, labels={f"{index:064}": "x" * 64 for index in range(32)})


# -- one's own record --
def test_a_node_that_is_not_known_yet_is_admitted_by_the_record_that_it_shows() -> None:
    home, away = ANode("home", "away"), ANode("away")

    _, at_away = admitted(home.dialler(away), away.acceptor())

    assert at_away.member.name == "home"
    assert away.knows.tellers == [home.id]


def test_a_record_of_somebody_else_admits_nobody() -> None:
    home, away = ANode("home", "away"), ANode("away")
    home.carry(a_record("other"))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.UNKNOWN_KEY
    assert not away.knows.members()


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (signed(FABRIC.node("home"), FABRIC.node_key("home")), Code.UNKNOWN_SIGNER),
        (signed(FABRIC.node("home"), FABRIC.keys(Role.INTENT)[0]), Code.WRONG_AUTHOR),
        (a_record("home", issued_at=BORN + 2 * DAY), Code.NOT_YET_VALID),
        (a_later_record("home"), Code.UNKNOWN_SIGNER),
    ],
    ids=["its own word", "of another role", "of the future", "by a later key"],
)
def test_a_record_that_does_not_count_is_the_reason_of_the_refusal(
    record: Envelope, code: Code
) -> None:
    home, away = ANode("home", "away"), ANode("away")
    home.carry(record)

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is code
    assert not away.knows.members()


def test_a_record_that_is_no_envelope_admits_nobody() -> None:
    home, away = ANode("home", "away"), ANode("away")
    home.knows.own = b"\xc1 not msgpack"

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.RECORD_MALFORMED


def test_a_record_that_is_too_large_for_a_hello_is_not_shown() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    home.carry(a_large_record("home"))
    away.carry(a_large_record("away"))
    assert len(home.knows.own) > MOST_HELLO_RECORD
    dialler, acceptor = home.dialler(away, AT_A_SEED), away.acceptor()

    hello = hello_from(dialler, acceptor)
    answer = frame_in(acceptor.receive(hello, 0.0))

    assert isinstance(hello, Hello)
    assert isinstance(answer, HelloOk)
    assert hello.wants_record
    assert not hello.record
    assert not answer.record


@pytest.mark.parametrize("generation", [1, 3])
def test_a_node_that_was_revoked_returns_with_a_newer_record_only(generation: int) -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    away.knows.hold(a_record("home", generation=2, revoked=True))
    home.carry(a_record("home", generation=generation))
    dialler, acceptor = home.dialler(away), away.acceptor()

    if generation == 1:
        assert refused_by_acceptor(dialler, acceptor) is Code.REVOKED
    else:
        admitted(dialler, acceptor)


def test_a_tombstone_of_oneself_is_taken_at_its_word() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    home.carry(a_record("home", generation=2, revoked=True))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.REVOKED


# -- the tombstone, to whom it is about --
def a_revoked_one(**fields: object) -> tuple[ANode, ANode]:
    """Return ``home``, which does not know that it was revoked, and ``away``, which does."""
    home, away = ANode("home", "away"), ANode("away", "home")
    away.knows.hold(a_record("home", generation=2, revoked=True, **fields))
    return home, away


def test_a_revoked_dialler_is_handed_the_record_that_says_so() -> None:
    home, away = a_revoked_one()

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.REVOKED

    assert home.knows.why_not(home.me.key) is Code.REVOKED
    assert home.knows.tellers == [away.id]


def test_who_has_no_proof_of_the_revoked_key_is_handed_nothing() -> None:
    home, away = a_revoked_one()
    home.change(sign=lambda message: a_key(9).sign(message).signature)
    acceptor = away.acceptor()

    answer = answer_of(acceptor, acceptor.receive(hello_from(home.dialler(away), acceptor), 0.0))

    assert isinstance(answer, Refused)
    assert (answer.code, answer.record) == (Code.BAD_PROOF, b"")


def test_a_tombstone_that_is_too_large_for_an_answer_is_not_shown() -> None:
    home, away = a_revoked_one(labels={f"{index:064}": "x" * 64 for index in range(32)})
    assert len(away.knows.tombstone_of(home.me.key)) > MOST_HELLO_RECORD
    acceptor = away.acceptor()

    answer = answer_of(acceptor, acceptor.receive(hello_from(home.dialler(away), acceptor), 0.0))

    assert isinstance(answer, Refused)
    assert (answer.code, answer.record) == (Code.REVOKED, b"")


@pytest.mark.parametrize(
    "record",
    [a_record("other"), signed(FABRIC.node("home", revoked=True), FABRIC.node_key("away"))],
    ids=["of another node", "signed by the acceptor"],
)
def test_a_refusal_teaches_a_dialler_nothing_but_what_is_signed_and_its_own(
    record: Envelope,
) -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    dialler, acceptor = home.dialler(away), away.acceptor()
    acceptor.receive(hello_from(dialler, acceptor), 0.0)
    was = dict(home.knows.records)

    dialler.receive(Refused(code=Code.REVOKED.value, record=pack_envelope(record)), 0.0)

    assert home.knows.records == was


# -- what is brought counts only once the key is proved, and not from everybody --
def test_nothing_is_learnt_from_a_hello_that_proves_nothing() -> None:
    home, away = ANode("home", "away", root_version=3), ANode("away")
    home.change(sign=lambda message: a_key(9).sign(message).signature)

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.BAD_PROOF
    assert not away.knows.tellers
    assert away.knows.root_version == 1


def test_nothing_is_learnt_from_a_replayed_hello() -> None:
    home, away = ANode("home", "away", root_version=3), ANode("away")
    recorded = hello_from(home.dialler(away), away.acceptor(b"a" * 32))

    away.acceptor(b"b" * 32).receive(recorded, 0.0)

    assert not away.knows.tellers


@pytest.mark.parametrize("change", [{"versions": (2, 9)}, {"fabric_id": b"x" * 16}])
def test_nothing_is_learnt_from_a_hello_of_another_fabric_or_protocol(change) -> None:
    home, away = ANode("home", "away"), ANode("away")
    acceptor = away.acceptor()

    acceptor.receive(evolve(hello_from(home.dialler(away), acceptor), **change), 0.0)

    assert not away.knows.tellers


def test_nothing_is_learnt_from_a_barred_dialler() -> None:
    home, away = ANode("home", "away", root_version=3), ANode("away", "home")
    away.knows.barred[home.id] = Code.PEER_BARRED

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.PEER_BARRED
    assert not away.knows.tellers


def test_nothing_is_said_to_a_barred_acceptor_at_a_seeds_address() -> None:
    home, away = ANode("home", "away"), ANode("away")
    home.knows.barred[away.id] = Code.PEER_BARRED
    dialler = home.dialler(away, AT_A_SEED)

    assert dialler.receive(challenge_of(away.acceptor()), 0.0) == [Refuse(Code.PEER_BARRED)]


# -- a seed --
def test_a_seed_is_admitted_by_the_record_that_it_shows_for_the_key_that_it_proved() -> None:
    home, away = ANode("home"), ANode("away", "home")

    at_home, _ = admitted(home.dialler(away, AT_A_SEED), away.acceptor())

    assert at_home.member.name == "away"
    assert home.knows.tellers == [away.id]


def test_two_nodes_that_know_nothing_but_the_trust_root_meet_at_a_seed() -> None:
    home, away = ANode("home"), ANode("away")

    admitted(home.dialler(away, AT_A_SEED), away.acceptor())


def test_a_seed_that_is_known_needs_no_record_to_show() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    away.knows.own = b""

    admitted(home.dialler(away, AT_A_SEED), away.acceptor())


def test_a_seed_that_shows_no_record_is_refused() -> None:
    home, away = ANode("home"), ANode("away", "home", has_record=False)

    assert refused_by_dialler(home.dialler(away, AT_A_SEED), away.acceptor()) is Code.UNKNOWN_KEY


def test_a_seed_that_shows_the_record_of_another_node_is_refused() -> None:
    home, away = ANode("home"), ANode("away", "home")
    away.carry(a_record("other"))

    assert refused_by_dialler(home.dialler(away, AT_A_SEED), away.acceptor()) is Code.UNKNOWN_KEY
    assert home.standings.of(away.id) is None


def test_a_seed_whose_record_does_not_count_is_refused_for_that() -> None:
    home, away = ANode("home"), ANode("away", "home")
    away.carry(signed(FABRIC.node("away"), FABRIC.keys(Role.INTENT)[0]))

    assert refused_by_dialler(home.dialler(away, AT_A_SEED), away.acceptor()) is Code.WRONG_AUTHOR


def test_a_revoked_node_at_a_seeds_address_is_refused() -> None:
    home, away = ANode("home"), ANode("away", "home")
    home.knows.hold(a_record("away", generation=2, revoked=True))

    assert refused_by_dialler(home.dialler(away, AT_A_SEED), away.acceptor()) is Code.REVOKED


def test_a_seed_behind_which_a_connected_peer_is_gets_no_hello() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    admitted(away.dialler(home), home.acceptor())
    standing = home.standings.of(away.id)
    dialler = home.dialler(away, AT_A_SEED)

    assert dialler.receive(challenge_of(away.acceptor()), 0.0) == [Refuse(Code.DUPLICATE)]
    assert home.standings.of(away.id) is standing


def test_a_peer_that_is_dialled_by_its_key_is_not_asked_for_its_record() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    acceptor = away.acceptor()

    answer = frame_in(acceptor.receive(hello_from(home.dialler(away), acceptor), 0.0))

    assert isinstance(answer, HelloOk)
    assert not answer.record


# -- trust roots --
def test_an_acceptor_that_slept_is_led_on_by_the_hello_before_the_record_is_judged() -> None:
    home, away = ANode("home", "away", root_version=2), ANode("away")
    home.carry(a_later_record("home"))

    admitted(home.dialler(away), away.acceptor())

    assert away.knows.root_version == 2


def test_a_dialler_that_slept_is_led_on_by_the_answer_before_the_record_is_judged() -> None:
    home, away = ANode("home"), ANode("away", "home", root_version=3)
    away.carry(a_later_record("away"))

    admitted(home.dialler(away, AT_A_SEED), away.acceptor())

    assert home.knows.root_version == 3


def test_a_dialler_that_slept_is_led_on_by_a_refusal_and_comes_again() -> None:
    home, away = ANode("home", has_record=True), ANode("away", root_version=3)
    away.carry(a_later_record("away"))
    home.carry(signed(FABRIC.node("home"), FABRIC.keys(Role.INTENT)[0]))

    code = refused_by_acceptor(home.dialler(away, AT_A_SEED), away.acceptor())

    assert code is Code.WRONG_AUTHOR
    assert home.knows.root_version == 3
    assert home.knows.tellers == [away.id]
    home.carry(a_record("home"))
    admitted(home.dialler(away, AT_A_SEED), away.acceptor())


def test_a_revoked_dialler_that_slept_hears_of_the_newer_roots_too() -> None:
    home, away = ANode("home", "away"), ANode("away", "home", root_version=2)
    away.knows.hold(a_record("home", generation=2, revoked=True))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.REVOKED
    assert home.knows.root_version == 2


@pytest.mark.parametrize("fault", ["no proof", "nothing known", "barred"])
def test_a_refusal_carries_no_roots_to_a_key_that_is_not_proved_or_kept_out(fault: str) -> None:
    has_record = fault != "nothing known"
    home, away = ANode("home", "away", has_record=has_record), ANode("away", root_version=3)
    if fault == "no proof":
        home.change(sign=lambda _message: bytes(64))
    if fault == "barred":
        away.knows.barred[home.id] = Code.PEER_BARRED
    acceptor = away.acceptor()

    (refuse,) = acceptor.receive(hello_from(home.dialler(away), acceptor), 0.0)

    answer = answer_of(acceptor, [refuse])
    assert isinstance(answer, Refused)
    assert not answer.roots


def test_who_is_up_to_date_brings_and_gets_no_roots() -> None:
    home, away = (ANode(name, "home", "away", root_version=3) for name in ("home", "away"))
    dialler, acceptor = home.dialler(away), away.acceptor()

    hello = hello_from(dialler, acceptor)
    answer = frame_in(acceptor.receive(hello, 0.0))

    assert isinstance(hello, Hello)
    assert isinstance(answer, HelloOk)
    assert hello.roots == answer.roots == ()


def test_roots_that_lead_nowhere_do_no_harm() -> None:
    home, away = ANode("home", "away"), ANode("away", "home")
    dialler, acceptor = home.dialler(away), away.acceptor()
    hello = hello_from(dialler, acceptor)

    effects = acceptor.receive(evolve(hello, roots=packed_roots(3, 4)), 0.0)

    assert isinstance(effects[0], Admit)
    assert away.knows.root_version == 1


def test_what_would_make_a_hello_large_comes_with_the_next() -> None:
    versions = 5
    home, away = ANode("home", "away", root_version=versions), ANode("away", "home")
    needed = sum(map(len, packed_roots(2, versions)))
    assert MOST_HELLO_ROOTS < needed < MOST_ANSWER_ROOTS

    reached = [away.knows.root_version]
    while reached[-1] < versions:
        hello = hello_from(home.dialler(away), acceptor := away.acceptor())
        assert isinstance(hello, Hello)
        assert sum(map(len, hello.roots)) <= EASY_HELLO_ROOTS
        acceptor.receive(hello, 0.0)
        assert away.knows.root_version > reached[-1]
        reached.append(away.knows.root_version)

    assert len(reached) == 5
    slept = ANode("home", "away")
    talk(slept.dialler(away), away.acceptor())
    assert slept.knows.root_version == versions


@pytest.mark.parametrize(
    ("room", "sizes"),
    [
        (EASY_HELLO_ROOTS, [1000, 1000]),
        (MOST_HELLO_ROOTS, [5000]),
    ],
)
def test_a_hello_brings_a_few_small_roots_or_one_that_is_large(
    room: int, sizes: list[int]
) -> None:
    home, away = ANode("home", "away"), ANode("away")
    roots = [b"r" * size for size in [*sizes, 2000]]
    home.knows.roots_after = lambda _version, *, most_bytes: tuple(roots)

    hello = hello_from(home.dialler(away), away.acceptor())

    assert isinstance(hello, Hello)
    assert list(map(len, hello.roots)) == sizes
    assert sum(sizes) <= room


# -- limits --
def test_the_largest_hello_fits_what_is_read_of_a_stranger() -> None:
    largest = a_frame(
        Hello,
        versions=(65535, 65535),
        boot_seq=2**53,
        record=b"r" * MOST_HELLO_RECORD,
        roots=(b"r" * (MOST_HELLO_ROOTS // 16),) * 16,
        root_version=2**53,
        wants_record=True,
    )

    assert len(encode(largest)) <= MAX_HELLO


@pytest.mark.parametrize("kind", [HelloOk, Refused])
def test_the_largest_answer_fits_what_is_read_of_an_acceptor(kind) -> None:
    fields = {each.name for each in attrs.fields(kind)}
    large = {
        "record": b"r" * MOST_HELLO_RECORD,
        "reason": "\N{SNOWMAN}" * 400,
        "hop": "\N{SNOWMAN}" * 64,
        "boot_seq": 2**53,
    }
    roots = (b"r" * (MOST_ANSWER_ROOTS // 16),) * 16
    largest = a_frame(
        kind, roots=roots, **{name: value for name, value in large.items() if name in fields}
    )

    assert len(encode(largest)) <= MAX_ANSWER
