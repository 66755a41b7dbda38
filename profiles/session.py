"""A session: devices, RunEngine, storage and plans of one profile, wired together.

Used alike by IPython (``exitwave session``, ``ipython --profile-dir``), the queue server and the demonstrations.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from exitwave.profiles.builder import Beamline, build, load_profile
from exitwave.profiles.storage.paths import DataFolder, data_folder

if TYPE_CHECKING:
    from bluesky import RunEngine
    from bluesky.utils import MsgGenerator

    from exitwave.plans import ElectronMicroscope, Instrument
    from exitwave.profiles.simulation import SimulatedBeamline

__all__ = ["Session", "bind", "open_session"]

P = ParamSpec("P")


@dataclass
class Session:
    """An open session; a context manager.

    Attributes
    ----------
    beamline : Beamline
        Devices by name.
    instrument : Instrument or ElectronMicroscope
        The devices by their role in plans; which of the two is the profile's kind.
    RE : RunEngine
    data : DataFolder
        Where journal, frames and catalog lie.
    namespace : dict
        What a user finds under its name: devices, plans, ``RE``, ``catalog``, ``open_run``.
    exporter : TomogramExporter
        Writes tomograms whose plan named an output file, when their runs end.
    dose : DoseLedger
        What every sample was exposed to.
    ready_after_s : float
        Time from the end of the imports until everything was connected and wired.
    """

    beamline: Beamline
    instrument: Any
    RE: RunEngine
    data: DataFolder
    namespace: dict[str, Any] = field(default_factory=dict)
    exporter: Any = None
    dose: Any = None
    ready_after_s: float = 0.0
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def open_run(self, key: str | int = -1) -> Any:
        """Open a run of this session's data folder; see `exitwave.profiles.storage.open_run`."""
        from exitwave.profiles.storage import open_run

        return open_run(key, data=self.data)

    def open_tomogram(self, key: str | int = -1) -> Any:
        """Open a tomogram of this session's data folder; see `exitwave.profiles.storage.open_tomogram`."""
        from exitwave.profiles.storage import open_tomogram

        return open_tomogram(key, data=self.data)

    def open_xanes(self, key: str | int = -1) -> Any:
        """Open a scan of energies of this session's data folder; see `exitwave.profiles.storage.open_xanes`."""
        from exitwave.profiles.storage import open_xanes

        return open_xanes(key, data=self.data)

    def open_xanes_series(self, key: str | int = -1, *, partial: bool = False) -> Any:
        """Open the tomograms of a scan of energies; see `exitwave.profiles.storage.open_xanes_series`."""
        from exitwave.profiles.storage import open_xanes_series

        return open_xanes_series(key, data=self.data, partial=partial)

    def open_spectrum_image(self, key: str | int = -1) -> Any:
        """Open a spectrum image of this session; see `exitwave.profiles.storage.open_spectrum_image`."""
        from exitwave.profiles.storage import open_spectrum_image

        return open_spectrum_image(key, data=self.data)

    def open_mosaic(self, key: str | int = -1) -> Any:
        """Open the tiles of a mosaic of tomograms; see `exitwave.profiles.storage.open_mosaic`."""
        from exitwave.profiles.storage import open_mosaic

        return open_mosaic(key, data=self.data)

    def export_tomogram(self, key: str | int, path: str | Path) -> Path:
        """Write a tomogram to one file; see `exitwave.profiles.storage.export_tomogram`."""
        from exitwave.profiles.storage import export_tomogram

        return export_tomogram(key, path, data=self.data)

    def close(self) -> None:
        """Stop what the session started, last first."""
        self._closing.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def bind(
    plan: Callable[Concatenate[Any, P], MsgGenerator[Any]], instrument: Instrument | ElectronMicroscope
) -> Callable[P, MsgGenerator[Any]]:
    """Return the plan with its instrument filled in: a generator function with the rest of its signature."""

    @functools.wraps(plan)
    def bound(*args: P.args, **kwargs: P.kwargs) -> MsgGenerator[Any]:
        return (yield from plan(instrument, *args, **kwargs))

    signature = inspect.signature(plan)
    parameters = list(signature.parameters.values())[1:]
    vars(bound)["__signature__"] = signature.replace(parameters=parameters)
    del vars(bound)["__wrapped__"]
    return bound


class _LazyCatalog:
    """The catalog, connected at the first use: Tiled's cold start takes longer than a user wants to wait."""

    def __init__(self, connect: Callable[[], Any]):
        self._connect = connect
        self._client: Any = None

    def _get(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._get()[key]

    def __len__(self) -> int:
        return len(self._get())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get())

    def __repr__(self) -> str:
        return repr(self._client) if self._client is not None else "<catalog, connects at its first use>"


def open_session(
    profile: str | Path = "bl18b",
    *,
    prefix: str | None = None,
    data: DataFolder | None = None,
    simulator: SimulatedBeamline | None = None,
    services: bool = True,
    report: bool = False,
    timeout_s: float | None = None,
) -> Session:
    """Build devices, connect them, and wire RunEngine and storage.

    Parameters
    ----------
    profile : str or Path
    prefix : str, optional
        In place of the profile's.
    data : DataFolder, optional
        The user's own without it.
    simulator : SimulatedBeamline, optional
        A simulator to connect to; the session stops it when it closes.
    services : bool
        Start the catalog's server and the forwarder in the background.
    report : bool
        Tell on standard error how long a run will take, how far it is, and what came of it: for somebody at a prompt.
    timeout_s : float, optional
        For connections.

    Raises
    ------
    ProfileError, StorageError
        Before anything is started.
    DeviceConnectionError
        Names the process variables that are missing.
    """
    model = load_profile(profile)
    data = (data or data_folder()).prepare()
    with contextlib.ExitStack() as closing:
        if simulator is not None:
            closing.callback(simulator.stop)
            simulator.connect_here()
            prefix = prefix or simulator.prefix
        os.environ.setdefault("OPHYD_CONTROL_LAYER", "caproto")
        importlib.import_module("exitwave.plans")  # ophyd reads the environment when it is imported
        imported = time.perf_counter()
        beamline = build(model, prefix=prefix, frames_folder=model.storage.frames_folder or data.frames)
        beamline.require_connected(timeout_s)
        session = _wire(beamline, data, closing, services)
        if report:
            _report_runs(session.RE)
        session.ready_after_s = time.perf_counter() - imported
        session._closing = closing.pop_all()
    return session


def _wire(beamline: Beamline, data: DataFolder, closing: contextlib.ExitStack, services: bool) -> Session:
    from bluesky import RunEngine
    from bluesky.preprocessors import SupplementalData

    from exitwave.profiles.kinds import analyses, make_instrument, plan_groups, single_stubs, stubs_as_they_are
    from exitwave.profiles.storage import (
        Address,
        DoseLedger,
        Journal,
        Publisher,
        Services,
        TomogramExporter,
        connect_catalog,
        runs,
    )

    model = beamline.profile
    run_engine = RunEngine({**model.scan_md})
    newest = next(iter(runs(data.journal)), None)
    run_engine.md["scan_id"] = int(newest.start.get("scan_id", 0)) if newest else 0
    journal = Journal(data.journal)
    run_engine.subscribe(journal)
    closing.callback(journal.close)
    publisher = Publisher()
    run_engine.subscribe(publisher)
    closing.callback(publisher.close)
    exporter = TomogramExporter(data)
    run_engine.subscribe(exporter)
    closing.callback(exporter.close)
    dose = DoseLedger(data)
    run_engine.subscribe(dose)

    background = None
    if services:
        remote = None
        if model.storage.tiled_url is not None:
            remote = Address(model.storage.tiled_url, os.environ.get(model.storage.tiled_api_key_env))
        background = Services(data, readable=[Path(f) for f in [model.storage.frames_folder] if f], tiled=remote)
        background.start()
        closing.callback(background.stop)

    def connect() -> Any:
        if background is None:
            raise RuntimeError("this session was opened without its catalog; use open_run(uid)")
        return connect_catalog(background.wait_ready())

    instrument = make_instrument(beamline, data)
    baseline = [beamline.devices[name] for name in beamline.profile.devices if _in_baseline(beamline.devices[name])]
    run_engine.preprocessors.append(SupplementalData(baseline=baseline))

    session = Session(beamline, instrument, run_engine, data, exporter=exporter, dose=dose)
    session.namespace = {
        **beamline.devices,
        "RE": run_engine,
        "session": session,
        "catalog": _LazyCatalog(connect),
        "open_run": session.open_run,
        "open_tomogram": session.open_tomogram,
        "open_xanes": session.open_xanes,
        "open_xanes_series": session.open_xanes_series,
        "open_mosaic": session.open_mosaic,
        "open_spectrum_image": session.open_spectrum_image,
        "export_tomogram": session.export_tomogram,
        **analyses(instrument),
        **stubs_as_they_are(instrument),
        **{name: SimpleNamespace(**_bound(module, instrument)) for name, module in plan_groups(instrument).items()},
        **{stub.__name__: bind(stub, instrument) for stub in single_stubs(instrument)},
    }
    return session


def _report_runs(run_engine: RunEngine) -> None:
    from exitwave.profiles.progress import RunReport

    report = RunReport()
    run_engine.subscribe(report)
    run_engine.state_hook = report.state_changed  # type: ignore[assignment]  # bluesky declares None


def _bound(module: Any, instrument: Any) -> dict[str, Any]:
    """Return a group's plans with their instrument, and what these take as arguments as it is."""
    named = {name: getattr(module, name) for name in module.__all__}
    return {name: bind(one, instrument) if inspect.isgeneratorfunction(one) else one for name, one in named.items()}


def _in_baseline(device: Any) -> bool:
    """Everything that is somewhere, but no detectors that write files: their frames are what a run is about."""
    from exitwave.devices import Camera
    from exitwave.devices.stem import EdsDetector

    return not isinstance(device, Camera | EdsDetector)
