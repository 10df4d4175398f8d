"""The static roster: found by key and by name, dialled at what the configuration says."""

from fabric.core.identity import NodeName, node_id_of
from fabric.core.roster import Direct, Member, Seed, StaticRoster
from fabric.testing.factories import a_key


def a_member(name: str, seed: int, *roles: str) -> Member:
    return Member(name=NodeName(name), key=bytes(a_key(seed).verify_key), roles=frozenset(roles))


HOME, TEST = a_member("home-1", 1, "ingress"), a_member("test-1", 2)
ROSTER = StaticRoster([(TEST, None), (HOME, ("192.0.2.1", 4433))])


def test_a_member_is_found_by_key_and_a_stranger_is_not() -> None:
    assert ROSTER.by_key(HOME.key) is HOME
    assert ROSTER.by_key(bytes(32)) is None


def test_members_come_sorted_by_name() -> None:
    assert [member.name for member in ROSTER.members()] == ["home-1", "test-1"]


def test_a_direct_dial_is_pinned_to_the_intended_peers_key() -> None:
    (way,) = ROSTER.ways_to(HOME)

    assert way == Direct(HOME, ("192.0.2.1", 4433))
    assert way.pin == HOME.key


def test_a_member_without_an_address_has_to_dial_us() -> None:
    assert not ROSTER.ways_to(TEST)


def test_an_address_alone_pins_nothing() -> None:
    assert Seed(("192.0.2.1", 4433)).pin is None


def test_a_member_has_the_id_of_its_key_and_is_a_subject_by_its_roles() -> None:
    assert HOME.node_id == node_id_of(HOME.key)
    assert HOME.subject.roles == {"ingress"}
