"""Both ends of Hello, joined without a wire: who is admitted, and each way to be refused."""

import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core import proof
from fabric.core.admission import (
    ACCEPTOR,
    DIALLER,
    OBJECTIONS,
    Acceptor,
    Admit,
    Refuse,
    Send,
    State,
    TimedOut,
    common_version,
)
from fabric.core.frames import Challenge, Frame, Hello, HelloOk, Refused
from fabric.core.identity import FabricId, Instance
from fabric.core.standing import Standings, Verdict
from fabric.testing.factories import a_frame, a_key, some_frames
from tests.core.a_meeting import (
    AT_A_SEED,
    ANode,
    a_record,
    admitted,
    answer_of,
    challenge_of,
    hello_from,
    refused_by_acceptor,
    refused_by_dialler,
    talk,
)

LOW, HIGH = sorted(("home", "away"), key=lambda name: ANode(name).id)


def two() -> tuple[ANode, ANode]:
    """Return two nodes that know each other."""
    return ANode("home", "away"), ANode("away", "home")


# -- yes --
def test_two_nodes_that_know_each_other_are_admitted_at_both_ends() -> None:
    home, away = two()

    at_home, at_away = admitted(home.dialler(away), away.acceptor())

    assert (at_home.member.name, at_away.member.name) == ("away", "home")
    assert at_home.claim.instance == away.me.instance
    assert at_away.claim.boot_seq == home.me.boot_seq
    assert at_home.claim.dialler == at_away.claim.dialler == home.id
    assert at_home.version == at_away.version == 1


def test_a_peer_is_admitted_before_it_is_told_so() -> None:
    home, away = two()
    dialler, acceptor = home.dialler(away), away.acceptor()

    effects = acceptor.receive(hello_from(dialler, acceptor), 0.0)

    assert [type(effect) for effect in effects] == [Admit, Send]


@pytest.mark.parametrize(
    ("theirs", "ours", "common"),
    [((1, 1), (1, 1), 1), ((1, 5), (3, 9), 5), ((4, 9), (1, 3), None), ((1, 2), (3, 4), None)],
)
def test_the_highest_common_version_is_chosen(
    theirs: tuple[int, int], ours: tuple[int, int], common: int | None
) -> None:
    assert common_version(theirs, ours) == common


# -- what speaks against a Hello, one by one --
def test_a_hello_without_a_common_version_is_refused() -> None:
    home, away = two()
    acceptor = away.acceptor()
    hello = hello_from(home.dialler(away), acceptor)

    assert acceptor.receive(evolve(hello, versions=(2, 9)), 0.0) == [
        Refuse(Code.NO_COMMON_VERSION)
    ]


def test_another_fabric_is_refused() -> None:
    home, away = two()
    home.change(fabric_id=FabricId(b"x" * 16))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.WRONG_FABRIC


def test_an_unknown_key_that_brings_nothing_is_refused() -> None:
    home, away = ANode("home", "away", has_record=False), ANode("away")

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.UNKNOWN_KEY


def test_an_unknown_key_that_brings_nothing_costs_no_signature_check(monkeypatch) -> None:
    checked: list[bytes] = []

    def has_signed(key: bytes, _message: bytes, _signature: bytes) -> bool:
        checked.append(key)
        return False

    home, away = ANode("home", "away", has_record=False), ANode("away")
    dialler, acceptor, again = home.dialler(away), away.acceptor(), away.acceptor()
    hello = hello_from(dialler, acceptor)
    monkeypatch.setattr(proof, "has_signed", has_signed)

    assert acceptor.receive(hello, 0.0) == [Refuse(Code.UNKNOWN_KEY)]
    assert not checked
    assert again.receive(evolve(hello, record=b"any"), 0.0) == [Refuse(Code.BAD_PROOF)]
    assert checked == [hello.key]


def test_a_proof_made_with_another_key_is_refused() -> None:
    home, away = two()
    home.change(sign=lambda message: a_key(9).sign(message).signature)

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.BAD_PROOF


def test_a_replayed_hello_is_refused() -> None:
    home, away = two()
    recorded = hello_from(home.dialler(away), away.acceptor(b"a" * 32))

    assert away.acceptor(b"b" * 32).receive(recorded, 0.0) == [Refuse(Code.BAD_PROOF)]


def test_a_forwarded_challenge_yields_no_proof_for_the_one_who_made_it() -> None:
    home, away = two()
    middle = ANode("middle", "home", "away")
    home.knows.hold(a_record("middle"))
    victim = away.acceptor()
    for_the_middle = home.dialler(middle).receive(challenge_of(victim), 0.0)

    (sent,) = for_the_middle
    assert isinstance(sent, Send)
    assert victim.receive(sent.frame, 0.0) == [Refuse(Code.BAD_PROOF)]


@pytest.mark.parametrize("changed", ["nonce", "fabric_id", "key"])
def test_a_hello_of_which_any_signed_part_was_changed_is_refused(changed: str) -> None:
    home, away = two()
    other = ANode("other")
    away.knows.hold(a_record("other"))
    acceptor = away.acceptor()
    hello = hello_from(home.dialler(away), acceptor)
    new = {"nonce": b"x" * 32, "fabric_id": b"x" * 16, "key": other.me.key}[changed]
    if changed == "fabric_id":  # as an acceptor of that fabric would read it
        away.change(fabric_id=FabricId(new))
        acceptor = away.acceptor()

    assert acceptor.receive(evolve(hello, **{changed: new}), 0.0) == [Refuse(Code.BAD_PROOF)]


def test_a_node_that_dials_itself_is_told_so() -> None:
    home = ANode("home")

    assert refused_by_acceptor(home.dialler(home, AT_A_SEED), home.acceptor()) is Code.ITSELF
    assert home.standings.of(home.id) is None


def test_another_process_with_this_nodes_own_key_is_a_duplicate_identity() -> None:
    home, twin = ANode("home"), ANode("home", process=2)

    code = refused_by_acceptor(twin.dialler(home, AT_A_SEED), home.acceptor())

    assert code is Code.DUPLICATE_IDENTITY


def test_a_barred_peer_is_refused_with_what_it_is_barred_for() -> None:
    home, away = two()
    away.knows.barred[home.id] = Code.PEER_BARRED

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.PEER_BARRED


def test_a_revoked_peer_is_refused_though_it_proves_its_key() -> None:
    home, away = two()
    away.knows.hold(a_record("home", generation=2, revoked=True))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.REVOKED


def test_every_objection_has_been_raised_by_a_test_above() -> None:
    raised = {
        "_versions_apart": test_a_hello_without_a_common_version_is_refused,
        "_another_fabric": test_another_fabric_is_refused,
        "_nothing_known": test_an_unknown_key_that_brings_nothing_is_refused,
        "_unproved": test_a_proof_made_with_another_key_is_refused,
        "_own_key": test_a_node_that_dials_itself_is_told_so,
        "_barred": test_a_barred_peer_is_refused_with_what_it_is_barred_for,
    }

    assert [each.__name__ for each in OBJECTIONS] == list(raised)


def test_nothing_but_the_proof_decides_whether_a_key_is_barred_or_its_own() -> None:
    """Whoever only names a key hears nothing of what is thought of its holder."""
    home, away = two()
    away.knows.barred[home.id] = Code.PEER_BARRED
    home.change(sign=lambda _message: bytes(64))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.BAD_PROOF


# -- whose process, whose dial --
def test_a_peers_older_process_is_refused() -> None:
    home, away = two()
    home.restart(7)
    admitted(home.dialler(away), away.acceptor())
    home.restart(6)

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.STALE_INSTANCE


def test_a_second_process_with_the_same_key_is_refused() -> None:
    home, away = two()
    admitted(home.dialler(away), away.acceptor())
    home.change(instance=Instance(b"t" * 16))

    assert refused_by_acceptor(home.dialler(away), away.acceptor()) is Code.DUPLICATE_IDENTITY


@pytest.mark.parametrize(
    ("process", "instance", "code"),
    [(6, b"o" * 16, Code.STALE_INSTANCE), (7, b"t" * 16, Code.DUPLICATE_IDENTITY)],
)
def test_a_dialler_refuses_another_process_of_its_peer_by_the_same_rules(
    process: int, instance: bytes, code: Code
) -> None:
    home, away = two()
    away.restart(7)
    admitted(home.dialler(away), away.acceptor())
    away.restart(process)
    away.change(instance=Instance(instance))

    assert refused_by_dialler(home.dialler(away), away.acceptor()) is code


def test_a_restarted_peer_displaces_its_old_connection() -> None:
    home, away = two()
    _, first = admitted(home.dialler(away), away.acceptor())
    home.restart(2)

    _, second = admitted(home.dialler(away), away.acceptor())

    assert second.judgement.verdict is Verdict.REPLACE
    assert second.judgement.displaced is first.claim


def test_a_member_for_whom_there_is_no_room_is_refused_and_displaces_nobody() -> None:
    home, away = two()
    full = evolve(away.we, room_for=lambda node: Code.BUSY if node == home.id else None)

    assert refused_by_acceptor(home.dialler(away), Acceptor(full, b"a" * 32)) is Code.BUSY
    assert away.standings.of(home.id) is None


def test_an_unproved_hello_displaces_nobody() -> None:
    home, away = two()
    admitted(home.dialler(away), away.acceptor())
    standing = away.standings.of(home.id)
    home.restart(99)
    home.change(sign=lambda _message: bytes(64))

    refused_by_acceptor(home.dialler(away), away.acceptor())

    assert standing is not None
    assert away.standings.of(home.id) is standing


def test_the_lower_node_id_refuses_a_dial_that_came_after_its_own_was_answered() -> None:
    low, high = ANode(LOW, HIGH), ANode(HIGH, LOW)
    admitted(low.dialler(high), high.acceptor())
    high.standings = Standings(high.id)  # as if the lower's dial were still on its way

    assert refused_by_acceptor(high.dialler(low), low.acceptor()) is Code.DUPLICATE


def test_the_higher_node_id_keeps_a_dial_of_its_own_as_spare() -> None:
    low, high = ANode(LOW, HIGH), ANode(HIGH, LOW)
    admitted(low.dialler(high), high.acceptor())
    low.standings = Standings(low.id)  # it gave that dial up, and knows nothing of it

    at_high, at_low = admitted(high.dialler(low), low.acceptor())

    assert at_high.judgement.verdict is Verdict.SPARE
    assert not at_high.judgement.stands
    assert at_low.judgement.stands


# -- the dialler's own objections --
def test_a_key_other_than_the_intended_peers_is_never_answered() -> None:
    home, away = two()
    dialler = evolve(home.dialler(away), acceptor_key=ANode("other").me.key)

    assert dialler.receive(a_frame(Challenge), 0.0) == [Refuse(Code.PIN_MISMATCH)]


@pytest.mark.parametrize(
    ("generation", "code"), [(1, Code.PEER_BARRED), (2, Code.REVOKED)], ids=["barred", "revoked"]
)
def test_a_peer_that_was_dropped_while_it_was_dialled_is_never_answered(
    generation: int, code: Code
) -> None:
    home, away = two()
    dialler = home.dialler(away)
    if code is Code.REVOKED:
        home.knows.hold(a_record("away", generation=generation, revoked=True))
    else:
        home.knows.barred[away.id] = code

    assert dialler.receive(a_frame(Challenge), 0.0) == [Refuse(code)]


def test_a_peer_that_was_revoked_before_it_answered_is_refused() -> None:
    home, away = two()
    dialler, acceptor = home.dialler(away), away.acceptor()
    accepted = acceptor.receive(hello_from(dialler, acceptor), 0.0)
    home.knows.hold(a_record("away", generation=2, revoked=True))

    assert dialler.receive(answer_of(acceptor, accepted), 0.0) == [Refuse(Code.REVOKED)]
    assert home.standings.of(away.id) is None


def test_an_answer_with_a_version_never_offered_is_refused() -> None:
    home, away = two()
    dialler = home.dialler(away)
    dialler.receive(a_frame(Challenge), 0.0)
    answer = a_frame(HelloOk, version=2, record=b"any")

    assert dialler.receive(answer, 0.0) == [Refuse(Code.NO_COMMON_VERSION)]
    assert not home.knows.tellers


@pytest.mark.parametrize(
    ("process", "code"), [(1, Code.ITSELF), (2, Code.DUPLICATE_IDENTITY)], ids=["itself", "twin"]
)
def test_an_acceptor_that_admits_its_own_key_is_refused_all_the_same(
    process: int, code: Code
) -> None:
    home, twin = ANode("home"), ANode("home", process=process)
    dialler = home.dialler(twin, AT_A_SEED)
    dialler.receive(a_frame(Challenge), 0.0)
    answer = a_frame(HelloOk, instance=twin.me.instance)

    assert dialler.receive(answer, 0.0) == [Refuse(code)]


def test_a_code_of_a_newer_release_is_still_a_refusal() -> None:
    home, away = two()
    dialler = home.dialler(away)
    dialler.receive(a_frame(Challenge), 0.0)

    (refuse,) = dialler.receive(Refused(code=60_000, reason="quorum"), 0.0)

    assert refuse == Refuse(Code.INTERNAL_ERROR, "quorum", by_peer=True)


# -- the tables --
def test_a_missing_hello_is_refused_by_its_deadline() -> None:
    assert ANode("away").acceptor().receive(TimedOut(), 5.0) == [Refuse(Code.NO_HELLO)]


def test_a_missing_challenge_ends_the_dial() -> None:
    home, away = two()

    assert home.dialler(away).receive(TimedOut(), 5.0) == [Refuse(Code.NO_CHALLENGE)]


def test_a_missing_answer_ends_the_dial() -> None:
    home, away = two()
    dialler = home.dialler(away)
    dialler.receive(a_frame(Challenge), 0.0)

    (refuse,) = dialler.receive(TimedOut(), 5.0)

    assert isinstance(refuse, Refuse)
    assert refuse.code is Code.HANDSHAKE_TIMEOUT
    assert not refuse.by_peer


def test_each_row_of_a_table_leads_to_the_state_that_it_should() -> None:
    home, away = two()
    dialler, acceptor = home.dialler(away), away.acceptor()
    seen = [(dialler.state, acceptor.state)]

    hello = hello_from(dialler, acceptor)
    seen.append((dialler.state, acceptor.state))
    accepted = acceptor.receive(hello, 0.0)
    seen.append((dialler.state, acceptor.state))
    dialler.receive(answer_of(acceptor, accepted), 0.0)
    seen.append((dialler.state, acceptor.state))

    assert seen == [
        (State.AWAITING_CHALLENGE, State.AWAITING_HELLO),
        (State.AWAITING_ANSWER, State.AWAITING_HELLO),
        (State.AWAITING_ANSWER, State.ADMITTED),
        (State.ADMITTED, State.ADMITTED),
    ]
    for table, first in ((ACCEPTOR, State.AWAITING_HELLO), (DIALLER, State.AWAITING_CHALLENGE)):
        assert {state for state, _ in table} <= {first, State.AWAITING_ANSWER}


@pytest.mark.parametrize("event", [*some_frames(), TimedOut()], ids=lambda it: type(it).__name__)
def test_what_is_not_in_the_table_is_refused_in_every_state(event: Frame | TimedOut) -> None:
    home, away = two()
    for state in State:
        for end, table in ((away.acceptor(), ACCEPTOR), (home.dialler(away), DIALLER)):
            if (state, type(event)) not in table:
                end.state = state
                (refuse,) = end.receive(event, 0.0)
                assert isinstance(refuse, Refuse)
                assert refuse.code is Code.UNEXPECTED_FRAME
                assert end.state is State.REFUSED


def test_no_path_admits_a_dialler_without_a_judged_hello() -> None:
    assert set(ACCEPTOR) == {(State.AWAITING_HELLO, Hello), (State.AWAITING_HELLO, TimedOut)}


def test_a_second_hello_or_answer_after_admission_is_refused() -> None:
    home, away = two()
    dialler, acceptor = home.dialler(away), away.acceptor()
    hello = hello_from(dialler, acceptor)
    accepted = acceptor.receive(hello, 0.0)
    answer = answer_of(acceptor, accepted)
    dialler.receive(answer, 0.0)

    for end, frame in ((acceptor, hello), (dialler, answer)):
        (refuse,) = end.receive(frame, 1.0)
        assert isinstance(refuse, Refuse)
        assert refuse.code is Code.UNEXPECTED_FRAME


def test_a_refused_end_says_nothing_more() -> None:
    home, away = two()
    away.knows.barred[home.id] = Code.PEER_BARRED
    dialler, acceptor = home.dialler(away), away.acceptor()
    hello = hello_from(dialler, acceptor)
    acceptor.receive(hello, 0.0)
    away.knows.barred.clear()

    (refuse,) = acceptor.receive(hello, 0.0)

    assert isinstance(refuse, Refuse)
    assert refuse.code is Code.UNEXPECTED_FRAME


# -- what the log says of it --
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_a_claimant_is_named_as_it_is_known_here(is_known: bool) -> None:
    home, away = ANode("home", "away"), ANode("away", *["home"] * is_known)
    home.change(sign=lambda _message: bytes(64))
    acceptor = away.acceptor()

    talk(home.dialler(away), acceptor)

    assert acceptor.claimant == ("home" if is_known else home.id)
