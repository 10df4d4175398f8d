"""A node as a person sees it, a frame per view. Pure: its answers in, rich renderable out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.directory_views import ALL_ROWS, members_table, services_table, waves_table
from cli.exits import Json
from cli.tables import columns, cut, state_word
from cli.units import UNKNOWN, age, byte_count, milliseconds

SHORT_ID = 8
"""Hex digits of a channel id shown where a row must fit; `fabricctl channel` takes as many."""

FEWEST_ROWS = 3
"""Rows of a table shown even where the screen is too low for the rest of the frame."""

GAP_AND_HEADING = 2
PLANES_A_LINE = 5
"""Planes side by side on 80 columns."""


LINES_PER_COMPLAINT = 12
"""Lines of a screen for each thing that is wrong and shown: it takes two, beside all the rest.
What is not shown is counted."""


def node_view(snapshot: Json, *, height: int | None = None) -> Group:
    """One frame: who the node is, its peers, channels, planes, services and listeners.

    *height* lines are kept to by leaving out channels, and of very many peers and services some
    too; the frame says how many. None shows all.
    """
    room = _Room.of(snapshot, height)
    return Group(
        *_head(snapshot, height),
        *_peers(snapshot["peers"], room.peers),
        *_channels(snapshot["channels"], room.channels),
        *_planes(snapshot["planes"]),
        *_services(snapshot["services"], room.services),
        *_listeners(snapshot["listeners"]),
    )


def services_view(snapshot: Json, found: Json, *, now: float, height: int | None = None) -> Group:
    """The registry as the node sees it: every service, its status and why, its last live proof."""
    status = found["fabric_registry_runtime_report"]["status"]
    core = sum(row["core"] for row in found["services"])
    told = Text.assemble(("REGISTRY  ", "bold"), state_word(status), f"  core services: {core}")
    table = services_table(found["services"], now=now, rows=_left(snapshot, height, besides=1))
    return Group(*_head(snapshot, height), "", told, table)


def members_view(snapshot: Json, found: Json, *, now: float, height: int | None = None) -> Group:
    """Every member of the fabric: whether it is there, and whether this node has a link to it."""
    table = members_table(found["members"], rows=_left(snapshot, height))
    return Group(*_head(snapshot, height), "", table)


def waves_view(snapshot: Json, found: Json, *, now: float, height: int | None = None) -> Group:
    """The last waves that came by the node, the latest first."""
    table = waves_table(found["waves"], rows=_left(snapshot, height))
    return Group(*_head(snapshot, height), "", table)


def gone_view(snapshot: Json, why: str) -> Group:
    """The last frame of a node that no longer answers, under a line that says so."""
    return Group(
        cut(Text(why, "bold red")), "", *_head(snapshot, None), *_peers(snapshot["peers"])
    )


@frozen
class _Room:
    """Lines that the tables of the node's frame may take, without their headings."""

    peers: int = ALL_ROWS
    services: int = ALL_ROWS
    channels: int = ALL_ROWS

    @classmethod
    def of(cls, snapshot: Json, height: int | None) -> _Room:
        """Share *height* lines: each may have a third, and what the others do not need of theirs.

        Peers come first, then services, then channels: of these the youngest tell most.
        """
        if height is None:
            return cls()
        listeners = len(snapshot["listeners"])
        tables = 3 + (listeners > 0)
        planes = GAP_AND_HEADING + -(-len(snapshot["planes"]) // PLANES_A_LINE)
        taken = len(_head(snapshot, height)) + planes + tables * GAP_AND_HEADING + listeners
        left = max(0, height - taken)
        share = max(FEWEST_ROWS, left // 3)
        wanted = {name: max(1, len(snapshot[name])) for name in ("peers", "services", "channels")}
        services, channels = min(wanted["services"], share), min(wanted["channels"], share)
        peers = min(wanted["peers"], max(share, left - services - channels))
        services = min(wanted["services"], max(share, left - peers - channels))
        return cls(peers, services, max(FEWEST_ROWS, left - peers - services))


def _left(snapshot: Json, height: int | None, *, besides: int = 0) -> int:
    """Rows that the one table of a frame may take, where *besides* lines more are taken."""
    if height is None:
        return ALL_ROWS
    hidden = 1
    taken = len(_head(snapshot, height)) + GAP_AND_HEADING + hidden + besides
    return max(FEWEST_ROWS, height - taken)


def _head(snapshot: Json, height: int | None) -> list[RenderableType]:
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
    return [cut(name), cut(Text("  ".join(facts), "dim")), *_health(snapshot["health"], height)]


def _health(complaints: Sequence[Json], height: int | None) -> list[RenderableType]:
    """What is wrong: each with what it is about, and on a line of its own what to do."""
    lines: list[RenderableType] = []
    most = ALL_ROWS if height is None else max(1, height // LINES_PER_COMPLAINT)
    for each in complaints[:most]:
        told = each["detail"] or each["message"]
        lines.append(cut(Text.assemble((each["code"], "bold red"), f": {told}")))
        lines.append(cut(Text(f"  remedy: {each['remedy']}", "dim")))
    if (hidden := len(complaints) - most) > 0:
        lines.append(cut(Text(f"and {hidden} more to mend", "bold red")))
    return lines


def _peers(peers: Sequence[Json], lines: int = ALL_ROWS) -> list[RenderableType]:
    numbers = (">rtt", ">out/s", ">in/s", ">streams")
    table = columns("peer", "area", "state", "life", "path", *numbers)
    rows = _rows(len(peers), lines)
    for peer in sorted(peers, key=lambda peer: str(peer["name"]))[:rows]:
        table.add_row(
            cut(peer["name"]),
            cut(peer["area"]),
            state_word(peer["state"]),
            state_word(peer["liveness"] or UNKNOWN),
            cut((peer["path"] or peer["reason"] or UNKNOWN).removeprefix("direct ")),
            milliseconds(peer["rtt_ms"]),
            byte_count(peer["sent_bytes_per_s"]),
            byte_count(peer["received_bytes_per_s"]),
            str(peer["streams"]),
        )
    return _section(table, "no peers", len(peers) - rows, "more: `m` shows all")


def _channels(channels: Sequence[Json], lines: int) -> list[RenderableType]:
    rows = _rows(len(channels), lines)
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
    return _section(table, "no open channels", len(channels) - rows, "older")


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


def _services(services: Sequence[Json], lines: int) -> list[RenderableType]:
    rows = _rows(len(services), lines)
    table = columns("service", "open to", "edge", "backend here", "instances")
    for service in sorted(services, key=lambda service: str(service["name"]))[:rows]:
        table.add_row(
            cut(service["name"]),
            cut(" ".join(service["open_to"]) or "nobody"),
            "yes" if service["edge_exposable"] else "no",
            cut(service["backend"] or ("handler" if service["offered_here"] else UNKNOWN)),
            cut(" ".join(service["instances"]) or "none"),
        )
    return _section(table, "no services", len(services) - rows, "more: `s` shows all")


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


def _rows(total: int, lines: int) -> int:
    """Rows of *total* that fit in *lines*, of which one may have to say what is left out."""
    return total if total <= lines else lines - 1


def _section(
    table: Table, when_empty: str = "", hidden: int = 0, what: str = ""
) -> list[RenderableType]:
    """*table* under a gap, and how many rows it leaves out, called *what*."""
    shown: RenderableType = table if table.row_count else Text(when_empty, "dim")
    return ["", shown, *([Text(f"and {hidden} {what}", "dim")] if hidden else [])]
