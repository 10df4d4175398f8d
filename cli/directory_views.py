"""What a node knows of its fabric, as tables: records, members, services, waves. Pure.

Rows are as the admin socket gives them; *rows* is how many of them there is room for. A name that
has no room gives up its end, a number never does.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.exits import Json
from cli.tables import columns, cut, state_word
from cli.units import UNKNOWN, age, date, milliseconds, seconds

ALL_ROWS = 1_000_000

SHORT_ID = 8
"""Digits of a node's or a key's id that are shown where nobody types it."""


def called(row: Json) -> str:
    """A record's key with the node's name in the place of its id, where that is known."""
    kind, _, subject = row["key"].partition("/")
    return f"{kind}/{row['name'] or subject}"


def number(order: Sequence[int]) -> str:
    """A record's number as people write it: epoch and generation, or a node's sequence."""
    epoch, count = order
    return f"{epoch}.{count}" if epoch else str(count)


# -- the directory --
def records_table(records: Sequence[Json], *, now: float, rows: int = ALL_ROWS) -> RenderableType:
    """Every record: what counts of it, how long yet, who told it and how."""
    grid = columns("record", ">number", "state", ">ends", "from", ">hops", ">took", ">ago")
    for row in sorted(records, key=called)[:rows]:
        grid.add_row(
            cut(called(row)),
            number(row["order"]),
            state_word(record_state(row)),
            age(row["expires_at"] - now) if row["expires_at"] > now else "over",
            *_way(row),
            age(row["heard_s"]),
        )
    return _whole(grid, len(records), rows, "no records")


def record_state(row: Json) -> str:
    """What counts of a record in one word; ``cached``: so far only this node's disk says it."""
    if row["disputed"]:
        return "disputed"
    if row["revoked"]:
        return "revoked"
    standing: str = row["standing"]
    return standing if row["confirmed"] or standing != "live" else "cached"


def _way(row: Json) -> tuple[Text, str, str]:
    """From whom, over how many hops, in what time; what began here took none."""
    if row["by"] == "here":
        return Text("here", "dim"), UNKNOWN, UNKNOWN
    if row["by"] == "repair":
        return cut(row["from_peer"]), "repair", UNKNOWN
    return cut(row["from_peer"]), str(row["hops"]), seconds(row["age_s"])


def trace_view(found: Json) -> Group:
    """All that is known of one record: what it is worth, how it came, what it says."""
    several = len(found["held"]) > 1
    told: list[RenderableType] = [Text("SAYS", "bold"), _payload(found["says"])]
    if several:
        told = [
            Text("HELD  two contend for one number" if found["disputed"] else "HELD", "bold"),
            *(_envelope(each) for each in found["held"]),
        ]
    waves = [Text("WAVES", "bold"), waves_table(found["waves"])] if found["waves"] else []
    head = [*_trace_head(found), ""]
    return Group(*head, *told, *(["", *waves] if waves else []))


def _trace_head(found: Json) -> list[RenderableType]:
    title = Text.assemble((called(found), "bold"), "  ", state_word(record_state(found)))
    title.append(f"  number {number(found['order'])}")
    signed = f"signed {date(found['issued_at'])}, until {date(found['expires_at'])} UTC"
    signers = ", ".join(each[:SHORT_ID] for each in found["held"][0]["signed_by"])
    author = f"{found['name']} itself" if found["author"] == "node" else found["author"]
    lines: list[RenderableType] = [
        title,
        f"key     {found['key']}",
        f"author  {author}, by key {signers}",
        f"dates   {signed}",
        f"came    {_came(found)}",
    ]
    if found["by"] == "wave":
        lines.append(f"        {_journey(found)}")
    if not found["confirmed"]:
        lines.append("        nobody has said so since this node started: it is from its disk")
    if not found["counts"]:
        lines.append("        nothing counts at this key until a higher number is heard")
    return lines


def _came(row: Json) -> str:
    ago = f"{age(row['heard_s'])} ago" if row["heard_s"] is not None else "with its files"
    match row["by"]:
        case "here":
            return f"from this node itself or a file of its operator's, {ago}"
        case "repair":
            return f"from {row['from_peer']} by anti-entropy, {ago}"
    return f"from {row['from_peer']} by wave {row['wave_id']}, {ago}"


def _journey(row: Json) -> str:
    """How far a wave has come, as those say who passed it on."""
    hops = f"{row['hops']} hop{'' if row['hops'] == 1 else 's'}"
    return f"{hops}, {seconds(row['age_s'])} on the way"


def _envelope(held: Json) -> RenderableType:
    counts = ", counts" if held["counts"] else ""
    head = Text(f"number {number(held['order'])}{counts}, digest {held['digest'][:SHORT_ID]}")
    head.append(f", came {_came(held)}")
    return Group(head, _payload(held["says"]))


def _payload(says: Any) -> Text:  # noqa: ANN401 -- JSON of whatever kind
    return Text(jsonlib.dumps(says, indent=2), "dim", overflow="fold")


# -- members --
def members_table(members: Sequence[Json], *, rows: int = ALL_ROWS) -> RenderableType:
    """Every member: whether it is there, since when, whether linked, what its record is worth."""
    grid = columns("member", "area", "state", ">since", "link", ">rtt", "record", "address")
    for row in members[:rows]:
        accused = f" by {', '.join(row['accusers'])}" if row["accusers"] else ""
        link = "itself" if row["itself"] else "yes" if row["connected"] else row["reason"]
        grid.add_row(
            cut(row["name"]),
            cut(row["area"]),
            cut(state_word(row["liveness"] or UNKNOWN).append(accused, "dim")),
            age(row["since_s"]),
            cut(link or "no"),
            milliseconds(row["rtt_ms"]) if not row["itself"] else UNKNOWN,
            cut(state_word(_worth(row))),
            cut(row["addresses"][0] if row["addresses"] else UNKNOWN),
        )
    return _whole(grid, len(members), rows, "no members: no record of this node is known")


def _worth(row: Json) -> str:
    """What a member's record is good for, or why its node is kept out all the same."""
    worth: str = row["standing"]
    return worth if worth != "live" else row["code"] or worth


# -- services --
def services_table(
    services: Sequence[Json], *, now: float, rows: int = ALL_ROWS
) -> RenderableType:
    """Every service: its status and why, how many offers count, and how many are candidates
    besides, where it leads, its last live proof."""
    grid = columns("service", "core", "status", "why not", ">act+cand", "leads to", "proved")
    for row in services[:rows]:
        grid.add_row(
            cut(row["name"]),
            "yes" if row["core"] else "no",
            state_word(row["status"]),
            cut(row["reason"] or UNKNOWN),
            f"{row['active_records']}+{row['candidate_records']}",
            cut(_resolved(row)),
            cut(_proof(row["last_live_probe"], now)),
        )
    return _whole(grid, len(services), rows, "no services")


def _resolved(row: Json) -> str:
    if row["resolved_to"] is None:
        return UNKNOWN
    cached = ", cached" if row["source"] == "cache" else ""
    return f"{row['resolved_to']}{cached}"


def _proof(probe: Json | None, now: float) -> str:
    if probe is None:
        return "none"
    ago = f"{age(max(0.0, now - probe['at']))} ago"
    return ago if probe["ok"] else f"failed {ago}"


# -- waves --
def waves_table(waves: Sequence[Json], *, rows: int = ALL_ROWS) -> RenderableType:
    """The last waves: how they came, to how many peers they went on, how many copies came."""
    headings = ("record", "from", ">hops", ">took", ">reach", ">copies", ">ago", "wave")
    grid = columns(*headings)
    for row in waves[:rows]:
        grid.add_row(
            cut(called(row)),
            *_way(row),
            str(row["reach"]),
            str(row["duplicates"]),
            age(row["heard_s"]),
            (row["wave_id"] or UNKNOWN)[:SHORT_ID],
        )
    return _whole(grid, len(waves), rows, "no waves yet")


# -- besides --
def _whole(grid: Table, total: int, rows: int, when_empty: str) -> RenderableType:
    """*grid* with a word on what it left out."""
    if not total:
        return Text(when_empty, "dim")
    hidden = total - rows
    return Group(grid, Text(f"and {hidden} more", "dim")) if hidden > 0 else grid
