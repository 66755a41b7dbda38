"""What the commands of the command line do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["check_command", "live_command", "queue_command", "runs_command", "session_command", "show_command"]


def _start_simulator(profile: str, prefix: str | None, seed: int = 18, speed: float = 1.0) -> Any:
    from exitwave.profiles.simulation import SimulatedBeamline

    arguments = ["--seed", str(seed), "--speed", str(speed)]
    return SimulatedBeamline(
        Path(profile).stem.replace("_", "-"), [*arguments, "--prefix", prefix] if prefix else arguments
    )


def check_command(profile: str, *, prefix: str | None, timeout_s: float, simulate: bool) -> int:
    """Connect every device, print a table, and return 0 if all of them are there."""
    import contextlib

    from rich.console import Console
    from rich.table import Table

    from exitwave.profiles.builder import build, load_profile

    model = load_profile(profile)
    console = Console()
    with contextlib.ExitStack() as stack:
        if simulate:
            simulator = stack.enter_context(_start_simulator(profile, prefix))
            simulator.connect_here()
            prefix = simulator.prefix
        rows = build(model, prefix=prefix).connect(timeout_s)
        table = Table(title=f"{model.title or model.name}: {len(rows)} devices")
        for heading in ("device", "class", "prefix", "connected", "missing"):
            table.add_column(heading)
        for row in rows:
            missing = ", ".join(row.missing[:3]) + (f" and {len(row.missing) - 3} more" if len(row.missing) > 3 else "")
            table.add_row(
                row.name,
                row.kind,
                row.prefix,
                f"[{'green' if row.ok else 'red'}]{row.connected}/{row.total}[/]",
                missing,
            )
        console.print(table)
        failed = [row for row in rows if not row.ok]
        if failed:
            console.print(
                f"{len(failed)} of {len(rows)} devices did not connect within {timeout_s:g} s: "
                "is the IOC running, and does EPICS_CA_ADDR_LIST point to it?",
                style="red",
            )
        return 1 if failed else 0


def session_command(
    profile: str, *, prefix: str | None, simulate: bool, seed: int, speed: float, command: str | None
) -> int:
    """Open IPython with the session's namespace; with `command`, run that and leave."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.terminal.ipapp import TerminalIPythonApp
    from traitlets.config import Config

    from exitwave.profiles.session import open_session

    simulator = _start_simulator(profile, prefix, seed, speed) if simulate else None
    with open_session(profile, prefix=prefix, simulator=simulator, report=True) as session:
        if command is not None:
            InteractiveShell.clear_instance()
            shell = InteractiveShell.instance(user_ns=dict(session.namespace))
            return 0 if shell.run_cell(command).success else 1
        config = Config()
        config.TerminalIPythonApp.display_banner = False
        config.InteractiveShell.xmode = "Minimal"
        app = TerminalIPythonApp.instance(user_ns=dict(session.namespace), config=config)
        app.initialize(argv=[])
        groups = [name for name, value in session.namespace.items() if isinstance(value, SimpleNamespace)]
        title = session.beamline.profile.title
        print(f"{title}: {len(session.beamline.devices)} devices, RE, {', '.join(groups)}, catalog")
        app.start()
    return 0


def live_command(kind: str, *, out: Path | None) -> int:
    """Follow the runs of this data folder until interrupted."""
    import contextlib
    import sys

    from exitwave.profiles.live.process import follow_runs
    from exitwave.profiles.storage.paths import data_folder

    data = data_folder().prepare()
    folder = out or data.root / "live"
    sys.stderr.write(f"live {kind}: pictures and figures go to {folder}; Ctrl-C ends it\n")
    with contextlib.suppress(KeyboardInterrupt):
        follow_runs(kind, data, folder)
    return 0


def runs_command(number: int) -> int:
    """Print the newest runs."""
    import datetime

    from rich.console import Console
    from rich.table import Table

    from exitwave.profiles.storage import data_folder, runs

    data = data_folder()
    table = Table(title=f"runs in {data.root}")
    for heading in ("uid", "scan", "time", "plan", "sample", "status"):
        table.add_column(heading)
    for _, run in zip(range(number), runs(data.journal), strict=False):
        start, stop = run.start, run.stop
        sample = start.get("sample", "")
        table.add_row(
            str(start["uid"])[:8],
            str(start.get("scan_id", "")),
            datetime.datetime.fromtimestamp(start["time"]).strftime("%Y-%m-%d %H:%M:%S"),
            str(start.get("plan_name", "")),
            str(sample.get("name", "") if isinstance(sample, dict) else sample),
            str(stop["exit_status"]) if stop else "open or broken off",
        )
    Console().print(table)
    return 0


def show_command(uid: str) -> int:
    """Print what a run holds."""
    from rich.console import Console

    from exitwave.profiles.storage import data_folder, open_run
    from exitwave.profiles.tomograms import run_key

    console = Console(highlight=False)
    run = open_run(run_key(uid), data=data_folder())
    console.print(f"[bold]{run.uid}[/]  {run.start.get('plan_name', '')}  scan {run.start.get('scan_id', '')}")
    for name in ("energy_kev", "zone_plate", "magnification", "pixel_size_nm", "exposure_s", "technique"):
        if run.start.get(name) is not None:
            console.print(f"  {name}: {run.start[name]}")
    if run.stop:
        console.print(f"  {run.stop['exit_status']} {run.stop.get('reason', '')}".rstrip())
    for name in run.streams:
        console.print(f"[bold]{name}[/]")
        if name == "baseline":
            console.print(f"  {len(run.stream(name).data_keys)} values before and after")
            continue
        for key_name, array in run.to_xarray(name).items():
            shape = " x ".join(str(n) for n in array.shape)
            console.print(f"  {key_name}: {array.dtype} {shape} {array.attrs.get('units', '')}".rstrip())
    return 0


def queue_command(profile: str, *, prefix: str | None, redis: str | None) -> int:
    """Bring up the queue server and keep it until it is interrupted."""
    from exitwave.profiles.queue import run_queue

    return int(run_queue(profile, prefix=prefix, redis_url=redis))
