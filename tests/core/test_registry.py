"""What the registry says of a service: missing, a candidate only, or active; and until when."""

import json
import random

from fabric.codes import Code
from fabric.core.evidence import FAILURES, FRESH, HELD, INTEREST, SPACING
from fabric.core.identity import NodeId, NodeName
from fabric.core.offerings import Grade
from fabric.core.records import Key
from fabric.core.registry import MOST_PROBES, SWEEP
from fabric.core.registry_events import (
    Effect,
    Failed,
    ProbeWanted,
    Proved,
    Recorded,
    ServiceChanged,
    Shunned,
    Sought,
    Status,
    Ticked,
)
from fabric.core.registry_report import MOST_REPORTED
from fabric.core.verdicts import Standing
from tests.core.a_directory import ARegistry

MISSING, CANDIDATE_ONLY, ACTIVE = Status


def an_active_service(**fields: object) -> tuple[ARegistry, NodeId]:
    scene = ARegistry()
    scene.service("demo", **fields)
    node = scene.offer("home-1", "demo")
    scene.prove(node)
    assert scene.status() is ACTIVE
    return scene, node


def probes(effects: list[Effect]) -> list[ProbeWanted]:
    return [each for each in effects if isinstance(each, ProbeWanted)]


# -- becoming active --
def test_a_service_that_nobody_speaks_of_is_missing() -> None:
    scene = ARegistry()

    assert scene.status() is MISSING
    assert not scene.registry.knows("demo")


def test_a_signed_record_without_any_offer_is_missing() -> None:
    scene = ARegistry()
    scene.service("demo")

    assert scene.status() is MISSING
    assert scene.registry.reason("demo") is Code.NO_INSTANCE


def test_an_offer_without_a_signed_record_is_a_candidate_only() -> None:
    scene = ARegistry()
    node = scene.offer("home-1", "demo")
    scene.prove(node)

    assert scene.status() is CANDIDATE_ONLY
    assert scene.registry.reason("demo") is Code.UNKNOWN_SERVICE


def test_a_permitted_offer_without_a_proof_is_a_candidate_only() -> None:
    scene = ARegistry()
    scene.service("demo")
    scene.offer("home-1", "demo")

    assert scene.status() is CANDIDATE_ONLY
    assert scene.registry.reason("demo") is Code.NO_PROOF


def test_record_offer_and_proof_make_it_active() -> None:
    scene, _node = an_active_service()

    assert scene.registry.reason("demo") is None


def test_a_proof_made_before_the_signed_record_came_counts_once_it_is_there() -> None:
    scene = ARegistry()
    node = scene.offer("home-1", "demo")
    scene.prove(node)
    scene.service("demo")

    assert scene.status() is ACTIVE


def test_a_proof_of_a_node_that_may_not_offer_counts_for_nothing() -> None:
    scene = ARegistry()
    scene.service("demo", offer_by=("node:home-1",))
    scene.offer("home-1", "demo")
    scene.prove(scene.offer("home-2", "demo"))

    assert scene.status() is CANDIDATE_ONLY


def test_an_expired_offer_is_tried_but_makes_nothing_active() -> None:
    scene = ARegistry()
    scene.service("demo")
    node = scene.offer("home-1", "demo", standing=Standing.EXPIRED)
    scene.prove(node)

    assert scene.status() is CANDIDATE_ONLY
    assert scene.order() == ["home-1"]


def test_an_expired_service_record_makes_nothing_active_and_opens_nothing() -> None:
    scene, _node = an_active_service()
    scene.service("demo", Standing.EXPIRED)

    assert scene.status() is CANDIDATE_ONLY
    assert scene.registry.reason("demo") is Code.RECORD_EXPIRED
    assert scene.code() is Code.RECORD_EXPIRED


def test_a_channel_that_was_served_here_proves_it_of_this_node() -> None:
    scene = ARegistry()
    scene.service("demo", open_to=("node:somebody-else",))
    scene.offer("me", "demo")
    scene.prove(scene.me, via="served")

    assert scene.status() is ACTIVE


# -- ceasing to be --
def test_it_leaves_active_at_the_third_failed_probe_and_not_before() -> None:
    scene, node = an_active_service()
    for _ in range(FAILURES - 1):
        scene.now += SPACING
        scene.fail(node)
        assert scene.status() is ACTIVE

    scene.now += SPACING
    assert scene.fail(node) == [ServiceChanged("demo", ACTIVE, CANDIDATE_ONLY)]


def test_two_failures_past_the_age_of_a_proof_still_wait_for_the_third() -> None:
    scene, node = an_active_service()
    for _ in range(2):
        scene.now += 14.0
        scene.fail(node)
    scene.after(5.0)

    assert scene.now - 100.0 > FRESH
    assert scene.status() is ACTIVE
    scene.fail(node)
    assert scene.status() is CANDIDATE_ONLY


def test_a_success_between_failures_begins_the_count_anew() -> None:
    scene, node = an_active_service()
    for code in (None, *[Code.BACKEND_REFUSED] * 2) * 3:
        scene.now += SPACING
        if code:
            scene.fail(node, code=code)
        else:
            scene.prove(node)
        assert scene.status() is ACTIVE


def test_many_instances_refusing_one_client_are_one_failure() -> None:
    scene, node = an_active_service()
    others = [scene.offer(f"home-{number}", "demo") for number in range(2, 6)]

    for each in (node, *others):
        scene.fail(each)

    assert scene.status() is ACTIVE


def test_a_failure_that_is_about_the_opener_counts_as_none() -> None:
    scene, node = an_active_service()
    for code in (Code.NOT_PERMITTED, Code.CANCELLED, Code.REPLACED, Code.NOT_EDGE_EXPOSABLE):
        for _ in range(FAILURES):
            scene.now += 6.0
            scene.fail(node, code=code)
        assert scene.status() is ACTIVE
        scene.prove(node)


def test_after_three_failures_one_success_makes_it_active_again() -> None:
    scene, node = an_active_service()
    for _ in range(FAILURES):
        scene.now += 6.0
        scene.fail(node)
    assert scene.status() is CANDIDATE_ONLY
    scene.after(2.0)
    assert scene.status() is CANDIDATE_ONLY  # though a proof is not yet 30 s old

    assert scene.prove(node) == [ServiceChanged("demo", CANDIDATE_ONLY, ACTIVE)]


def test_a_proof_that_nobody_renews_lapses() -> None:
    scene, node = an_active_service()
    scene.after(5.0)
    scene.prove(node)
    scene.after(FRESH)
    assert scene.status() is ACTIVE

    assert ServiceChanged("demo", ACTIVE, CANDIDATE_ONLY) in scene.after(1.0)


def test_a_failure_does_not_prolong_belief_for_ever() -> None:
    scene, node = an_active_service()
    scene.now += 20.0
    scene.fail(node)

    scene.after(HELD - 20.0)
    assert scene.status() is ACTIVE
    scene.after(1.0)
    assert scene.status() is CANDIDATE_ONLY


def test_it_leaves_active_at_once_when_its_only_node_dies_or_leaves() -> None:
    for state in ("dead", "left"):
        scene, node = an_active_service()

        scene.turn(node, "suspect")
        assert scene.status() is ACTIVE
        (change,) = scene.turn(node, state)
        assert change == ServiceChanged(
            "demo", ACTIVE, CANDIDATE_ONLY, removed=(NodeName("home-1"),)
        )


def test_it_is_missing_at_once_when_the_service_is_revoked() -> None:
    scene, _node = an_active_service()
    scene.service("demo", revoked=True, generation=2)

    assert scene.status() is MISSING
    assert scene.registry.reason("demo") is Code.REVOKED
    assert scene.code() is Code.REVOKED


def test_it_is_missing_at_once_when_its_only_node_is_revoked() -> None:
    scene, _node = an_active_service()
    scene.node("home-1", revoked=True, generation=2)

    assert scene.status() is MISSING
    assert scene.order() == []


def test_it_is_missing_when_the_offer_is_withdrawn_and_forgotten_with_its_record() -> None:
    scene, node = an_active_service()
    scene.offer("home-1", sequence=2)
    assert scene.status() is MISSING

    scene.say(Recorded(scene.directory.drop(Key("service", "demo"))))
    scene.say(Recorded(scene.directory.drop(Key("offers", node))))
    assert scene.registry.services() == []


def test_a_proof_of_another_instance_is_no_proof_of_the_one_that_is_left() -> None:
    scene, _node = an_active_service()
    scene.offer("home-2", "demo")
    scene.offer("home-1", sequence=2)

    assert scene.status() is CANDIDATE_ONLY


def test_what_is_withdrawn_and_offered_again_has_to_be_proved_again() -> None:
    scene, _node = an_active_service()
    scene.offer("home-1", sequence=2)
    scene.offer("home-1", "demo", sequence=3)

    assert scene.status() is CANDIDATE_ONLY


def test_a_trial_at_a_node_that_does_not_offer_the_service_leaves_no_trace() -> None:
    scene, node = an_active_service()
    scene.fail(scene.node("home-2"))

    last = scene.registry.last_trial("demo")
    assert last is not None
    assert last.node == node


def test_what_expires_in_silence_is_found_by_the_sweep() -> None:
    scene, _node = an_active_service()
    scene.after(1.0)
    scene.directory.hold(scene.fabric.offers("home-1", "demo"), Standing.EXPIRED)

    scene.after(SWEEP)
    assert scene.order() == ["home-1"]
    assert scene.status() is CANDIDATE_ONLY


def test_the_sweep_reads_a_tenth_of_all_nodes_a_second() -> None:
    scene = ARegistry()
    scene.service("demo")
    names = [f"home-{number}" for number in range(40)]
    for name in names:
        scene.offer(name, "demo")
    scene.say(Ticked())
    for name in names:
        scene.directory.hold(scene.fabric.offers(name, "demo"), Standing.EXPIRED)

    for second in range(1, 11):
        scene.after(SWEEP / 10)
        offered = scene.registry.offerings.of("demo").values()
        assert sum(each.grade is Grade.HINT for each in offered) == 4 * second


def test_of_a_node_that_is_none_any_more_nothing_is_remembered() -> None:
    scene, node = an_active_service()
    assert scene.registry.offerings.before(node) == {"demo"}
    for key in (scene.fabric.offers("home-1").key, scene.fabric.node("home-1").key):
        scene.say(Recorded(scene.directory.drop(key)))

    assert scene.registry.offerings.before(node) == frozenset()


def test_the_first_tick_reads_all_that_was_there_before() -> None:
    scene = ARegistry()
    scene.directory.hold(scene.fabric.service("demo"))
    scene.directory.hold(scene.fabric.node("home-1"))
    scene.directory.hold(scene.fabric.offers("home-1", "demo"))
    scene.say(Ticked())

    assert scene.order() == ["home-1"]


# -- the node as a whole --
def test_the_node_is_active_when_all_core_services_are() -> None:
    scene, node = an_active_service(core=True)
    scene.service("extra")
    assert scene.registry.status is ACTIVE

    scene.service("update-store", core=True)
    assert scene.registry.status is MISSING
    scene.offer("home-1", "demo", "update-store", sequence=2)
    assert scene.registry.status is CANDIDATE_ONLY
    scene.prove(node, "update-store")
    assert scene.registry.status is ACTIVE


def test_a_node_that_knows_no_core_service_is_missing() -> None:
    scene, _node = an_active_service()

    assert scene.registry.status is MISSING


def test_a_revoked_core_service_is_none() -> None:
    scene, _node = an_active_service(core=True)
    scene.service("old", core=True, revoked=True)

    assert scene.registry.core() == ["demo"]
    assert scene.registry.status is ACTIVE


def test_a_core_service_that_this_node_may_not_open_keeps_it_from_being_active() -> None:
    scene = ARegistry()
    scene.service("demo", core=True, open_to=("node:somebody-else",))
    scene.offer("home-1", "demo")

    assert probes(scene.after(SPACING * 2)) == []
    assert scene.registry.status is CANDIDATE_ONLY
    assert scene.registry.reason("demo") is Code.NOT_PERMITTED


# -- probing --
def test_a_core_service_is_probed_at_most_every_ten_seconds() -> None:
    scene = ARegistry()
    scene.service("demo", core=True)
    node = scene.offer("home-1", "demo")

    effects = scene.after(120.0)
    assert set(probes(effects)) == {ProbeWanted("demo", node)}
    assert 120 / (SPACING * 1.3) <= len(probes(effects)) <= 120 / SPACING


def test_a_probe_is_put_off_by_a_channel_that_proves_as_much() -> None:
    scene = ARegistry()
    scene.service("demo", core=True)
    node = scene.offer("home-1", "demo")
    scene.after(1.0)
    for _ in range(10):
        scene.prove(node)
        assert probes(scene.after(SPACING - 1)) == []


def test_a_service_is_probed_for_a_while_after_somebody_asked_for_it() -> None:
    scene = ARegistry()
    scene.service("demo")
    node = scene.offer("home-1", "demo")
    assert probes(scene.after(20.0)) == []

    scene.order()
    assert probes(scene.after(1.0)) == [ProbeWanted("demo", node)]
    scene.after(INTEREST)
    assert probes(scene.after(60.0)) == []

    scene.say(Sought("demo"))
    assert probes(scene.after(1.0)) == [ProbeWanted("demo", node)]


def test_asking_for_what_nobody_knows_leaves_nothing_behind() -> None:
    scene = ARegistry()
    scene.order("nonsense")
    scene.say(Sought("nonsense"))
    scene.say(Failed("nonsense", scene.me, Code.UNKNOWN_SERVICE))
    scene.say(Proved("nonsense", scene.me, 0.1, "channel"))

    assert scene.registry.services() == []


def test_the_instance_that_is_probed_is_the_one_that_would_be_asked() -> None:
    scene = ARegistry()
    scene.service("demo", core=True)
    first, second = scene.offer("home-1", "demo"), scene.offer("home-2", "demo")
    scene.reach.loads[first, "demo"] = 5

    assert probes(scene.after(1.0)) == [ProbeWanted("demo", second)]
    scene.fail(second)
    assert set(probes(scene.after(SPACING * 1.3))) == {ProbeWanted("demo", first)}


def test_a_node_that_may_not_open_what_it_offers_probes_itself() -> None:
    scene = ARegistry()
    scene.service("demo", core=True, open_to=("node:somebody-else",))
    scene.offer("home-1", "demo")
    scene.offer("me", "demo")

    assert set(probes(scene.after(30.0))) == {ProbeWanted("demo", scene.me)}


def test_only_so_many_probes_are_out_at_once_and_everybody_has_a_turn() -> None:
    scene = ARegistry()
    names = [f"service-{number:02}" for number in range(MOST_PROBES * 2)]
    for name in names:
        scene.service(name, core=True)
    node = scene.offer("home-1", *names)

    first = probes(scene.after(1.0))
    assert len(first) == MOST_PROBES
    assert probes(scene.after(1.0)) == []  # no answer yet
    for probe in first:
        scene.prove(node, probe.service)
    second = probes(scene.after(1.0))
    assert {each.service for each in first} | {each.service for each in second} == set(names)


def test_a_probe_that_nobody_answers_does_not_hold_its_place_for_ever() -> None:
    scene = ARegistry()
    names = [f"service-{number:02}" for number in range(MOST_PROBES * 2)]
    for name in names:
        scene.service(name, core=True)
    scene.offer("home-1", *names)

    assert {each.service for each in probes(scene.after(SPACING * 3))} == set(names)


def test_core_services_go_before_those_that_are_merely_wanted() -> None:
    scene = ARegistry()
    names = [f"a-{number:02}" for number in range(MOST_PROBES + 4)]
    for name in names:
        scene.service(name)
    scene.service("z-core", core=True)
    scene.offer("home-1", *names, "z-core")
    for name in names:
        scene.order(name)

    assert "z-core" in {each.service for each in probes(scene.after(1.0))}


def test_two_nodes_do_not_go_on_probing_in_step() -> None:
    def moments(seed: int) -> list[float]:
        scene = ARegistry(seed=seed)
        scene.service("demo", core=True)
        scene.offer("home-1", "demo")
        return [scene.now for _ in range(200) if probes(scene.after(0.5))]

    assert moments(1) == moments(1)
    assert moments(1) != moments(2)


# -- watching --
def test_a_watcher_is_told_of_instances_that_come_and_go() -> None:
    scene = ARegistry()
    scene.service("demo")
    scene.offer("home-1", "demo")
    node = scene.offer("home-2", "demo")
    scene.turn(node, "dead")

    assert scene.effects == [
        ServiceChanged("demo", MISSING, CANDIDATE_ONLY, added=(NodeName("home-1"),)),
        ServiceChanged("demo", CANDIDATE_ONLY, CANDIDATE_ONLY, added=(NodeName("home-2"),)),
        ServiceChanged("demo", CANDIDATE_ONLY, CANDIDATE_ONLY, removed=(NodeName("home-2"),)),
    ]


def test_a_watcher_is_told_nothing_when_nothing_changed() -> None:
    scene, node = an_active_service()
    scene.effects.clear()
    scene.prove(node)
    scene.turn(node, "suspect")
    scene.hold(scene.fabric.node("home-1", generation=2, site_id="cellar"))
    scene.after(20.0)

    assert scene.effects == []


def test_a_watcher_who_adds_up_the_changes_knows_the_instances() -> None:
    scene, rng = ARegistry(), random.Random(3)
    scene.service("demo", offer_by=("area:home",))
    names = [f"home-{number}" for number in range(6)]
    for sequence in range(1, 80):
        name = rng.choice(names)
        match rng.randrange(4):
            case 0:
                scene.offer(name, *rng.choice([("demo",), ()]), sequence=sequence)
            case 1:
                scene.turn(scene.fabric.node_id(name), rng.choice(["alive", "dead"]))
            case 2:
                scene.node(name, area=rng.choice(["home", "away"]), generation=sequence)
            case 3:
                scene.say(Shunned(scene.fabric.node_id(name), Code.DUPLICATE_IDENTITY, 5.0))
        scene.after(1.0)

    told: set[str] = set()
    for effect in scene.effects:
        assert isinstance(effect, ServiceChanged)
        told = (told | set(effect.added)) - set(effect.removed)
    assert told == set(scene.order())
    assert len(scene.effects) > 10


# -- the report --
def test_the_report_says_what_the_control_plane_wants_to_know() -> None:
    scene, _node = an_active_service(core=True)
    scene.turn(scene.offer("home-2", "demo"), "dead")
    scene.now += 4.0

    assert scene.report() == {
        "status": "active",
        "services": {
            "demo": {
                "status": "active",
                "reason": None,
                "active_records": 1,
                "candidate_records": 1,
                "resolved_to": "home-1",
                "source": "memory",
                "last_live_probe": {
                    "at": scene.fabric.now - 4,
                    "ok": True,
                    "rtt_ms": 12.0,
                    "via": "channel",
                },
            }
        },
    }
    assert json.loads(json.dumps(scene.report())) == scene.report()


def test_the_report_says_when_the_cache_is_all_there_is() -> None:
    scene = ARegistry()
    scene.service("demo", core=True)
    scene.node("home-1")
    scene.hold(scene.fabric.offers("home-1", "demo"), from_cache=True)
    scene.fail(scene.fabric.node_id("home-1"), code=Code.DEADLINE)

    demo = scene.report()["services"]["demo"]
    assert (demo["status"], demo["reason"]) == ("candidate_only", "no_proof")
    assert (demo["resolved_to"], demo["source"]) == ("home-1", "cache")
    assert demo["last_live_probe"] == {
        "at": scene.fabric.now,
        "ok": False,
        "rtt_ms": None,
        "via": "channel",
    }


def test_the_report_of_an_empty_registry_is_missing() -> None:
    assert ARegistry().report() == {"status": "missing", "services": {}}


def test_a_flood_of_offered_names_crowds_no_signed_service_out_of_the_report() -> None:
    scene = ARegistry()
    for number in range(8):
        names = [f"a{number}-{index:02}" for index in range(64)]
        scene.offer(f"chatty-{number}", *names)
    scene.service("zebra", core=True)

    services = scene.report()["services"]
    assert len(services) == MOST_REPORTED
    assert "zebra" in services
