"""A snapshot as a person sees it. Pure: snapshot in, rich renderable out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.exits import Json
from cli.tables import columns, cut, state_word
from cli.units import UNKNOWN, age, byte_count, milliseconds

ALL_ROWS = 1_000_000

SHORT_ID = 8
"""Hex digits of a channel id shown where a row must fit; `fabricctl channel` takes as many."""

FEWEST_ROWS = 3
"""Channels shown even where the screen is too low for the rest of the frame."""


def node_view(snapshot: Json, *, height: int | None = None) -> Group:
    """One frame: who the node is, its peers, channels, planes, services and listeners.

    *height* lines are kept to by leaving out channels, and the frame says how many; None
    shows all.
    """
    channels = snapshot["channels"]
    return Group(
        *_head(snapshot),
        *_peers(snapshot["peers"]),
        *_channels(channels, ALL_ROWS if height is None else _room(snapshot, height)),
        *_planes(snapshot["planes"]),
        *_services(snapshot["services"]),
        *_listeners(snapshot["listeners"]),
    )


def gone_view(snapshot: Json, why: str) -> Group:
    """The last frame of a node that no longer answers, under a line that says so."""
    return Group(cut(Text(why, "bold red")), "", *_head(snapshot), *_peers(snapshot["peers"]))


def _room(snapshot: Json, height: int) -> int:
    """Rows that channels may take: what the other sections leave."""
    head, gap_and_headings, planes, hidden = 2, 2, 4, 1
    tables = [snapshot["peers"], snapshot["services"], snapshot["listeners"]]
    taken = sum(gap_and_headings + len(rows) for rows in tables if rows)
    return max(FEWEST_ROWS, height - head - planes - gap_and_headings - hidden - taken)


def _head(snapshot: Json) -> list[RenderableType]:
    node, peers = snapshot["node"], snapshot["peers"]
    connected = sum(peer["state"] == "connected" for peer in peers)
    name = Text.assemble((node["name"], "bold"), "  ", state_word(node["state"]))
    name.append(f"  area {node['area']}  {' '.join(sorted(node['roles'])) or 'no roles'}")
    facts = (
        f"up {age(node['uptime_s'])}",
        f"peers {connected}/{len(peers)}",
        f"channels {len(snapshot['channels'])}",
        f"udp {node['listen']}",
        f"release {node['release']}",
        f"id {node['id']}",
    )
    return [cut(name), cut(Text("  ".join(facts), "dim"))]


def _peers(peers: Sequence[Json]) -> list[RenderableType]:
    table = columns("peer", "area", "state", "path", ">rtt", ">out/s", ">in/s", ">streams")
    for peer in sorted(peers, key=lambda peer: str(peer["name"])):
        table.add_row(
            cut(peer["name"]),
            cut(peer["area"]),
            state_word(peer["state"]),
            cut(peer["path"] or peer["reason"] or UNKNOWN),
            milliseconds(peer["rtt_ms"]),
            byte_count(peer["sent_bytes_per_s"]),
            byte_count(peer["received_bytes_per_s"]),
            str(peer["streams"]),
        )
    return _section(table, "no peers")


def _channels(channels: Sequence[Json], rows: int) -> list[RenderableType]:
    numbers = (">age", ">sent", ">received")
    table = columns("channel", "service", "", "peer", "client", "state", *numbers)
    for channel in newest(channels)[:rows]:
        table.add_row(
            channel["id"][:SHORT_ID],
            cut(channel["service"]),
            channel["direction"],
            cut(channel["peer"]),
            cut(channel["client"] or UNKNOWN),
            state_word(channel["state"]),
            age(channel["age_s"]),
            byte_count(channel["sent_bytes"]),
            byte_count(channel["received_bytes"]),
        )
    section = _section(table, "no open channels")
    hidden = len(channels) - rows
    return [*section, Text(f"and {hidden} older", "dim")] if hidden > 0 else section


def newest(channels: Iterable[Json]) -> list[Json]:
    """Youngest first: what a person has just caused stands on top."""
    return sorted(channels, key=lambda channel: (channel["age_s"] or 0.0, channel["id"]))


def _planes(planes: Sequence[Json]) -> list[RenderableType]:
    """Planes side by side, each with the time since it last proved progress."""
    cells = []
    for plane in planes:
        cell = Text(f"{plane['name']} ")
        if plane["state"] != "running":
            cell.append_text(state_word(plane["state"])).append(" ")
        cells.append(cell.append(age(plane["last_progress_s"]), "dim"))
    running = sum(plane["state"] == "running" for plane in planes)
    told = f"PLANES  {running} of {len(planes)} running, last progress ago:"
    return ["", Text(told, "bold"), Columns(cells, padding=(0, 3))]


def _services(services: Sequence[Json]) -> list[RenderableType]:
    table = columns("service", "open to", "edge", "backend here", "instances")
    for service in sorted(services, key=lambda service: str(service["name"])):
        table.add_row(
            cut(service["name"]),
            cut(" ".join(service["open_to"]) or "nobody"),
            "yes" if service["edge_exposable"] else "no",
            cut(service["backend"] or ("handler" if service["offered_here"] else UNKNOWN)),
            cut(" ".join(service["instances"]) or "none"),
        )
    return _section(table, "no services")


def _listeners(listeners: Sequence[Json]) -> list[RenderableType]:
    table = columns("listener", "service", ">open", ">limit")
    for listener in listeners:
        table.add_row(
            cut(listener["listen"]),
            cut(listener["service"]),
            str(listener["connections"]),
            str(listener["max_connections"]),
        )
    return _section(table) if listeners else []


def _section(table: Table, when_empty: str = "") -> list[RenderableType]:
    return ["", table if table.row_count else Text(when_empty, "dim")]
