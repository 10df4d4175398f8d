"""``fabricctl channels | channel ID``: open channels, and both ends of one with its log lines."""

from __future__ import annotations

from collections.abc import Iterable

import trio
from rich.console import Group, RenderableType
from rich.text import Text

from cli.exit_codes import Exit
from cli.exits import CommandError, Json, NotReachedError, UsageError
from cli.local.fabric import LocalFabric, existing_fabric
from cli.local.logs import LogLine, lines_of_channel
from cli.output import show
from cli.tables import columns, state_word
from cli.units import UNKNOWN, age, byte_count
from cli.views import SHORT_ID, newest

ID_DIGITS = 32


async def channels(*, json: bool = False) -> int:
    """List the open channels of every node: each one twice, once per end."""
    found = await _open_channels(existing_fabric())
    show({"channels": found}, _ends_table(found), json=json)
    return Exit.YES


async def channel(channel_id: str, /, *, json: bool = False) -> int:
    """Show both ends of channel ID, open or past, and what the nodes logged about it.

    Parameters
    ----------
    channel_id:
        The id, or its first eight digits or more.
    """
    wanted = _digits(channel_id)
    fabric = existing_fabric()
    ends = [one for one in await _open_channels(fabric) if one["id"].startswith(wanted)]
    lines = [line for line in lines_of_channel(fabric, wanted) if _id_in(line, wanted)]
    found: set[str] = {one["id"] for one in ends} | {_id_in(line, wanted) for line in lines}
    if not found:
        raise CommandError(
            "unknown_channel",
            f"No node of {fabric.root} has, or has logged, a channel {channel_id}.",
            "`fabricctl channels` lists the open ones.",
        )
    if len(found) > 1:
        raise CommandError(
            "ambiguous_channel", f"{wanted} starts {len(found)} ids.", "Give more of its digits."
        )
    (whole,) = found
    document = {
        "id": whole,
        "ends": ends,
        "log": [{"node": line.node, **line.facts} for line in lines],
    }
    show(document, _channel_text(whole, ends, lines), json=json)
    return Exit.YES


def _digits(given: str) -> str:
    wanted = given.lower()
    if not SHORT_ID <= len(wanted) <= ID_DIGITS or set(wanted) - set("0123456789abcdef"):
        raise UsageError(
            "not_a_channel_id",
            f"{given!r} is not a channel id.",
            f"An id is {ID_DIGITS} hex digits; the first {SHORT_ID} may stand for it.",
        )
    return wanted


def _id_in(line: LogLine, wanted: str) -> str:
    """The channel of *line* if *wanted* starts it, else an empty string."""
    told = str(line.facts.get("channel", ""))
    return told if told.startswith(wanted) else ""


def _channel_text(channel_id: str, ends: list[Json], lines: Iterable[LogLine]) -> RenderableType:
    table = _ends_table(ends) if ends else Text("closed at both ends", "dim")
    told = [_log_text(line) for line in lines]
    return Group(Text(f"channel {channel_id}", "bold"), table, "", *told)


def _log_text(line: LogLine) -> Text:
    shown = {"time", "level", "event", "channel", "node"}
    rest = " ".join(f"{key}={value}" for key, value in line.facts.items() if key not in shown)
    event = str(line.facts.get("event", ""))
    return Text.assemble(
        (line.time, "dim"), f" {line.node} ", (event, "bold"), f" {rest}", overflow="fold"
    )


def _ends_table(ends: Iterable[Json]) -> RenderableType:
    headings = ("node", "channel", "service", "", "peer", "client", "state")
    grid = columns(*headings, ">age", ">sent", ">received")
    for end in newest(ends):
        grid.add_row(
            end["node"],
            end["id"][:SHORT_ID],
            end["service"],
            end["direction"],
            end["peer"],
            end["client"] or UNKNOWN,
            state_word(end["state"]),
            age(end["age_s"]),
            byte_count(end["sent_bytes"]),
            byte_count(end["received_bytes"]),
        )
    return grid if grid.row_count else Text("no open channels", "dim")


async def _open_channels(fabric: LocalFabric) -> list[Json]:
    """Channels of every node that answers, each with its ``node``. None answering is an error."""
    found: list[Json] = []
    silent: list[str] = []

    async def ask(name: str) -> None:
        try:
            snapshot = await fabric.admin(name).snapshot()
        except NotReachedError:
            silent.append(name)
        else:
            found.extend({"node": name, **one} for one in snapshot["channels"])

    async with trio.open_nursery() as nursery:
        for name in fabric.names:
            nursery.start_soon(ask, name)
    if len(silent) == len(fabric.names):
        raise NotReachedError(
            "fabric_not_running",
            f"No node of {fabric.root} answers.",
            "`fabricctl up` starts them.",
        )
    return newest(found)
