"""Whom a name resolves to, in which order, and who never: from memory alone."""

import pytest

from fabric.codes import Code
from fabric.core.identity import NodeName
from fabric.core.instances import WORTH_ANOTHER
from fabric.core.offerings import MOST_SHUNNED
from fabric.core.registry_events import ServiceChanged, Serving, Shunned, Status
from fabric.core.resolution import (
    MOST_TRIED,
    UNLINKED_LOAD,
    Instance,
    is_worth_another,
    ranked,
)
from fabric.core.verdicts import Standing
from tests.core.a_directory import ARegistry


def a_demo(**fields: object) -> ARegistry:
    scene = ARegistry()
    scene.service("demo", **fields)
    return scene


# -- the order --
def test_alive_goes_before_unknown_and_unknown_before_suspect() -> None:
    scene = a_demo()
    suspect, unknown, _alive = (scene.offer(f"home-{n}", "demo") for n in (1, 2, 3))
    scene.turn(suspect, "suspect")
    del scene.liveness.states[unknown]

    assert scene.order() == ["home-3", "home-2", "home-1"]


def test_after_a_start_everybody_is_unknown_and_still_resolved() -> None:
    scene = a_demo()
    for number in (1, 2):
        del scene.liveness.states[scene.offer(f"home-{number}", "demo")]

    assert sorted(scene.order()) == ["home-1", "home-2"]


def test_an_instance_that_failed_lately_goes_behind_until_it_is_proved_or_time_passes() -> None:
    scene = a_demo()
    first, second = scene.offer("home-1", "demo"), scene.offer("home-2", "demo")
    scene.reach.rtts = {first: 0.001, second: 0.1}
    assert scene.order() == ["home-1", "home-2"]

    scene.fail(first)
    assert scene.order() == ["home-2", "home-1"]
    scene.prove(first)
    assert scene.order() == ["home-1", "home-2"]
    scene.fail(first)
    scene.after(31.0)
    assert scene.order() == ["home-1", "home-2"]


def test_an_expired_offer_is_tried_last_of_all() -> None:
    scene = a_demo()
    scene.offer("me", "demo", standing=Standing.EXPIRED)
    scene.turn(scene.offer("home-1", "demo"), "suspect")

    assert scene.order() == ["home-1", "me"]


def test_nearer_goes_before_less_loaded() -> None:
    scene = ARegistry()
    home = {"area": "home", "site_id": "cellar", "locality_group": "lan"}
    scene.node("me", **home, generation=2)
    scene.service("demo")
    places = {
        "elsewhere": {"area": "away", "site_id": "cellar"},  # a cellar of its own
        "in-area": {"area": "home", "site_id": "attic"},
        "in-site": {"area": "home", "site_id": "cellar"},
        "in-group": {"area": "away", "locality_group": "lan"},
    }
    for name, fields in places.items():
        scene.node(name, **fields)
        scene.offer(name, "demo")
    scene.offer("me", "demo")
    nearest = ["me", "in-group", "in-site", "in-area", "elsewhere"]
    scene.reach.loads = {
        (scene.fabric.node_id(name), "demo"): 50 - at for at, name in enumerate(nearest)
    }

    assert scene.order() == nearest


def test_empty_labels_bring_nobody_nearer() -> None:
    scene = a_demo()
    scene.node("away", area="away")
    scene.node("home", area="home")
    scene.offer("away", "demo")
    node = scene.offer("home", "demo")
    scene.reach.loads[node, "demo"] = 9

    assert scene.order() == ["home", "away"]


def test_two_empty_sites_are_not_one_site() -> None:
    scene = a_demo()
    scene.node("in-the-attic", site_id="attic")
    scene.offer("in-the-attic", "demo")
    node = scene.offer("anywhere", "demo")
    scene.reach.loads[node, "demo"] = 1

    assert scene.order() == ["in-the-attic", "anywhere"]


def test_of_equally_near_ones_the_least_loaded_goes_first_then_the_quickest() -> None:
    scene = a_demo()
    nodes = {name: scene.offer(name, "demo") for name in ("a", "b", "c")}
    scene.reach.loads = {(nodes["a"], "demo"): 2, (nodes["b"], "demo"): 1}
    assert scene.order() == ["c", "b", "a"]

    scene.reach.rtts = {nodes["a"]: 0.001, nodes["b"]: 0.01, nodes["c"]: 0.03}
    assert scene.order() == ["c", "b", "a"]

    scene.reach.loads = {}
    scene.reach.rtts = {nodes["a"]: 0.03, nodes["b"]: 0.01}
    assert scene.order() == ["b", "a", "c"]


def test_an_instance_without_a_link_is_worth_dialling_once_the_others_are_busy() -> None:
    scene = a_demo()
    linked, unlinked = scene.offer("linked", "demo"), scene.offer("unlinked", "demo")
    scene.reach.unlinked = {unlinked}
    scene.reach.loads = {(linked, "demo"): UNLINKED_LOAD - 1}
    assert scene.order() == ["linked", "unlinked"]

    scene.reach.loads = {(linked, "demo"): UNLINKED_LOAD + 1}
    assert scene.order() == ["unlinked", "linked"]


def test_openers_of_equal_instances_do_not_all_begin_with_the_same_one() -> None:
    scene = ARegistry()
    instances = [Instance(node=scene.fabric.node_id(name), name=name) for name in ("a", "b", "c")]
    firsts = {
        ranked(scene.fabric.node_id(f"opener-{number}"), instances)[0].name for number in range(20)
    }

    assert firsts == {"a", "b", "c"}


def test_an_answer_has_no_more_instances_than_can_be_tried() -> None:
    scene = a_demo()
    for number in range(MOST_TRIED + 5):
        scene.offer(f"home-{number}", "demo")

    assert len(scene.order()) == MOST_TRIED


def test_those_already_tried_are_left_out_of_the_next_answer() -> None:
    scene = a_demo()
    first = scene.offer("home-1", "demo")
    scene.offer("home-2", "demo")

    assert scene.order(besides={first}) == ["home-2"]


def test_a_refusal_is_worth_another_instance_unless_it_is_about_the_opener() -> None:
    assert all(is_worth_another(code) for code in WORTH_ANOTHER)
    assert not is_worth_another(Code.NOT_PERMITTED)
    assert not is_worth_another(Code.REVOKED)


# -- who never --
@pytest.mark.parametrize("state", ["dead", "left"])
def test_who_is_gone_is_not_resolved_until_it_returns(state: str) -> None:
    scene = a_demo()
    node = scene.offer("home-1", "demo")
    scene.turn(node, state)
    assert scene.code() is Code.NO_INSTANCE

    scene.turn(node, "alive")
    assert scene.order() == ["home-1"]


def test_what_liveness_says_of_this_node_itself_is_not_asked() -> None:
    scene = a_demo()
    scene.offer("me", "demo")
    scene.turn(scene.me, "dead")

    assert scene.order() == ["me"]


def test_a_revoked_node_is_not_resolved_even_before_the_event_arrives() -> None:
    scene = a_demo()
    scene.offer("home-1", "demo")
    scene.directory.hold(scene.fabric.node("home-1", revoked=True, generation=2))

    assert scene.order() == []


def test_a_revoked_service_resolves_to_nobody_even_before_the_event_arrives() -> None:
    scene = a_demo()
    scene.offer("home-1", "demo")
    scene.directory.hold(scene.fabric.service("demo", revoked=True, generation=2))

    assert scene.code() is Code.REVOKED


def test_who_may_not_offer_is_not_resolved_until_the_service_says_otherwise() -> None:
    scene = a_demo(offer_by=("role:server",))
    scene.offer("home-1", "demo")
    assert scene.code() is Code.NO_INSTANCE

    scene.node("home-1", roles=("server",), generation=2)
    assert scene.order() == ["home-1"]
    scene.service("demo", offer_by=("node:home-2",), generation=2)
    assert scene.order() == []


def test_an_offer_by_a_node_without_a_record_is_not_resolved() -> None:
    scene = a_demo()
    scene.hold(scene.fabric.offers("stranger", "demo"))

    assert scene.order() == []
    assert scene.status() == "missing"


def test_a_node_whose_record_expired_for_good_is_not_resolved() -> None:
    scene = a_demo()
    scene.offer("home-1", "demo")
    scene.node("home-1", Standing.EXPIRED)

    assert scene.order() == []


def test_a_withdrawn_or_equivocated_offer_is_not_resolved() -> None:
    scene = a_demo()
    scene.offer("home-1", "demo")
    scene.offer("home-1", "other", sequence=2)
    assert scene.order() == []

    scene.offer("home-1", "demo", sequence=3)
    assert scene.order() == ["home-1"]
    scene.hold(scene.fabric.offers("home-1", "demo", sequence=4, revoked=True))
    assert scene.order() == []


def test_two_processes_with_one_key_are_not_resolved_for_as_long_as_that_is_said() -> None:
    scene = a_demo()
    node = scene.offer("home-1", "demo")
    scene.say(Shunned(node, Code.DUPLICATE_IDENTITY, 60.0))
    assert scene.code() is Code.NO_INSTANCE

    scene.after(59.0)
    assert scene.order() == []
    scene.after(2.0)
    assert scene.order() == ["home-1"]


def test_only_so_many_are_shunned_at_once() -> None:
    scene = a_demo()
    nodes = [scene.fabric.node_id(f"n{number}") for number in range(MOST_SHUNNED + 1)]
    for seconds, node in enumerate(nodes, start=100):
        scene.say(Shunned(node, Code.DUPLICATE_IDENTITY, seconds))
    scene.offer("n0", "demo")
    scene.offer("n1", "demo")

    assert scene.order() == ["n0"]


# -- grace --
def test_a_node_in_its_grace_keeps_what_it_offered_and_adds_nothing() -> None:
    scene = a_demo()
    scene.service("other")
    scene.offer("home-1", "demo")
    scene.node("home-1", Standing.GRACE)
    assert scene.order() == ["home-1"]

    late = scene.fabric.now + scene.fabric.node("home-1").LIFE + 1
    scene.offer("home-1", "demo", "other", sequence=2, issued_at=late)
    assert scene.order("demo") == ["home-1"]
    assert scene.order("other") == []

    scene.node("home-1", generation=2)
    assert scene.order("other") == ["home-1"]


def test_an_offer_signed_before_the_expiry_counts_whenever_it_is_heard() -> None:
    scene = a_demo()
    scene.node("home-1", Standing.GRACE)
    scene.offer("home-1", "demo")

    assert scene.order() == ["home-1"]


def test_an_offer_first_heard_of_a_node_in_its_grace_does_not_count() -> None:
    scene = a_demo()
    scene.node("home-1", Standing.GRACE)
    late = scene.fabric.now + scene.fabric.node("home-1").LIFE + 1
    scene.offer("home-1", "demo", issued_at=late)

    assert scene.order() == []


def test_a_restart_during_the_grace_loses_no_service_that_the_disk_remembers() -> None:
    scene = a_demo()
    scene.node("home-1", Standing.GRACE)
    late = scene.fabric.now + scene.fabric.node("home-1").LIFE + 1
    scene.hold(scene.fabric.offers("home-1", "demo", issued_at=late), from_cache=True)

    assert scene.order() == ["home-1"]


# -- objections --
def test_resolution_explains_what_the_offering_node_would_refuse() -> None:
    scene = a_demo(open_to=("role:ingress",))
    scene.offer("home-1", "demo")
    assert scene.code(client="203.0.113.9") is Code.NOT_EDGE_EXPOSABLE
    assert scene.code() is None

    scene.service("demo", open_to=("role:ingress",), edge_exposable=True, generation=2)
    assert scene.code(client="203.0.113.9") is None
    scene.service("demo", open_to=(), generation=3)
    assert scene.code() is Code.NOT_PERMITTED


def test_a_name_without_a_signed_record_is_unknown_though_somebody_offers_it() -> None:
    scene = ARegistry()
    scene.offer("home-1", "demo")

    assert scene.registry.knows("demo")
    assert scene.code() is Code.UNKNOWN_SERVICE


def test_a_node_without_a_record_of_its_own_opens_nothing() -> None:
    scene = a_demo()
    scene.offer("home-1", "demo")
    scene.directory.held.pop(scene.fabric.node("me").key)

    assert scene.code() is Code.NO_OWN_RECORD


# -- this node's own --
def test_what_this_node_serves_counts_at_once_whatever_its_record_says() -> None:
    scene = a_demo()
    assert scene.say(Serving(("demo",))) == [
        ServiceChanged("demo", Status.MISSING, Status.CANDIDATE_ONLY, added=(NodeName("me"),))
    ]
    assert scene.order() == ["me"]

    scene.offer("me", "demo")
    scene.say(Serving(()))
    assert scene.order() == []
    scene.offer("me", "demo")
    assert scene.order() == []


def test_what_this_node_serves_and_may_not_offer_is_not_resolved() -> None:
    scene = a_demo()
    scene.say(Serving(("demo",)))
    scene.service("demo", offer_by=("node:somebody",))
    assert scene.order() == []

    scene.service("demo")
    assert scene.order() == ["me"]


def test_until_it_says_what_it_serves_a_node_goes_by_its_record() -> None:
    scene = a_demo()
    scene.offer("me", "demo")

    assert scene.order() == ["me"]
