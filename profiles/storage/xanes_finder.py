"""What plans of energy scans ask of earlier runs: how far they came, what dose they gave, what calibrated them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exitwave.profiles.storage.chain import ChainFinder, run_chain
from exitwave.profiles.storage.dose_ledger import DoseLedger
from exitwave.profiles.storage.history import runs
from exitwave.profiles.storage.reader import RunReader, open_run
from exitwave.profiles.storage.xanes_stack import NoXanesError, open_xanes

if TYPE_CHECKING:
    from exitwave.plans.instrument import Progress

__all__ = ["XanesFinder"]


def _told_dose_gy(run: RunReader) -> float:
    """Return the largest dose of a place by the stops of a run, Gy: exposures alone; 0 where no material is known."""
    from exitwave.plans.pure.xanes_estimates import absorbed_dose_gy

    told = run.start.get("exposed")
    if not told or "energy" not in run.streams:
        return 0.0
    prefix = str(run.start["energy_record"]) + "_"
    columns = {key.removeprefix(prefix): values for key, values in run.stream("energy").columns.items()}
    doses: dict[int, float] = {}
    for k, shot in enumerate(columns["shot"]):
        if int(shot) < 0:
            continue
        time_s = int(columns["num_frames"][k]) * float(columns["exposure"][k])
        energy_ev, place = 1e3 * float(columns["setpoint"][k]), int(columns["place"][k])
        dose_gy = absorbed_dose_gy(told["material"], energy_ev, told["flux_per_s"], told["area_um2"], time_s)
        doses[place] = doses.get(place, 0.0) + dose_gy
    return max(doses.values(), default=0.0)


class XanesFinder(ChainFinder):
    """Tells plans how far a scan of energies has come, and which calibration is the newest."""

    def progress(self, uid: str | int) -> Progress:
        """Return how far the scan that this run belongs to has come."""
        from exitwave.plans.instrument import Progress

        with open_xanes(uid, data=self._data) as stack:
            return Progress(stack.start, stack.missing, stack.has_flats, stack.has_darks)

    def dose_gy(self, uid: str | int) -> float:
        """Return what the runs of a scan that this run belongs to gave the sample, Gy.

        As the ledger has it; of a run that was killed before it could be entered, by the stops that it told.
        """
        known = {line["uid"]: line["dose_gy"] for line in DoseLedger(self._data).entries()}
        total = 0.0
        for run in run_chain(uid, self._data):
            entered = known.get(run.uid)
            total += _told_dose_gy(run) if entered is None else float(entered)
        return total

    def series_dose_gy(self, series: str) -> float:
        """Return what the tomograms of a series gave the sample, Gy, as the ledger has it."""
        return DoseLedger(self._data).series_gy(series)

    def newest(self, plan_name: str) -> str | None:
        """Return the uid of the newest run of a plan that ended well; None where there is none."""
        for run in runs(self._data.journal):
            if run.start.get("plan_name") == plan_name:
                stop = run.stop
                if stop is not None and stop.get("exit_status") == "success":
                    return str(run.uid)
        return None

    def tracking(self, uid: str | int) -> tuple[str, list[dict[str, Any]]]:
        """Return the zone plate's name and the focus points that a run of `calibrate_tracking` wrote down.

        Raises
        ------
        NoXanesError
            The run is none.
        """
        run = open_run(uid, data=self._data, source="journal")
        if "tracking" not in run.streams:
            raise NoXanesError(f"run {run.uid[:8]}: has no focus points; give one of calibrate_tracking")
        stream = run.stream("tracking")
        columns = {key.partition("tracking_record_")[2]: values for key, values in stream.columns.items()}
        points = []
        for k, when in enumerate(stream.time):
            sideways = bool(columns["sideways"][k])
            points.append(
                {
                    "energy_kev": float(columns["energy"][k]),
                    "correction_mm": float(columns["correction"][k]),
                    "uncertainty_mm": float(columns["uncertainty"][k]),
                    "x_um": float(columns["x"][k]) if sideways else None,
                    "y_um": float(columns["y"][k]) if sideways else None,
                    "found": datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
                    "run": run.uid,
                }
            )
        return str(run.start.get("zone_plate", "")), points
