"""Every kind of record that this release understands, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fabric.core.records import (
    ControlEndpoints,
    EndpointRecord,
    NodeRecord,
    OffersRecord,
    Policy,
    Record,
    ServiceRecord,
    SightingsRecord,
    TrustRoot,
)
from fabric.core.update_records import Lease, UpdateHead, UpdateIntent, UpdateReport

KINDS: Final[Mapping[str, type[Record]]] = MappingProxyType(
    {
        kind.KIND: kind
        for kind in (
            TrustRoot,
            *(NodeRecord, ServiceRecord, ControlEndpoints, Policy),
            *(EndpointRecord, OffersRecord, SightingsRecord),
            *(UpdateIntent, UpdateHead, Lease, UpdateReport),
        )
    }
)
"""What is of none of these is :class:`~fabric.core.records.Opaque`."""
