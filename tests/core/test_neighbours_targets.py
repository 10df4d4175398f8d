"""How many of which kind of peer a node should have, by policy, roles and mark."""

from fabric.core.diversity import CRITICAL_TARGETS, targets_for
from fabric.core.records import Targets
from fabric.testing.records import AFabric

FABRIC = AFabric()


def test_without_a_policy_a_critical_node_has_higher_targets() -> None:
    assert targets_for(None, FABRIC.node("home-1")) == Targets()
    assert targets_for(None, FABRIC.node("home-1", critical=True)) == CRITICAL_TARGETS


def test_the_policy_goes_before_what_is_built_in() -> None:
    policy = FABRIC.policy(targets={"default": Targets(direct=5), "critical": Targets(direct=7)})

    assert targets_for(policy, FABRIC.node("home-1")).direct == 5
    assert targets_for(policy, FABRIC.node("home-1", critical=True)).direct == 7


def test_of_several_roles_the_most_demanding_decides_each_count() -> None:
    policy = FABRIC.policy(
        targets={
            "default": Targets(direct=9),
            "ingress": Targets(direct=4, external_areas=1),
            "control": Targets(direct=1, external_areas=3),
        }
    )
    targets = targets_for(policy, FABRIC.node("home-1", roles=("control", "ingress", "other")))

    assert (targets.direct, targets.external_areas) == (4, 3)
