"""Members and the ways to dial them: what each is pinned to, and what selectors see of it."""

import pytest

from fabric.core.identity import NodeName, node_id_of
from fabric.core.roster import Direct, Member, Seed, plain
from fabric.testing.factories import a_key

KEY = bytes(a_key(1).verify_key)
HOME = Member(
    name=NodeName("home-1"),
    key=KEY,
    area="home",
    roles=frozenset({"ingress"}),
    labels={"tier": "gold"},
)


def test_a_member_has_the_id_of_its_key_whatever_it_is_called() -> None:
    assert HOME.node_id == node_id_of(KEY) == Member(name=NodeName("other"), key=KEY).node_id


def test_a_member_is_to_selectors_what_its_record_says_of_it() -> None:
    subject = HOME.subject

    assert (subject.name, subject.area, subject.roles) == ("home-1", "home", {"ingress"})
    assert subject.labels == {"tier": "gold"}


def test_a_direct_dial_is_pinned_to_its_peers_key_wherever_the_address_came_from() -> None:
    assert Direct(HOME, ("192.0.2.1", 4433)).pin == Direct(HOME, ("192.0.2.2", 1)).pin == KEY


def test_an_address_alone_pins_nothing() -> None:
    assert Seed(("192.0.2.1", 4433)).pin is None


def test_no_dial_has_room_for_a_pin_beside_its_peer() -> None:
    """The pin follows from the intended peer: a relay's or a candidate's cannot take its place."""
    assert [each.name for each in Direct.__attrs_attrs__] == ["peer", "address"]
    assert [each.name for each in Seed.__attrs_attrs__] == ["address"]


@pytest.mark.parametrize(
    ("shown", "spelled"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:1", "::ffff:1"),
        ("node.example", "node.example"),
    ],
)
def test_an_address_of_ipv4_is_the_same_whichever_socket_shows_it(
    shown: str, spelled: str
) -> None:
    assert plain((shown, 4433)) == (spelled, 4433)
