"""The dialler's proof stands for one key, one acceptor and one challenge only."""

from attrs import evolve

from fabric.core.frames import Hello
from fabric.core.identity import FabricId
from fabric.core.proof import hello_statement, proves
from fabric.testing.factories import FABRIC_ID, a_frame, a_key

ACCEPTOR = bytes(a_key(2).verify_key)
NONCE = b"c" * 32


def a_signed_hello() -> Hello:
    key = a_key(1)
    statement = hello_statement(
        fabric_id=FabricId(FABRIC_ID),
        dialler_key=bytes(key.verify_key),
        acceptor_key=ACCEPTOR,
        acceptor_nonce=NONCE,
        dialler_nonce=b"n" * 32,
    )
    return a_frame(
        Hello, key=bytes(key.verify_key), nonce=b"n" * 32, signature=key.sign(statement).signature
    )


def test_the_statement_is_frozen() -> None:
    statement = hello_statement(
        fabric_id=FabricId(b"F" * 16),
        dialler_key=b"D" * 32,
        acceptor_key=b"A" * 32,
        acceptor_nonce=b"a" * 32,
        dialler_nonce=b"d" * 32,
    )

    assert (
        statement
        == b"fabric/1 hello\0" + b"F" * 16 + b"D" * 32 + b"A" * 32 + b"a" * 32 + b"d" * 32
    )


def test_an_honest_proof_holds() -> None:
    assert proves(a_signed_hello(), acceptor_key=ACCEPTOR, acceptor_nonce=NONCE)


def test_a_proof_forwarded_to_another_acceptor_does_not_hold() -> None:
    other = bytes(a_key(3).verify_key)

    assert not proves(a_signed_hello(), acceptor_key=other, acceptor_nonce=NONCE)


def test_a_proof_replayed_against_another_challenge_does_not_hold() -> None:
    assert not proves(a_signed_hello(), acceptor_key=ACCEPTOR, acceptor_nonce=b"x" * 32)


def test_a_proof_holds_for_no_other_key_fabric_or_nonce() -> None:
    hello = a_signed_hello()

    for change in (
        {"key": bytes(a_key(4).verify_key)},
        {"fabric_id": b"G" * 16},
        {"nonce": b"m" * 32},
        {"signature": bytes(64)},
    ):
        assert not proves(evolve(hello, **change), acceptor_key=ACCEPTOR, acceptor_nonce=NONCE)
