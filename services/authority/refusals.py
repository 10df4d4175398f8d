"""Why an authority does not sign: told to the operator, with what to do about it."""

from __future__ import annotations

from fabric.codes import Code
from fabric.errors import FabricError


class AuthorityError(FabricError):
    """Nothing was signed, and nothing was written but what the message names."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(f"{code}: {message} Remedy: {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy

    @classmethod
    def of(cls, code: Code, message: str, remedy: str = "") -> AuthorityError:
        """A reason that nodes give too; *remedy* stands in place of the code's own."""
        return cls(code.label, message, remedy or code.remedy)
