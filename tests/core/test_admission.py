"""Both ends of Hello, joined without a wire: who is admitted, and each way to be refused."""

import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core.admission import (
    ACCEPTOR,
    DIALLER,
    Acceptor,
    Admit,
    Dialler,
    Effect,
    Myself,
    Refuse,
    Send,
    State,
    TimedOut,
    common_version,
)
from fabric.core.frames import Bye, Challenge, Frame, Hello, HelloOk, Refused
from fabric.core.identity import FabricId, Instance, NodeName
from fabric.core.roster import Direct, Member, Seed, StaticRoster
from fabric.core.standing import Standings, Verdict
from fabric.testing.factories import FABRIC_ID, a_frame, a_key, some_frames


def a_member(seed: int) -> Member:
    return Member(name=NodeName(f"node-{seed}"), key=bytes(a_key(seed).verify_key), area="home")


def a_myself(seed: int, **changes: object) -> Myself:
    myself = Myself(
        name=NodeName(f"node-{seed}"),
        key=bytes(a_key(seed).verify_key),
        fabric_id=FabricId(FABRIC_ID),
        instance=Instance(bytes([seed]) * 16),
        boot_seq=100,
        sign=lambda message: a_key(seed).sign(message).signature,
    )
    return evolve(myself, **changes)


def a_roster(*seeds: int) -> StaticRoster:
    return StaticRoster((a_member(seed), ("192.0.2.1", seed)) for seed in seeds)


def an_acceptor(seed: int = 2, *, knows: tuple[int, ...] = (1,), **changes: object) -> Acceptor:
    return Acceptor(
        me=a_myself(seed, **changes),
        roster=a_roster(*knows),
        standings=Standings(a_member(seed).node_id),
        nonce=b"a" * 32,
    )


def a_dialler(
    seed: int = 1, *, to: int = 2, knows: tuple[int, ...] = (2,), **changes: object
) -> Dialler:
    return Dialler(
        me=a_myself(seed, **changes),
        roster=a_roster(*knows),
        standings=Standings(a_member(seed).node_id),
        intent=Direct(a_member(to), ("192.0.2.1", to)),
        acceptor_key=a_member(to).key,
        nonce=b"d" * 32,
    )


def frame_in(effects: list[Effect]) -> Frame:
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    return send.frame


def talk(dialler: Dialler, acceptor: Acceptor) -> tuple[list[Effect], list[Effect]]:
    """Carry every frame across; return what each end decided last."""
    hello = dialler.receive(acceptor.challenge(), 0.0)
    if any(isinstance(effect, Refuse) for effect in hello):
        return hello, []
    accepted = acceptor.receive(frame_in(hello), 0.0)
    match accepted:
        case [Refuse(code, detail)]:
            answer: Frame = Refused(code=code.value, reason=detail)
        case _:
            answer = frame_in(accepted)
    return dialler.receive(answer, 0.0), accepted


def refusals(dialler: Dialler, acceptor: Acceptor) -> tuple[Code, Code]:
    (at_dialler,), (at_acceptor,) = talk(dialler, acceptor)
    assert isinstance(at_dialler, Refuse)
    assert isinstance(at_acceptor, Refuse)
    assert at_dialler.by_peer
    assert dialler.state is acceptor.state is State.REFUSED
    return at_dialler.code, at_acceptor.code


def test_two_nodes_that_know_each_other_are_admitted_at_both_ends() -> None:
    dialler, acceptor = a_dialler(), an_acceptor()

    at_dialler, at_acceptor = talk(dialler, acceptor)

    assert [type(effect) for effect in at_acceptor] == [Admit, Send]
    (admit,) = at_dialler
    assert isinstance(admit, Admit)
    assert admit.member.name == "node-2"
    assert admit.claim.instance == acceptor.me.instance
    assert admit.claim.dialler == dialler.me.node_id
    assert dialler.state is acceptor.state is State.ADMITTED


def test_an_unknown_key_is_refused() -> None:
    assert refusals(a_dialler(), an_acceptor(knows=(7,))) == (Code.UNKNOWN_KEY, Code.UNKNOWN_KEY)


def test_another_fabric_is_refused() -> None:
    stranger = a_dialler(fabric_id=FabricId(b"x" * 16))

    assert refusals(stranger, an_acceptor()) == (Code.WRONG_FABRIC, Code.WRONG_FABRIC)


def test_a_proof_made_with_another_key_is_refused() -> None:
    thief = a_dialler(sign=lambda message: a_key(9).sign(message).signature)

    assert refusals(thief, an_acceptor()) == (Code.BAD_PROOF, Code.BAD_PROOF)


def test_a_replayed_hello_is_refused() -> None:
    recorded = frame_in(a_dialler().receive(an_acceptor().challenge(), 0.0))
    acceptor = evolve(an_acceptor(), nonce=b"b" * 32)

    assert acceptor.receive(recorded, 0.0) == [Refuse(Code.BAD_PROOF)]


def test_a_forwarded_challenge_yields_no_proof_for_the_one_who_made_it() -> None:
    victim = an_acceptor(3, knows=(1,))
    hello = frame_in(a_dialler(to=2).receive(victim.challenge(), 0.0))

    assert victim.receive(hello, 0.0) == [Refuse(Code.BAD_PROOF)]


def test_a_hello_without_a_common_version_is_refused() -> None:
    acceptor = an_acceptor()

    assert acceptor.receive(a_frame(Hello, versions=(2, 9)), 0.0) == [
        Refuse(Code.NO_COMMON_VERSION)
    ]


def test_a_missing_hello_is_refused_by_its_deadline() -> None:
    assert an_acceptor().receive(TimedOut(), 5.0) == [Refuse(Code.NO_HELLO)]


def test_a_missing_challenge_or_answer_ends_the_dial() -> None:
    waiting = a_dialler()
    waiting.receive(a_frame(Challenge), 0.0)

    assert a_dialler().receive(TimedOut(), 5.0) == [Refuse(Code.NO_CHALLENGE)]
    (refuse,) = waiting.receive(TimedOut(), 5.0)
    assert isinstance(refuse, Refuse)
    assert refuse.code is Code.HANDSHAKE_TIMEOUT


def test_a_key_other_than_the_intended_peers_is_never_answered() -> None:
    dialler = evolve(a_dialler(to=2, knows=(2, 3)), acceptor_key=a_member(3).key)

    assert dialler.receive(a_frame(Challenge), 0.0) == [Refuse(Code.PIN_MISMATCH)]


def test_a_seed_is_admitted_when_the_key_that_it_proved_is_known() -> None:
    dialler = evolve(a_dialler(), intent=Seed(("192.0.2.1", 2)))

    at_dialler, _ = talk(dialler, an_acceptor())

    (admit,) = at_dialler
    assert isinstance(admit, Admit)
    assert admit.member.name == "node-2"


def test_a_seed_with_an_unknown_key_gets_no_hello() -> None:
    dialler = evolve(a_dialler(knows=(5,)), intent=Seed(("192.0.2.1", 2)))

    assert dialler.receive(a_frame(Challenge), 0.0) == [Refuse(Code.UNKNOWN_KEY)]


def test_a_peers_older_process_is_refused_at_both_ends() -> None:
    acceptor = an_acceptor()
    talk(a_dialler(boot_seq=200, instance=Instance(b"n" * 16)), acceptor)
    again = evolve(an_acceptor(), standings=acceptor.standings)

    assert refusals(a_dialler(boot_seq=199), again) == (Code.STALE_INSTANCE, Code.STALE_INSTANCE)


def test_a_second_process_with_the_same_key_is_refused_at_both_ends() -> None:
    acceptor = an_acceptor()
    talk(a_dialler(), acceptor)
    again = evolve(an_acceptor(), standings=acceptor.standings)
    twin = a_dialler(instance=Instance(b"t" * 16))

    assert refusals(twin, again) == (Code.DUPLICATE_IDENTITY, Code.DUPLICATE_IDENTITY)


def test_a_dialler_refuses_an_older_process_of_its_peer_too() -> None:
    dialler = a_dialler()
    talk(dialler, an_acceptor(boot_seq=200, instance=Instance(b"n" * 16)))
    again = evolve(a_dialler(), standings=dialler.standings)

    (refuse,), _ = talk(again, an_acceptor(boot_seq=100))

    assert refuse == Refuse(Code.STALE_INSTANCE)


def test_a_restarted_peer_displaces_its_old_connection() -> None:
    acceptor = an_acceptor()
    _, (first, _) = talk(a_dialler(), acceptor)
    again = evolve(an_acceptor(), standings=acceptor.standings)

    _, (second, _) = talk(a_dialler(boot_seq=101, instance=Instance(b"n" * 16)), again)

    assert isinstance(first, Admit)
    assert isinstance(second, Admit)
    assert second.judgement.verdict is Verdict.REPLACE
    assert second.judgement.displaced is first.claim


def test_an_unauthenticated_hello_displaces_nobody() -> None:
    acceptor = an_acceptor()
    talk(a_dialler(), acceptor)
    standing = acceptor.standings.of(a_member(1).node_id)
    again = evolve(an_acceptor(), standings=acceptor.standings)

    talk(a_dialler(boot_seq=999, sign=lambda _message: bytes(64)), again)

    assert acceptor.standings.of(a_member(1).node_id) is standing


def test_the_lower_node_id_refuses_a_dial_that_came_after_its_own_was_answered() -> None:
    low, high = sorted((1, 2), key=lambda seed: a_member(seed).node_id)
    standings = Standings(a_member(low).node_id)
    own = evolve(a_dialler(low, to=high, knows=(high,)), standings=standings)
    talk(own, an_acceptor(high, knows=(low,)))
    acceptor = evolve(an_acceptor(low, knows=(high,)), standings=standings)

    assert refusals(a_dialler(high, to=low, knows=(low,)), acceptor) == (
        Code.DUPLICATE,
        Code.DUPLICATE,
    )


@pytest.mark.parametrize("frame", some_frames(), ids=lambda frame: type(frame).__name__)
def test_what_is_not_in_the_table_is_refused_in_every_state(frame: Frame) -> None:
    for state in State:
        for end, table in ((an_acceptor(), ACCEPTOR), (a_dialler(), DIALLER)):
            if (state, type(frame)) not in table:
                end.state = state
                (refuse,) = end.receive(frame, 0.0)
                assert isinstance(refuse, Refuse)
                assert refuse.code is Code.UNEXPECTED_FRAME


def test_no_path_admits_a_dialler_without_a_judged_hello() -> None:
    admitting = {event for (state, event) in ACCEPTOR if state is State.AWAITING_HELLO}

    assert admitting == {Hello, TimedOut}
    assert all(state is State.AWAITING_HELLO for state, _ in ACCEPTOR)


def test_a_hello_after_admission_is_refused() -> None:
    acceptor = an_acceptor()
    dialler = a_dialler()
    talk(dialler, acceptor)

    assert [type(effect) for effect in acceptor.receive(a_frame(Hello), 1.0)] == [Refuse]
    assert [type(effect) for effect in dialler.receive(a_frame(HelloOk), 1.0)] == [Refuse]


def test_an_answer_with_a_version_never_offered_is_refused() -> None:
    dialler = a_dialler()
    dialler.receive(a_frame(Challenge), 0.0)

    assert dialler.receive(a_frame(HelloOk, version=2), 0.0) == [Refuse(Code.NO_COMMON_VERSION)]


def test_a_code_of_a_newer_release_is_still_a_refusal() -> None:
    dialler = a_dialler()
    dialler.receive(a_frame(Challenge), 0.0)

    (refuse,) = dialler.receive(Refused(code=60_000, reason="quorum"), 0.0)

    assert refuse == Refuse(Code.INTERNAL_ERROR, "quorum", by_peer=True)


@pytest.mark.parametrize(
    ("theirs", "ours", "common"),
    [((1, 1), (1, 1), 1), ((1, 5), (3, 9), 5), ((4, 9), (1, 3), None), ((1, 2), (3, 4), None)],
)
def test_the_highest_common_version_is_chosen(
    theirs: tuple[int, int], ours: tuple[int, int], common: int | None
) -> None:
    assert common_version(theirs, ours) == common


def test_bye_is_no_part_of_admission() -> None:
    assert an_acceptor().receive(Bye(code=24), 0.0)[0] == Refuse(
        Code.UNEXPECTED_FRAME, "Bye while awaiting_hello"
    )
