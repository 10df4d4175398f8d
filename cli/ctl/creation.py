"""``fabricctl init``: a fabric of one's own, made of nothing but keys and a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from cli.ctl.holding import lines, now, refusals
from cli.exit_codes import Exit
from cli.exits import Json, UsageError
from cli.output import here, show
from fabric.core.records import Role
from services.authority import Authority, Quorum
from services.authority.keys import active
from services.authority.rotation import MOST_ROOT_KEYS

Count = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=MOST_ROOT_KEYS))]


def init(
    folder: Path,
    /,
    *,
    name: str = "",
    root: str = "1/1",
    directory_keys: Count = 1,
    intent: str = "2/3",
    orchestrator_keys: Count = 1,
    recovery: str = "2/3",
    json: bool = False,
) -> int:
    """Create a fabric: its id, its keys by role, its trust root. DIR is empty, or not there yet.

    Parameters
    ----------
    name:
        What people call the fabric; the folder's name unless given.
    root:
        Keys that may change the others, M/N: M signatures of N keys.
    directory_keys:
        Keys that sign nodes and services, each by itself; one per replica of a control plane.
    intent:
        Keys that sign what software shall run, M/N.
    orchestrator_keys:
        Keys that sign rollout leases, each by itself.
    recovery:
        Keys that sign overrides of a rollout, M/N.
    """
    quorums = {
        Role.ROOT: _quorum(root),
        Role.DIRECTORY: Quorum(1, directory_keys),
        Role.INTENT: _quorum(intent),
        Role.ORCHESTRATOR: Quorum(1, orchestrator_keys),
        Role.RECOVERY: _quorum(recovery),
    }
    with refusals(), Authority.create(folder, now=now(), name=name, quorums=quorums) as made:
        show(_document(made), lines(*_told(made)), json=json)
    return Exit.YES


def _quorum(text: str) -> Quorum:
    try:
        return Quorum.parse(text)
    except ValueError as error:
        raise UsageError(
            "not_a_quorum", f"{error}.", "Write 2/3 for two of three keys."
        ) from error


def _document(authority: Authority) -> Json:
    root = authority.root
    return {
        "folder": str(authority.folder.path),
        "name": authority.name,
        "fabric_id": authority.fabric_id.hex(),
        "root": str(authority.folder.root_file),
        "roles": {
            role: {
                "threshold": held.threshold,
                "keys": [str(key.file) for key in authority.keys.present(held.keys)],
            }
            for role, held in root.roles.items()
        },
    }


def _told(authority: Authority) -> list[str]:
    folder, root = authority.folder, authority.root
    roles = [
        f"  {here(folder.keys)}/{role}-*.key  {root.roles[role].threshold} of "
        f"{len(active(root, role))}"
        for role in Role
    ]
    return [
        f"fabric {authority.name}, id {authority.fabric_id.hex()}",
        f"  {here(folder.root_file)}  the trust root: every node is given it",
        *roles,
        "",
        "Nodes and services take the directory key alone: keep the others elsewhere, each apart.",
        "",
        "Try next:",
        f"  cd {here(folder.path)}",
        "  fabricctl node add home-1 --area home",
        "  fabricctl service add web --offer-by area:home --open-to any",
    ]
