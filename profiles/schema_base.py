"""What models of devices and of roles have in common, whatever the instrument."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["AnyDevice", "AnyRoles", "References", "Strict"]

References = dict[str, str | dict[str, str]]


class Strict(BaseModel):
    """A table of a profile: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AnyDevice(Strict):
    """A device.

    Attributes
    ----------
    package : str
        Where its class is, under the name that the profile calls ``type``.
    writes_files : bool
        Whether it is told the folder for frames.
    """

    package: ClassVar[str] = "exitwave.devices"
    writes_files: ClassVar[bool] = False
    prefix: str = ""
    labels: list[str] = []

    def references(self) -> References:
        """Names of the devices that this one is built with, by argument."""
        return {}


class AnyRoles(Strict):
    """Which device plays which role in the plans of a kind of instrument."""

    def by_role(self) -> dict[str, str | None]:
        """Return the name of each role's device, None for one that this instrument does not have."""
        return {role: getattr(self, role) for role in type(self).model_fields if role != "instrument"}
