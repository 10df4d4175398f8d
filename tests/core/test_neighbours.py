"""Links that one node seeks, keeps and lets go, as news of the others come in."""

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.contacts import GIVEN_UP_AFTER, GIVEN_UP_UNSEEN_AFTER, SLOW_AFTER
from fabric.core.diversity import Bounds, Place
from fabric.core.healing import HEALING, MOST_HEALED
from fabric.core.identity import NodeId
from fabric.core.neighbour_events import (
    Asked,
    Bounded,
    Connected,
    DialFailed,
    Disconnected,
    Effect,
    Event,
    Full,
    Heal,
    LetGo,
    Listed,
    Pace,
    SeedMet,
    Seek,
    Ticked,
    Turned,
    Unlisted,
    Why,
    Wish,
)
from fabric.core.neighbours import (
    GIVEN_UP_FOR,
    IDLE,
    MOST_ACCEPTED,
    MOST_ASKED,
    PARTING,
    RETURNING,
    SETTLING,
    Neighbours,
)

SEEDS = (("seed-1.example", 4433), ("seed-2.example", 4433))


def a_place(number: int, areas: int = 4) -> Place:
    return Place(node=NodeId(f"node-{number:04}"), area=f"area-{number % areas}")


class Fleet:
    """One node's choice, its clock, and everything that it said."""

    def __init__(self, size: int, *, areas: int = 4, seeds: tuple = (), state: str = "alive"):
        self.busy: set[NodeId] = set()
        self.now = 0.0
        self.places = [a_place(number, areas) for number in range(1, size)]
        self.me = a_place(0, areas)
        self.neighbours = Neighbours(
            self.me, random.Random(1), seeds=seeds, is_busy=self.busy.__contains__
        )
        for place in self.places:
            self.say(Listed(place))
            if state:
                self.say(Turned(place.node, state))
        self.after(SETTLING)

    def say(self, event: Event) -> list[Effect]:
        return self.neighbours.receive(event, self.now)

    def after(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick every second, and return all effects but healing."""
        effects: list[Effect] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            effects += self.say(Ticked())
        return [each for each in effects if not isinstance(each, Heal)]

    def heals(self, seconds: float) -> list[Heal]:
        effects: list[Effect] = []
        for _ in range(round(seconds)):
            self.now += 1.0
            effects += self.say(Ticked())
        return [each for each in effects if isinstance(each, Heal)]

    def connect(self, nodes: Iterable[NodeId], *, dialled: bool = True) -> None:
        for node in nodes:
            self.say(Connected(node, dialled))

    @property
    def wanted(self) -> list[NodeId]:
        return [wish.node for wish in self.neighbours.wanted(self.now)]

    @property
    def unwanted(self) -> list[NodeId]:
        return [place.node for place in self.places if place.node not in self.wanted]

    def wish(self, node: NodeId) -> Wish:
        return {wish.node: wish for wish in self.neighbours.wanted(self.now)}[node]


# -- small fleets --
def test_a_small_fleet_is_a_full_mesh() -> None:
    fleet = Fleet(16)

    assert sorted(fleet.wanted) == [place.node for place in fleet.places]
    assert {wish.why for wish in fleet.neighbours.wanted(0)} == {Why.MESH}


def test_one_node_more_makes_it_a_graph_of_few_links() -> None:
    fleet = Fleet(16)
    fleet.say(Listed(a_place(16)))
    effects = fleet.after(1.0)

    assert len(fleet.wanted) <= 2 * Bounds().degree
    assert any(isinstance(each, LetGo) for each in effects)


def test_a_mesh_goes_on_wishing_for_the_dead_but_slowly() -> None:
    fleet = Fleet(8)
    lost = fleet.places[2].node
    fleet.say(Turned(lost, "dead"))
    assert fleet.wish(lost).pace is Pace.PROMPT

    assert Seek(Wish(lost, Why.MESH, Pace.SLOW)) in fleet.after(SLOW_AFTER)
    assert Seek(Wish(lost, Why.MESH)) in fleet.say(Turned(lost, "alive"))


def test_dying_twice_does_not_begin_the_time_anew() -> None:
    fleet = Fleet(8)
    node = fleet.places[0].node
    fleet.say(Turned(node, "dead"))
    fleet.after(SLOW_AFTER - 1)
    fleet.say(Turned(node, "left"))
    fleet.after(1.0)

    assert fleet.wish(node).pace is Pace.SLOW


def test_the_pace_of_a_link_that_stands_does_not_change() -> None:
    fleet = Fleet(8)
    fleet.connect(fleet.wanted)
    fleet.say(Turned(fleet.places[0].node, "dead"))

    assert fleet.after(SLOW_AFTER * 2) == []


def test_a_node_that_nobody_has_seen_is_tried_like_any_other() -> None:
    fleet = Fleet(8, state="")

    assert len(fleet.wanted) == 7
    assert all(wish.pace is Pace.PROMPT for wish in fleet.neighbours.wanted(0))


def test_a_node_of_the_mesh_that_cannot_be_reached_is_dialled_slowly_after_a_while() -> None:
    fleet = Fleet(8, state="")
    node = fleet.places[0].node
    fleet.say(DialFailed(node))

    for _ in range(5):
        fleet.after(max(SLOW_AFTER + 1, GIVEN_UP_FOR / 3))
        assert fleet.wish(node).pace is Pace.SLOW
        fleet.say(DialFailed(node))
    fleet.connect([node])
    assert fleet.wish(node).pace is Pace.PROMPT


# -- large fleets --
def test_a_start_lists_many_nodes_and_chooses_twice() -> None:
    neighbours = Neighbours(a_place(0), random.Random(1))
    effects: list[Effect] = []
    for number in range(1, 500):
        effects += neighbours.receive(Listed(a_place(number)), now=0.0)
    effects += neighbours.receive(Ticked(), now=1.0)

    assert sum(isinstance(each, Seek) for each in effects) <= 2 * Bounds().degree
    assert len(neighbours.wanted(1.0)) >= 5


def test_a_dead_neighbour_is_replaced_and_taken_back_when_it_returns() -> None:
    fleet = Fleet(100)
    first = fleet.wanted
    lost = first[0]

    fleet.say(Turned(lost, "dead"))
    fleet.after(1.0)
    assert lost not in fleet.wanted
    assert len(set(first[1:]) - set(fleet.wanted)) == 0

    fleet.say(Turned(lost, "alive"))
    fleet.after(1.0)
    assert sorted(fleet.wanted) == sorted(first)


def test_a_node_that_left_is_not_wished_for() -> None:
    fleet = Fleet(100)
    node = fleet.wanted[0]
    fleet.say(Turned(node, "left"))
    effects = fleet.after(1.0)

    assert LetGo(node) in effects
    assert node not in fleet.wanted


def test_a_neighbour_that_left_is_dialled_for_some_seconds_more() -> None:
    fleet = Fleet(60)
    node = fleet.wanted[0]
    fleet.connect([node])
    fleet.say(Turned(node, "left"))
    fleet.say(Disconnected(node))

    assert fleet.after(RETURNING - 1).count(LetGo(node)) == 0
    assert fleet.wish(node) == Wish(node, Why.RETURNING)
    assert fleet.after(1.0).count(LetGo(node)) == 1
    assert node not in fleet.wanted


def test_a_link_that_was_not_wished_for_is_not_missed() -> None:
    fleet = Fleet(60)
    node = fleet.unwanted[0]
    fleet.connect([node], dialled=False)
    fleet.say(Disconnected(node))

    assert node not in fleet.wanted


def test_word_of_a_death_does_not_end_a_link_that_stands() -> None:
    fleet = Fleet(100)
    node = fleet.wanted[0]
    fleet.connect([node])

    fleet.say(Turned(node, "dead"))

    assert not [each for each in fleet.after(PARTING * 2) if each == LetGo(node)]
    assert node in fleet.wanted


def test_a_neighbour_that_cannot_be_reached_is_given_up_for_another_and_tried_again() -> None:
    fleet = Fleet(100)
    node = fleet.wanted[0]
    fleet.say(DialFailed(node))
    fleet.after(GIVEN_UP_AFTER - 1)
    fleet.say(DialFailed(node))
    assert node in fleet.wanted

    fleet.after(1.0)
    fleet.say(DialFailed(node))
    fleet.after(1.0)
    assert node not in fleet.wanted

    fleet.after(GIVEN_UP_FOR * 1.25)
    assert node in fleet.wanted


def test_one_that_nobody_has_seen_is_given_up_sooner() -> None:
    fleet = Fleet(100, state="")
    node = fleet.wanted[0]
    fleet.say(DialFailed(node))
    fleet.after(GIVEN_UP_UNSEEN_AFTER)
    fleet.say(DialFailed(node))
    fleet.after(1.0)

    assert node not in fleet.wanted


def test_who_was_cut_off_itself_gives_everybody_another_chance() -> None:
    fleet = Fleet(100)
    first = fleet.wanted
    for _ in range(2):
        for node in first:
            fleet.say(DialFailed(node))
        fleet.after(GIVEN_UP_AFTER)
    assert not set(first) & set(fleet.wanted)

    fleet.connect([fleet.places[50].node])
    fleet.after(1.0)
    assert set(first) <= set(fleet.wanted)


def test_a_revoked_node_is_let_go_at_once() -> None:
    fleet = Fleet(100)
    node = fleet.wanted[0]
    fleet.connect([node])

    assert LetGo(node) in fleet.say(Unlisted(node))
    assert node not in fleet.wanted


def test_another_is_chosen_in_place_of_a_revoked_node() -> None:
    fleet = Fleet(100)
    first = fleet.wanted
    fleet.say(Turned(first[0], "dead"))
    fleet.after(1.0)
    instead = fleet.wanted
    other = Fleet(100)
    other.say(Unlisted(first[0]))
    other.after(1.0)

    assert other.wanted == instead
    assert set(instead) - set(first)


def test_a_new_label_moves_a_node_to_where_it_belongs() -> None:
    fleet = Fleet(100)
    moved = Place(node=fleet.places[0].node, area="elsewhere")
    fleet.say(Listed(moved))
    fleet.after(1.0)
    again = Fleet(100)
    again.say(Listed(moved))
    again.after(1.0)

    assert fleet.wanted == again.wanted


def test_a_policy_changes_how_many_are_wished_for() -> None:
    fleet = Fleet(60)
    fleet.say(Bounded(Bounds(full_mesh_up_to=60)))
    fleet.after(1.0)
    assert len(fleet.wanted) == 59

    fleet.say(Bounded(Bounds(degree=4)))
    fleet.after(1.0)
    assert len(fleet.wanted) <= 8


# -- letting go --
def test_a_link_that_we_dialled_and_need_no_more_is_kept_for_a_while() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.connect([node])

    assert LetGo(node) not in fleet.after(PARTING - 1)
    assert LetGo(node) in fleet.after(2.0)


def test_a_link_that_carries_channels_is_never_let_go() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.connect([node])
    fleet.busy.add(node)

    assert LetGo(node) not in fleet.after(PARTING * 3)
    fleet.busy.clear()
    assert LetGo(node) in fleet.after(PARTING + 1)


def test_a_link_that_the_other_end_dialled_is_its_to_let_go() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.connect([node], dialled=False)

    assert LetGo(node) not in fleet.after(PARTING * 3)


def test_a_link_that_parts_and_ends_by_itself_is_not_dialled_again() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.connect([node])

    assert fleet.say(Disconnected(node)) == [LetGo(node)]


def test_a_parting_link_that_is_wished_for_again_stays() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.connect([node])
    fleet.after(PARTING / 2)
    fleet.say(Asked(node))

    assert LetGo(node) not in fleet.after(IDLE - 1)


# -- being dialled --
def test_more_than_enough_is_accepted_and_then_no_more() -> None:
    fleet = Fleet(200)
    strangers = fleet.unwanted
    for node in strangers[:MOST_ACCEPTED]:
        assert fleet.neighbours.objection(node) is None
        fleet.connect([node], dialled=False)

    assert fleet.neighbours.objection(strangers[MOST_ACCEPTED]) is Code.BUSY
    assert fleet.neighbours.objection(strangers[0]) is None  # it is here already
    assert fleet.neighbours.objection(fleet.wanted[0]) is None  # we want it ourselves


def test_links_that_we_dialled_ourselves_are_none_that_were_accepted() -> None:
    fleet = Fleet(200)
    strangers = fleet.unwanted
    fleet.connect(strangers[: MOST_ACCEPTED + 10])

    assert fleet.neighbours.objection(strangers[-1]) is None


# -- on demand --
def test_an_instance_far_off_becomes_a_neighbour_for_as_long_as_it_is_used() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]

    assert Seek(Wish(node, Why.ASKED)) in fleet.say(Asked(node))
    fleet.connect([node])
    fleet.busy.add(node)
    assert LetGo(node) not in fleet.after(IDLE * 2)
    fleet.busy.clear()
    assert LetGo(node) not in fleet.after(IDLE - 2)
    assert LetGo(node) in fleet.after(3.0)


def test_asking_again_begins_the_minute_anew() -> None:
    fleet = Fleet(100)
    node = fleet.unwanted[0]
    fleet.say(Asked(node))
    fleet.after(IDLE - 1)
    fleet.say(Asked(node))

    assert LetGo(node) not in fleet.after(IDLE - 1)


def test_of_many_the_one_that_is_idle_longest_goes() -> None:
    fleet = Fleet(200)
    nodes = fleet.unwanted[: MOST_ASKED + 1]
    fleet.busy.add(nodes[0])
    for node in nodes[:-1]:
        fleet.say(Asked(node))

    effects = fleet.say(Asked(nodes[-1]))
    assert LetGo(nodes[1]) in effects
    assert Seek(Wish(nodes[-1], Why.ASKED)) in effects


def test_where_all_of_them_carry_channels_another_is_refused() -> None:
    fleet = Fleet(200)
    nodes = fleet.unwanted[: MOST_ASKED + 1]
    fleet.busy.update(nodes)
    for node in nodes[:-1]:
        fleet.say(Asked(node))

    assert fleet.say(Asked(nodes[-1])) == [Full(nodes[-1], Code.BUSY)]


def test_nobody_unknown_can_be_asked_for() -> None:
    fleet = Fleet(20)
    stranger = NodeId("stranger")

    assert fleet.say(Asked(stranger)) == [Full(stranger, Code.UNKNOWN_RECORD)]
    assert fleet.say(Connected(stranger, True)) == []


# -- healing --
def test_the_first_thing_a_node_does_is_to_dial_a_seed() -> None:
    neighbours = Neighbours(a_place(0), random.Random(1), seeds=SEEDS)

    (heal,) = neighbours.receive(Ticked(), now=0.0)
    assert isinstance(heal, Heal)
    assert set(heal.seeds) < set(SEEDS)
    assert len(heal.seeds) == 1


def test_one_seed_and_one_member_of_each_area_are_dialled_every_five_seconds() -> None:
    fleet = Fleet(100, areas=4, seeds=SEEDS, state="dead")
    fleet.connect([place.node for place in fleet.places if place.area == "area-0"])

    heals = fleet.heals(100)
    assert 100 / (HEALING * 1.25 + 1) <= len(heals) <= 100 / (HEALING * 0.75)
    for heal in heals:
        assert len(heal.seeds) == 1
        areas = sorted(a_place(int(node[5:])).area for node in heal.nodes)
        assert areas == ["area-1", "area-2", "area-3"]


def test_in_time_everybody_who_is_lost_has_its_turn() -> None:
    fleet = Fleet(20, areas=1, state="dead")
    fleet.connect([fleet.places[0].node])

    tried = {node for heal in fleet.heals(600) for node in heal.nodes}
    assert tried == {place.node for place in fleet.places[1:]}


def test_a_fleet_in_which_nobody_is_lost_heals_nothing() -> None:
    fleet = Fleet(100, seeds=SEEDS)
    fleet.connect(fleet.wanted)
    fleet.say(SeedMet(SEEDS[0], fleet.wanted[0]))
    fleet.say(SeedMet(SEEDS[1], fleet.me.node))

    assert fleet.heals(30) == []


def test_a_seed_that_was_met_is_dialled_again_when_its_node_is_lost() -> None:
    fleet = Fleet(100, seeds=SEEDS[:1])
    fleet.connect(fleet.wanted)
    node = fleet.unwanted[0]
    fleet.say(SeedMet(SEEDS[0], node))
    assert fleet.heals(10) == []

    fleet.say(Turned(node, "dead"))
    assert {heal.seeds for heal in fleet.heals(10)} == {SEEDS[:1]}


def test_who_is_alive_for_others_but_not_reached_from_here_is_lost_too() -> None:
    fleet = Fleet(100)
    fleet.connect(fleet.wanted)
    node = fleet.unwanted[0]
    assert fleet.heals(10) == []

    fleet.say(DialFailed(node))
    assert {heal.nodes for heal in fleet.heals(10)} == {(node,)}


def test_to_a_node_without_any_link_everybody_is_lost() -> None:
    fleet = Fleet(100)
    fleet.connect(fleet.wanted)
    for node in fleet.wanted:
        fleet.say(Disconnected(node))

    assert fleet.heals(10)


def test_a_turn_takes_no_more_areas_than_it_may() -> None:
    fleet = Fleet(100, areas=100, state="dead")

    assert {len(heal.nodes) for heal in fleet.heals(20)} == {MOST_HEALED}


# -- always --
NODES = st.integers(1, 40).map(lambda number: a_place(number))
EVENTS = st.one_of(
    NODES.map(Listed),
    NODES.map(lambda place: Unlisted(place.node)),
    st.builds(Turned, NODES.map(lambda p: p.node), st.sampled_from(["alive", "dead", "left"])),
    st.builds(Connected, NODES.map(lambda p: p.node), st.booleans()),
    NODES.map(lambda place: Disconnected(place.node)),
    NODES.map(lambda place: DialFailed(place.node)),
    NODES.map(lambda place: Asked(place.node)),
    st.just(Ticked()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 40)), max_size=60))
def test_the_effects_always_add_up_to_what_is_wanted(steps: list[tuple[Event, float]]) -> None:
    neighbours, now = Neighbours(a_place(0), random.Random(1)), 0.0
    sought: dict[NodeId, Wish] = {}
    parting: set[NodeId] = set()
    for event, pause in steps:
        now += pause
        for effect in neighbours.receive(event, now):
            match effect:
                case Seek(wish):
                    sought[wish.node] = wish
                case LetGo(node):
                    sought.pop(node, None)
        wanted = {wish.node: wish for wish in neighbours.wanted(now)}
        parting = sought.keys() - wanted.keys()
        assert {node: sought.get(node) for node in wanted} == wanted
    if parting:  # and what is sought beyond it ends by itself
        neighbours.receive(Ticked(), now)
        effects = neighbours.receive(Ticked(), now + PARTING + IDLE)
        effects += neighbours.receive(Ticked(), now + 2 * (PARTING + IDLE))
        wanted = {wish.node: wish for wish in neighbours.wanted(now + 2 * (PARTING + IDLE))}
        assert parting <= {e.node for e in effects if isinstance(e, LetGo)} | wanted.keys()


def test_the_same_seed_makes_the_same_choices_and_heals() -> None:
    one, other = Fleet(100, state="dead"), Fleet(100, state="dead")

    assert one.heals(60) == other.heals(60)
    assert one.wanted == other.wanted
