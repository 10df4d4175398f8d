"""One end of anti-entropy: every step of a round, every fault that ends it, and its bounds."""

import pytest

from fabric.codes import Code
from fabric.core import sync
from fabric.core.codec import encode
from fabric.core.frames import (
    MOST_ENVELOPE,
    MOST_RECORDS,
    Listing,
    Page,
    Root,
    Want,
)
from fabric.core.sync import (
    LISTING_ENTRIES,
    PAGE_BYTES,
    PATIENCE,
    STEPS,
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
    differ_in,
    entry,
    key_digest,
    listing,
    names_in,
    packed,
    record_digest,
    run,
    sent,
    two_ends,
)


def events_to(state, shelf):
    """Return what a session has to hear to be in *state*, of a peer that differs in bucket 7."""
    to_taking = [
        Begin(),
        Root(root=THEIRS),
        differ_in(shelf, 7),
        listing(THERE),
        Want(keys=()),
    ]
    path = [
        State.IDLE,
        State.COMPARING_ROOTS,
        State.COMPARING,
        State.LISTING,
        State.SERVING,
        State.TAKING,
    ]
    if state is State.WRITING:  # the shell has not yet written the last round's frames
        return [Begin(), Root(root=shelf.root()), Root(root=shelf.root())]
    if state is State.BROKEN:
        return [Page(envelopes=())]
    return to_taking[: path.index(state)]


def a_session_in(state, shelf=None):
    """Return a session in *state* whose frames so far are written, unless it waits for that."""
    session = Session(shelf or AShelf({HERE: 1}))
    for event in events_to(state, session._shelf):
        session.receive(event, 0.0)
        while state is not State.WRITING and sent(session.receive(Written(), 0.0)):
            pass  # the shell is quick
    assert session.state is state
    return session


def fault_of(effects):
    """Return code and detail of the only effect, which ends the session."""
    (broken,) = effects
    assert isinstance(broken, Broken)
    return broken.code, broken.detail


# -- the table, row by row --
def test_who_begins_tells_its_root_and_waits_for_the_other() -> None:
    shelf = AShelf({HERE: 1})
    session = Session(shelf)

    assert session.receive(Begin(), 0.0) == [Send(Root(root=shelf.root()))]
    assert session.state is State.COMPARING_ROOTS


def test_a_begin_in_a_round_changes_nothing() -> None:
    for state in set(State) - {State.IDLE}:
        session = a_session_in(state)

        assert session.receive(Begin(), 0.0) == []
        assert session.state is state


def test_an_equal_root_is_answered_and_that_is_all() -> None:
    shelf = AShelf({HERE: 1})
    root = Root(root=shelf.root())

    effects = Session(shelf).receive(root, 0.0)

    assert effects == [Send(root), Done(shelf.root(), shelf.root())]


def test_a_different_root_is_answered_with_ours_and_the_buckets() -> None:
    shelf = AShelf({HERE: 1})
    session = Session(shelf)

    effects = session.receive(Root(root=THEIRS), 0.0)

    assert sent(effects) == [Root(root=shelf.root()), differ_in(shelf)]
    assert session.state is State.COMPARING


def test_roots_that_cross_are_one_round() -> None:
    shelf = AShelf({HERE: 1})
    session = a_session_in(State.COMPARING_ROOTS, shelf)

    session.receive(Written(), 0.0)

    assert sent(session.receive(Root(root=THEIRS), 0.0)) == [differ_in(shelf)]
    assert session.state is State.COMPARING


def test_each_bucket_that_differs_is_listed_in_turn() -> None:
    shelf = AShelf(dict.fromkeys(names_in(7, 3), 1))
    session = Session(shelf)
    session.receive(Root(root=THEIRS), 0.0)
    session.receive(Written(), 0.0)

    listings = sent(session.receive(differ_in(shelf, 200, 7, 0), 0.0))

    assert [(each.bucket, len(each.entries), each.is_last) for each in listings] == [
        (0, 0, True),
        (7, 3 * 32, True),
        (200, 0, True),
    ]
    assert session.state is State.LISTING


def test_where_no_bucket_differs_nothing_is_wanted() -> None:
    shelf = AShelf({HERE: 1})
    session = a_session_in(State.COMPARING, shelf)

    assert sent(session.receive(differ_in(shelf), 0.0)) == [Want(keys=())]
    assert session.state is State.SERVING


def test_what_is_wanted_are_the_entries_that_are_not_held_alike() -> None:
    session = a_session_in(State.LISTING, AShelf({HERE: 1}))

    (want,) = sent(session.receive(listing(HERE, THERE), 0.0))

    assert want == Want(keys=(key_digest(THERE),))
    assert session.state is State.SERVING


def test_another_number_of_the_same_key_is_wanted_too() -> None:
    session = a_session_in(State.LISTING, AShelf({HERE: 5}))

    assert sent(session.receive(listing(HERE, number=4), 0.0)) == [Want(keys=(key_digest(HERE),))]


def test_a_bucket_may_be_listed_in_parts() -> None:
    session = a_session_in(State.LISTING)
    first, second = sorted(names_in(7, 2), key=key_digest)

    assert session.receive(listing(first, is_last=False), 0.0) == []
    assert session.state is State.LISTING
    session.receive(listing(second), 0.0)
    assert session.state is State.SERVING


def test_what_the_other_wants_is_paged() -> None:
    session = a_session_in(State.SERVING, AShelf({HERE: 1}))

    pages = sent(session.receive(Want(keys=(key_digest(HERE),)), 0.0))

    assert pages == [Page(envelopes=(packed(HERE, 1),))]
    assert session.state is State.TAKING


def test_who_wants_nothing_and_has_given_everything_is_done() -> None:
    shelf = AShelf({HERE: 1})
    session = a_session_in(State.LISTING, shelf)
    session.receive(listing(HERE), 0.0)
    session.receive(Written(), 0.0)

    effects = session.receive(Want(keys=(key_digest(HERE),)), 0.0)

    assert effects[-1] == Done(shelf.root(), THEIRS)
    assert session.is_idle


def test_a_want_that_is_full_is_not_the_last() -> None:
    shelf = AShelf(dict.fromkeys(names_in(7, MOST_RECORDS), 1))
    session = a_session_in(State.SERVING, shelf)
    keys = tuple(key for key, _ in shelf.listing(7))

    assert session.receive(Want(keys=keys), 0.0) == []
    assert session.state is State.SERVING
    assert sum(len(page.envelopes) for page in sent(session.receive(Want(keys=()), 0.0))) == 256


def test_every_page_is_taken_in_and_the_last_one_ends_the_round() -> None:
    shelf = AShelf({HERE: 1})
    session = a_session_in(State.TAKING, shelf)

    first = session.receive(Page(envelopes=(b"one",), is_last=False), 0.0)
    last = session.receive(Page(envelopes=(b"two",)), 0.0)

    wanted = (key_digest(THERE), record_digest(packed(THERE, 1)))
    assert first == [Take((b"one",))]
    assert last == [Take((b"two",)), Done(shelf.root(), THEIRS, (wanted,))]
    assert session.is_idle


def test_a_last_page_may_hold_nothing() -> None:
    session = a_session_in(State.TAKING)

    (done,) = session.receive(Page(envelopes=()), 0.0)

    assert isinstance(done, Done)


def test_a_round_is_not_over_before_our_own_last_frame_was_given_away() -> None:
    session = a_session_in(State.WRITING)

    done = session.receive(Written(), 0.0)

    assert [type(each) for each in done] == [Send, Done]
    assert session.is_idle


def test_the_next_round_may_begin_before_the_last_frames_are_said_to_be_written() -> None:
    shelf = AShelf({HERE: 1})
    session = Session(shelf)
    session.receive(Root(root=shelf.root()), 0.0)

    assert session.receive(Root(root=THEIRS), 0.0) == []
    assert sent(session.receive(Written(), 0.0)) == [Root(root=shelf.root()), differ_in(shelf)]


@pytest.mark.parametrize("state", [each for each in State if each is not State.BROKEN])
def test_every_other_frame_breaks_the_session_for_good(state: State) -> None:
    for frame in some_frames():
        if (state, type(frame)) in STEPS:
            continue
        session = a_session_in(state)

        code, detail = fault_of(session.receive(frame, 0.0))

        assert code is Code.UNEXPECTED_FRAME
        assert detail == f"{type(frame).__name__} while {state}"
        assert session.state is State.BROKEN


def test_nothing_comes_of_a_broken_session() -> None:
    session = a_session_in(State.BROKEN)

    for event in (*some_frames(), Begin(), Written(), Ticked()):
        assert session.receive(event, 1e9) == []
    assert session.state is State.BROKEN


def test_the_table_in_the_module_is_the_table_in_use() -> None:
    described = {
        (row.split()[0].strip("`"), row.split()[1].strip("`"))
        for row in sync.__doc__.splitlines()
        if row.startswith("``") and row.split()[1].startswith("``")
    }

    assert described == {(str(state), kind.__name__) for state, kind in STEPS}


# -- faults inside a frame --
def bad_listings():
    first, second = sorted(entry(each) for each in names_in(7, 2))
    return {
        "a listing of bucket 8, not of 7": listing(bucket=8),
        "a listing that is cut off": Listing(bucket=7, entries=first[:-1], is_last=True),
        "a listing of other buckets": Listing(
            bucket=7, entries=entry(names_in(8, 1)[0]), is_last=True
        ),
        "a listing that is not sorted": Listing(bucket=7, entries=second + first, is_last=True),
    }


@pytest.mark.parametrize(("detail", "frame"), bad_listings().items(), ids=bad_listings())
def test_a_listing_out_of_order_breaks_the_session(detail: str, frame: Listing) -> None:
    session = a_session_in(State.LISTING)

    assert fault_of(session.receive(frame, 0.0)) == (Code.UNEXPECTED_FRAME, detail)


def test_a_listing_that_names_a_key_twice_breaks_the_session() -> None:
    twice = Listing(bucket=7, entries=entry(HERE) * 2, is_last=True)

    code, detail = fault_of(a_session_in(State.LISTING).receive(twice, 0.0))

    assert (code, detail) == (Code.UNEXPECTED_FRAME, "a listing that is not sorted")


def test_a_listing_that_goes_back_behind_its_last_part_breaks_the_session() -> None:
    session = a_session_in(State.LISTING)
    first, second = sorted(names_in(7, 2), key=key_digest)
    session.receive(listing(second, is_last=False), 0.0)

    assert fault_of(session.receive(listing(first), 0.0))[1] == "a listing that is not sorted"


def test_a_listing_that_says_nothing_and_goes_on_breaks_the_session() -> None:
    session = a_session_in(State.LISTING)

    assert fault_of(session.receive(listing(is_last=False), 0.0))[1] == "a listing that is cut off"


def test_entries_beyond_what_a_directory_holds_break_the_session(monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_LISTED", 2)
    two, three = a_session_in(State.LISTING), a_session_in(State.LISTING)

    assert [type(each) for each in two.receive(listing(*names_in(7, 2)), 0.0)] == [Send]
    code, detail = fault_of(three.receive(listing(*names_in(7, 3)), 0.0))
    assert (code, detail) == (Code.UNEXPECTED_FRAME, "more than 2 entries")


def test_wants_that_are_not_sorted_break_the_session() -> None:
    shelf = AShelf(dict.fromkeys(names_in(7, 3), 1))
    keys = tuple(key for key, _ in shelf.listing(7))

    for wrong in (keys[::-1], keys[:1] * 2):
        fault = fault_of(a_session_in(State.SERVING, shelf).receive(Want(keys=wrong), 0.0))
        assert fault == (Code.UNEXPECTED_FRAME, "wants that are not sorted")


def test_wants_of_a_second_frame_that_repeat_the_first_break_the_session() -> None:
    shelf = AShelf(dict.fromkeys(names_in(7, MOST_RECORDS + 1), 1))
    session = a_session_in(State.SERVING, shelf)
    keys = tuple(key for key, _ in shelf.listing(7))
    session.receive(Want(keys=keys[:MOST_RECORDS]), 0.0)

    assert fault_of(session.receive(Want(keys=keys[:1]), 0.0))[1] == "wants that are not sorted"


def test_more_wants_than_entries_listed_break_the_session() -> None:
    session = a_session_in(State.SERVING, AShelf({HERE: 1}))
    two = tuple(sorted(map(key_digest, (HERE, THERE))))

    assert fault_of(session.receive(Want(keys=two), 0.0))[1] == "more is wanted than may be"


def test_more_wants_than_one_round_may_have_break_the_session(monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_WANTED", 2)
    shelf = AShelf(dict.fromkeys(names_in(7, 3), 1))
    keys = tuple(key for key, _ in shelf.listing(7))

    two = a_session_in(State.SERVING, shelf).receive(Want(keys=keys[:2]), 0.0)
    assert not any(isinstance(each, Broken) for each in two)
    three = a_session_in(State.SERVING, shelf).receive(Want(keys=keys), 0.0)
    assert fault_of(three)[1] == "more is wanted than may be"


def test_pages_beyond_what_was_wanted_break_the_session() -> None:
    most = sync.MOST_PER_KEY + sync.MOST_BESIDES  # one key was wanted
    enough, too_much = a_session_in(State.TAKING), a_session_in(State.TAKING)

    assert enough.receive(Page(envelopes=(b"x",) * most, is_last=False), 0.0)
    too_much.receive(Page(envelopes=(b"x",) * most, is_last=False), 0.0)
    code, detail = fault_of(too_much.receive(Page(envelopes=(b"x",)), 0.0))
    assert (code, detail) == (Code.UNEXPECTED_FRAME, "more is paged than was wanted")


def test_an_empty_page_before_the_last_breaks_the_session() -> None:
    effects = a_session_in(State.TAKING).receive(Page(envelopes=(), is_last=False), 0.0)

    assert fault_of(effects) == (Code.UNEXPECTED_FRAME, "an empty page")


def test_a_page_of_several_that_is_too_long_breaks_the_session() -> None:
    half = b"x" * (sync.MOST_PAGE_BYTES // 2)

    assert a_session_in(State.TAKING).receive(Page(envelopes=(half, half)), 0.0)
    effects = a_session_in(State.TAKING).receive(Page(envelopes=(half, half, b"x")), 0.0)
    assert fault_of(effects)[1] == "a page of more than 65536 bytes"


def test_one_envelope_may_be_as_long_as_envelopes_are() -> None:
    page = Page(envelopes=(b"x" * MOST_ENVELOPE,))

    assert a_session_in(State.TAKING).receive(page, 0.0)[0] == Take(page.envelopes)


# -- silence --
@pytest.mark.parametrize("state", sorted(set(State) - {State.IDLE, State.BROKEN}))
def test_a_round_that_is_silent_is_given_up(state: State) -> None:
    session = a_session_in(state)

    assert session.receive(Ticked(), PATIENCE - 0.1) == []
    code, detail = fault_of(session.receive(Ticked(), PATIENCE))
    assert (code, detail) == (Code.SYNC_STALLED, f"nothing for 60 s while {state}")


def test_a_stream_at_rest_may_be_silent_for_ever() -> None:
    assert a_session_in(State.IDLE).receive(Ticked(), 1e9) == []


def test_whatever_is_read_or_written_is_no_silence() -> None:
    session = a_session_in(State.LISTING)

    session.receive(Written(), PATIENCE - 1)
    assert session.receive(Ticked(), PATIENCE + 1) == []
    first = sorted(names_in(7, 2), key=key_digest)[0]
    session.receive(listing(first, is_last=False), 2 * PATIENCE - 2)
    assert session.receive(Ticked(), 2 * PATIENCE + 2) == []


# -- bounds of what is written --
def test_nothing_more_is_given_before_the_last_was_written() -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(600)}, size=2000)
    one, other = two_ends(shelf, AShelf())
    one.tell(Begin())

    while other.inbox or one.inbox:
        before = len(one.sent)
        if other.inbox:
            other.read()
            other.is_writing and other.written()
        if one.inbox:
            one.read()
        given = sum(len(encode(frame)) for frame in one.sent[before:])
        assert given <= WRITE_BYTES + (64 << 10)
        if one.is_writing and not other.inbox:
            one.written()
    assert other.shelf.held == shelf.held


def test_listings_are_below_64_kib_and_leave_nothing_out() -> None:
    names = names_in(7, LISTING_ENTRIES + 1)
    session = a_session_in(State.COMPARING, AShelf(dict.fromkeys(names, 1)))

    listings = sent(session.receive(differ_in(session._shelf, 7), 0.0))

    assert [len(each.entries) // 32 for each in listings] == [LISTING_ENTRIES, 1]
    assert [each.is_last for each in listings] == [False, True]
    assert all(len(encode(each)) < 64 << 10 for each in listings)


def test_a_full_listing_has_no_empty_part_behind_it() -> None:
    names = names_in(7, LISTING_ENTRIES)
    session = a_session_in(State.COMPARING, AShelf(dict.fromkeys(names, 1)))

    (only,) = sent(session.receive(differ_in(session._shelf, 7), 0.0))

    assert only.is_last


def test_no_more_is_listed_than_a_peer_reads(monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_LISTED", 3)
    shelf = AShelf(dict.fromkeys(names_in(7, 2) + names_in(8, 2) + names_in(9, 2), 1))
    one, other = two_ends(shelf, AShelf())

    one.tell(Begin())

    assert run(one, other)
    assert sum(len(each.entries) for each in one.frames(Listing)) == 3 * 32
    assert len(other.shelf.held) == 3


@pytest.mark.parametrize("size", [100, 255, 256, 700, 8 << 10, (31 << 10) + 512, 60 << 10])
def test_pages_are_below_64_kib(size: int) -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(600 if size < 1000 else 20)}, size=size)
    one, other = two_ends(shelf, AShelf())

    one.tell(Begin())

    assert run(one, other)
    assert all(len(encode(page)) < 64 << 10 for page in one.frames(Page))
    assert other.shelf.held == shelf.held


def test_pages_are_full() -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(200)}, size=1000)
    one, other = two_ends(shelf, AShelf())

    one.tell(Begin())
    run(one, other)

    *full, _last = one.frames(Page)
    assert full
    assert all(sum(map(len, page.envelopes)) > PAGE_BYTES - 1000 for page in full)


def test_an_envelope_that_is_larger_than_a_page_is_a_page_of_its_own() -> None:
    shelf = AShelf({f"s{n}": 1 for n in range(3)}, size=MOST_ENVELOPE)
    one, other = two_ends(shelf, AShelf())

    one.tell(Begin())

    assert run(one, other)
    assert [len(page.envelopes) for page in one.frames(Page)] == [1, 1, 1]


def test_a_key_that_went_before_its_page_was_made_is_left_out() -> None:
    shelf = AShelf({HERE: 1, THERE: 1})
    session = a_session_in(State.SERVING, shelf)
    shelf.drop(THERE)

    wanted = tuple(sorted(map(key_digest, (HERE, THERE))))
    (page,) = sent(session.receive(Want(keys=wanted), 0.0))

    assert page == Page(envelopes=(packed(HERE, 1),))
