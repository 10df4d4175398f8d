"""Trust: which signatures let a record in, which keep it out, and whose fault that is."""

import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core import trust as trust_module
from fabric.core.clocks import Times
from fabric.core.envelope import Envelope, Signature, pae, sign_payload
from fabric.core.kinds import KINDS
from fabric.core.records import (
    NODE,
    KeyState,
    Opaque,
    Role,
    RoleKeys,
    RootKey,
    key_id_of,
)
from fabric.core.signers import ACTIVE, is_enough
from fabric.core.trust import Accepted, Rejected, Standing, Trust
from fabric.core.update_records import HeadState
from fabric.testing.records import (
    BORN,
    AFabric,
    a_key_of,
    id_of,
    later_payloads,
    payload_with,
    public,
    role_keys,
    signed,
    some_bare_records,
)

FABRIC = AFabric()
NOW = Times(BORN)
JUNK = b"j" * 64
NODE_KEYS = {FABRIC.node_id(name): public(FABRIC.node_key(name)) for name in ("home-1", "away-1")}
DIRECTORY = FABRIC.keys(Role.DIRECTORY)
INTENT = FABRIC.keys(Role.INTENT)
HOME_KEY, AWAY_KEY = FABRIC.node_key("home-1"), FABRIC.node_key("away-1")

SMALL_ORDER = b"\1" + b"\0" * 31


def a_trust(fabric=FABRIC, **root):
    return Trust(fabric.id, fabric.signed(fabric.root(**root)))


def with_states(states, root=None):
    """Return the keys of a root in which each key of *states* is in its state."""
    root = root or FABRIC.root()
    changed = {id_of(key): RootKey(key=public(key), state=state) for key, state in states.items()}
    return {**root.keys, **changed}


def judged(envelope, trust=None, *, node_keys=NODE_KEYS, now=NOW, **how):
    return (trust or a_trust()).judge(envelope, now, key_of=node_keys.get, **how)


def refused(envelope, trust=None, **how):
    """Return the code and whether it is an attack, as one thing to compare."""
    verdict = judged(envelope, trust, **how)
    assert isinstance(verdict, Rejected), verdict
    return verdict.code, verdict.is_attack


def with_junk(envelope, *key_ids):
    junk = tuple(Signature(each, JUNK) for each in key_ids)
    return Envelope(envelope.payload, (*junk, *envelope.signatures), envelope.payload_type)


# -- what counts --
@pytest.mark.parametrize("record", some_bare_records(FABRIC), ids=lambda each: each.KIND)
def test_every_kind_counts_when_its_author_signed_it(record):
    assert judged(FABRIC.signed(record)) == Accepted(
        record, Standing.LIVE, BORN if record.AUTHOR in (Role.ROOT, Role.DIRECTORY) else None
    )


def test_what_is_signed_well_enough_counts_whatever_else_is_signed_under_it():
    node, stranger = FABRIC.node("home-1"), a_key_of("stranger")

    everything = with_junk(signed(node, DIRECTORY[0], stranger, HOME_KEY), id_of(DIRECTORY[1]))

    assert judged(everything) == Accepted(node, Standing.LIVE, BORN)


@pytest.mark.parametrize("state", [HeadState.PAUSE, HeadState.ABORT])
def test_recovery_may_pause_and_abort_an_update(state):
    head = FABRIC.head(state=state)

    assert isinstance(judged(signed(head, *FABRIC.enough(Role.RECOVERY))), Accepted)
    assert isinstance(judged(signed(head, *FABRIC.enough(Role.ORCHESTRATOR))), Accepted)


def test_recovery_may_not_run_an_update():
    head = FABRIC.head(state=HeadState.RUN)

    assert refused(signed(head, *FABRIC.keys(Role.RECOVERY))) == (Code.WRONG_AUTHOR, False)


def test_one_of_the_recovery_keys_alone_stops_nothing():
    head = FABRIC.head(state=HeadState.ABORT)

    one = signed(head, FABRIC.keys(Role.RECOVERY)[0])

    assert refused(one) == (Code.THRESHOLD_NOT_MET, False)


# -- thresholds --
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*INTENT, DIRECTORY[0], HOME_KEY]), st.booleans()), min_size=1
    ).filter(lambda each: len(each) <= 16)
)
def test_a_threshold_is_met_exactly_when_enough_distinct_keys_of_the_role_signed(signers):
    intent = FABRIC.intent()
    each = [signed(intent, key).signatures[0] for key, _ in signers]
    values = [
        made if is_good else Signature(made.key_id, JUNK)
        for made, (_, is_good) in zip(each, signers, strict=True)
    ]
    first = {}  # of several signatures of one key the first counts
    for key, is_good in signers:
        first.setdefault(id_of(key), is_good and key in INTENT)

    verdict = judged(Envelope(signed(intent, INTENT[0]).payload, tuple(values)))

    assert isinstance(verdict, Accepted) == (sum(first.values()) >= 2)


def test_one_key_that_signs_twice_counts_once():
    envelope = signed(FABRIC.intent(), INTENT[0])
    twice = Envelope(envelope.payload, envelope.signatures * 2)

    assert refused(twice) == (Code.THRESHOLD_NOT_MET, False)


def test_two_key_ids_of_one_key_count_once():
    root = FABRIC.root()
    one, two = (id_of(key) for key in INTENT[:2])
    role = RoleKeys(keys=tuple(sorted((one, two))), threshold=2)
    object.__setattr__(root, "keys", {one: root.keys[one], two: root.keys[one]})

    assert not is_enough({one, two}, role, root, ACTIVE)


def test_keys_of_another_role_do_not_help_a_threshold():
    assert refused(signed(FABRIC.intent(), INTENT[0], *DIRECTORY)) == (
        Code.THRESHOLD_NOT_MET,
        False,
    )


def test_a_small_order_key_that_fits_any_message_has_signed_nothing():
    subject, any_message = key_id_of(SMALL_ORDER), SMALL_ORDER + b"\0" * 32
    payload = signed(evolve(FABRIC.offers("home-1"), subject=subject), HOME_KEY).payload
    envelope = Envelope(payload, (Signature(subject, any_message),))

    message = pae(envelope.payload_type, payload)
    Ed25519PublicKey.from_public_bytes(SMALL_ORDER).verify(any_message, message)  # OpenSSL does
    assert refused(envelope, node_keys={subject: SMALL_ORDER}) == (Code.FORGED, True)


# -- whose fault --
CONTROL = [each for each in some_bare_records(FABRIC) if each.AUTHOR != NODE]
OWN = [each for each in some_bare_records(FABRIC) if each.AUTHOR == NODE]


def test_every_kind_is_either_the_fabrics_or_a_nodes():
    assert {each.KIND for each in CONTROL + OWN} == set(KINDS)
    assert CONTROL
    assert OWN


@pytest.mark.parametrize("record", CONTROL, ids=lambda each: each.KIND)
def test_a_node_must_not_author_authority(record):
    verdict = judged(signed(record, HOME_KEY))

    assert (verdict.code, verdict.is_attack) == (Code.SELF_AUTHORED, True)
    assert verdict.is_alarming
    assert id_of(HOME_KEY) in verdict.detail


def test_a_node_may_not_author_even_its_own_node_record():
    mine = FABRIC.node("home-1", roles=("ingress",))

    assert refused(signed(mine, HOME_KEY)) == (Code.SELF_AUTHORED, True)


def test_a_kind_to_come_is_no_nodes_to_author_unless_it_is_its_own_word():
    payload = later_payloads(FABRIC)["a kind of the directory"]

    assert refused(signed(payload, HOME_KEY)) == (Code.SELF_AUTHORED, True)


@pytest.mark.parametrize("record", OWN, ids=lambda each: each.KIND)
@pytest.mark.parametrize("author", [AWAY_KEY, *DIRECTORY], ids=["node", "key 0", "key 1"])
def test_nobody_speaks_for_another_node(record, author):
    assert refused(signed(record, author)) == (Code.WRONG_AUTHOR, False)


@pytest.mark.parametrize(
    "record", [FABRIC.node("home-1"), FABRIC.offers("home-1")], ids=["node", "offers"]
)
def test_an_unknown_key_is_no_attack(record):
    assert refused(signed(record, a_key_of("stranger"))) == (Code.UNKNOWN_SIGNER, False)


@pytest.mark.parametrize(
    ("record", "key"),
    [(FABRIC.node("home-1"), DIRECTORY[0]), (FABRIC.offers("home-1"), HOME_KEY)],
    ids=["node", "offers"],
)
def test_a_bad_signature_under_a_known_key_is_forged(record, key):
    envelope = signed(record, key)
    forged = Envelope(envelope.payload, (Signature(id_of(key), JUNK),))

    assert refused(forged) == (Code.FORGED, True)


def test_a_bad_signature_of_its_subject_is_forged_whoever_else_signed_a_nodes_word():
    propped = with_junk(signed(FABRIC.offers("home-1"), AWAY_KEY), id_of(HOME_KEY))

    assert refused(propped) == (Code.FORGED, True)


def test_a_payload_that_was_altered_is_forged():
    envelope = signed(FABRIC.node("home-1"), DIRECTORY[0])
    altered = Envelope(envelope.payload.replace(b"home", b"away"), envelope.signatures)

    assert refused(altered) == (Code.FORGED, True)


def test_nothing_is_parsed_before_somebody_known_has_signed_it(monkeypatch):
    parsed = []
    trust = a_trust()
    monkeypatch.setattr(trust_module, "decode_record", parsed.append)

    for key_id in (id_of(DIRECTORY[0]), id_of(a_key_of("stranger"))):
        judged(Envelope(b"{" * 60_000, (Signature(key_id, JUNK),)), trust)

    assert parsed == []


def test_what_a_known_key_signed_and_nobody_can_read_is_refused_with_the_parsers_reason():
    assert refused(signed(b"[]", HOME_KEY)) == (Code.RECORD_MALFORMED, False)
    assert refused(signed(b'{ "kind":"node"}', HOME_KEY)) == (Code.RECORD_NOT_CANONICAL, False)


def test_another_payload_type_is_refused_even_where_its_signature_is_good():
    payload = signed(FABRIC.node("home-1"), DIRECTORY[0]).payload
    other = sign_payload(
        payload, public(DIRECTORY[0]), lambda each: DIRECTORY[0].sign(each).signature, "text/plain"
    )

    assert refused(other) == (Code.RECORD_MALFORMED, False)


def test_a_good_record_under_another_payload_type_is_not_taken_from_memory():
    trust, good = a_trust(), signed(FABRIC.node("home-1"), DIRECTORY[0])
    assert isinstance(judged(good, trust), Accepted)

    other = Envelope(good.payload, good.signatures, "text/plain")

    assert refused(other, trust) == (Code.RECORD_MALFORMED, False)


def test_a_record_of_another_fabric_is_refused_though_its_keys_are_the_same():
    other = AFabric(b"o" * 16)

    assert refused(other.signed(other.node("home-1"))) == (Code.RECORD_OF_ANOTHER_FABRIC, False)


# -- an honest peer knows other keys than this node: it must not be called a forger --
def test_a_peer_that_does_not_know_a_key_is_no_forger_for_junk_under_it():
    offers = signed(FABRIC.offers("home-1", "demo"), HOME_KEY)
    poisoned = with_junk(offers, id_of(AWAY_KEY))

    assert isinstance(judged(poisoned, node_keys={id_of(HOME_KEY): public(HOME_KEY)}), Accepted)
    assert isinstance(judged(poisoned), Accepted)
    assert refused(poisoned, node_keys={id_of(AWAY_KEY): public(AWAY_KEY)}) == (
        Code.UNKNOWN_SIGNER,
        False,
    )


def test_a_peer_with_an_older_root_is_no_forger_for_junk_under_a_newer_key():
    poisoned = with_junk(signed(FABRIC.node("home-1"), DIRECTORY[0]), id_of(DIRECTORY[1]))
    newer = a_trust(keys=with_states({DIRECTORY[0]: KeyState.COMPROMISED}))

    assert refused(poisoned, newer) == (Code.KEY_COMPROMISED, False)


def test_a_peer_with_a_newer_root_is_no_accomplice_of_a_node_that_signed_too():
    newer_key = a_key_of("directory/newer")

    both = signed(FABRIC.node("home-1"), newer_key, HOME_KEY)

    assert refused(both) == (Code.UNKNOWN_SIGNER, False)


KEYS = st.sampled_from([*INTENT, *DIRECTORY, HOME_KEY, AWAY_KEY, a_key_of("stranger")])
RECORDS = st.sampled_from([FABRIC.node("home-1"), FABRIC.offers("home-1"), FABRIC.intent()])


@settings(max_examples=120, deadline=None)
@given(
    RECORDS,
    st.lists(
        st.tuples(KEYS, st.booleans()), min_size=1, max_size=4, unique_by=lambda each: each[0]
    ),
    st.sets(st.sampled_from(sorted(NODE_KEYS))),
    st.dictionaries(
        KEYS.filter(lambda each: each in INTENT + DIRECTORY), st.sampled_from(KeyState)
    ),
)
def test_what_one_honest_node_takes_no_other_calls_an_attack(record, signers, known, states):
    payload = FABRIC.signed(record).payload
    signatures = [
        signed(payload, key).signatures[0] if is_good else Signature(id_of(key), JUNK)
        for key, is_good in signers
    ]
    envelope = Envelope(payload, tuple(signatures))
    mine = judged(envelope)
    theirs = judged(
        envelope,
        a_trust(keys=with_states(states)),
        node_keys={each: NODE_KEYS[each] for each in known},
    )

    if isinstance(mine, Accepted):
        assert isinstance(theirs, Accepted) or not theirs.is_attack
    if isinstance(theirs, Accepted):
        assert isinstance(mine, Accepted) or not mine.is_attack


# -- a node's own word needs its node record --
def test_a_nodes_word_waits_for_its_node_record_and_counts_after():
    trust, offers = a_trust(), FABRIC.signed(FABRIC.offers("home-1", "demo"))

    assert refused(offers, trust, node_keys={}) == (Code.UNKNOWN_SIGNER, False)
    assert isinstance(judged(offers, trust), Accepted)


def test_a_nodes_word_counts_no_more_when_its_node_record_has_gone():
    trust, offers = a_trust(), FABRIC.signed(FABRIC.offers("home-1", "demo"))
    assert isinstance(judged(offers, trust), Accepted)

    assert refused(offers, trust, node_keys={}) == (Code.UNKNOWN_SIGNER, False)


def test_a_key_of_the_root_makes_nobody_a_node():
    directory = id_of(DIRECTORY[0])
    offers = evolve(FABRIC.offers("home-1", "demo"), subject=directory)

    assert refused(signed(offers, DIRECTORY[0])) == (Code.UNKNOWN_SIGNER, False)


# -- retired and compromised keys --
RETIRED = with_states({DIRECTORY[0]: KeyState.RETIRED})
COMPROMISED = with_states({DIRECTORY[0]: KeyState.COMPROMISED})


def test_nothing_new_is_taken_from_a_retired_key():
    by_retired = signed(FABRIC.node("home-1"), DIRECTORY[0])

    assert refused(by_retired, a_trust(keys=RETIRED)) == (Code.KEY_RETIRED, False)


def test_what_a_retired_key_signed_stays_where_it_is_held():
    node = FABRIC.node("home-1")
    by_retired, trust = signed(node, DIRECTORY[0]), a_trust(keys=RETIRED)

    assert judged(by_retired, trust, held=True) == Accepted(node, Standing.LIVE, BORN)
    assert trust.still_good(by_retired, node)


def test_having_held_a_record_does_not_let_it_in_as_new():
    by_retired, trust = signed(FABRIC.node("home-1"), DIRECTORY[0]), a_trust(keys=RETIRED)
    judged(by_retired, trust, held=True)

    assert refused(by_retired, trust) == (Code.KEY_RETIRED, False)


def test_what_is_held_of_a_retired_key_goes_when_its_time_is_over():
    node = FABRIC.node("home-1")
    later = Times(node.expires_at + 61 * 86_400)  # thirty days of grace, and thirty more

    assert refused(signed(node, DIRECTORY[0]), a_trust(keys=RETIRED), held=True, now=later) == (
        Code.RECORD_TOO_OLD,
        False,
    )


def test_nothing_of_a_compromised_key_counts_not_even_what_is_held():
    node, trust = FABRIC.node("home-1"), a_trust(keys=COMPROMISED)
    by_compromised = signed(node, DIRECTORY[0])

    assert refused(by_compromised, trust) == (Code.KEY_COMPROMISED, False)
    assert refused(by_compromised, trust, held=True) == (Code.KEY_COMPROMISED, False)
    assert not trust.still_good(by_compromised, node)


def test_a_record_that_a_current_key_signed_too_outlives_a_compromised_one():
    node, trust = FABRIC.node("home-1"), a_trust(keys=COMPROMISED)

    assert isinstance(judged(signed(node, *DIRECTORY), trust), Accepted)
    assert trust.still_good(signed(node, *DIRECTORY), node)


def test_junk_under_a_current_key_keeps_nothing_of_a_compromised_one():
    node, trust = FABRIC.node("home-1"), a_trust(keys=COMPROMISED)
    propped = with_junk(signed(node, DIRECTORY[0]), id_of(DIRECTORY[1]))

    assert not trust.still_good(propped, node)


def test_a_nodes_word_depends_on_no_key_of_the_root():
    offers = FABRIC.offers("home-1")

    assert a_trust(keys=COMPROMISED).still_good(FABRIC.signed(offers), offers)


def test_a_node_key_that_the_root_calls_compromised_speaks_for_nobody():
    home = with_states({HOME_KEY: KeyState.COMPROMISED})
    offers, trust = FABRIC.offers("home-1"), a_trust(keys=home)

    assert refused(FABRIC.signed(offers), trust) == (Code.KEY_COMPROMISED, False)
    assert not trust.still_good(FABRIC.signed(offers), offers)


def test_a_threshold_that_takes_a_retired_key_is_met_only_for_what_is_held():
    retired = a_trust(keys=with_states({INTENT[0]: KeyState.RETIRED}))
    by_two = signed(FABRIC.intent(), *INTENT[:2])

    assert refused(by_two, retired) == (Code.KEY_RETIRED, False)
    assert isinstance(judged(by_two, retired, held=True), Accepted)
    assert isinstance(judged(signed(FABRIC.intent(), *INTENT), retired), Accepted)


def test_a_key_that_left_its_role_signs_nothing_more_of_it():
    root = FABRIC.root()
    roles = {**root.roles, Role.DIRECTORY.value: role_keys(DIRECTORY[1:])}
    node, trust = FABRIC.node("home-1"), a_trust(roles=roles)

    assert refused(signed(node, DIRECTORY[0]), trust) == (Code.WRONG_AUTHOR, False)
    assert not trust.still_good(signed(node, DIRECTORY[0]), node)


def test_a_role_that_the_root_does_not_have_signs_nothing():
    root = FABRIC.root()
    roles = {name: each for name, each in root.roles.items() if name != Role.INTENT}

    assert refused(signed(FABRIC.intent(), *INTENT), a_trust(roles=roles)) == (
        Code.WRONG_AUTHOR,
        False,
    )


# -- epochs --
@pytest.mark.parametrize(("epoch", "is_open"), [(1, False), (2, True), (3, True), (4, False)])
def test_nothing_new_counts_outside_the_epochs_of_the_root(epoch, is_open):
    trust = a_trust(first_epoch=2, last_epoch=3)
    envelope = FABRIC.signed(FABRIC.node("home-1", epoch=epoch))

    if is_open:
        assert isinstance(judged(envelope, trust), Accepted)
    else:
        assert refused(envelope, trust) == (Code.EPOCH_NOT_ALLOWED, False)


def test_what_is_held_of_an_epoch_that_was_closed_stays_until_it_is_replaced():
    trust, node = a_trust(first_epoch=2, last_epoch=3), FABRIC.node("home-1", epoch=1)

    assert trust.still_good(FABRIC.signed(node), node)
    assert isinstance(judged(FABRIC.signed(node), trust, held=True), Accepted)


def test_a_sequence_has_no_epoch():
    trust = a_trust(first_epoch=2, last_epoch=3)

    assert isinstance(judged(FABRIC.signed(FABRIC.offers("home-1")), trust), Accepted)


# -- records of later releases --
@pytest.mark.parametrize("name", sorted(later_payloads(FABRIC)))
def test_a_record_of_a_later_release_counts_by_the_same_authors(name):
    payload = later_payloads(FABRIC)[name]
    by_directory, by_node = (judged(signed(payload, key)) for key in (DIRECTORY[0], HOME_KEY))

    good, bad = (
        (by_directory, by_node) if b'"sequence"' not in payload else (by_node, by_directory)
    )
    assert isinstance(good, Accepted)
    assert isinstance(bad, Rejected)


def test_an_opaque_record_of_a_known_kind_still_needs_the_author_of_that_kind():
    later = payload_with(FABRIC.intent(), v=2)

    assert refused(signed(later, DIRECTORY[0])) == (Code.WRONG_AUTHOR, False)
    assert isinstance(judged(signed(later, *INTENT)).record, Opaque)


def test_an_opaque_record_is_bound_to_the_epochs_and_to_the_fabric_too():
    trust = a_trust(first_epoch=2, last_epoch=3)
    later = payload_with(FABRIC.policy(epoch=1), kind="weather", sky="clear")
    elsewhere = payload_with(AFabric(b"o" * 16).policy(), kind="weather", sky="clear")

    assert refused(signed(later, DIRECTORY[0]), trust) == (Code.EPOCH_NOT_ALLOWED, False)
    assert refused(signed(elsewhere, DIRECTORY[0])) == (Code.RECORD_OF_ANOTHER_FABRIC, False)


def test_a_kind_to_come_that_is_ordered_by_version_has_no_epoch():
    trust = a_trust(first_epoch=2, last_epoch=3)
    later = later_payloads(FABRIC)["a kind with a version"]

    assert isinstance(judged(signed(later, DIRECTORY[0]), trust), Accepted)
