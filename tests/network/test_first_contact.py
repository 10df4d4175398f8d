"""A node that knows a trust root, its own key and one address learns its whole fabric."""

from fabric.core.records import EndpointRecord, NodeRecord, OffersRecord, ServiceRecord


def keys_held(node, kind):
    return set(node.knowledge.directory.of_kind(kind.KIND))


async def test_one_seed_is_enough_to_learn_every_node_endpoint_service_and_offer(
    autojump_clock, live
):
    live.add("home", "away", area="home")
    live.add("far", area="abroad")
    live.add("newcomer", area="abroad")
    live.fleet.grant("demo", "any")
    live.fleet.grant("logs", "any")
    everything = live.papers.records
    live.fleet.publish()
    await live.start("home", knows=[everything], serves=["demo"])
    await live.start("away", seeds=["home"], serves=["logs"])
    await live.start("far", seeds=["away"])

    node = await live.start("newcomer", seeds=["far"])
    took = await live.until(live.agree)

    ids = {live.fabric.node_id(name) for name in live.fleet.members}
    assert keys_held(node, NodeRecord) == ids
    assert keys_held(node, EndpointRecord) == ids
    assert keys_held(node, ServiceRecord) == {"demo", "logs"}
    assert keys_held(node, OffersRecord) == {
        live.fabric.node_id("home"),
        live.fabric.node_id("away"),
    }
    assert took < 10
    assert await live.opens("newcomer", "demo") == "home"
    assert await live.opens("newcomer", "logs") == "away"
