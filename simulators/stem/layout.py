"""What stands in the microscopes, and every process variable, as data.

Two instruments: ``titan-g2`` (prefix ``TITAN:``; 200 kV, probe 60 pm, four segments of 30 mm2) and ``arm300f``
(prefix ``ARM:``; 300 kV, probe 82 pm, two of 100 mm2). After the prefix, with ``+`` where a ``_RBV`` stands beside a
setpoint; names that end in ``_RBV`` are for reading alone:

===========================  ======  ================================================================================
PV                           unit    meaning
===========================  ======  ================================================================================
``Col:HighVoltage`` +        kV      60 to 300
``Col:BeamCurrent`` +        pA      into the specimen; the readback is what was asked, the true one differs by a few %
``Col:ConvergenceAngle`` +   mrad    semi-angle
``Col:SourceSize`` +         pm      FWHM of the source's image
``Col:Defocus`` +            nm      C10; what the stage's height adds comes on top
``Col:C12A`` + ... C34B      nm      corrector settings: C12A C12B C21A C21B C23A C23B C30 C32A C32B C34A C34B
``Col:ProbeSize_RBV``        pm      FWHM that these settings would give (residual aberrations are not known to it)
``Col:HT_RBV``                       Off, On (off after a trip)
``Blanker:Blank`` +                  Unblanked, Blanked; takes effect at once. Blanked at the start
``Blanker:Cause_RBV``                why it was blanked last: "operator", "abort", "hardware dose limit", "start"
``CV1:`` ``CV2:``                    column valves (gun; specimen): Open, Close, Status, Permit, Reset as a shutter;
                                     both open at the start
``VAC:Gun`` Column Camera    mbar    ``VAC:<section>:Pressure``, to read
``STG:X`` ``STG:Y``          um      motor records: goniometer
``STG:Z``                    um      motor record: height
``STG:Alpha`` ``STG:Beta``   deg     motor records: tilts about x and about y (+-35 and +-30)
``Dose:Rate_RBV``            e/A2/s  at the present field of view (0 blanked)
``Dose:Accumulated_RBV``     e/A2    since Dose:Reset; all electrons, also of a parked beam, over the field's area
``Dose:Electrons_RBV``               number
``Dose:Reset``                       Done, Reset
``Dose:HardwareLimit`` +     e/A2    blanks by itself when reached; 0: none. The only thing that does
``Scan:FieldOfView`` +       nm      width of the full frame, up to 50; pixels are square
``Scan:Width`` ``Height`` +          pixels of the full frame, 8 to 4096
``Scan:Rotation`` +          deg     of the fast direction
``Scan:Dwell`` +             us      per pixel, >= 0.1
``Scan:Flyback`` +           us      per line
``Scan:LineSync`` +                  Off, Mains (every line starts with the 50 Hz mains)
``Scan:SubX SubY SubWidth``
``SubHeight`` +              pixels  part of the frame to scan; SubWidth or SubHeight 0: all of it
``Scan:NumFrames`` +                 frames of one scan; 0: until stopped
``Scan:Serpentine`` +                No, Yes (odd lines backwards)
``Scan:ShiftX ShiftY`` +     nm      beam shift in the frame's own axes (x right, y down); taken at the next frame
``Scan:Start``                       Done, Start: put completes with the end of the scan
``Scan:Stop``                        Done, Stop: ends the scan within 0.1 s, put completes then
``Scan:BlankOnStop`` +               No, Yes (default): Stop, a fault and an end of the simulator blank the beam;
                                     a scan that comes to its own end does not
``Scan:Busy_RBV``                    Idle, Busy
``Scan:State_RBV``                   Idle, Scanning, Done, Aborted, Fault
``Scan:Message_RBV``                 char waveform
``Scan:Frame_RBV``                   frames completed
``Scan:Row_RBV``                     rows completed of the present one
``Scan:Columns_RBV Rows_RBV``        shape of what is scanned (a frame's array is Rows x Columns)
``Scan:PixelSize_RBV``       pm      FieldOfView / Width
``Scan:FrameTime_RBV``       s       with flyback and synchronisation
``Scan:PixelClock_RBV``      Hz      1 / dwell
``Scan:Lag_RBV``             s       simulated time by which computing is late
``HAADF:cam1:``                      areaDetector camera, uint16 (Rows, Columns). Acquire arms it: it takes one image at
                                     the end of each complete scan frame; ImageMode/NumImages as ever; put completion
``HAADF:HDF1:``                      NDFileHDF5. Numbers per frame: AcquireTime (s, of the frame), FieldOfView (nm),
                                     BeamCurrent (pA), Dose (e/A2), STG_Alpha, STG_Beta (deg), ScanFrame, ShiftX, ShiftY
``HAADF:Gain`` +                     of the amplifier: counts = 65535 (Offset + Gain x collected part of the beam)
``HAADF:Offset`` +
``HAADF:InnerAngle`` Outer + mrad    InnerAngle, OuterAngle
``EDS:Acquire`` +                    Done, Acquire: while 1, scans make events; clears the spectrum if ClearOnAcquire
``EDS:ClearOnAcquire`` +             No, Yes
``EDS:Clear``                        Done, Clear
``EDS:Spectrum``                     waveform of doubles, counts per channel; ``EDS:Energies`` keV, the middles
``EDS:ChannelWidth_RBV``     eV      10
``EDS:Range`` +                      20 keV (2048 channels), 40 keV (4096); taken at the next Acquire
``EDS:NumChannels_RBV``
``EDS:NumSegments_RBV``
``EDS:DeadTimeModel`` +              Non-paralysable, Paralysable
``EDS:DeadTime_RBV``         us      per pulse; set by EDS:ProcessTime + us
``EDS:ResolvingTime`` +      us      pulses closer than this pile up
``EDS:InputRate_RBV``        1/s     all segments; also OutputRate_RBV
``EDS:DeadFraction_RBV``     %       mean of the segments
``EDS:Events_RBV``                   since cleared
``EDS:Seg<n>:``                      n from 1: Enable +, InputRate_RBV, OutputRate_RBV (1/s), DeadFraction_RBV (%),
                                     SolidAngle_RBV (sr), TakeOff_RBV, Azimuth_RBV (deg), Area_RBV (mm2),
                                     Resolution_RBV (eV at Mn Ka), Shadow_RBV (% of the solid angle now in the shadow)
``EDS:HDF1:``                        file of events, with areaDetector's names: FilePath, FileName, FileTemplate,
                                     FileNumber, AutoIncrement, CreateDirectory, NumCapture (frames; 0: no end),
                                     Capture + (put completes at the end of the capture), NumCaptured_RBV (frames),
                                     NumEvents_RBV, FullFileName_RBV, FilePathExists_RBV, WriteStatus, WriteMessage,
                                     SWMRActive_RBV, FileWriteMode (Stream alone), EnableCallbacks, PortName_RBV,
                                     PluginType_RBV, TempSuffix, RunTime (s). See `event_file` for what is in it
``Sim:Mode``                         first-principles, phenomenological, artefact
``Sim:Specimen``                     one of `electron_crystals.SPECIMENS`
``Sim:Window1Low`` High      keV     E1 (Window1Low, Window1High) and E2 (Window2Low, Window2High)
``Sim:BlurFwhm``             pm      phenomenological: full width of every column before the two that follow
``Sim:BlurWindow``           pm      ... E1 is wider than E2 by so much (7.5)
``Sim:BlurSpecies``          pm      ... Sr is wider than Ti/O by so much (16)
``Sim:PeakRatio``                    ... height of Sr over that of Ti/O, in both windows (1.38)
``Sim:ArtefactFwhm``         pm      artefact: the one point spread (100)
``Sim:ArtefactPedestal``     counts  artefact: constant under the columns (0; the recipe reads above a base of 90)
``Sim:Pedestal``                     constant bremsstrahlung, as a part of the field's mean
``Sim:InstrumentLines``              lines of pole piece and column, as a part of the field's mean line intensity
``Sim:GridLines``                    copper of the grid, likewise
``Sim:YieldScale``                   multiplies every yield; 1 is physical. Kept in the file
``Sim:Shelf``                        part of the pulses with incomplete charge
``Sim:BeamTrip``                     No, Trip: high voltage off until No is written; a running scan faults
``Sim:DetectorStall``                None, All, Seg1 ...: counts, but delivers nothing
``Sim:DiskFull``                     No, Full
``Sim:Stall``                        name of an axis that gets stuck: "STG:X"
===========================  ======  ================================================================================

Left out, and so not in the data: channelling (electrons go straight), the probe's depth of focus, secondary
fluorescence other than as the constants above, the angular distribution of bremsstrahlung, X-rays of a parked or
returning beam. A change of specimen, voltage or mode makes the next frame start some seconds late: its maps are new.
"""

from __future__ import annotations

from dataclasses import dataclass

from exitwave.simulators.physics.eds_detector import Segment
from exitwave.simulators.records.motor_fields import MotorSettings

__all__ = ["AXES", "INSTRUMENTS", "LOST_MOTION", "Instrument"]

AXES: tuple[MotorSettings, ...] = tuple(
    MotorSettings(name, units, low, high, velocity, 0.1, precision, 0.0, description)
    for name, units, low, high, velocity, precision, description in (
        ("STG:X", "um", -1000.0, 1000.0, 5.0, 4, "Goniometer X"),
        ("STG:Y", "um", -1000.0, 1000.0, 5.0, 4, "Goniometer Y"),
        ("STG:Z", "um", -300.0, 300.0, 5.0, 4, "Goniometer height"),
        ("STG:Alpha", "deg", -35.0, 35.0, 2.0, 3, "Tilt about x"),
        ("STG:Beta", "deg", -30.0, 30.0, 2.0, 3, "Tilt about y"),
    )
)
"""The goniometer."""

LOST_MOTION: dict[str, float] = {"STG:X": 2e-3, "STG:Y": 2e-3, "STG:Z": 2e-2, "STG:Alpha": 0.02, "STG:Beta": 0.03}
"""Play between encoder and holder, in the axis' unit (an imperfect instrument's)."""


@dataclass(frozen=True)
class Instrument:
    """One microscope as delivered.

    Attributes
    ----------
    name, prefix : str
        On the command line, and in front of its PVs.
    maker, model : str
        As it names itself.
    voltage_kv, current_pa, convergence_mrad : float
        At the start.
    source_fwhm_pm : float
        Image of the source with which the probe has the published width: 60 pm, 82 pm.
    segments : tuple of Segment
        X-ray detectors.
    own_lines : tuple of str
        Elements whose lines come from the instrument.
    grid_lines : tuple of str
        Elements of the grid.
    haadf_mrad : tuple of float
        Inner and outer angle.
    """

    name: str
    prefix: str
    maker: str
    model: str
    voltage_kv: float
    current_pa: float
    convergence_mrad: float
    source_fwhm_pm: float
    segments: tuple[Segment, ...]
    own_lines: tuple[str, ...]
    grid_lines: tuple[str, ...] = ("Cu",)
    haadf_mrad: tuple[float, float] = (60.0, 200.0)


INSTRUMENTS: dict[str, Instrument] = {
    "titan-g2": Instrument(
        name="titan-g2",
        prefix="TITAN:",
        maker="FEI",
        model="Titan Cubed Themis G2 300 (simulated)",
        voltage_kv=200.0,
        current_pa=100.0,
        convergence_mrad=25.0,
        source_fwhm_pm=35.18,
        segments=tuple(Segment(30.0, 0.175, 18.0, azimuth) for azimuth in (45.0, 135.0, 225.0, 315.0)),
        own_lines=("Fe", "Co"),
    ),
    "arm300f": Instrument(
        name="arm300f",
        prefix="ARM:",
        maker="JEOL",
        model="JEM-ARM 300F (simulated)",
        voltage_kv=300.0,
        current_pa=100.0,
        convergence_mrad=30.0,
        source_fwhm_pm=74.31,
        segments=tuple(Segment(100.0, 0.8, 26.0, azimuth) for azimuth in (90.0, 270.0)),
        own_lines=("Ti", "Fe"),
    ),
}
"""By name. Solid angles and take-off angles are those of such detectors; the papers give areas alone."""
