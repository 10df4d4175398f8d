"""Both ends of anti-entropy: in whatever order things happen, and against a peer that lies."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core import sync
from fabric.core.codec import encode
from fabric.core.frames import (
    BUCKET_BYTES,
    BUCKETS,
    MOST_RECORDS,
    Buckets,
    Listing,
    Page,
    Root,
    Want,
)
from fabric.core.sync import (
    WRITE_BYTES,
    Begin,
    Broken,
    Done,
    Send,
    Session,
    State,
    Take,
    Ticked,
    Written,
)
from fabric.testing.factories import some_frames
from tests.core.a_shelf import (
    HERE,
    THEIRS,
    THERE,
    AShelf,
    End,
    differ_in,
    entry,
    key_digest,
    listing,
    names_in,
    rounds,
    run,
    sent,
    two_ends,
)

ALL_DIFFER = Buckets(digests=b"d" * (BUCKETS * BUCKET_BYTES))


# -- more is lacking than one round may ask for --
def test_the_next_round_goes_on_where_the_last_was_full(monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_WANTED", 300)
    names = [f"s{n}" for n in range(700)]
    shelf, newcomer = AShelf(dict.fromkeys(names, 1)), AShelf()
    one, other = two_ends(newcomer, shelf)

    for most in (300, 600, 700):
        one.tell(Begin())
        assert run(one, other)
        assert len(newcomer.held) == most

    assert newcomer.root() == shelf.root()
    assert [len(want.keys) for want in one.frames(Want)] == [256, 44, 256, 44, 100]


def test_what_comes_to_no_avail_does_not_keep_out_what_is_behind_it(monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_WANTED", 20)
    names = sorted((f"s{n}" for n in range(30)), key=key_digest)
    newcomer = AShelf(refuses=names[:20])
    one, other = two_ends(newcomer, AShelf(dict.fromkeys(names, 1)))

    for _ in range(2):
        one.tell(Begin())
        assert run(one, other)

    assert set(newcomer.held) == set(names[20:])
    one.tell(Begin())
    run(one, other)
    assert [len(done.wanted) for done in rounds(one)] == [20, 10, 20]


# -- both ends --
def test_a_node_that_has_nothing_is_given_everything() -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(2000)})
    one, other = two_ends(AShelf(), shelf)

    one.tell(Begin())

    assert run(one, other)
    assert one.shelf.held == shelf.held
    assert len(rounds(one)) == len(rounds(other)) == 1


@pytest.mark.parametrize("number", [1, MOST_RECORDS - 1, MOST_RECORDS, 2 * MOST_RECORDS])
def test_however_many_are_wanted_the_last_want_is_known_as_such(number: int) -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(number)})
    one, other = two_ends(AShelf(), shelf)

    one.tell(Begin())

    assert run(one, other)
    assert one.shelf.held == shelf.held
    assert len(one.frames(Want)[-1].keys) < MOST_RECORDS


def test_two_nodes_without_a_difference_exchange_two_frames() -> None:
    one, other = two_ends(AShelf({HERE: 1}), AShelf({HERE: 1}))

    one.tell(Begin())

    assert run(one, other)
    assert [type(each) for each in one.sent + other.sent] == [Root, Root]
    assert rounds(one) == rounds(other) == [Done(one.shelf.root(), one.shelf.root())]


def test_one_difference_costs_less_than_10_kib() -> None:
    held = {f"s{n}": 1 for n in range(10_000)}
    one, other = two_ends(AShelf(held), AShelf({**held, "s77": 2}))

    one.tell(Begin())
    run(one, other)

    assert one.shelf.held == other.shelf.held
    assert sum(len(encode(each)) for each in one.sent + other.sent) < 10 << 10


def test_who_began_makes_no_difference_and_both_may() -> None:
    for beginners in ((0,), (1,), (0, 1)):
        ends = two_ends(AShelf({"a": 1, "b": 2}), AShelf({"b": 1, "c": 3}))

        for which in beginners:
            ends[which].tell(Begin())

        assert run(*ends)
        assert ends[0].shelf.held == ends[1].shelf.held == {"a": 1, "b": 2, "c": 3}
        assert len(rounds(ends[0])) == len(rounds(ends[1])) == 1


HELD = st.dictionaries(
    st.integers(0, 40).map("s{}".format), st.integers(1, 3), min_size=0, max_size=25
)
STEP = st.tuples(st.integers(0, 7), st.integers(0, 40), st.integers(1, 5))


def step(ends, choice, subject, number):
    """Do one of the things that may happen now."""
    end = ends[choice % 2]
    match choice // 2:
        case 0 if end.inbox:
            end.read()
        case 1 if end.is_writing:
            end.written()
        case 2:
            end.tell(Begin())
        case 3 if number > 1:
            end.shelf.put(f"s{subject}", number)
        case 3:
            end.shelf.drop(f"s{subject}")


def settle(ends):
    """Compare until nothing differs; each round may find what the one before came too late for."""
    assert run(*ends)
    for _ in range(3):
        if ends[0].shelf.root() == ends[1].shelf.root():
            return
        ends[0].tell(Begin())
        assert run(*ends)
    raise AssertionError("the two ends do not come to hold the same")


@pytest.mark.parametrize("write_bytes", [1, 5000, WRITE_BYTES])
@settings(max_examples=60, deadline=None)
@given(one=HELD, other=HELD, steps=st.lists(STEP, max_size=60))
def test_two_ends_come_to_hold_the_same_in_whatever_order_things_happen(
    write_bytes, one, other, steps
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "WRITE_BYTES", write_bytes)
        patch.setattr(sync, "LISTING_ENTRIES", 2)
        patch.setattr(sync, "PAGE_BYTES", 12)
        ends = two_ends(AShelf(one), AShelf(other))
        for each in steps:
            step(ends, *each)

        settle(ends)

    assert not any(end.of(Broken) for end in ends)
    assert len(rounds(ends[0])) == len(rounds(ends[1]))


@settings(max_examples=60, deadline=None)
@given(one=HELD, other=HELD, steps=st.lists(STEP, max_size=40))
def test_a_round_that_is_cut_off_anywhere_is_made_good_by_the_next_stream(
    one, other, steps
) -> None:
    shelves = AShelf(one), AShelf(other)
    ends = two_ends(*shelves)
    ends[0].tell(Begin())
    for each in steps:
        step(ends, *each)

    again = two_ends(*shelves)
    settle(again)

    assert shelves[0].held == shelves[1].held


# -- a peer that says anything at all --
def hostile_frames():
    subjects = st.lists(st.integers(0, 60).map("s{}".format), max_size=6, unique=True)
    keys = subjects.map(lambda each: tuple(sorted(map(key_digest, each))))
    listings = st.builds(
        lambda names, bucket, is_last: Listing(
            bucket=bucket,
            entries=b"".join(sorted(map(entry, names))),
            is_last=is_last,
        ),
        subjects,
        st.integers(0, 255),
        st.booleans(),
    )
    pages = st.builds(
        Page,
        envelopes=st.lists(st.binary(max_size=5), max_size=8).map(tuple),
        is_last=st.booleans(),
    )
    roots = st.sampled_from([THEIRS, AShelf({HERE: 1}).root()]).map(lambda root: Root(root=root))
    return st.one_of(
        roots,
        st.just(ALL_DIFFER),
        listings,
        keys.map(lambda each: Want(keys=each)),
        pages,
        st.sampled_from(some_frames()),
    )


EVENTS = st.lists(
    st.one_of(hostile_frames(), st.sampled_from([Begin(), Written(), Ticked()])), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(events=EVENTS)
def test_whatever_a_peer_says_comes_out_as_effects(events) -> None:
    end = End(AShelf({HERE: 1, THERE: 2}))
    end.other = End(AShelf())

    for event in events:
        for effect in end.session.receive(event, 0.0):
            assert isinstance(effect, Send | Take | Done | Broken)
            if isinstance(effect, Send):
                assert len(encode(effect.frame)) < 64 << 10
            if isinstance(effect, Broken):
                assert end.session.state is State.BROKEN


LISTED = st.lists(st.integers(0, 30), min_size=4, max_size=4)
"""How many keys each of four buckets lists."""


@settings(max_examples=40, deadline=None)
@given(sizes=LISTED, paged=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=20))
def test_a_peer_that_lists_and_pages_without_end_fills_no_more_than_the_bounds(
    sizes, paged
) -> None:
    """The peer keeps to the order of frames, which takes it furthest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync, "MOST_WANTED", 12)
        patch.setattr(sync, "MOST_LISTED", 50)
        shelf = AShelf()
        session = Session(shelf)
        session.receive(Root(root=THEIRS), 0.0)
        session.receive(differ_in(shelf, *range(4)), 0.0)
        frames = [listing(*names_in(b, size), bucket=b) for b, size in enumerate(sizes)]
        frames.append(Want(keys=()))
        frames += [Page(envelopes=(b"x",) * most, is_last=last) for most, last in paged]
        effects = [
            effect
            for frame, event in itertools.product(frames, (None, Written()))
            for effect in session.receive(event or frame, 0.0)
        ]

    wanted = sum(len(each.keys) for each in sent(effects) if isinstance(each, Want))
    taken = sum(len(each.envelopes) for each in effects if isinstance(each, Take))
    assert len(shelf.weighed) <= 50
    assert wanted <= 12
    assert taken <= sync.MOST_PER_KEY * wanted + sync.MOST_BESIDES
