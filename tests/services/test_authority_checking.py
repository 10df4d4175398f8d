"""Whether a signed file counts: every reason why one does not."""

from __future__ import annotations

import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core.envelope import Envelope, Signature
from fabric.core.records import DAY, KeyState, Role, RootKey
from fabric.testing.records import BORN, AFabric, a_key_of, id_of, payload_with, public, signed
from services.authority.checking import Checker

NOW = BORN + DAY


@pytest.fixture
def fabric():
    return AFabric()


@pytest.fixture
def checker(fabric):
    made = Checker()
    assert code_of(made, fabric.signed(fabric.root())) is None
    return made


def code_of(checker, envelope, now=NOW):
    return checker.check(envelope, now=now).code


def marked(root, key, state):
    """The version after *root*, in which *key* is *state*."""
    keys = dict(root.keys) | {id_of(key): RootKey(key=public(key), state=state)}
    return evolve(root, version=root.version + 1, keys=keys)


def test_what_its_author_signed_is_good(fabric, checker):
    node = fabric.node("home-1")
    for record in (
        node,
        fabric.service("web"),
        fabric.policy(),
        fabric.control_endpoints(),
        fabric.intent(),
        fabric.endpoint("home-1", "192.0.2.1:4433"),
    ):
        assert code_of(checker, fabric.signed(record)) is None


def test_bytes_that_are_no_record_are_told_apart(fabric, checker):
    key = fabric.keys(Role.DIRECTORY)[0]
    payload = fabric.signed(fabric.service("web")).payload
    assert code_of(checker, signed(b"{}", key)) is Code.RECORD_MALFORMED
    assert code_of(checker, signed(payload + b" ", key)) is Code.RECORD_NOT_CANONICAL


def test_a_payload_of_another_type_is_no_record(fabric, checker):
    made = fabric.signed(fabric.service("web"))
    other = Envelope(made.payload, made.signatures, "application/json")
    assert code_of(checker, other) is Code.RECORD_MALFORMED


def test_what_was_signed_for_another_fabric_is_refused(checker):
    other = AFabric(b"x" * 16)
    assert code_of(checker, other.signed(other.service("web"))) is Code.RECORD_OF_ANOTHER_FABRIC


def test_a_signature_that_does_not_match_is_forged(fabric, checker):
    made = fabric.signed(fabric.service("web"))
    bad = Signature(made.signatures[0].key_id, bytes(64))
    assert code_of(checker, Envelope(made.payload, (bad,))) is Code.FORGED


def test_a_good_signature_beside_a_forged_one_does_not_help(fabric, checker):
    one, other = fabric.keys(Role.DIRECTORY)
    made = signed(fabric.service("web"), one)
    bad = Signature(id_of(other), bytes(64))
    assert code_of(checker, Envelope(made.payload, (*made.signatures, bad))) is Code.FORGED


def test_a_key_that_no_root_names_signs_nothing(fabric, checker):
    stranger = a_key_of("stranger")
    assert code_of(checker, signed(fabric.service("web"), stranger)) is Code.UNKNOWN_SIGNER


def test_an_unknown_key_beside_a_known_one_does_no_harm(fabric, checker):
    made = signed(fabric.service("web"), fabric.keys(Role.DIRECTORY)[0], a_key_of("stranger"))
    assert code_of(checker, made) is None


def test_a_key_of_another_role_signs_nothing_here(fabric, checker):
    made = signed(fabric.service("web"), *fabric.keys(Role.ROOT))
    assert code_of(checker, made) is Code.WRONG_AUTHOR


def test_fewer_keys_than_the_threshold_are_too_few(fabric, checker):
    made = signed(fabric.intent(), fabric.keys(Role.INTENT)[0])
    assert code_of(checker, made) is Code.THRESHOLD_NOT_MET


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (KeyState.RETIRED, Code.KEY_RETIRED),
        (KeyState.COMPROMISED, Code.KEY_COMPROMISED),
    ],
)
def test_a_key_that_acts_no_more_signs_nothing_new(fabric, checker, state, code):
    old, new = fabric.keys(Role.DIRECTORY)
    assert code_of(checker, fabric.signed(marked(fabric.root(), old, state))) is None
    assert code_of(checker, signed(fabric.service("web"), old)) is code
    assert code_of(checker, signed(fabric.service("web"), old, new)) is None


def test_an_epoch_that_is_not_open_is_refused(fabric, checker):
    made = fabric.signed(fabric.service("web", epoch=1))
    assert code_of(checker, made) is Code.EPOCH_NOT_ALLOWED


def test_dates_that_have_not_come_or_are_gone_are_refused(fabric, checker):
    made = fabric.signed(fabric.service("web"))
    assert code_of(checker, made, BORN - 1) is Code.NOT_YET_VALID
    assert code_of(checker, made, BORN + 90 * DAY) is Code.RECORD_EXPIRED
    assert code_of(checker, made, BORN + 90 * DAY - 1) is None


@pytest.mark.parametrize("fields", [{"kind": "weather"}, {"v": 2}, {"crit": ["tomorrow"]}])
def test_what_only_a_later_release_understands_is_said_to_be_that(fabric, checker, fields):
    payload = payload_with(fabric.service("web"), **fields)
    made = signed(payload, fabric.keys(Role.DIRECTORY)[0])
    assert code_of(checker, made) is Code.NEEDS_NEWER_RELEASE


# -- a node's own word --
def test_a_nodes_own_word_is_checked_with_its_record(fabric, checker):
    word = fabric.signed(fabric.offers("home-1", "web"))
    assert code_of(checker, word) is Code.UNKNOWN_SIGNER
    assert code_of(checker, fabric.signed(fabric.node("home-1"))) is None
    assert code_of(checker, word) is None


def test_a_nodes_own_word_by_another_is_not_its_own(fabric, checker):
    code_of(checker, fabric.signed(fabric.node("home-1")))
    word = fabric.offers("home-1", "web")
    assert code_of(checker, signed(word, fabric.node_key("usa-1"))) is Code.WRONG_AUTHOR
    bad = Signature(id_of(fabric.node_key("home-1")), bytes(64))
    assert code_of(checker, Envelope(fabric.signed(word).payload, (bad,))) is Code.FORGED


def test_a_record_that_is_not_good_vouches_for_no_node(fabric, checker):
    code_of(checker, signed(fabric.node("home-1"), fabric.node_key("home-1")))
    word = fabric.signed(fabric.offers("home-1", "web"))
    assert code_of(checker, word) is Code.UNKNOWN_SIGNER


# -- trust roots --
def test_without_a_root_nothing_is_known(fabric):
    assert code_of(Checker(), fabric.signed(fabric.service("web"))) is Code.UNKNOWN_SIGNER


def test_the_first_root_has_to_be_signed_by_its_own_threshold(fabric):
    made = signed(fabric.root(), fabric.keys(Role.ROOT)[0])
    assert code_of(Checker(), made) is Code.THRESHOLD_NOT_MET


def test_a_root_is_followed_by_the_next_and_by_no_other(fabric, checker):
    second = evolve(fabric.root(), version=2)
    third = fabric.signed(evolve(second, version=3))
    assert code_of(checker, third) is Code.ROOT_NOT_CONSECUTIVE
    assert code_of(checker, fabric.signed(second)) is None
    assert code_of(checker, third) is None


def test_a_root_with_too_few_signatures_is_not_gone_by(fabric, checker):
    second = evolve(fabric.root(), version=2, last_epoch=1)
    made = signed(second, fabric.keys(Role.ROOT)[0])
    assert code_of(checker, made) is Code.THRESHOLD_NOT_MET
    assert len(checker.trust.chain) == 1


def test_two_roots_of_one_version_conflict(fabric, checker):
    assert code_of(checker, fabric.signed(fabric.root())) is None
    assert code_of(checker, fabric.signed(fabric.root(last_epoch=1))) is Code.ROOT_CONFLICT
