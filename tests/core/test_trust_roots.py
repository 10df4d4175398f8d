"""Trust roots: the pinned one, rotation by both thresholds, catching up, and rivals."""

import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core import roots as roots_module
from fabric.core.clocks import Times
from fabric.core.codec.envelopes import unpack_envelope
from fabric.core.envelope import Envelope, Signature
from fabric.core.records import DAY, KeyState, Opaque, Role, RootKey
from fabric.core.roots import MOST_ROOT_BYTES, MOST_ROOTS
from fabric.core.trust import Accepted, Adopted, Rejected, Standing, Trust
from fabric.errors import RecordError
from fabric.testing.records import (
    BORN,
    AFabric,
    a_key_of,
    id_of,
    payload_with,
    public,
    role_keys,
    signed,
)

FABRIC = AFabric()
NOW = Times(BORN)
OLD = FABRIC.keys(Role.ROOT)
NEW = tuple(a_key_of(f"root/new-{n}") for n in range(3))
DIRECTORY = FABRIC.keys(Role.DIRECTORY)
JUNK = b"j" * 64
FIRST = FABRIC.root()


def nobody(_node):
    return None


def a_trust(root=FIRST, *keys):
    return Trust(FABRIC.id, signed(root, *(keys or OLD[:2])))


def next_root(root, *, root_keys=None, threshold=2, states=(), **fields):
    """Return the version after *root*: maybe with other *root_keys*, or keys in other *states*."""
    changed = {id_of(key): RootKey(key=public(key)) for key in root_keys or ()}
    changed |= {
        id_of(key): RootKey(key=public(key), state=state) for key, state in dict(states).items()
    }
    roles = dict(root.roles)
    if root_keys:
        roles[Role.ROOT.value] = role_keys(root_keys, threshold)
    return evolve(
        root, version=root.version + 1, keys={**root.keys, **changed}, roles=roles, **fields
    )


def a_chain(length):
    """Return the envelopes of version 1 to *length*, each signed by the same two keys."""
    roots = [FIRST]
    while len(roots) < length:
        roots.append(next_root(roots[-1], last_epoch=len(roots)))
    return [signed(each, *OLD[:2]) for each in roots]


def codes(results):
    return [each.code if isinstance(each, Rejected) else each.root.version for each in results]


def adopted(trust, *envelopes):
    return codes(trust.adopt(envelopes, NOW))


def judged(trust, envelope):
    return trust.judge(envelope, NOW, key_of=nobody)


# -- the pinned root --
def pinning(envelope, fabric_id=FABRIC.id):
    with pytest.raises(RecordError) as raised:
        Trust(fabric_id, envelope)
    return raised.value.code


def test_the_pinned_root_is_in_use_and_begins_the_chain():
    pinned = signed(FIRST, *OLD[:2])
    trust = Trust(FABRIC.id, pinned)

    assert trust.root == FIRST
    assert trust.chain == (pinned,)


def test_the_pinned_root_may_be_of_any_version():
    assert a_trust(evolve(FIRST, version=7)).root.version == 7


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(OLD[:1], id="too few"),
        pytest.param(DIRECTORY, id="another role"),
        pytest.param(NEW, id="strangers"),
    ],
)
def test_a_pinned_root_that_its_own_keys_do_not_sign_is_refused(keys):
    assert pinning(signed(FIRST, *keys)) is Code.THRESHOLD_NOT_MET


def test_a_pinned_roots_compromised_keys_do_not_vouch_for_it():
    root = evolve(FIRST, keys=next_root(FIRST, states={OLD[0]: KeyState.COMPROMISED}).keys)

    assert pinning(signed(root, *OLD[:2])) is Code.THRESHOLD_NOT_MET
    assert a_trust(root, *OLD[1:]).root == root


def test_a_pinned_root_with_a_forged_signature_is_refused():
    envelope = signed(FIRST, *OLD[:2])
    forged = Envelope(
        envelope.payload, (envelope.signatures[0], evolve(envelope.signatures[1], value=JUNK))
    )

    assert pinning(forged) is Code.THRESHOLD_NOT_MET


def test_what_is_no_trust_root_of_this_fabric_cannot_be_pinned():
    assert pinning(FABRIC.signed(FABRIC.policy())) is Code.RECORD_MALFORMED
    assert pinning(signed(FIRST, *OLD), b"o" * 16) is Code.RECORD_OF_ANOTHER_FABRIC
    assert pinning(signed(b"[]", *OLD)) is Code.RECORD_MALFORMED


# -- one step --
@pytest.mark.parametrize(
    ("signers", "outcome"),
    [
        pytest.param(OLD[:2] + NEW[:2], 2, id="both thresholds"),
        pytest.param(OLD[:2] + NEW[:1], Code.THRESHOLD_NOT_MET, id="too few of the new"),
        pytest.param(OLD[:1] + NEW[:2], Code.THRESHOLD_NOT_MET, id="too few of the old"),
        pytest.param(OLD, Code.THRESHOLD_NOT_MET, id="the old alone"),
        pytest.param(NEW, Code.UNKNOWN_SIGNER, id="the new alone"),
        pytest.param(DIRECTORY, Code.WRONG_AUTHOR, id="another role"),
    ],
)
def test_a_successor_is_signed_by_the_thresholds_of_both_versions(signers, outcome):
    trust = a_trust()
    second = next_root(FIRST, root_keys=NEW)

    assert adopted(trust, signed(second, *signers)) == [outcome]
    assert trust.root.version == (2 if outcome == 2 else 1)


def test_what_the_new_version_asks_of_itself_it_has_to_meet():
    trust, second = a_trust(), next_root(FIRST, root_keys=OLD, threshold=3)

    assert adopted(trust, signed(second, *OLD[:2])) == [Code.THRESHOLD_NOT_MET]
    assert adopted(trust, signed(second, *OLD)) == [2]


def test_a_key_that_the_new_version_disowns_still_hands_over():
    trust = a_trust()
    second = next_root(
        FIRST, root_keys=NEW, states={OLD[0]: KeyState.COMPROMISED, OLD[1]: KeyState.RETIRED}
    )

    assert adopted(trust, signed(second, *OLD[:2], *NEW[:2])) == [2]


def test_a_retired_root_key_hands_over_nothing():
    root = evolve(FIRST, keys=next_root(FIRST, states={OLD[0]: KeyState.RETIRED}).keys)
    trust = a_trust(root, *OLD[1:])

    assert adopted(trust, signed(next_root(root), *OLD[:2])) == [Code.THRESHOLD_NOT_MET]
    assert adopted(trust, signed(next_root(root), *OLD[1:])) == [2]


def test_a_successor_of_another_fabric_is_none():
    other = next_root(AFabric(b"o" * 16).root())

    assert adopted(a_trust(), signed(other, *OLD)) == [Code.RECORD_OF_ANOTHER_FABRIC]


def test_what_is_no_trust_root_is_not_adopted():
    assert adopted(a_trust(), FABRIC.signed(FABRIC.policy())) == [Code.RECORD_MALFORMED]


def test_a_trust_root_of_a_later_release_is_kept_and_not_adopted():
    trust = a_trust()
    later = signed(payload_with(next_root(FIRST), v=2, keys=[]), *OLD[:2])

    assert isinstance(judged(trust, later).record, Opaque)
    assert adopted(trust, later) == [Code.NEEDS_NEWER_RELEASE]
    assert trust.root == FIRST


def test_judging_a_successor_puts_nothing_into_use():
    trust, second = a_trust(), next_root(FIRST)

    assert judged(trust, signed(second, *OLD)) == Accepted(second, Standing.LIVE, BORN)
    assert trust.root == FIRST
    assert adopted(trust, signed(second, *OLD)) == [2]


def test_dates_stop_no_root_and_an_expired_one_is_told_so():
    second = next_root(FIRST, issued_at=BORN + 100 * DAY, expires_at=BORN + 101 * DAY)
    results = a_trust().adopt([signed(second, *OLD)], Times(BORN + 200 * DAY))

    assert results == [Adopted(signed(second, *OLD), second, Standing.EXPIRED)]
    assert adopted(a_trust(), signed(second, *OLD)) == [2]


def test_a_new_root_makes_every_remembered_verdict_void():
    trust, node = a_trust(), FABRIC.node("home-1")
    by_first_key = signed(node, DIRECTORY[0])
    assert isinstance(judged(trust, by_first_key), Accepted)

    second = next_root(FIRST, states={DIRECTORY[0]: KeyState.COMPROMISED})
    adopted(trust, signed(second, *OLD))

    assert judged(trust, by_first_key).code is Code.KEY_COMPROMISED
    assert not trust.still_good(by_first_key, node)


def test_only_the_roots_that_are_held_are_still_good():
    first, second, third = a_chain(3)
    trust = a_trust()
    adopted(trust, second)

    assert trust.still_good(first, FIRST)
    assert trust.still_good(second, trust.root)
    assert not trust.still_good(third, next_root(trust.root, last_epoch=2))
    assert not trust.still_good(signed(next_root(FIRST), *OLD), next_root(FIRST))


# -- several steps --
def test_a_node_that_slept_follows_the_chain_step_by_step():
    chain, trust = a_chain(6), a_trust()

    assert adopted(trust, *chain[1:]) == [2, 3, 4, 5, 6]
    assert trust.chain == tuple(chain)


def test_what_is_known_of_a_list_is_passed_over():
    chain, trust = a_chain(4), a_trust()
    adopted(trust, *chain[1:3])

    assert adopted(trust, *chain) == [4]
    assert adopted(trust, *chain) == []


def test_a_list_that_begins_before_the_pinned_root_is_followed_from_there():
    chain = a_chain(5)

    assert adopted(Trust(FABRIC.id, chain[2]), *chain) == [4, 5]
    assert adopted(Trust(FABRIC.id, chain[2]), *chain[:2], *chain[3:]) == [4, 5]


def test_a_root_before_the_pinned_one_is_superseded():
    chain = a_chain(3)

    assert judged(Trust(FABRIC.id, chain[2]), chain[0]).code is Code.SUPERSEDED


def test_a_list_that_begins_under_keys_long_gone_is_followed_all_the_same():
    chain, last = a_rotated_chain()
    trust = a_trust()
    assert adopted(trust, *chain) == [2, 3]

    assert adopted(trust, signed(FIRST, *OLD[:2]), *chain, last) == [4]
    assert adopted(Trust(FABRIC.id, chain[1]), signed(FIRST, *OLD[:2]), *chain, last) == [4]


def a_rotated_chain():
    """Return versions 2 and 3, and 4; the last two know nothing of the first root keys."""
    second = next_root(FIRST, root_keys=NEW)
    keys = {each: key for each, key in second.keys.items() if each not in map(id_of, OLD)}
    third = evolve(next_root(second), keys=keys)
    steps = signed(second, *OLD[:2], *NEW[:2]), signed(third, *NEW[:2])
    return steps, signed(next_root(third), *NEW[:2])


def test_a_step_that_is_left_out_is_not_consecutive():
    chain, trust = a_chain(4), a_trust()

    assert adopted(trust, chain[1], chain[3]) == [2, Code.ROOT_NOT_CONSECUTIVE]
    assert trust.root.version == 2


def test_a_list_is_left_at_the_first_root_that_is_refused():
    chain, trust = a_chain(4), a_trust()
    lacking = signed(next_root(next_root(FIRST, last_epoch=1)), OLD[0])

    assert adopted(trust, chain[1], lacking, chain[2]) == [2, Code.THRESHOLD_NOT_MET]
    assert trust.root.version == 2


def test_a_fleet_of_rotated_keys_is_reached_only_through_the_versions_between():
    second = next_root(FIRST, root_keys=NEW)
    third = next_root(second, last_epoch=1)
    steps = signed(second, *OLD[:2], *NEW[:2]), signed(third, *NEW[:2])

    assert adopted(a_trust(), steps[1]) == [Code.UNKNOWN_SIGNER]
    assert adopted(a_trust(), *steps) == [2, 3]


def test_one_list_leads_at_most_sixteen_versions_on():
    chain, trust = a_chain(MOST_ROOTS + 3), a_trust()

    results = adopted(trust, *chain[1:])

    assert results == [*range(2, MOST_ROOTS + 2)]
    assert adopted(trust, *chain[1 + MOST_ROOTS :]) == [MOST_ROOTS + 2, MOST_ROOTS + 3]


def test_one_list_has_at_most_256_kibibytes_of_roots():
    keys = {
        id_of(key): RootKey(key=public(key)) for key in (a_key_of(f"old/{n}") for n in range(240))
    }
    big = evolve(FIRST, keys={**FIRST.keys, **keys})
    trust, chain = a_trust(big), [signed(big, *OLD[:2])]
    roots = [big]
    for _ in range(12):
        roots.append(next_root(roots[-1], last_epoch=len(roots)))
    chain = [signed(each, *OLD[:2]) for each in roots[1:]]
    size = len(chain[0].payload) + 256

    results = adopted(trust, *chain)

    assert len(results) == MOST_ROOT_BYTES // size < len(chain)


# -- leading others along --
def test_a_node_leads_another_from_its_version_on():
    chain, trust = a_chain(5), a_trust()
    adopted(trust, *chain[1:])

    assert [unpack_envelope(each) for each in trust.roots_after(2)] == chain[2:]
    assert trust.roots_after(5) == ()


def test_as_many_roots_are_given_as_fit_and_the_rest_on_another_occasion():
    chain, trust, slept = a_chain(5), a_trust(), a_trust()
    adopted(trust, *chain[1:])
    room = 2 * len(trust.roots_after(1)[0]) + 8

    while given := trust.roots_after(slept.root.version, room=room):
        assert len(given) <= 2
        adopted(slept, *map(unpack_envelope, given))

    assert slept.root == trust.root


def test_at_most_sixteen_roots_are_given_at_once():
    chain, trust = a_chain(20), a_trust()
    adopted(trust, *chain[1:17])
    adopted(trust, *chain[17:])

    assert len(trust.roots_after(1)) == MOST_ROOTS


def test_a_chain_that_begins_too_late_leads_nobody():
    chain = a_chain(5)
    trust = Trust(FABRIC.id, chain[3])
    adopted(trust, chain[4])

    assert trust.roots_after(1) == ()
    assert [unpack_envelope(each) for each in trust.roots_after(3)] == chain[3:]


# -- rivals --
SECOND = next_root(FIRST, last_epoch=1)
RIVAL = next_root(FIRST, last_epoch=2)


def a_divided_trust(second=SECOND, *keys):
    trust = a_trust()
    assert adopted(trust, signed(second, *(keys or OLD[:2]))) == [2]
    return trust


@pytest.mark.parametrize(
    "meet", [adopted, lambda *both: [judged(*both).code]], ids=["list", "wave"]
)
def test_two_roots_of_one_version_alarm_and_the_held_one_stays_in_use(meet):
    trust = a_divided_trust()

    assert meet(trust, signed(RIVAL, *OLD[1:])) == [Code.ROOT_CONFLICT]
    assert trust.root == SECOND
    assert trust.rival.root == RIVAL
    assert judged(trust, signed(RIVAL, *OLD[1:])).is_alarming
    assert not judged(trust, signed(RIVAL, *OLD[1:])).is_attack


def test_an_alarm_is_not_lost_in_a_list_that_goes_on_with_what_is_known():
    trust = a_divided_trust()

    assert adopted(trust, signed(RIVAL, *OLD), signed(SECOND, *OLD[:2])) == [Code.ROOT_CONFLICT]


def test_while_a_rival_stands_no_successor_is_taken_and_all_else_goes_on():
    trust = a_divided_trust()
    adopted(trust, signed(RIVAL, *OLD))

    assert adopted(trust, signed(next_root(SECOND), *OLD)) == [Code.ROOT_CONFLICT]
    assert trust.root == SECOND
    assert isinstance(judged(trust, FABRIC.signed(FABRIC.node("home-1"))), Accepted)


def test_a_successor_that_disowns_the_rivals_signers_ends_the_conflict():
    trust = a_divided_trust()
    adopted(trust, signed(RIVAL, *OLD[:2]))
    third = next_root(
        SECOND,
        root_keys=(*OLD, *NEW),
        states={OLD[0]: KeyState.COMPROMISED, OLD[1]: KeyState.COMPROMISED},
    )

    assert adopted(trust, signed(third, *OLD[:2], *NEW[:2])) == [3]
    assert trust.rival is None
    assert judged(trust, signed(RIVAL, *OLD[:2])).code is Code.SUPERSEDED
    assert adopted(trust, signed(next_root(third, last_epoch=9), *NEW[:2])) == [4]


def test_old_keys_that_leaked_cannot_stop_a_fabric_that_disowned_them():
    second = next_root(FIRST, root_keys=NEW, states=dict.fromkeys(OLD, KeyState.COMPROMISED))
    trust = a_divided_trust(second, *OLD[:2], *NEW[:2])

    assert judged(trust, signed(RIVAL, *OLD)).code is Code.SUPERSEDED
    assert trust.rival is None
    assert adopted(trust, signed(next_root(second), *NEW[:2])) == [3]


def test_old_keys_that_were_only_retired_still_make_a_rival():
    second = next_root(FIRST, root_keys=NEW, states=dict.fromkeys(OLD, KeyState.RETIRED))
    trust = a_divided_trust(second, *OLD[:2], *NEW[:2])

    assert judged(trust, signed(RIVAL, *OLD)).code is Code.ROOT_CONFLICT


def test_what_nobody_could_have_in_use_is_no_rival():
    trust = a_divided_trust()

    assert judged(trust, signed(RIVAL, OLD[0])).code is Code.SUPERSEDED
    assert judged(trust, signed(RIVAL, *DIRECTORY)).code is Code.SUPERSEDED
    strange = next_root(FIRST, root_keys=NEW)
    assert judged(trust, signed(strange, OLD[0], *NEW)).code is Code.SUPERSEDED
    assert judged(trust, signed(strange, *OLD)).code is Code.SUPERSEDED
    assert trust.rival is None


def test_a_rival_of_the_pinned_root_is_measured_by_the_keys_in_use():
    trust = a_trust(SECOND)

    assert judged(trust, signed(RIVAL, *OLD[:2])).code is Code.ROOT_CONFLICT


def test_another_set_of_signatures_makes_no_rival_of_the_same_root():
    trust = a_divided_trust()

    assert isinstance(judged(trust, signed(SECOND, *OLD)), Accepted)
    assert judged(trust, signed(SECOND, OLD[0])).code is Code.THRESHOLD_NOT_MET
    assert trust.rival is None


def test_a_root_is_never_judged_from_memory(monkeypatch):
    trust = a_divided_trust()
    third = signed(next_root(SECOND), *OLD)
    assert isinstance(judged(trust, third), Accepted)

    judged(trust, signed(RIVAL, *OLD))

    assert judged(trust, third).code is Code.ROOT_CONFLICT


def test_junk_under_a_root_that_is_signed_well_enough_does_no_harm():
    trust = a_trust()
    good = signed(SECOND, *OLD[:2])
    junk = Envelope(good.payload, (Signature(id_of(OLD[2]), JUNK), *good.signatures))

    assert adopted(trust, junk) == [2]


def test_a_node_authors_no_root_of_a_version_that_is_held_either():
    node = a_key_of("node/home-1")
    verdict = a_divided_trust().judge(
        signed(RIVAL, node), NOW, key_of={id_of(node): public(node)}.get
    )

    assert verdict.code is Code.SELF_AUTHORED
    assert verdict.is_attack


def test_a_list_costs_no_more_than_its_bounds(monkeypatch):
    verified = []
    real = roots_module.signers_of
    monkeypatch.setattr(
        roots_module, "signers_of", lambda *each: verified.append(1) or real(*each)
    )
    bad = signed(next_root(FIRST), OLD[0])

    adopted(a_trust(), *[bad] * 1000)

    assert len(verified) <= 2 * MOST_ROOTS
