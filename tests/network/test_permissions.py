"""Who may offer, open and expose is what a signed record says now, at both ends of a channel."""

import pytest
from attrs import evolve

from fabric.codes import Code
from fabric.core.records import Key, OffersRecord
from fabric.testing.pairs import refusal

WAVE = 1.0
"""Virtual seconds in which three nodes have heard of a record, and acted on it."""


@pytest.fixture
async def three(live):
    """Return a running fabric: ``shop`` serves demo; ``edge`` is an ingress, ``desk`` is not."""
    live.add("shop", area="home", roles=frozenset({"egress"}))
    live.add("desk", area="office", labels={"team": "sales"})
    live.add("edge", area="abroad", roles=frozenset({"ingress"}))
    live.fleet.publish()
    await live.start("desk", knows=[live.papers.records])
    await live.start("edge", seeds=["desk"])
    await live.start("shop", seeds=["desk"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="shop"))
    return live


async def changed(live, generation, **fields):
    """Have another record of demo begin its way at ``edge``, and be everywhere."""
    live.tell("edge", live.fabric.service("demo", generation=generation, **fields))
    await live.until(live.agree, within=WAVE)


@pytest.mark.parametrize(
    ("open_to", "desk", "edge"),
    [
        ((), False, False),
        (("any",), True, True),
        (("node:desk",), True, False),
        (("area:abroad",), False, True),
        (("role:ingress",), False, True),
        (("label:team=sales", "area:nowhere"), True, False),
    ],
)
async def test_open_to_is_enforced_where_it_is_offered_and_explained_where_it_is_asked(
    autojump_clock, three, open_to, desk, edge
):
    live = three
    await changed(live, 2, open_to=open_to)
    for name, may in (("desk", desk), ("edge", edge)):
        no = await live.asks(name, "shop")
        assert no is (None if may else Code.NOT_PERMITTED)
        if may:
            assert await live.opens(name) == "shop"
        else:
            refused = await refusal(live[name])
            assert (refused.code, refused.hop) == (Code.NOT_PERMITTED, "")
            assert "open_to" in refused.code.remedy


async def test_each_generation_counts_in_its_turn_and_an_older_one_never_again(
    autojump_clock, three
):
    live = three
    await changed(live, 2, open_to=("node:edge",))
    assert await live.asks("desk", "shop") is Code.NOT_PERMITTED
    await changed(live, 4, open_to=("node:desk",))
    assert await live.asks("desk", "shop") is None
    assert await live.asks("edge", "shop") is Code.NOT_PERMITTED

    live.slip("desk", "shop", live.fabric.service("demo", generation=3, open_to=("any",)))
    await live.until(lambda: live.refused("shop", Code.SUPERSEDED), within=WAVE)
    assert await live.asks("edge", "shop") is Code.NOT_PERMITTED


async def test_an_opener_that_has_not_heard_yet_is_refused_by_the_offering_node(
    autojump_clock, three
):
    live = three
    live.tell("shop", live.fabric.service("demo", generation=2, open_to=("node:edge",)))
    refused = await refusal(live["desk"])
    assert (refused.code, refused.hop) == (Code.NOT_PERMITTED, "shop")


async def test_a_refusal_is_signed_with_the_name_that_its_node_has_now(autojump_clock, three):
    live = three
    record = live.fabric.node("shop", generation=2, roles=("egress",))
    closed = live.fabric.service("demo", generation=2, open_to=("node:edge",))
    live.tell("shop", evolve(record, name="store"), closed)
    assert live["shop"].name == "store"
    assert (await refusal(live["desk"])).hop == "store"


async def test_a_node_that_changes_its_role_offers_at_once_what_it_may(
    autojump_clock, three, logged
):
    live = three

    async def has_roles(generation, *roles, event, offers):
        before = len(logged(event))
        live.tell("edge", live.fabric.node("shop", generation=generation, roles=roles))
        await live.until(lambda: len(logged(event)) > before, within=0.5)
        assert live["shop"].services.permitted_names() == offers
        await live.until(lambda: said(live, "shop").services == offers, within=3.0)

    await changed(live, 2, offer_by=("role:egress",))
    assert live.is_offered("demo", "shop")
    await has_roles(2, event="service.withheld", offers=())
    await has_roles(3, "egress", event="service.permitted", offers=("demo",))


def said(live, name):
    """What the node *name* says that it offers, as ``desk`` has heard."""
    key = Key(OffersRecord.KIND, live[name].node_id)
    return live["desk"].knowledge.directory.get(key).record


async def test_what_may_be_offered_no_more_is_resolved_and_served_nowhere(
    autojump_clock, three, logged
):
    live = three
    await changed(live, 2, offer_by=("node:desk",))
    await live.until(lambda: live.is_offered("demo"), within=WAVE)

    assert (await refusal(live["desk"])).code is Code.NO_INSTANCE
    assert await live.asks("desk", "shop") is Code.OFFER_NOT_PERMITTED
    assert logged("service.withheld", service="demo", code=Code.OFFER_NOT_PERMITTED)
    assert "offer_not_permitted" in live.health("shop")

    await changed(live, 3, offer_by=("role:egress",))
    await live.until(lambda: live.is_offered("demo", "shop"), within=5)
    assert await live.opens("desk") == "shop"
    assert "offer_not_permitted" not in live.health("shop")


async def test_a_client_from_outside_is_for_an_ingress_and_an_exposable_service_alone(
    autojump_clock, three
):
    live, client = three, "198.51.100.7"
    assert (await refusal(live["edge"], client=client)).code is Code.NOT_EDGE_EXPOSABLE
    assert await live.asks("edge", "shop", client=client) is Code.NOT_EDGE_EXPOSABLE

    await changed(live, 2, edge_exposable=True)
    assert await live.opens("edge", client=client) == "shop"
    assert await live.asks("desk", "shop", client=client) is Code.CLIENT_NOT_BELIEVED

    await changed(live, 3, edge_exposable=False)
    assert await live.asks("edge", "shop", client=client) is Code.NOT_EDGE_EXPOSABLE
    assert await live.opens("edge") == "shop"
