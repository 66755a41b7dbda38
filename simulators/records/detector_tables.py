"""PVs of ADCore R3 (asynNDArrayDriver, ADDriver, NDPluginDriver, NDFile, NDFileHDF5) and of the Andor cameras."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from exitwave.simulators.records.board import Choice, Row, Text, ro, rw, wo

__all__ = ["COMPRESSIONS", "IMAGE_MODES", "TRIGGER_MODES", "camera_rows", "data_type_name", "hdf5_rows"]

IMAGE_MODES = ("Single", "Multiple", "Continuous")
TRIGGER_MODES = ("Internal", "External", "Software")
COMPRESSIONS = ("None", "N-bit", "szip", "zlib", "Blosc", "BSLZ4", "LZ4", "JPEG")
DATA_TYPES = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64")
_BY_DTYPE = {name.lower(): name for name in DATA_TYPES}
COLOR_MODES = ("Mono", "Bayer", "RGB1", "RGB2", "RGB3", "YUV444", "YUV422", "YUV421")
_STATES = (
    "Idle", "Acquire", "Readout", "Correct", "Saving", "Aborting", "Error", "Waiting", "Initializing",
    "Disconnected", "Aborted",
)  # fmt: skip
_NO_YES = ("No", "Yes")
_OFF_ON = ("Disable", "Enable")
_DONE = ("Done", "Acquire")


def data_type_name(dtype: DTypeLike) -> str:
    """Return areaDetector's name of a pixel type: "UInt16".

    Raises
    ------
    ValueError
        If it has none.
    """
    name = _BY_DTYPE.get(np.dtype(dtype).name)
    if name is None:
        raise ValueError(f"pixel type {np.dtype(dtype)}: areaDetector knows {', '.join(DATA_TYPES)}")
    return name


def _array_rows(port: str, shape: tuple[int, int], data_type: str, counted: bool) -> list[Row]:
    """Rows that drivers and plugins have in common."""
    height, width = shape
    return [
        ro("PortName_RBV", port),
        ro("ADCoreVersion_RBV", "3.12.1"),
        ro("DriverVersion_RBV", "1.0.0"),
        ro("ArraySizeX_RBV", width),
        ro("ArraySizeY_RBV", height),
        ro("ArraySizeZ_RBV", 0),
        ro("ArraySize_RBV", 2 * width * height),
        ro("NDimensions_RBV", 2),
        rw("NDimensions", 2),
        rw("ArrayCounter", 0),
        rw("ArrayCallbacks", Choice(_OFF_ON, int(counted))),
        ro("ArrayRate_RBV", 0.0, "Hz"),
        ro("UniqueId_RBV", 0),
        ro("TimeStamp_RBV", 0.0, "s"),
        ro("EpicsTSSec_RBV", 0),
        ro("EpicsTSNsec_RBV", 0),
        rw("DataType", Choice(DATA_TYPES, DATA_TYPES.index(data_type))),
        rw("ColorMode", Choice(COLOR_MODES)),
        ro("BayerPattern_RBV", Choice(("RGGB", "GBRG", "GRBG", "BGGR"))),
        ro("Codec_RBV", ""),
        ro("CompressedSize_RBV", 2 * width * height),
        ro("PoolMaxBuffers", 0),
        ro("PoolAllocBuffers", 0),
        ro("PoolFreeBuffers", 0),
        ro("PoolUsedBuffers", 0),
        ro("PoolMaxMem", 0.0, "MB"),
        ro("PoolUsedMem", 0.0, "MB"),
        wo("EmptyFreeList", Choice(("Done", "Empty"))),
        ro("NumQueuedArrays", 0),
        wo("AsynIO.CNCT", Choice(("Disconnect", "Connect"), 1)),
        wo("AsynIO", Choice(("Disconnect", "Connect"), 1)),
        wo("NDAttributesFile", Text()),
        wo("NDAttributesMacros", Text()),
        ro("NDAttributesStatus", Choice(("Attributes file OK", "File not found", "XML syntax error"))),
        rw("WaitForPlugins", Choice(_NO_YES)),
    ]


def camera_rows(
    port: str, sensor: tuple[int, int], *, data_type: str, manufacturer: str, model: str, exposure_s: float
) -> list[Row]:
    """Return the table of a camera driver.

    Parameters
    ----------
    port : str
        Name of its asyn port.
    sensor : tuple of int
        (y, x) pixels.
    data_type : str
        "UInt16".
    manufacturer, model : str
        As the camera names itself.
    exposure_s : float
        AcquireTime at the start.

    Returns
    -------
    list of Row
        ADDriver's and the Andor drivers' channels.
    """
    height, width = sensor
    return [
        *_array_rows(port, sensor, data_type, True),
        ro("Manufacturer_RBV", manufacturer),
        ro("Model_RBV", model),
        ro("SerialNumber_RBV", "SIM-0001"),
        ro("FirmwareVersion_RBV", "1.0.0"),
        ro("SDKVersion_RBV", "3.15"),
        ro("MaxSizeX_RBV", width),
        ro("MaxSizeY_RBV", height),
        rw("MinX", 0),
        rw("MinY", 0),
        rw("SizeX", width),
        rw("SizeY", height),
        rw("BinX", 1),
        rw("BinY", 1),
        rw("ReverseX", Choice(_NO_YES)),
        rw("ReverseY", Choice(_NO_YES)),
        rw("AcquireTime", exposure_s, "s"),
        rw("AcquirePeriod", exposure_s, "s"),
        rw("FrameRate", 1.0 / exposure_s, "Hz"),
        rw("Acquire", Choice(_DONE)),
        ro("AcquireBusy", Choice(_DONE)),
        ro("AcquireBusyCB", 0),
        rw("ImageMode", Choice(IMAGE_MODES, 2)),
        rw("TriggerMode", Choice(TRIGGER_MODES)),
        wo("SoftwareTrigger", 0),
        # No channel of ADCore counts these; a simulator can.
        ro("MissedTriggers_RBV", 0),
        rw("FrameType", Choice(("Normal", "Background", "FlatField", "DblCorrelation"))),
        rw("NumImages", 1),
        rw("NumExposures", 1),
        ro("NumImagesCounter_RBV", 0),
        ro("NumExposuresCounter_RBV", 0),
        ro("TimeRemaining_RBV", 0.0, "s"),
        ro("DetectorState_RBV", Choice(_STATES)),
        ro("StatusMessage_RBV", Text("Idle", 256)),
        ro("StringToServer_RBV", Text("", 256)),
        ro("StringFromServer_RBV", Text("", 256)),
        wo("ReadStatus", 0),
        ro("DataType_RBV.DISA", 0),
        rw("Gain", 1.0),
        rw("Temperature", 20.0, "C"),
        ro("TemperatureActual", 20.0, "C"),
        rw("Overlap", Choice(("Off", "On"), 1)),
        rw("ShutterMode", Choice(("None", "EPICS PV", "Detector output"))),
        rw("ShutterControl", Choice(("Close", "Open"))),
        wo("ShutterControlEPICS", Choice(("Close", "Open"))),
        ro("ShutterStatus_RBV", Choice(("Closed", "Open"))),
        ro("ShutterStatusEPICS_RBV", Choice(("Closed", "Open"))),
        wo("ShutterFanout", 0),
        wo("ShutterOpenEPICS", "1"),
        wo("ShutterCloseEPICS", "0"),
        rw("ShutterOpenDelay", 0.0, "s"),
        rw("ShutterCloseDelay", 0.0, "s"),
        *_andor_rows(exposure_s),
        *_simulation_rows(),
    ]


def _andor_rows(exposure_s: float) -> list[Row]:
    return [
        rw("AndorADCSpeed", Choice(("0.01 MHz", "0.5 MHz", "200 MHz"), 2)),
        rw("AndorAccumulatePeriod", exposure_s, "s"),
        rw("AndorCooler", Choice(("Off", "On"), 1)),
        ro("AndorMessage_RBV", ""),
        rw("AndorPreAmpGain", Choice(("1x", "2x", "4x"))),
        wo("AndorShutterExTTL", Choice(("Low", "High"))),
        wo("AndorShutterMode", Choice(("Full Auto", "Always Open", "Always Closed"))),
        ro("AndorTempStatus_RBV", "Stabilised"),
        rw("FileFormat", Choice(("TIFF", "BMP", "SIF"))),
        rw("PALFilePath", Text()),
        rw("A3Binning", Choice(("1x1", "2x2", "3x3", "4x4", "8x8"))),
        rw("A3ShutterMode", Choice(("Rolling", "Global"))),
        wo("ControllerID", ""),
        wo("FirmwareVersion", "1.0.0"),
        wo("SerialNumber", "SIM-0001"),
        wo("SoftwareVersion", "1.0.0"),
        rw("FanSpeed", Choice(("Off", "Low", "On"), 2)),
        wo("FullAOIControl", 1),
        rw("NoiseFilter", Choice(_NO_YES)),
        rw("PixelEncoding", Choice(("Mono12", "Mono12Packed", "Mono16", "Mono32"), 2)),
        rw("PreAmpGain", Choice(("12-bit high well", "12-bit low noise", "16-bit dual gain"), 2)),
        rw("ReadoutRate", Choice(("100 MHz", "200 MHz", "270 MHz", "280 MHz"), 2)),
        wo("ReadoutTime", 0.0, "s"),
        rw("SensorCooling", Choice(("Off", "On"), 1)),
        rw("TempControl", Choice(("-10.00", "0.00", "20.00"))),
        ro("TempStatus_RBV", Choice(("Cooler off", "Stabilised", "Cooling", "Drift", "Not stabilised", "Fault"))),
        wo("TransferRate", 0.0, "Hz"),
    ]


def _simulation_rows() -> list[Row]:
    """Return the channels that only ADSimDetector has; they are kept and change nothing."""
    counts = ("NumX", "NumY", "StartX", "StartY", "StepX", "StepY", "WidthX", "WidthY", "Variation")
    return [
        *(rw(f"Gain{axis}", 1.0) for axis in ("X", "Y", "Red", "Green", "Blue")),
        *(rw(f"Peak{name}", 1) for name in counts),
        rw("Noise", 0.0),
        rw("Offset", 0.0),
        rw("Reset", Choice(("Done", "Reset"))),
        rw("SimMode", Choice(("LinearRamp", "Peaks", "Sine", "Offset&Noise"))),
    ]


def hdf5_rows(port: str, source: str, sensor: tuple[int, int], *, data_type: str) -> list[Row]:
    """Return the table of an NDFileHDF5 plugin.

    Parameters
    ----------
    port : str
        Name of its asyn port.
    source : str
        Port of the camera it listens to.
    sensor : tuple of int
        (y, x) pixels of that camera.
    data_type : str
        "UInt16".

    Returns
    -------
    list of Row
        NDPluginDriver's, NDFile's and NDFileHDF5's channels.
    """
    height, width = sensor
    extra = [str(index) for index in range(3, 10)]
    return [
        *_array_rows(port, sensor, data_type, False),
        ro("PluginType_RBV", "NDFileHDF5"),
        rw("EnableCallbacks", Choice(_OFF_ON)),
        rw("BlockingCallbacks", Choice(_NO_YES)),
        wo("ProcessPlugin", Choice(("Done", "Process"))),
        rw("NDArrayPort", source),
        rw("NDArrayAddress", 0),
        rw("MinCallbackTime", 0.0, "s"),
        rw("MaxArrayRate", 0.0, "Hz"),
        wo("MaxArrayRate_COUT", 0.0, "Hz"),
        rw("MaxByteRate", 0.0, "B/s"),
        ro("ExecutionTime_RBV", 0.0, "ms"),
        rw("DroppedArrays", 0),
        rw("DroppedOutputArrays", 0),
        rw("DisorderedArrays", 0),
        rw("QueueSize", 32),
        wo("QueueFree", 32),
        wo("QueueFreeLow", 16.0),
        wo("QueueUse", 0.0),
        wo("QueueUseHIGH", 50.0),
        wo("QueueUseHIHI", 75.0),
        ro("MaxThreads_RBV", 1),
        rw("NumThreads", 1),
        rw("SortMode", Choice(("Unsorted", "Sorted"))),
        rw("SortTime", 0.1, "s"),
        rw("SortSize", 0),
        wo("SortFree", 0),
        wo("SortFreeLow", 0),
        *(ro(f"ArraySize{index}_RBV", (width, height)[index] if index < 2 else 0) for index in range(10)),
        *(wo(f"ArraySize{index}", (width, height)[index] if index < 2 else 0) for index in range(10)),
        *(rw(f"Dim{index}SA", 0) for index in range(10)),
        ro("Dimensions_RBV", 2),
        rw("Dimensions", 2),
        rw("FilePath", Text()),
        rw("FileName", Text("frames", 256)),
        rw("FileTemplate", Text("%s%s_%6.6d.h5", 256)),
        rw("FileNumber", 0),
        wo("FileNumber_Sync", 0),
        wo("FileNumber_write", 0),
        rw("AutoIncrement", Choice(_NO_YES, 1)),
        rw("AutoSave", Choice(_NO_YES)),
        rw("FileFormat", Choice(("HDF5",))),
        rw("FileWriteMode", Choice(("Single", "Capture", "Stream"))),
        rw("NumCapture", 1),
        ro("NumCaptured_RBV", 0),
        rw("Capture", Choice(("Done", "Capture"))),
        rw("WriteFile", Choice(("Done", "Write"))),
        rw("ReadFile", Choice(("Done", "Read"))),
        ro("WriteStatus", Choice(("Write OK", "Write error"))),
        ro("WriteMessage", Text("", 256)),
        ro("FullFileName_RBV", Text()),
        ro("FilePathExists_RBV", Choice(_NO_YES)),
        rw("CreateDirectory", 0),
        rw("TempSuffix", ""),
        rw("LazyOpen", Choice(_NO_YES)),
        rw("DeleteDriverFile", Choice(_NO_YES)),
        rw("BoundaryAlign", 0),
        rw("BoundaryThreshold", 65536),
        rw("Compression", Choice(COMPRESSIONS)),
        rw("DataBitsOffset", 0),
        rw("NumDataBits", 16),
        rw("SZipNumPixels", 16),
        rw("ZLevel", 6),
        rw("BloscCompressor", Choice(("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"), 1)),
        rw("BloscLevel", 5),
        rw("BloscShuffle", Choice(("None", "ByteShuffle", "BitShuffle"), 1)),
        rw("JPEGQuality", 90),
        *(ro(f"ExtraDimName{axis}_RBV", "") for axis in ("X", "Y", "N", *extra)),
        *(rw(f"ExtraDimSize{axis}", 1) for axis in ("X", "Y", "N", *extra)),
        *(rw(f"ExtraDimChunk{axis}", 1) for axis in ("X", "Y", *extra)),
        *(rw(f"PosNameDim{axis}", "") for axis in ("X", "Y", "N", *extra)),
        *(rw(f"PosIndexDim{axis}", "") for axis in ("X", "Y", "N", *extra)),
        rw("PositionMode", Choice(("Off", "On"))),
        wo("IOSpeed", 0.0, "MB/s"),
        wo("RunTime", 0.0, "s"),
        rw("NumColChunks", width),
        rw("NumRowChunks", height),
        rw("NumFramesChunks", 1),
        rw("ChunkSizeAuto", Choice(_NO_YES, 1)),
        rw("NumFramesFlush", 0),
        rw("NDAttributeChunk", 0),
        rw("NumExtraDims", 0),
        rw("StoreAttr", Choice(_NO_YES, 1)),
        rw("StorePerform", Choice(_NO_YES)),
        rw("DimAttDatasets", Choice(_NO_YES)),
        rw("FillValue", 0.0),
        rw("XMLFileName", Text()),
        ro("XMLErrorMsg_RBV", ""),
        ro("XMLValid_RBV", Choice(_NO_YES, 1)),
        ro("SWMRSupported_RBV", Choice(("Not Supported", "Supported"), 1)),
        rw("SWMRMode", Choice(("Off", "On"))),
        ro("SWMRActive_RBV", Choice(("Off", "Active"))),
        ro("SWMRCbCounter_RBV", 0),
        wo("FlushNow", Choice(("Done", "Flush"))),
    ]
