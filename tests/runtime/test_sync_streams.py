"""Sync streams: one per peer, which ends as it may and takes nobody along."""

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core import gossip_events as told
from fabric.core.codec import FrameReader, encode
from fabric.core.frames import Root
from fabric.core.planes import Planes, PlaneState
from fabric.runtime.sync import PLANE, SyncStream, SyncStreams

ROOT = Root(root=b"r" * 16)


@define(eq=False)
class AStream:
    """As the driver has it: who sends on a stream that was aborted is told that it is closed."""

    has_credit: bool = True
    aborted: int | None = None
    _woken: trio.Event = field(init=False, factory=trio.Event)

    async def send_all(self, _data):
        while not self.has_credit and self.aborted is None:
            await self._woken.wait()
        if self.aborted is not None:
            raise trio.ClosedResourceError("this stream was closed")
        await trio.lowlevel.checkpoint()

    async def receive_some(self, _most=None):
        await trio.sleep(1)
        return encode(ROOT)

    def abort(self, code):
        self.aborted = code if self.aborted is None else self.aborted
        self._woken.set()


@define(eq=False)
class ALink:
    """As much of a link as a sync stream looks at."""

    node_id: str = "peer"

    @property
    def member(self):
        return self


@define(eq=False)
class Around:
    """The plane, and what its streams told."""

    answer: object = None
    told: list = field(init=False, factory=list)
    streams: SyncStreams = field(init=False)

    def __attrs_post_init__(self):
        planes = Planes()
        planes.entered(PLANE, PlaneState.RUNNING)
        self.streams = SyncStreams(receive=self.receive, planes=planes, root=lambda: b"")

    def receive(self, event):
        self.told.append(event)
        if self.answer is not None:
            self.answer(event)

    async def carry(self, stream):
        await self.streams._carry(SyncStream(ALink(), stream, FrameReader()))


async def test_a_stream_that_is_ended_while_its_writer_was_woken_ends_alone(autojump_clock):
    around, stream = Around(), AStream()

    def answer(event):
        if isinstance(event, told.HeardSync):
            around.streams.send("peer", ROOT)
            around.streams.end("peer", Code.UNEXPECTED_FRAME, "")

    around.answer = answer
    await around.carry(stream)
    assert stream.aborted is Code.UNEXPECTED_FRAME


async def test_a_stream_that_is_ended_while_its_peer_takes_nothing_ends_alone(autojump_clock):
    around, stream = Around(), AStream(has_credit=False)

    def answer(event):
        match event:
            case told.SyncOpened():
                around.streams.send("peer", ROOT)
            case told.HeardSync():
                around.streams.end("peer", Code.UNEXPECTED_FRAME, "")

    around.answer = answer
    await around.carry(stream)
    assert stream.aborted is Code.UNEXPECTED_FRAME


async def test_of_streams_that_come_at_once_one_remains(autojump_clock, nursery):
    around, streams = Around(), [AStream() for _ in range(3)]
    nursery.start_soon(around.carry, streams[0])
    await trio.sleep(0.1)
    for stream in streams[1:]:
        nursery.start_soon(around.carry, stream)
    await trio.sleep(0.1)
    assert sorted(stream.aborted is None for stream in streams) == [False, False, True]
    nursery.cancel_scope.cancel()
