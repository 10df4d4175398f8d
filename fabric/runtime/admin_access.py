"""Who may look at a node and who may change it, by what the kernel says of the caller."""

from __future__ import annotations

import grp
import os

from attrs import frozen

from fabric.codes import Code
from fabric.config import AdminConfig
from fabric.net.unix import Credentials, group_id

DEFAULT_GROUP = "fabric-admin"
ROOT = 0


@frozen
class Access:
    """The rule: the group reads; root, the owner and the change group also change."""

    owner: int
    group: int
    change_group: int | None

    def refusal(self, caller: Credentials, *, changes: bool) -> Code | None:
        """Why *caller* may not do it; None if it may.

        The socket's mode has kept strangers from connecting already. This holds for a socket
        that was handed on, or in a folder whose mode somebody has mended.
        """
        if caller.uid in (ROOT, self.owner):
            return None
        if changes:
            return None if self.change_group in caller.groups else Code.CALLER_MAY_NOT_CHANGE
        reads = self.group in caller.groups or self.change_group in caller.groups
        return None if reads else Code.CALLER_MAY_NOT_READ


def access_of(config: AdminConfig) -> Access:
    """Look the groups of *config* up. Raises :exc:`ConfigError` for one that does not exist."""
    change_group = config.change_group and group_id(
        config.change_group, setting="admin.change_group"
    )
    return Access(
        owner=os.geteuid(),
        group=group_id(config.group, setting="admin.group") if config.group else _default_group(),
        change_group=change_group if change_group != "" else None,
    )


def _default_group() -> int:
    """``fabric-admin`` where it exists and this process may give files to it, else its own."""
    try:
        wanted = grp.getgrnam(DEFAULT_GROUP).gr_gid
    except KeyError:
        return os.getegid()
    usable = os.geteuid() == ROOT or wanted in os.getgroups()
    return wanted if usable else os.getegid()
