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
from cli.tables import Cropped
from cli.views import gone_view, members_view, node_view, services_view, waves_view

GOLDEN = Path(__file__).parent / "golden"


def printed(frame, width=80, **options):
    console = Console(width=width, file=None, color_system=None, **options)
    with console.capture() as capture:
        console.print(frame)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def is_golden(name, frame):
    """Whether *frame* looks as it did, at both widths."""
    for width in (80, 120):
        golden, text = GOLDEN / f"{name}_{width}.txt", printed(frame, width)
        assert max(map(len, text.splitlines())) <= width
        if os.environ.get("GOLDEN") == "write":
            golden.write_text(text)
        assert text == golden.read_text()
    return True


def test_a_frame_looks_as_it_did(a_snapshot):
    assert is_golden("node", node_view(a_snapshot()))


def registry(*services, status="active"):
    report = {"status": status, "services": {}}
    return {"fabric_registry_runtime_report": report, "services": list(services)}


def test_the_registry_looks_as_it_did(a_snapshot, a):
    failed = {"at": a.now - 90, "ok": False, "rtt_ms": None, "via": "channel"}
    found = registry(
        a.service("demo", core=True),
        a.service(
            "control-api",
            "candidate_only",
            core=True,
            reason="no_proof",
            candidate_records=2,
            resolved_to="usa-los-1",
            source="cache",
            last_live_probe=failed,
        ),
        a.service("private-api", "missing"),
        status="candidate_only",
    )
    assert is_golden("services", services_view(a_snapshot(health=[]), found, now=a.now))


def test_the_members_look_as_they_did(a_snapshot, a):
    found = [
        a.member("edge-1", "suspect", accusers=["home-1", "test-1"], reason="peer_silent"),
        a.member("home-1", code="survival_grace", standing="grace"),
        a.member("ifcm-rufms-s-mo1cr", None, addresses=[]),
        a.member("test-1", "dead", accusers=["edge-1", "home-1"], standing="expired"),
        a.member("usa-los-1", itself=True, rtt_ms=None, connected=True),
    ]
    frame = members_view(a_snapshot(health=[]), {"members": found}, now=a.now)
    assert is_golden("members", frame)


def test_the_waves_look_as_they_did(a_snapshot, a):
    node = "node/kq3v7dhx2m5a4bqzc6yj6wz2fghjk345"
    found = [
        a.wave("offers/kq3v7dhx2m5a4bqzc6yj6wz2fghjk345", "ifcm-rufms-s-mo1cr"),
        a.wave("service/demo", came=a.came("here"), reach=3, duplicates=0),
        a.wave(node, came=a.came(age_s=12.0, hops=8), reach=0),
    ]
    assert is_golden("waves", waves_view(a_snapshot(health=[]), {"waves": found}, now=a.now))


def test_a_node_alone_says_that_it_has_nothing(a_snapshot):
    nothing_at_all = {"peers": [], "channels": [], "services": [], "listeners": [], "health": []}
    text = printed(node_view(a_snapshot(**nothing_at_all)))
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
    lines = printed(node_view(a_snapshot(channels=many, health=[]), height=24)).splitlines()
    assert len(lines) <= 24
    shown = sum(bool(re.match(r"[0-9a-f]{8} ", line)) for line in lines)
    assert f"and {30 - shown} older" in lines


def test_a_frame_of_a_large_fabric_keeps_to_its_height_too(a_snapshot, a_channel):
    snapshot = a_snapshot()
    for table in ("peers", "services"):
        like = snapshot[table][0]
        snapshot[table] = [like | {"name": f"{table}-{n:02}"} for n in range(40)]
    snapshot["channels"] = [a_channel(n) for n in range(40)]
    lines = printed(node_view(snapshot, height=38), 80).splitlines()
    assert len(lines) <= 38
    for what in ("more: `m` shows all", "more: `s` shows all", "older"):
        assert any(line.startswith("and ") and line.endswith(what) for line in lines)


@pytest.mark.parametrize("height", [12, 24])
def test_the_other_frames_keep_to_their_height(a_snapshot, a, height):
    snapshot, many = a_snapshot(health=[]), range(100)
    found = {
        members_view: {"members": [a.member(f"home-{n}") for n in many]},
        services_view: registry(*(a.service(f"demo-{n}") for n in many)),
        waves_view: {"waves": [a.wave(f"service/demo-{n}") for n in many]},
    }
    for view, rows in found.items():
        lines = printed(view(snapshot, rows, now=a.now, height=height)).splitlines()
        assert len(lines) == height
        assert re.fullmatch(r"and \d\d more", lines[-1])


def test_what_is_wrong_stands_on_top_with_its_remedy(a_snapshot, a_complaint):
    complaints = [a_complaint("no_own_record", "this node is kq3v"), a_complaint("clock_behind")]
    lines = printed(node_view(a_snapshot(health=complaints)), 120).splitlines()
    assert lines[2] == "no_own_record: this node is kq3v"
    assert lines[3].startswith("  remedy: `fabricctl node add")
    assert lines[4].startswith("clock_behind: This node's clock is behind")


def test_of_very_much_that_is_wrong_the_rest_is_counted(a_snapshot, a_complaint):
    snapshot = a_snapshot(health=[a_complaint("equivocated")] * 7)
    for height, shown in ((22, 1), (38, 3), (None, 7)):
        text = printed(node_view(snapshot, height=height))
        assert text.count("remedy:") == shown
        assert (f"and {7 - shown} more to mend" in text) is (shown < 7)


def test_a_frame_is_cropped_where_nothing_else_helps(a_snapshot):
    assert len(printed(Cropped(node_view(a_snapshot()), 9)).splitlines()) == 9
    whole = printed(node_view(a_snapshot()))
    assert printed(Cropped(node_view(a_snapshot()), 90)) == whole


def test_the_youngest_channel_stands_first(a_snapshot, a_channel):
    text = printed(node_view(a_snapshot(channels=[a_channel(7), a_channel(2), a_channel(5)])))
    assert re.findall(r"^0000000(\d)", text, re.M) == ["2", "5", "7"]


def test_a_peer_that_is_refused_shows_the_reason_in_place_of_its_path(a_snapshot):
    assert re.search(
        r"^ifcm\S+ +ifcm +refused +suspect +unknown_key", printed(node_view(a_snapshot())), re.M
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
