"""The command line. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="exitwave",
    help="Control, acquisition and analysis for X-ray and electron microscopes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
queue_app = typer.Typer(help="Automated scan queues (bluesky-queueserver).", no_args_is_help=True)
app.add_typer(queue_app, name="queue")
demo_app = typer.Typer(help="Demonstrations on simulated instruments.")
app.add_typer(demo_app, name="demo")

NUMBERS = {"ignore_unknown_options": True}
"""So that -1, the newest run, is taken for what it is."""

ProfileName = Annotated[str, typer.Argument(help="Name of a shipped profile, or a TOML file.")]
Prefix = Annotated[str | None, typer.Option(help="Prefix of the process variables, in place of the profile's.")]
JsonFile = Annotated[Path | None, typer.Option(help="Write the figures to this file.")]
OutFolder = Annotated[Path, typer.Option(help="Folder for the pictures.")]
Speed = Annotated[float, typer.Option(help="How much faster than real the simulated clock runs.")]
Seed = Annotated[int, typer.Option(help="Seed of the simulated instrument's hidden errors.")]
Simulate = Annotated[bool, typer.Option("--simulate", help="Start the simulated beamline and connect to it.")]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def simulate(context: typer.Context) -> None:
    """Run a simulated instrument (``exitwave simulate bl18b --help`` for its options)."""
    # A foreign program: this process becomes it, and imports nothing of it.
    os.execv(sys.executable, [sys.executable, "-m", "exitwave.simulators", *context.args])


@app.command()
def check(
    profile: ProfileName = "bl18b",
    prefix: Prefix = None,
    timeout: Annotated[float, typer.Option(help="Time to connect, s.")] = 10.0,
    simulated: Simulate = False,
) -> None:
    """Connect every device of a profile and report what failed and why."""
    from exitwave.profiles.commands import check_command

    raise typer.Exit(check_command(profile, prefix=prefix, timeout_s=timeout, simulate=simulated))


@app.command()
def session(
    profile: ProfileName = "bl18b",
    prefix: Prefix = None,
    simulated: Simulate = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulated beamline's hidden errors.")] = 18,
    speed: Annotated[float, typer.Option(help="How much faster than real the simulated clock runs.")] = 10.0,
    command: Annotated[str | None, typer.Option("-c", help="Run this and leave.")] = None,
) -> None:
    """Open an IPython session with devices, plans, RE and catalog."""
    from exitwave.profiles.commands import session_command

    raise typer.Exit(
        session_command(profile, prefix=prefix, simulate=simulated, seed=seed, speed=speed, command=command)
    )


@demo_app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    json: JsonFile = None,
    out: OutFolder = Path("."),
    zone_plate: Annotated[str, typer.Option(help="A or B.")] = "A",
    speed: Speed = 20.0,
    seed: Seed = 18,
) -> None:
    """Demonstrate on a simulated instrument; first light of the X-ray microscope without a name.

    First light: align the microscope, image a Siemens star and measure the resolution.
    """
    if context.invoked_subcommand is None:
        from exitwave.profiles.demos.first_light import first_light_command

        raise typer.Exit(first_light_command(json_path=json, out=out, zone_plate=zone_plate, speed=speed, seed=seed))


@demo_app.command("ct")
def demo_tomography(
    json: JsonFile = None,
    out: OutFolder = Path("."),
    specimen: Annotated[
        str, typer.Option(help="ncm-cycled or ncm-pristine, with +fiducials for gold beads.")
    ] = "ncm-cycled+fiducials",
    projections: Annotated[int, typer.Option(help="How many over a whole turn.")] = 360,
    exposure: Annotated[float, typer.Option(help="Of each projection, s.")] = 0.5,
    fly: Annotated[bool, typer.Option("--fly", help="At constant velocity instead of step by step.")] = False,
    methods: Annotated[bool, typer.Option("--methods", help="Say what each method makes of the cracks.")] = False,
    speed: Speed = 20.0,
    seed: Seed = 18,
) -> None:
    """Take a tomogram of a battery particle, follow it live, reconstruct it and compare it with the truth."""
    from exitwave.profiles.demos.tomography import TomographyRequest, tomography_command

    request = TomographyRequest(specimen, projections, exposure, fly, seed, speed, methods)
    raise typer.Exit(tomography_command(request, json_path=json, out=out))


@demo_app.command("anxri")
def demo_anxri(
    json: JsonFile = None,
    out: OutFolder = Path("."),
    specimen: Annotated[str, typer.Option(help="SrTiO3 or NPG-Pd-Pt.")] = "SrTiO3",
    mode: Annotated[
        list[str] | None,
        typer.Option(help="first-principles, phenomenological or artefact; may be repeated, all without it."),
    ] = None,
    counts: Annotated[float, typer.Option(help="Times the published counts per column.")] = 1.0,
    speed: Speed = 20.0,
    seed: Seed = 18,
) -> None:
    """Image columns of atoms in bremsstrahlung, measure their widths, and judge differences beside their nulls."""
    from exitwave.profiles.demos.anxri import MODES, AnxriRequest, anxri_command

    request = AnxriRequest(specimen, tuple(mode) if mode else MODES, counts, seed, speed)
    raise typer.Exit(anxri_command(request, json_path=json, out=out))


@demo_app.command("xanes")
def demo_xanes(
    json: JsonFile = None,
    out: OutFolder = Path("."),
    energies: Annotated[int, typer.Option(help="How many: a ready-made list of 21, 41, 63 or 101.")] = 41,
    exposure: Annotated[float, typer.Option(help="Of each frame, s.")] = 2.0,
    frames: Annotated[int, typer.Option(help="At each energy; as many flats are taken there.")] = 4,
    dimensions: Annotated[int, typer.Option(min=2, max=3, help="2: maps; 3: voxels, a tomogram at every energy.")] = 2,
    projections: Annotated[int, typer.Option(help="Of a tomogram, over half a turn.")] = 60,
    speed: Speed = 20.0,
    seed: Seed = 18,
) -> None:
    """Map the edge energy of battery particles, in images or in voxels, and compare it with the truth."""
    from exitwave.profiles.demos.xanes import XanesRequest, xanes_command
    from exitwave.profiles.demos.xanes_volume import volume_command

    request = XanesRequest(energies, exposure, frames, projections, seed, speed)
    raise typer.Exit((volume_command if dimensions == 3 else xanes_command)(request, json_path=json, out=out))


@app.command()
def live(
    kind: Annotated[str, typer.Argument(help="What to follow: tomography, spectrum-image or xanes.")] = "tomography",
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and figures; live/ of the data folder.")] = None,
) -> None:
    """Follow runs from another terminal: pictures and figures while the data arrive."""
    from exitwave.profiles.commands import live_command

    raise typer.Exit(live_command(kind, out=out))


@app.command()
def runs(
    number: Annotated[int, typer.Option("-n", help="How many, newest first.")] = 20,
) -> None:
    """List the newest runs."""
    from exitwave.profiles.commands import runs_command

    raise typer.Exit(runs_command(number))


@app.command(context_settings=NUMBERS)
def show(
    uid: Annotated[str, typer.Argument(help="Uid of a run, its beginning, or -1 for the newest.")],
) -> None:
    """Show what a run holds."""
    from exitwave.profiles.commands import show_command

    raise typer.Exit(show_command(uid))


@app.command(context_settings=NUMBERS)
def export(
    uid: Annotated[str, typer.Argument(help="Uid of a tomogram's run, its beginning, or -1 for the newest.")],
    file_format: Annotated[str, typer.Option("--format", help="nxtomo or dx (Data Exchange).")] = "nxtomo",
    out: Annotated[Path | None, typer.Option(help="The file; tomogram-UID.nxs or .h5 without it.")] = None,
) -> None:
    """Write a tomogram with its flats, darks and angles to one file for other programs."""
    from exitwave.profiles.tomograms import export_command

    raise typer.Exit(export_command(uid, file_format=file_format, out=out))


@app.command(context_settings=NUMBERS)
def reconstruct(
    source: Annotated[str, typer.Argument(help="A recorded series (.h5, .nxs, .txrm), a run's uid, or -1.")],
    out: Annotated[Path | None, typer.Option(help="The volume, .h5 or .zarr; beside it comes a picture.")] = None,
    method: Annotated[str, typer.Option(help="fourier, fbp, sirt, cgls or tv.")] = "fourier",
    iterations: Annotated[int | None, typer.Option(help="Of sirt, cgls and tv.")] = None,
    centre: Annotated[float | None, typer.Option(help="Column of the rotation axis; found without it.")] = None,
    tilt: Annotated[float | None, typer.Option(help="Lean of the axis, deg; found without it, if it can be.")] = None,
    stripes: Annotated[bool, typer.Option(help="Remove stripes, the rings of the slices.")] = True,
    align: Annotated[bool, typer.Option("--align", help="Align projections to their reprojections.")] = False,
    empty: Annotated[int, typer.Option(help="Columns at the left border that show nothing, ever.")] = 0,
    rows: Annotated[str | None, typer.Option(help="FIRST:PAST rows of the detector; all without it.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Voxels along a slice; the width of the detector without it.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="FIRST:PAST,FIRST:PAST voxels of a slice along z and x to keep; all without it.")
    ] = None,
    mosaic: Annotated[bool, typer.Option("--mosaic", help="The run is a tile: the whole mosaic is meant.")] = False,
    pixel: Annotated[float | None, typer.Option(help="Pixel at the sample, nm, where a file does not say.")] = None,
    memory: Annotated[float, typer.Option(help="Working memory, GB.")] = 2.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
    json: JsonFile = None,
) -> None:
    """Reconstruct a tomogram, a run's or a file's, through bounded memory, and draw three slices of it."""
    from exitwave.analysis.tomography import Recipe
    from exitwave.profiles.tomograms import parse_region, parse_rows, reconstruct_command

    recipe = Recipe(
        method=method,
        centre_px=centre,
        tilt_deg=tilt,
        stripes=stripes,
        empty_px=empty,
        align=align,
        rows=parse_rows(rows),
        size=size,
        region=parse_region(region),
        memory_gb=memory,
        options={} if iterations is None else {"iterations": iterations},
    )
    raise typer.Exit(
        reconstruct_command(source, recipe, out=out, pixel_nm=pixel, overwrite=overwrite, json_path=json, mosaic=mosaic)
    )


@queue_app.command("start")
def queue_start(
    profile: ProfileName = "bl18b",
    prefix: Prefix = None,
    redis: Annotated[str | None, typer.Option(help="URL of a Redis server; one of its own without it.")] = None,
) -> None:
    """Bring up a queue server over the devices and plans of a profile."""
    from exitwave.profiles.commands import queue_command

    raise typer.Exit(queue_command(profile, prefix=prefix, redis=redis))


def main() -> None:
    """Run the command line; an error that exitwave names is shown as one line, any other with its trace."""
    try:
        app()
    except (ValueError, RuntimeError, OSError) as error:  # what exitwave's named errors derive from
        if not type(error).__module__.startswith("exitwave."):
            raise
        sys.stderr.write(f"exitwave: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
