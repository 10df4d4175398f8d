"""Streams: whole bytes, half-close, resets and stops, both ways and in both orders."""

from __future__ import annotations


async def test_bytes_arrive_whole_both_ways(pair):
    near = await pair.dialler.open_stream()
    await near.send_all(b"there")
    far = await pair.acceptor.accept_stream()
    assert await far.receive_some() == b"there"
    await far.send_all(b"back")
    assert await near.receive_some() == b"back"


async def test_bytes_arrive_whole_in_virtual_time(autojump_clock, virtual_pair):
    near = await virtual_pair.dialler.open_stream()
    await near.send_all(b"there")
    far = await virtual_pair.acceptor.accept_stream()
    assert await far.receive_some() == b"there"
