"""``make bench``: every figure beside its peer, measured in one run, printed and written as JSON."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"exitwave_bench_{name}", HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no benchmark {name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _words(value: object) -> str:
    """Return a figure, or a row of figures, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items() if part not in (None, []))
    return f"{value:.4g}" if isinstance(value, float | int) else str(value)


def main() -> int:
    """Run the benchmarks that are named, or all of them."""
    control, journal = _load("control"), _load("journal")
    groups: dict[str, tuple[str, Callable[[], dict[str, float]]]] = {
        "write": ("frames written and read back, 2048 x 2048, beside bare h5py", control.write_figures),
        "overhead": ("a radiograph and a triggered point beyond their exposures", control.overhead_figures),
        "flat": ("flat correction, 2048 x 2048, beside numpy and algotom", _load("correction").measure_flat_correction),
        "ct": ("exposure over elapsed time of fly and step tomography, 2048 x 2048", _load("ct").ct_figures),
        "live": ("a fly scan with live tomography beside it, and without, 2048 x 2048", _load("ct").live_figures),
        "ct_resumed": (
            "a tomogram that was killed and resumed, beside two that were not",
            _load("ct_resumed").resumed_figures,
        ),
        "eds": ("events, live sums and columns, beside exspy and atomap", _load("eds").eds_figures),
        "journal": ("documents through journal and RunEngine", journal.journal_figures),
        "tiled": ("a scan with Tiled killed, beside one with Tiled up", journal.tiled_down_figures),
        "pipeline": (
            "a recorded series of 2048 x 2048 frames to a volume: seconds a step, memory",
            _load("pipeline").pipeline_figures,
        ),
        "resolution": (
            "the star's resolution against exposure, zone plate and defocus",
            _load("resolution").resolution,
        ),
        "stripes": ("stripe removal, 900 angles x 2048 columns, beside algotom", _load("stripes").stripe_figures),
        "tomography": (
            "reconstruction and shell correlation beside algotom, astra, scikit-image and numpy",
            _load("tomography").tomography_figures,
        ),
        "xanes": (
            "edge maps and linear combinations beside loops, numpy and scipy; memory at 60 x 2048 x 2048",
            _load("xanes").xanes_figures,
        ),
        "xanes_acquisition": (
            "a scan of energies beyond its exposures and motors, 2048 x 2048",
            _load("xanes_acquisition").acquisition_figures,
        ),
        "world": ("the simulated microscope: frames/s beside the targets, photons", _load("world").world_figures),
    }
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*groups, []], help="which, all without")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args()
    figures: dict[str, float] = {}
    for name in chosen.groups or groups:
        title, measure = groups[name]
        begin = time.perf_counter()
        print(f"{name}: {title}", flush=True)
        result = measure()
        for key, value in result.items():
            print(f"  {key:<34} {_words(value)}")
        print(f"  ({time.perf_counter() - begin:.0f} s)", flush=True)
        figures |= result
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2, default=float) + "\n")
        print(f"figures in {chosen.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
