"""Who may open what: selectors over nodes, and the one function that applies them.

A service names the nodes that may open it by selectors. Nobody is selected by default: an
empty ``open_to`` is a closed door, so that forgetting a line can never publish a service.

======================  ==========================================
``any``                 every admitted node
``node:NAME``           the node of that name
``role:ROLE``           nodes with that role
``area:AREA``           nodes of that area
``label:KEY=VALUE``     nodes with that label at exactly that value
======================  ==========================================
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from fabric.core.identity import NodeName


@frozen(kw_only=True)
class Subject:
    """The node that asks, as the roster describes it; never as it describes itself."""

    name: NodeName
    area: str = ""
    roles: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(factory=dict)


class By(enum.StrEnum):
    """What a selector looks at."""

    ANY = "any"
    NODE = "node"
    ROLE = "role"
    AREA = "area"
    LABEL = "label"


@frozen
class Selector:
    """One line of an ``open_to``. ``str()`` gives back exactly what was parsed."""

    by: By
    value: str = ""
    key: str = ""
    """The label's key; empty for all other kinds."""

    def selects(self, subject: Subject) -> bool:
        match self.by:
            case By.ANY:
                return True
            case By.NODE:
                return subject.name == self.value
            case By.ROLE:
                return self.value in subject.roles
            case By.AREA:
                return subject.area == self.value
            case By.LABEL:
                return subject.labels.get(self.key) == self.value

    def __str__(self) -> str:
        match self.by:
            case By.ANY:
                return "any"
            case By.LABEL:
                return f"label:{self.key}={self.value}"
        return f"{self.by}:{self.value}"


MOST_SELECTORS: Final = 64
LONGEST_SELECTOR: Final = 160
"""Of one service, and characters of each: what the frame that tells it to peers takes."""

FORMS = "any, node:NAME, role:ROLE, area:AREA or label:KEY=VALUE"


def parse_selector(text: str) -> Selector:
    """Return the selector that *text* spells, or raise :exc:`ValueError` naming the forms."""
    if len(text) > LONGEST_SELECTOR or not text.isprintable():
        raise ValueError(f"a selector has at most {LONGEST_SELECTOR} printable characters")
    if text == By.ANY:
        return Selector(By.ANY)
    kind, _, value = text.partition(":")
    key = ""
    if kind == By.LABEL:
        key, _, value = value.partition("=")
    if not value or kind not in set(By) - {By.ANY} or (kind == By.LABEL and not key):
        raise ValueError(f"{text!r} is not a selector; write {FORMS}")
    return Selector(By(kind), value, key)


def permits(open_to: Iterable[Selector], subject: Subject) -> bool:
    """Return whether any selector of *open_to* selects *subject*; none of none does."""
    return any(selector.selects(subject) for selector in open_to)
