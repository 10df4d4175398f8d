"""Logging: fast, one line each, no variable of a frame in it, and never a reason to wait."""

import json
import os
import re

import pytest
import structlog

from fabric.codes import Code
from fabric.config import LogConfig
from fabric.runtime import logs

CANARY = b"canary"


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with os.fdopen(write_end, "w", buffering=1) as stream:
        yield read_end, stream
    os.close(read_end)
    structlog.reset_defaults()


def configured(stream, **settings):
    logs.configure(LogConfig(**settings), node="home-1", stream=stream)
    return structlog.get_logger()


def lines(read_end):
    return [json.loads(line) for line in os.read(read_end, 1 << 20).splitlines()]


def test_a_line_is_json_with_time_level_event_and_node_first(pipe):
    read_end, stream = pipe
    configured(stream).info("channel.closed", service="demo", sent_bytes=3, code=Code.DONE)
    (line,) = lines(read_end)
    assert list(line) == ["time", "level", "event", "node", "service", "sent_bytes", "code"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "event": "channel.closed",
        "node": "home-1",
        "service": "demo",
        "sent_bytes": 3,
        "code": "done",
    }


def test_the_level_is_a_floor(pipe):
    read_end, stream = pipe
    log = configured(stream, level="warning")
    log.info("channel.opened")
    log.warning("peer.lost")
    assert [line["event"] for line in lines(read_end)] == ["peer.lost"]


@pytest.mark.parametrize("style", ["json", "console"])
def test_neither_bytes_nor_the_variables_of_a_traceback_are_shown(pipe, style):
    read_end, stream = pipe
    log = configured(stream, format=style)

    def fail(seed):
        raise ValueError("no such key")

    try:
        fail("can" + "ary")
    except ValueError:
        log.exception("node.failed", seed=CANARY, keys=[CANARY])
    text = os.read(read_end, 1 << 20).decode()
    assert "no such key" in text
    assert "in fail" in text
    assert "canary" not in text


def test_text_from_outside_cannot_steer_the_terminal_or_forge_a_line(pipe):
    read_end, stream = pipe
    configured(stream, format="console").info("client.refused", client="\x1b[2J\nforged line")
    text = os.read(read_end, 1 << 20).decode()
    assert "\x1b" not in text
    assert text.count("\n") == 1


def test_a_reader_that_stopped_costs_lines_but_no_time(pipe):
    read_end, stream = pipe
    log = configured(stream)
    for number in range(5000):  # a pipe holds 64 KiB; the test would hang if a line waited
        log.info("channel.closed", number=number)
    seen = lines(read_end)
    assert len(seen) < 5000
    log.info("channel.closed", number=5000)
    last, confession = lines(read_end)
    assert last["number"] == 5000
    assert confession["event"] == "log.dropped"
    assert confession["lines"] == 5000 - len(seen)


def test_a_reader_that_is_gone_ends_nothing():
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        logs.LineSink(write_end).msg(b"{}\n")
    finally:
        os.close(write_end)
