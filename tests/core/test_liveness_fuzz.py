"""One node's liveness: whatever comes, in any order, it raises nothing and holds members only."""

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.frames import IndirectAck, IndirectProbe, Probe, ProbeAck, RollCall
from fabric.core.identity import NodeId
from fabric.core.liveness_events import (
    Connected,
    Disconnected,
    Heard,
    Joined,
    Leaving,
    Struck,
    Wake,
)
from tests.core.a_seat import ROOT, Seat, alive, dead, left, suspect

INCARNATIONS = (1, 5, 1 << 16, 2**64 - 1)
ACCUSERS = ("a", "ab", "abcxyq", "qx")
FRAMES = [
    *(alive(node, number) for node in "xym" for number in INCARNATIONS),
    *(left(node, number) for node in "xym" for number in INCARNATIONS),
    *(suspect(node, by, number) for node in "xymq" for by in "abmxq" for number in INCARNATIONS),
    *(
        dead(node, *by, incarnation=number)
        for node in "xym"
        for by in ACCUSERS
        for number in (1, 5)
    ),
    evolve(alive("x", 7), signature=bytes(64)),
    Probe(seq=0),
    ProbeAck(seq=0, root=ROOT),
    IndirectProbe(seq=0, target="x"),
    IndirectAck(seq=0, target="y", reached=True),
    RollCall(digest=b"d" * 8),
    RollCall(digest=b"d" * 8, entries=bytes(range(50))),
]
EVENTS = st.one_of(
    st.builds(Heard, st.sampled_from("abcxyq"), st.sampled_from(FRAMES)),
    st.builds(Connected, st.sampled_from("abxymq")),
    st.builds(Disconnected, st.sampled_from("abxyq"), st.booleans()),
    st.builds(Struck, st.sampled_from("abxm")),
    st.builds(Joined, st.sampled_from("abx"), st.sampled_from(["north", "home"])),
    st.just(Leaving()),
    st.floats(0.0, 30.0),
)
"""A number is time that passes."""


@given(st.lists(EVENTS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_nothing_is_raised_and_the_next_wake_is_not_in_the_past(events) -> None:
    seat = Seat()
    for event in events:
        if isinstance(event, float):
            seat.run(event, step=1.0)
        else:
            for effect in seat.give(event):
                assert not isinstance(effect, Wake) or effect.at >= seat.now

    assert {life.node for life in seat.core._lives} <= {NodeId(each) for each in seat.areas}
    assert seat.core.state_of(NodeId("m")) in {"alive", "left"}
