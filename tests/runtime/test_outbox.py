"""Frames that wait for one slow peer: in order, bounded, and none behind what can wait."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fabric.core.codec import MAX_FRAME, FrameReader, encode
from fabric.core.frames import Draining, Frame, Probe, ProbeAck, Records
from fabric.runtime.outbox import MOST_BYTES, MOST_PROMPT_BYTES, PIECE_BYTES, Outbox


def a_probe(seq: int = 1) -> Probe:
    return Probe(seq=seq, root=b"r" * 16)


def a_wave(size: int, wave: int = 0) -> Records:
    return Records(items=((b"e" * size, 1, wave.to_bytes(8, "big"), 0),))


def frames_in(piece: bytes) -> list[Frame]:
    reader, found = FrameReader(), []
    reader.feed(piece)
    while (frame := reader.next_frame()) is not None:
        found.append(frame)
    assert reader.is_between_frames
    return found


class APeer:
    """Takes one piece each time that it is let."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.may_take = trio.Semaphore(0)

    async def send(self, piece: bytes) -> None:
        await self.may_take.acquire()
        self.pieces.append(piece)

    async def take(self, pieces: int) -> None:
        for _ in range(pieces):
            self.may_take.release()
        await wait_all_tasks_blocked()

    @property
    def frames(self) -> list[Frame]:
        return [frame for piece in self.pieces for frame in frames_in(piece)]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
async def peer(outbox: Outbox, nursery: trio.Nursery):
    peer = APeer()
    nursery.start_soon(outbox.drain, peer.send)
    await wait_all_tasks_blocked()
    return peer


async def test_what_is_offered_leaves_in_order(outbox, peer):
    frames = [a_probe(seq) for seq in range(5)]
    for frame in frames:
        assert outbox.offer(frame)

    await peer.take(1)

    assert peer.frames == frames
    assert outbox.held == 0


async def test_it_sleeps_until_something_is_offered_and_then_again(outbox, peer):
    await peer.take(3)
    assert not peer.pieces

    for seq in range(3):
        outbox.offer(a_probe(seq))
        await wait_all_tasks_blocked()

    assert [len(frames_in(piece)) for piece in peer.pieces] == [1, 1, 1]


async def test_what_is_offered_while_a_piece_leaves_goes_with_the_next(outbox, peer):
    outbox.offer(a_probe(1))
    await wait_all_tasks_blocked()
    outbox.offer(a_probe(2))
    outbox.offer(a_probe(3))

    await peer.take(2)

    assert [frames_in(piece) for piece in peer.pieces] == [[a_probe(1)], [a_probe(2), a_probe(3)]]


async def test_a_probe_overtakes_the_records_that_wait(outbox, peer):
    waves = [a_wave(PIECE_BYTES, number) for number in range(4)]
    for wave in waves:
        outbox.offer(wave)
    await wait_all_tasks_blocked()
    outbox.offer(a_probe())

    await peer.take(5)

    assert peer.frames == [waves[0], a_probe(), *waves[1:]]


async def test_probes_keep_their_order_when_they_overtake(outbox, peer):
    outbox.offer(a_wave(100))
    outbox.offer(a_wave(100, 1))
    probes = [a_probe(1), ProbeAck(seq=2, root=b"r" * 16), Draining(until=3)]
    for probe in probes:
        outbox.offer(probe)

    await peer.take(1)

    assert peer.frames == [*probes, a_wave(100), a_wave(100, 1)]


async def test_a_piece_is_small_unless_one_frame_alone_is_not(outbox, peer):
    for size in (PIECE_BYTES // 2, PIECE_BYTES // 3, PIECE_BYTES // 3, 3 * PIECE_BYTES, 10):
        outbox.offer(a_wave(size))

    await peer.take(4)

    assert [len(frames_in(piece)) for piece in peer.pieces] == [2, 1, 1, 1]
    assert all(len(each) <= PIECE_BYTES or len(frames_in(each)) == 1 for each in peer.pieces)


async def test_records_beyond_the_bound_are_dropped_and_counted(outbox):
    wave = a_wave(10_000)
    room = MOST_BYTES // len(encode(wave))

    taken = [outbox.offer(wave) for _ in range(room + 3)]

    assert taken == [True] * room + [False] * 3
    assert outbox.dropped == 3
    assert outbox.held == room * len(encode(wave))


async def test_probes_beyond_their_own_bound_are_dropped_too(outbox):
    room = MOST_PROMPT_BYTES // len(encode(a_probe()))

    taken = [outbox.offer(a_probe()) for _ in range(room + 1)]

    assert taken == [True] * room + [False]


async def test_an_outbox_full_of_records_still_takes_a_probe(outbox, peer):
    while outbox.offer(a_wave(10_000)):
        await trio.lowlevel.checkpoint()

    assert outbox.offer(a_probe())
    await peer.take(2)
    assert a_probe() in peer.frames


async def test_there_is_room_again_for_what_has_left(outbox, peer):
    while outbox.offer(a_wave(10_000)):
        pass

    await peer.take(2)

    assert outbox.offer(a_wave(10_000))


async def test_a_large_frame_is_taken_when_nothing_else_waits(outbox):
    large = Records(items=tuple((b"e" * 60_000, 1, b"w" * 8, 0) for _ in range(5)))
    assert len(encode(large)) > MOST_BYTES

    assert outbox.offer(large)
    assert not outbox.offer(a_wave(1))


async def test_a_frame_that_no_reader_takes_is_never_sent(outbox):
    too_long = Records(items=tuple((b"e" * 70_000, 1, b"w" * 8, 0) for _ in range(16)))
    assert len(encode(too_long)) > MAX_FRAME

    assert not outbox.offer(too_long)
    assert outbox.held == 0


async def test_the_end_of_the_stream_ends_the_draining(outbox):
    async def send(_piece: bytes) -> None:
        raise trio.ClosedResourceError

    outbox.offer(a_probe())

    with pytest.raises(trio.ClosedResourceError):
        await outbox.drain(send)


# -- at once --
@pytest.fixture
async def prompt_peer(outbox: Outbox, nursery: trio.Nursery):
    """A peer whose stream has room: what is small reaches it without the task."""
    peer = APeer()

    def take(piece: bytes) -> bool:
        peer.pieces.append(piece)
        return True

    nursery.start_soon(outbox.drain, peer.send, take)
    await wait_all_tasks_blocked()
    return peer


async def test_a_probe_leaves_at_once_while_nothing_waits(outbox, prompt_peer):
    outbox.offer(a_probe())

    assert prompt_peer.frames == [a_probe()]
    assert outbox.held == 0


async def test_records_never_leave_at_once_and_a_probe_behind_them_does_neither(
    outbox, prompt_peer
):
    outbox.offer(a_wave(100))
    outbox.offer(a_probe())

    assert not prompt_peer.pieces
    await prompt_peer.take(1)
    assert prompt_peer.frames == [a_probe(), a_wave(100)]


async def test_what_is_offered_before_the_draining_waits_for_it(outbox, nursery):
    taken: list[bytes] = []
    outbox.offer(a_probe(1))
    peer = APeer()
    nursery.start_soon(outbox.drain, peer.send, lambda piece: not taken.append(piece))
    outbox.offer(a_probe(2))

    await peer.take(1)
    assert (taken, peer.frames) == ([], [a_probe(1), a_probe(2)])
