"""From a profile to devices.

Importing this module is cheap; ophyd comes in when devices are built.
"""

from __future__ import annotations

import contextlib
import importlib
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from exitwave.profiles.schema import Profile

if TYPE_CHECKING:
    from ophyd import Device

__all__ = ["Beamline", "ConnectionRow", "ProfileError", "build", "load_profile", "profile_path"]


class ProfileError(ValueError):
    """A profile that is not there or says something that can't be."""


@dataclass(frozen=True)
class ConnectionRow:
    """How one device connected."""

    name: str
    kind: str
    prefix: str
    connected: int
    total: int
    missing: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every process variable is there."""
        return not self.missing


def profile_path(name_or_path: str | Path) -> Path:
    """Return the TOML file of a profile, by the name of a shipped one or by its path.

    Raises
    ------
    ProfileError
        There is no such file.
    """
    path = Path(name_or_path)
    candidate = path if path.suffix == ".toml" else Path(__file__).parent / str(name_or_path) / "beamline.toml"
    if not candidate.is_file():
        shipped = sorted(p.parent.name for p in Path(__file__).parent.glob("*/beamline.toml"))
        raise ProfileError(f"no profile {str(name_or_path)!r}; there are {', '.join(shipped)}, or give a .toml file")
    return candidate


def load_profile(name_or_path: str | Path) -> Profile:
    """Read and check a profile.

    Raises
    ------
    ProfileError
        The file is missing, is not TOML, or has a key or value that is not known; the message names it.
    """
    path = profile_path(name_or_path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: not TOML: {error}") from error
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        raise ProfileError(f"{path}: " + "; ".join(_explain(error))) from error


def _explain(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        where = ".".join(str(part) for part in item["loc"]) or "profile"
        if item["type"] == "extra_forbidden":
            yield f"{where}: unknown key; remove it or correct its spelling"
        else:
            yield f"{where}: {item['msg']} (got {item.get('input')!r})"


class Beamline:
    """Devices of a profile, by name.

    Parameters
    ----------
    profile : Profile
    devices : dict of name to Device
    """

    def __init__(self, profile: Profile, devices: dict[str, Device]):
        self.profile = profile
        self.devices = devices

    def __getitem__(self, name: str) -> Device:
        return self.devices[name]

    def role(self, role: str) -> Any:
        """Return the device that plays a role, None for one that this instrument does not have."""
        name = self.profile.roles.by_role()[role]
        return None if name is None else self.devices[name]

    def connect(self, timeout_s: float | None = None) -> list[ConnectionRow]:
        """Wait until everything is connected, or the time is over; return a row per device.

        Nothing is raised: the rows say what is missing.
        """
        deadline = time.monotonic() + (timeout_s or self.profile.connection_timeout_s)
        signals = {name: list(_epics_signals(device)) for name, device in self.devices.items()}
        waiting = [s for group in signals.values() for s in group]
        while waiting and time.monotonic() < deadline:
            waiting = [s for s in waiting if not s.connected]
            if waiting:
                time.sleep(0.02)
        rows = []
        for name, group in signals.items():
            missing = tuple(pv for s in group if not s.connected for pv in _missing_names(s))
            device = self.devices[name]
            rows.append(
                ConnectionRow(
                    name,
                    type(device).__name__,
                    device.prefix,
                    sum(s.connected for s in group),
                    len(group),
                    missing,
                )
            )
        return rows

    def require_connected(self, timeout_s: float | None = None) -> None:
        """Connect, or say what is missing.

        Raises
        ------
        DeviceConnectionError
            Names the process variables, the first ten of them, and how many more.
        """
        from exitwave.devices import DeviceConnectionError

        missing = [pv for row in self.connect(timeout_s) for pv in row.missing]
        if missing:
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            raise DeviceConnectionError(
                f"{self.profile.name}: {len(missing)} process variables did not connect within "
                f"{timeout_s or self.profile.connection_timeout_s:g} s: {', '.join(missing[:10])}{more}; "
                "is the IOC running, and does EPICS_CA_ADDR_LIST point to it?"
            )


def _epics_signals(device: Device) -> Iterator[Any]:
    from ophyd.signal import EpicsSignalBase

    for walk in device.walk_signals(include_lazy=False):
        if isinstance(walk.item, EpicsSignalBase):
            yield walk.item


def _missing_names(signal: Any) -> list[str]:
    names = []
    for attribute in ("_read_pv", "_write_pv"):
        pv = getattr(signal, attribute, None)
        if pv is not None and not pv.connected and pv.pvname not in names:
            names.append(pv.pvname)
    return names or [signal.pvname]


def build(profile: Profile, *, prefix: str | None = None, frames_folder: str | Path | None = None) -> Beamline:
    """Instantiate every device of a profile; connections go on in the background.

    Reads and late connections get the time that the profile gives to connections: ophyd's own, 2 and 1 s, is short
    for a busy server, and running out of it ends a scan. Where signals exist already, theirs holds.

    Parameters
    ----------
    profile : Profile
    prefix : str, optional
        In place of the profile's own prefix.
    frames_folder : str or Path, optional
        Where cameras write, in place of the profile's own folder.
    """
    from ophyd.signal import EpicsSignalBase

    with contextlib.suppress(RuntimeError):  # it is for all signals of a process, and for the first to say
        EpicsSignalBase.set_defaults(
            timeout=profile.connection_timeout_s, connection_timeout=profile.connection_timeout_s
        )
    prefix = profile.prefix if prefix is None else prefix
    folder = str(frames_folder or profile.storage.frames_folder or "")
    built: dict[str, Device] = {}

    def make(name: str) -> Device:
        if name in built:
            return built[name]
        model = profile.devices[name]
        arguments = model.model_dump(exclude={"type", "prefix"})
        for argument, reference in model.references().items():
            arguments[argument] = (
                {key: make(target) for key, target in reference.items()}
                if isinstance(reference, dict)
                else make(reference)
            )
        if model.writes_files:
            arguments["folder"] = folder
        arguments["labels"] = set(model.labels)
        built[name] = getattr(importlib.import_module(model.package), model.type)(
            prefix + model.prefix, name=name, **arguments
        )
        return built[name]

    for name in profile.devices:
        make(name)
    return Beamline(profile, {name: built[name] for name in profile.devices})
