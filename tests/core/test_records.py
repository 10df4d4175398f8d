"""What records may say: keys, orders, authors, and what no record can be made to hold."""

import attrs
import pytest

from fabric.core.codec.records import decode_record, encode_record
from fabric.core.identity import node_id_of
from fabric.core.kinds import KINDS
from fabric.core.records import (
    DAY,
    FABRIC,
    NODE,
    Authored,
    Candidate,
    CandidateKind,
    Key,
    KeyState,
    Opaque,
    OwnWord,
    Role,
    RootKey,
    key_id_of,
)
from fabric.core.update_records import (
    CHUNK,
    Artifact,
    HeadState,
    Member,
    UpdateIntent,
)
from fabric.testing.records import (
    BORN,
    HOLDERS,
    AFabric,
    a_key_of,
    id_of,
    public,
    role_keys,
    some_bare_records,
    some_records,
)

F = AFabric()


def kind_of(record):
    return record.KIND


# -- what all have --
@pytest.mark.parametrize("record", some_bare_records(), ids=kind_of)
def test_a_key_is_a_kind_and_a_subject_and_survives_being_written(record):
    assert record.key == (record.KIND, record.subject)
    assert Key.parse(str(record.key)) == record.key


def test_a_subject_may_hold_a_slash_and_a_kind_may_not():
    key = Key("service", "web/api")

    assert Key.parse(str(key)) == key


@pytest.mark.parametrize("text", ["", "node", "node/", "/home-1", "/"])
def test_half_a_key_is_none(text):
    with pytest.raises(ValueError, match="KIND/SUBJECT"):
        Key.parse(text)


def test_the_table_of_kinds_names_each_by_its_own_name():
    assert {name: kind.KIND for name, kind in KINDS.items()} == {name: name for name in KINDS}
    assert KINDS.keys() == {record.KIND for record in some_records()}


AUTHORS = {
    "trust_root": (Role.ROOT,),
    "node": (Role.DIRECTORY,),
    "service": (Role.DIRECTORY,),
    "control_endpoints": (Role.DIRECTORY,),
    "policy": (Role.DIRECTORY,),
    "endpoint": (NODE,),
    "offers": (NODE,),
    "sightings": (NODE,),
    "update_intent": (Role.INTENT,),
    "update_head": (Role.ORCHESTRATOR,),
    "lease": (Role.ORCHESTRATOR,),
    "update_report": (NODE,),
}


@pytest.mark.parametrize("record", some_bare_records(), ids=kind_of)
def test_each_kind_has_its_author(record):
    assert record.authors == AUTHORS[record.KIND]


@pytest.mark.parametrize("state", HeadState)
def test_recovery_may_stop_an_update_and_never_start_one(state):
    assert (Role.RECOVERY in F.head(state=state).authors) is (state is not HeadState.RUN)


def test_an_opaque_record_is_signed_by_the_author_of_its_kind_or_of_its_order():
    told = {"fabric": F.id, "subject": "x", "issued_at": 1, "expires_at": 2, "ordered": (0, 1)}

    assert Opaque(kind="mood", own_word=True, **told).authors == (NODE,)
    assert Opaque(kind="weather", own_word=False, **told).authors == (Role.DIRECTORY,)
    assert Opaque(kind="lease", own_word=False, author="orchestrator", **told).authors == (
        Role.ORCHESTRATOR,
    )


@pytest.mark.parametrize("record", some_records(), ids=kind_of)
def test_the_order_is_what_its_author_counts(record):
    match record:
        case Authored():
            assert record.order == (record.epoch, record.generation)
        case OwnWord():
            assert record.order == (0, record.sequence)
        case _:
            assert record.order == (0, record.version)


def test_a_higher_epoch_beats_every_generation():
    old = F.node("home-1", epoch=1, generation=2**50)

    assert F.node("home-1", epoch=2, generation=1).order > old.order


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": BORN},
        {"issued_at": -1},
        {"fabric": b"short"},
        {"subject": ""},
        {"crit": ("b", "a")},
        {"crit": ["area"]},
        {"generation": 0},
        {"v": 0},
    ],
    ids=str,
)
def test_no_record_is_made_without_what_all_records_have(fields):
    with pytest.raises(ValueError, match="is not"):
        F.policy(**fields)


# -- the trust root --
def changed_root(change):
    root = F.root()
    return attrs.evolve(root, **change(root))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: {"subject": "mine"}, "subject"),
        (lambda _: {"first_epoch": 2, "last_epoch": 1}, "last epoch"),
        (lambda root: {"roles": {k: v for k, v in root.roles.items() if k != "root"}}, "root and"),
        (
            lambda root: {"roles": {k: v for k, v in root.roles.items() if k != "directory"}},
            "root and directory",
        ),
        (
            lambda root: {"roles": {**root.roles, "intent": role_keys([a_key_of("who")])}},
            "unknown keys",
        ),
        (
            lambda root: {"keys": {**root.keys, "x": RootKey(key=public(a_key_of("who")))}},
            "not the id",
        ),
    ],
)
def test_a_trust_root_is_consistent_in_itself(change, why):
    with pytest.raises(ValueError, match=why):
        changed_root(change)


def test_a_threshold_no_set_of_keys_can_meet_is_refused():
    with pytest.raises(ValueError, match="threshold"):
        role_keys([a_key_of("one")], threshold=2)


def test_a_role_counts_distinct_keys():
    with pytest.raises(ValueError, match="twice"):
        role_keys([a_key_of("one"), a_key_of("one")], threshold=2)


def test_a_root_may_keep_keys_that_no_role_uses_any_more():
    old = a_key_of("directory/old")
    keys = {**F.root().keys, id_of(old): RootKey(key=public(old), state=KeyState.COMPROMISED)}

    assert F.root(keys=keys).keys[id_of(old)].state is KeyState.COMPROMISED


@pytest.mark.parametrize(
    "make", [lambda key: RootKey(key=key), lambda key: F.node("x", key_bytes=key)]
)
def test_a_key_that_is_no_honest_point_is_refused(make):
    with pytest.raises(ValueError, match="valid point"):
        make(bytes(32))


def test_the_factory_names_every_role_with_its_threshold():
    roles = F.root().roles

    assert {role: (len(held.keys), held.threshold) for role, held in roles.items()} == HOLDERS


# -- others --
def test_a_node_is_named_by_its_key():
    node = F.node("home-1")

    assert node.node_id == node_id_of(node.key_bytes) == key_id_of(node.key_bytes)
    with pytest.raises(ValueError, match="id of the key"):
        attrs.evolve(node, subject=F.node_id("home-2"))


@pytest.mark.parametrize("fields", [{"open_to": ("everybody",)}, {"offer_by": ("role",)}])
def test_a_service_takes_only_selectors_that_this_release_understands(fields):
    with pytest.raises(ValueError, match="selector"):
        F.service("demo", **fields)


def test_a_node_says_at_most_eight_addresses():
    addresses = [f"192.0.2.{n}:4433" for n in range(9)]

    assert len(F.endpoint("home-1", *addresses[:8]).candidates) == 8
    with pytest.raises(ValueError, match="candidates"):
        F.endpoint("home-1", *addresses)


def test_a_node_offers_at_most_64_services_each_once():
    names = [f"s{n:02}" for n in range(65)]

    assert len(F.offers("home-1", *names[:64]).services) == 64
    with pytest.raises(ValueError, match="services"):
        F.offers("home-1", *names)
    with pytest.raises(ValueError, match="twice"):
        F.offers("home-1", "demo", "demo")


def test_a_kind_of_address_is_no_text():
    with pytest.raises(ValueError, match="CandidateKind"):
        Candidate(address="192.0.2.7:1", kind="public")
    assert Candidate(address="192.0.2.7:1", kind=CandidateKind.PUBLIC)


@pytest.mark.parametrize("record", some_bare_records(), ids=kind_of)
def test_a_node_vouches_for_itself_for_a_week_and_no_author_for_less_than_an_hour(record):
    life = record.expires_at - record.issued_at

    assert life == record.LIFE >= 3600
    if record.authors == (NODE,):
        assert life == 7 * DAY


@pytest.mark.parametrize(
    "record",
    [F.root(), F.policy(), F.control_endpoints()],
    ids=kind_of,
)
def test_what_is_said_about_the_fabric_has_the_fabric_as_subject(record):
    assert record.subject == FABRIC
    with pytest.raises(ValueError, match="subject"):
        attrs.evolve(record, subject="another")


# -- updates --
@pytest.mark.parametrize(("size", "chunks"), [(CHUNK, 2), (CHUNK + 1, 1), (1, 0), (3, 2)])
def test_an_artifact_has_one_digest_for_each_chunk(size, chunks):
    with pytest.raises(ValueError, match="chunks"):
        Artifact(platform="p", size=size, sha256=b"s" * 32, chunks=(b"c" * 32,) * chunks)


def test_a_scope_is_sorted_and_names_each_node_once():
    one, two = sorted(F.intent("home-1", "home-2").scope, key=lambda each: each.node)

    assert F.intent(scope=(one, two))
    for wrong in ((two, one), (one, one), ()):
        with pytest.raises(ValueError, match="scope"):
            F.intent(scope=wrong)


def test_seven_hundred_nodes_fit_one_intent():
    ids = sorted(F.node_id(f"n-{number}") for number in range(700))
    scope = tuple(Member(node=each, area="home", site_id="s", nat_group="n") for each in ids)
    intent = F.intent(scope=scope)

    assert isinstance(decode_record(encode_record(intent)), UpdateIntent)


def test_a_lease_is_begun_within_two_minutes_and_before_it_has_to_be_complete():
    assert F.lease("home-1", start_by=120)
    with pytest.raises(ValueError, match="start_by"):
        F.lease("home-1", start_by=121)
    with pytest.raises(ValueError, match="complete"):
        F.lease("home-1", start_by=60, complete_by=60)


def test_an_intent_does_not_expire_before_it_may_begin():
    with pytest.raises(ValueError, match="begin"):
        F.intent(not_before=BORN + UpdateIntent.LIFE)
