"""What plans over energies write down in events: set by the plan, read by nobody else."""

from __future__ import annotations

from ophyd import Component as Cpt
from ophyd import Device, Signal

__all__ = ["DoseRecord", "EnergyRecord", "SpectrumRecord", "TrackingRecord"]


class EnergyRecord(Device):
    """What one stop of an energy scan took, and where the instrument was; set by the plan when the frames are in.

    Frames ``first_frame`` to ``first_frame + num_frames`` of the stream ``primary`` belong to it, and likewise of
    ``flat``; ``shot`` numbers what was asked for, -1 where only flats were taken.
    """

    shot = Cpt(Signal, value=-1, kind="normal", doc="Number of the shot that was asked for")
    setpoint = Cpt(Signal, value=0.0, kind="normal", doc="Energy asked for, keV")
    readback = Cpt(Signal, value=0.0, kind="hinted", doc="Energy by the Bragg angle's readback, keV")
    zone_plate_z = Cpt(Signal, value=0.0, kind="normal", doc="Zone plate z, mm")
    pixel = Cpt(Signal, value=0.0, kind="normal", doc="Pixel at the sample, nm")
    pitch = Cpt(Signal, value=0.0, kind="normal", doc="Pitch of the second crystal, urad")
    i0 = Cpt(Signal, value=0.0, kind="normal", doc="Ion chamber while the first frame was exposed, A")
    ring = Cpt(Signal, value=0.0, kind="normal", doc="Ring current, mA")
    exposure = Cpt(Signal, value=0.0, kind="normal", doc="Exposure of each frame, s")
    first_frame = Cpt(Signal, value=0, kind="normal", doc="First row of the stream primary")
    num_frames = Cpt(Signal, value=0, kind="normal", doc="Rows of the stream primary")
    first_flat = Cpt(Signal, value=0, kind="normal", doc="First row of the stream flat")
    num_flats = Cpt(Signal, value=0, kind="normal", doc="Rows of the stream flat")
    x = Cpt(Signal, value=0.0, kind="normal", doc="Sample x, um")
    y = Cpt(Signal, value=0.0, kind="normal", doc="Sample y, um")
    theta = Cpt(Signal, value=0.0, kind="normal", doc="Sample rotation, deg")
    repeat_number = Cpt(Signal, value=0, kind="normal", doc="Repeat in time")
    place = Cpt(Signal, value=0, kind="normal", doc="Number of the place on the sample")


class TrackingRecord(Device):
    """One point of a focus calibration, as a plan found it."""

    energy = Cpt(Signal, value=0.0, kind="hinted", doc="Photon energy, keV")
    correction = Cpt(Signal, value=0.0, kind="normal", doc="Focus found minus nominal focus, mm")
    uncertainty = Cpt(Signal, value=0.0, kind="normal", doc="Its standard deviation, mm")
    x = Cpt(Signal, value=0.0, kind="normal", doc="Zone plate stage x that keeps the image where it is, um")
    y = Cpt(Signal, value=0.0, kind="normal", doc="Likewise y, um")
    shift_x = Cpt(Signal, value=0.0, kind="normal", doc="How far the image stood to the right, um at the sample")
    shift_y = Cpt(Signal, value=0.0, kind="normal", doc="How far it stood up, um at the sample")
    sideways = Cpt(Signal, value=0, kind="normal", doc="1 where x and y were measured, 0 where they are where it stood")


class SpectrumRecord(Device):
    """One point of a spectrum of the whole beam."""

    energy = Cpt(Signal, value=0.0, kind="hinted", doc="In the middle of the integration, keV")
    absorbance = Cpt(Signal, value=0.0, kind="hinted", doc="ln(I0 / I1) of the two ion chambers")


class DoseRecord(Device):
    """What a sample was exposed to in a run; set by the plan at its end."""

    dose = Cpt(Signal, value=0.0, kind="normal", doc="Absorbed at the surface, Gy; -1 where the material is not known")
    exposed = Cpt(Signal, value=0.0, kind="normal", doc="Time in the beam, s")
