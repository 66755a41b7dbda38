"""Start a simulated instrument: `python -m exitwave.simulators bl18b`, `titan-g2` or `arm300f`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["UsageError", "main"]

_DEADLINE_S = 60.0
_PR_SET_PDEATHSIG = 1
_PARENT_POLL_S = 0.5
_PREFIXES = {"bl18b": "BL18B:", "titan-g2": "TITAN:", "arm300f": "ARM:"}
_BEAMLINE_ONLY = {"optics": "transfer", "replay": None, "truth_volume": None, "truth_log": None, "truth_spectra": None}


class UsageError(ValueError):
    """An argument that cannot be used; said in one line, exit status 2."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m exitwave.simulators", description=__doc__)
    parser.add_argument("instrument", choices=list(_PREFIXES))
    parser.add_argument("--prefix", help="in front of every PV name (default: the instrument's)")
    parser.add_argument("--port", type=int, help="Channel Access port on loopback (default: a free one)")
    parser.add_argument("--seed", type=int, help="draw hidden errors (default: a perfect instrument)")
    parser.add_argument("--truth", type=Path, help="read the hidden errors from FILE, or write them there")
    parser.add_argument("--truth-log", type=Path, help="note the truth of every frame in FILE, one JSON line each")
    parser.add_argument("--truth-volume", type=Path, help="write the voxels of an NCM particle to FILE.h5")
    parser.add_argument("--truth-pitch-nm", type=float, default=30.0, help="edge of those voxels")
    parser.add_argument("--truth-spectra", type=Path, help="write the spectra of the standards to FILE as columns")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--optics", choices=["transfer", "coherent-sum"], default="transfer")
    parser.add_argument(
        "--specimen",
        help="name of a specimen; of bl18b: siemens-star, gold-particles, "
        "sphere, knife-edge, step-wedge, none, ncm-pristine[+fiducials][:SEED], ncm-cycled[+fiducials][:SEED], "
        "film-Ni2+ (an oxide of a standard), memory "
        "(frames that cost nothing), or a phantom file",
    )
    parser.add_argument("--mode", default="first-principles", help="titan-g2, arm300f: what X-ray images follow")
    parser.add_argument("--replay", type=Path, help="serve a recorded series as the camera")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


def _tie_to_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, where the kernel can."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


async def _outlive_no_parent(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_POLL_S)
    stop.set()


def _build(options: argparse.Namespace) -> Any:
    """Build the controller; every argument that cannot be used ends here."""
    options.prefix = options.prefix or _PREFIXES[options.instrument]
    if options.instrument != "bl18b":
        return _build_microscope(options)
    options.specimen = options.specimen or "siemens-star"
    return _build_beamline(options)


def _build_microscope(options: argparse.Namespace) -> Any:
    from exitwave.simulators.clock import SimClock
    from exitwave.simulators.stem.ioc import build_ioc

    for name, default in _BEAMLINE_ONLY.items():
        if getattr(options, name) != default:
            raise UsageError(f"--{name.replace('_', '-')}: {options.instrument} has no such option; leave it out")
    try:
        return build_ioc(
            options.instrument,
            options.prefix,
            SimClock(options.speed),
            seed=options.seed,
            truth_file=options.truth,
            specimen=options.specimen or "SrTiO3",
            mode=options.mode,
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def _build_beamline(options: argparse.Namespace) -> Any:
    from exitwave.simulators.bl18b.ioc import BeamlineInputs, Bl18bIoc
    from exitwave.simulators.bl18b.place_log import PlaceLog
    from exitwave.simulators.bl18b.specimens import specimen_figures, write_truth_spectra, write_truth_volume
    from exitwave.simulators.bl18b.truth import Truth
    from exitwave.simulators.bl18b.world import World
    from exitwave.simulators.clock import SimClock

    try:
        if options.seed is None and options.truth is not None and options.truth.exists():
            truth = Truth.from_json(options.truth)
        else:
            truth = Truth.nominal() if options.seed is None else Truth.draw(options.seed)
            if options.truth is not None:
                truth.to_json(options.truth, specimen=specimen_figures(options.specimen))
        if options.truth_volume is not None:
            write_truth_volume(options.specimen, options.truth_volume, options.truth_pitch_nm)
        if options.truth_spectra is not None:
            write_truth_spectra(options.truth_spectra)
        clock = SimClock(options.speed)
        log = None
        if options.truth_log is not None:
            log = PlaceLog(options.truth_log, clock.wall_time(0.0), options.speed)

        def build_world(inputs: BeamlineInputs) -> World:
            return World(
                inputs, truth, optics=options.optics, specimen=options.specimen, replay=options.replay, log=log
            )

        perfect = truth == Truth.nominal(truth.seed)
        return Bl18bIoc(options.prefix, clock, build_world, truth, perfect=perfect)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(" ".join(str(error).split())) from error


async def _serve(options: argparse.Namespace, parent: int) -> None:
    from exitwave.simulators.server import Server, choose_port, client_environment

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    ioc = _build(options)
    port, beacon_port = choose_port(options.port), choose_port()
    server = Server(ioc.pvdb, port, beacon_port)
    serving = loop.create_task(server.run())
    watching = loop.create_task(_outlive_no_parent(parent, stop)) if options.with_parent else None
    try:
        ioc.start()
        async with asyncio.timeout(_DEADLINE_S):
            while not server.udp_socks and not serving.done():
                await asyncio.sleep(0.01)
        if serving.done():
            serving.result()
        ready = {
            "ready": True,
            "instrument": options.instrument,
            "prefix": options.prefix,
            "port": server.port,
            "repeater_port": beacon_port,
            "pvs": len(ioc.pvdb),
            "pid": os.getpid(),
            "env": client_environment(port, beacon_port),
        }
        print(json.dumps(ready), flush=True)
        stopping = loop.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    finally:
        await asyncio.to_thread(ioc.close)
        for task in (serving, watching):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in (serving, watching) if task), return_exceptions=True)
        server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a simulator until it is told to stop.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line; `sys.argv` if left out.

    Returns
    -------
    int
        0 after a clean stop, 2 for an argument that cannot be used.
    """
    parent = os.getppid()
    try:
        options = _parser().parse_args(arguments)
        if options.with_parent:
            _tie_to_parent(parent)
        logging.basicConfig(level=options.log_level, stream=sys.stderr)
        if options.port is not None and not 1024 <= options.port <= 65535:
            raise UsageError(f"--port: {options.port} is outside 1024..65535")
        asyncio.run(_serve(options, parent))
    except UsageError as error:
        print(f"exitwave simulate: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"exitwave simulate: {error}", file=sys.stderr)
        return 2
    return 0
