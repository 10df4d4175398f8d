"""What a person sees of a node: golden frames in `golden/`, and what holds at every size.

`GOLDEN=write pytest tests/cli/test_views.py` writes the frames anew: then look at the difference.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from cli.svg import picture
from cli.views import gone_view, node_view

GOLDEN = Path(__file__).parent / "golden"


def printed(frame, width=80, **options):
    console = Console(width=width, file=None, color_system=None, **options)
    with console.capture() as capture:
        console.print(frame)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 120])
def test_a_frame_looks_as_it_did(a_snapshot, width):
    golden = GOLDEN / f"node_{width}.txt"
    text = printed(node_view(a_snapshot()), width)
    if os.environ.get("GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_node_alone_says_that_it_has_nothing(a_snapshot):
    text = printed(node_view(a_snapshot(peers=[], channels=[], services=[], listeners=[])))
    for nothing in ("no peers", "no open channels", "no services", "peers 0/0"):
        assert nothing in text
    assert "LISTENER" not in text


def test_no_line_is_longer_than_the_terminal(a_snapshot, a_channel):
    long = [a_channel(n, client="[2001:db8:85a3::8a2e:370:7334]:51413") for n in range(30)]
    for width in (40, 80):
        text = printed(node_view(a_snapshot(channels=long)), width)
        assert max(map(len, text.splitlines())) <= width


def test_a_frame_keeps_to_its_height_and_says_what_it_left_out(a_snapshot, a_channel):
    many = [a_channel(n) for n in range(1, 31)]
    lines = printed(node_view(a_snapshot(channels=many), height=24)).splitlines()
    assert len(lines) <= 24
    shown = sum(bool(re.match(r"[0-9a-f]{8} ", line)) for line in lines)
    assert f"and {30 - shown} older" in lines


def test_the_youngest_channel_stands_first(a_snapshot, a_channel):
    text = printed(node_view(a_snapshot(channels=[a_channel(7), a_channel(2), a_channel(5)])))
    assert re.findall(r"^0000000(\d)", text, re.M) == ["2", "5", "7"]


def test_a_peer_that_is_refused_shows_the_reason_in_place_of_its_path(a_snapshot):
    assert re.search(
        r"^ifcm\S+ +ifcm +refused +unknown_key", printed(node_view(a_snapshot())), re.M
    )


def test_a_node_that_went_away_keeps_its_name_on_the_screen(a_snapshot):
    text = printed(gone_view(a_snapshot(), "usa-los-1 does not answer"))
    assert text.startswith("usa-los-1 does not answer\n")
    assert "home-1" in text


def test_a_picture_stands_alone(a_snapshot):
    drawn = picture(node_view(a_snapshot()), width=100, title="fabric-inspect")
    assert ET.fromstring(drawn).tag.endswith("svg")
    outside = re.findall(r"https?://[^\s\"')]+", drawn)
    assert set(outside) == {"http://www.w3.org/2000/svg"}
    assert "usa-los-1" in drawn
