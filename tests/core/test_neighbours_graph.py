"""The graph that everybody's own choice adds up to: whole, low, and of few links per node.

Each node chooses by itself; a link stands when either end chose it, so that what others dial
counts into every degree here.
"""

import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

import pytest

from fabric.core.diversity import CRITICAL_TARGETS, Bounds, Fleet, Place, choose
from fabric.core.identity import NodeId
from fabric.core.records import Targets
from fabric.core.rings import affinity

DEGREE = Bounds().degree
MOST = 2 * DEGREE + 4

AREAS = {
    "one area": [100],
    "two halves": [50, 50],
    "five alike": [20] * 5,
    "twenty": [5] * 20,
    "all but two": [98, 2],
    "hermits about a city": [81] + [1] * 19,
    "hermits": [1] * 100,
    "just no mesh": [9, 4, 4],
}
LARGE = {
    "a thousand, one area": [1000],
    "a thousand, twenty areas": [50] * 20,
    "a thousand, hermits about a city": [981] + [1] * 19,
}


def a_fleet(
    sizes: Sequence[int], seed: int, *, bounds: Bounds | None = None
) -> tuple[Fleet, list[Place]]:
    rng = random.Random(seed)
    places = [
        Place(
            node=NodeId(f"{rng.getrandbits(160):040x}"),
            area=f"area-{number}",
            nat_group=f"nat-{number}-{index % 3}",
        )
        for number, size in enumerate(sizes)
        for index in range(size)
    ]
    fleet = Fleet(bounds or Bounds())
    for place in places:
        fleet.add(place)
    return fleet, places


Graph = dict[NodeId, set[NodeId]]


def the_graph(fleet: Fleet, places: Iterable[Place]) -> Graph:
    graph: Graph = defaultdict(set)
    for place in places:
        for other in choose(place, fleet):
            graph[place.node].add(other.node)
            graph[other.node].add(place.node)
    return graph


def distances(graph: Graph, start: NodeId) -> dict[NodeId, int]:
    found, queue = {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for other in graph[node] - found.keys():
            found[other] = found[node] + 1
            queue.append(other)
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sizes", AREAS.values(), ids=AREAS)
def test_a_hundred_nodes_are_one_graph_of_few_links_and_short_ways(
    sizes: list[int], seed: int
) -> None:
    fleet, places = a_fleet(sizes, seed)
    graph = the_graph(fleet, places)

    reached = [distances(graph, place.node) for place in places]
    assert all(len(each) == len(places) for each in reached)
    assert max(max(each.values()) for each in reached) <= 5
    assert max(len(links) for links in graph.values()) <= MOST
    assert min(len(links) for links in graph.values()) >= 4


@pytest.mark.parametrize("sizes", LARGE.values(), ids=LARGE)
def test_a_thousand_nodes_are_one_graph_of_few_links_and_short_ways(sizes: list[int]) -> None:
    fleet, places = a_fleet(sizes, seed=1)
    graph = the_graph(fleet, places)

    reached = [distances(graph, place.node) for place in places[::100]]
    assert all(len(each) == len(places) for each in reached)
    assert max(max(each.values()) for each in reached) <= 6
    assert max(len(links) for links in graph.values()) <= MOST


def test_the_least_degree_still_makes_one_graph() -> None:
    fleet, places = a_fleet([1] * 100, seed=2, bounds=Bounds(degree=3))
    graph = the_graph(fleet, places)

    assert len(distances(graph, places[0].node)) == len(places)


def test_an_area_that_is_cut_off_stays_in_one_piece() -> None:
    fleet, places = a_fleet([20] * 5, seed=3)
    graph = the_graph(fleet, places)

    area = {place.node for place in places if place.area == "area-2"}
    inside = {node: graph[node] & area for node in area}
    assert distances(inside, min(area)).keys() == area


@pytest.mark.parametrize("seed", range(3))
def test_losing_any_one_area_leaves_the_others_in_one_piece(seed: int) -> None:
    fleet, places = a_fleet([20] * 5, seed)
    graph = the_graph(fleet, places)

    for lost in range(5):
        left = {place.node for place in places if place.area != f"area-{lost}"}
        among = {node: graph[node] & left for node in left}
        assert distances(among, min(left)).keys() == left


def test_one_node_more_or_less_changes_few_choices() -> None:
    fleet, places = a_fleet([30] * 4, seed=4)
    before = {place.node: {each.node for each in choose(place, fleet)} for place in places}

    gone = places[17]
    fleet.remove(gone.node)
    left = [place for place in places if place is not gone]
    changes = [len(before[p.node] ^ {e.node for e in choose(p, fleet)}) for p in left]

    assert sum(changes) <= 4 * DEGREE  # it leaves, and another comes in its place
    fleet.add(gone)
    assert before == {place.node: {each.node for each in choose(place, fleet)} for place in places}


def test_both_ends_choose_each_other_but_for_what_diversity_adds() -> None:
    fleet, places = a_fleet([50, 50], seed=5, bounds=Bounds(targets=Targets(recovery=0)))
    chosen = {place.node: {each.node for each in choose(place, fleet)} for place in places}

    one_sided = sum(node not in chosen[each] for node in chosen for each in chosen[node])
    assert one_sided <= 5


def test_every_node_meets_its_targets_where_the_areas_allow_it() -> None:
    targets = Targets(direct=3, external_areas=2, independent_ingress=2, recovery=0)
    fleet, places = a_fleet([20] * 5, seed=6, bounds=Bounds(targets=targets))

    for place in places:
        chosen = choose(place, fleet)
        assert len({each.area for each in chosen} - {place.area}) >= 2
        assert len({each.ingress for each in chosen} - {place.ingress}) >= 2


def test_a_way_to_recovery_is_added_though_it_stands_beside_nobody() -> None:
    fleet, places = a_fleet([30, 30, 30], seed=7)
    chosen = choose(places[0], fleet)
    strangers = {p.node for p in places if p.area == "area-1"} - {c.node for c in chosen}
    host = fleet.places[min(strangers)]

    fleet.add(
        Place(node=host.node, area=host.area, nat_group=host.nat_group, recovers=True),
    )

    assert host.node in {each.node for each in choose(places[0], fleet)}


def test_a_node_that_everybody_needs_welcomes_only_so_many_and_critical_ones_first() -> None:
    bounds = Bounds(targets=CRITICAL_TARGETS)
    fleet, places = a_fleet([200, 1], seed=8, bounds=bounds)
    hermit = places[-1]
    guests = {p.node for p in places if hermit in choose(p, fleet)}
    beside = {each.node for each in fleet.beside(hermit, frozenset())}
    left_out = fleet.places[min({p.node for p in places[:-1]} - guests)]

    assert len(guests - beside) <= DEGREE * 3 // 2
    fleet.add(
        Place(
            node=left_out.node,
            area=left_out.area,
            nat_group=left_out.nat_group,
            is_critical=True,
        )
    )
    assert hermit in choose(fleet.places[left_out.node], fleet)


def test_affinity_is_the_same_at_both_ends_and_another_for_each_pair() -> None:
    _fleet, places = a_fleet([20], seed=11)
    pairs = [(one.node, other.node) for one in places for other in places if one != other]

    assert all(affinity(one, other) == affinity(other, one) for one, other in pairs)
    assert len({affinity(*pair) for pair in pairs}) == len(pairs) / 2


def test_who_is_given_up_is_replaced_by_the_next_on_the_circle() -> None:
    fleet, places = a_fleet([40], seed=9)
    chosen = [each.node for each in choose(places[0], fleet)]

    others = [each.node for each in choose(places[0], fleet, skip={chosen[0]})]

    assert chosen[0] not in others
    assert len(others) >= len(chosen) - 1
    assert set(chosen[1:]) <= set(others)


def test_other_areas_are_dialled_before_ones_own_and_each_before_any_twice() -> None:
    targets = Targets(external_areas=2)
    fleet, places = a_fleet([20, 20, 20], seed=10, bounds=Bounds(targets=targets))
    for me in places:
        areas = [each.area for each in choose(me, fleet)]
        assert {*areas[:2], me.area} == {"area-0", "area-1", "area-2"}
        assert areas[2] == me.area
