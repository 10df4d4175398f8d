"""Permission comes from signed records of service and node, and from nothing that a node says."""

from fabric.codes import Code
from fabric.core.access import Subject
from fabric.core.grants import Grants
from fabric.core.identity import NodeName
from fabric.core.registry_events import Serving
from fabric.core.verdicts import Standing
from fabric.testing.records import AFabric
from tests.core.a_directory import ADirectory, ARegistry

EDGE = Subject(name=NodeName("edge-1"), area="edge", roles=frozenset({"ingress"}))
HOME = Subject(name=NodeName("home-1"), area="home")


def some_grants(**fields: object) -> tuple[Grants, ADirectory, AFabric]:
    directory, fabric = ADirectory(), AFabric()
    directory.hold(fabric.service("demo", **fields))
    return Grants(directory), directory, fabric


def test_open_to_of_the_signed_record_decides() -> None:
    grants, _directory, _fabric = some_grants(open_to=("area:edge",))

    assert grants.objection("demo", EDGE, client=None) is None
    assert grants.objection("demo", HOME, client=None) is Code.NOT_PERMITTED


def test_the_terms_are_those_of_the_signed_record() -> None:
    grants, _directory, _fabric = some_grants(
        open_to=("area:edge",), edge_exposable=True, max_channels=7
    )
    terms = grants.terms("demo")

    assert terms is not None
    assert [str(selector) for selector in terms.open_to] == ["area:edge"]
    assert (terms.edge_exposable, terms.max_channels) == (True, 7)


def test_an_empty_open_to_is_a_closed_door() -> None:
    grants, _directory, _fabric = some_grants(open_to=())

    assert grants.objection("demo", EDGE, client=None) is Code.NOT_PERMITTED


def test_edge_exposable_of_the_signed_record_decides_about_clients_outside() -> None:
    grants, directory, fabric = some_grants()
    assert grants.objection("demo", EDGE, client="203.0.113.9") is Code.NOT_EDGE_EXPOSABLE

    directory.hold(fabric.service("demo", edge_exposable=True))
    assert grants.objection("demo", EDGE, client="203.0.113.9") is None
    assert grants.objection("demo", HOME, client="203.0.113.9") is Code.CLIENT_NOT_BELIEVED


def test_what_has_no_record_or_a_revoked_or_an_expired_one_is_open_to_nobody() -> None:
    grants, directory, fabric = some_grants()
    assert grants.objection("other", EDGE, client=None) is Code.UNKNOWN_SERVICE

    directory.hold(fabric.service("demo", revoked=True))
    assert grants.objection("demo", EDGE, client=None) is Code.REVOKED
    assert grants.terms("demo") is None
    directory.hold(fabric.service("demo"), Standing.EXPIRED)
    assert grants.objection("demo", EDGE, client=None) is Code.RECORD_EXPIRED
    assert grants.terms("demo") is None


def test_offering_takes_a_selector_of_the_signed_record() -> None:
    grants, directory, fabric = some_grants(offer_by=("label:tier=gold",))
    directory.hold(fabric.node("home-1"))
    directory.hold(fabric.node("home-2", labels={"tier": "gold"}))

    assert grants.may_offer("demo", fabric.node_id("home-1")) is Code.OFFER_NOT_PERMITTED
    assert grants.may_offer("demo", fabric.node_id("home-2")) is None
    assert grants.may_offer("other", fabric.node_id("home-2")) is Code.OFFER_NOT_PERMITTED
    assert grants.may_offer("demo", fabric.node_id("home-3")) is Code.OFFER_NOT_PERMITTED


def test_who_is_revoked_or_expired_offers_nothing() -> None:
    grants, directory, fabric = some_grants()
    node = fabric.node_id("home-1")

    directory.hold(fabric.node("home-1", revoked=True))
    assert grants.may_offer("demo", node) is Code.REVOKED
    directory.hold(fabric.node("home-1"), Standing.EXPIRED)
    assert grants.may_offer("demo", node) is Code.RECORD_EXPIRED
    directory.hold(fabric.node("home-1"))
    directory.hold(fabric.service("demo", revoked=True))
    assert grants.may_offer("demo", node) is Code.REVOKED


def test_a_node_in_its_grace_goes_on_with_its_offers_and_begins_no_new_one() -> None:
    grants, directory, fabric = some_grants()
    node = fabric.node_id("home-1")
    directory.hold(fabric.node("home-1"), Standing.GRACE)

    assert grants.may_go_on("demo", node) is None
    assert grants.may_offer("demo", node) is Code.SURVIVAL_GRACE


def test_this_node_in_its_grace_may_serve_what_it_said_it_offers_and_nothing_more() -> None:
    scene = ARegistry()
    scene.service("demo")
    scene.service("other")
    scene.offer("me", "demo")
    assert scene.registry.may_serve("other") is None
    scene.node("me", Standing.GRACE, roles=("ingress",))

    scene.say(Serving(()))  # it has just been restarted
    assert scene.registry.may_serve("demo") is None
    assert scene.registry.may_serve("other") is Code.SURVIVAL_GRACE
    scene.service("demo", revoked=True)
    assert scene.registry.may_serve("demo") is Code.REVOKED
