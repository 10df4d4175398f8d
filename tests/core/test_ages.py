"""Records that expire: held as before, and told of once, to whoever goes by them."""

from fabric.core.ages import LOOK_EVERY
from fabric.core.gossip_events import Changed, Ticked
from fabric.core.lifetimes import SURVIVAL_GRACE
from fabric.core.records import DAY
from fabric.testing.records import BORN, AFabric
from tests.core.a_gossip import AGossip

KEYS = AFabric()
HOME, DEMO = KEYS.node("home-1"), KEYS.service("demo")
LATER = KEYS.node("away-1", expires_at=BORN + 100 * DAY)


def a_node_at(day):
    node = AGossip("one")
    for record in (HOME, DEMO, LATER):
        node.hear(record)
    node.say(Ticked())
    node.pass_time(day * DAY)
    return node


def test_nothing_is_told_while_all_is_live():
    assert a_node_at(89).say(Ticked()) == []


def test_the_end_of_a_life_and_the_end_of_the_grace_are_told_once_each():
    node = a_node_at(90)
    assert node.say(Ticked()) == [Changed(HOME.key), Changed(DEMO.key)]
    node.pass_time(LOOK_EVERY)
    assert node.say(Ticked()) == []

    node.pass_time(SURVIVAL_GRACE - DAY)
    node.say(Ticked())
    node.pass_time(DAY)
    assert Changed(HOME.key) in node.say(Ticked())


def test_it_is_looked_for_once_a_minute():
    node = a_node_at(89)
    node.say(Ticked())
    node.now = type(node.now)(node.now.steady + 1, node.now.clock + 2 * DAY)
    assert node.say(Ticked()) == []
    node.pass_time(LOOK_EVERY)
    assert Changed(HOME.key) in node.say(Ticked())


def test_a_record_that_was_signed_anew_is_live_again():
    node = a_node_at(90)
    node.say(Ticked())
    node.hear(KEYS.node("home-1", generation=2, issued_at=BORN + 89 * DAY))
    node.pass_time(LOOK_EVERY)
    assert Changed(HOME.key) in node.say(Ticked())
    node.pass_time(LOOK_EVERY)
    assert node.say(Ticked()) == []
