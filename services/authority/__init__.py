"""The authority of a fabric: its keys by role, its folder, and the signing of what it says."""

from services.authority.authority import Authority
from services.authority.drafts import BOUNDS, USUAL_KEYS, About, Bounds, Grant, Quorum
from services.authority.folder import Folder
from services.authority.refusals import AuthorityError
from services.authority.rotation import Change, Missing, Rotated

__all__ = [
    "BOUNDS",
    "USUAL_KEYS",
    "About",
    "Authority",
    "AuthorityError",
    "Bounds",
    "Change",
    "Folder",
    "Grant",
    "Missing",
    "Quorum",
    "Rotated",
]
