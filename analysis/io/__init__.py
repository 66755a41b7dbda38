"""Readers and writers of file formats, frame by frame: Data Exchange, NXtomo, Xradia, volumes, column text."""

from exitwave.analysis.io.columns import ColumnTable, read_columns, write_athena, write_xdi
from exitwave.analysis.io.data_exchange import open_data_exchange, write_data_exchange
from exitwave.analysis.io.nxtomo import open_nxtomo, write_nxtomo
from exitwave.analysis.io.series import Frames, Series, open_series
from exitwave.analysis.io.volumes import VolumeInfo, open_volume, write_volume
from exitwave.analysis.io.xradia import open_xradia

__all__ = [
    "ColumnTable",
    "Frames",
    "Series",
    "VolumeInfo",
    "open_data_exchange",
    "open_nxtomo",
    "open_series",
    "open_volume",
    "open_xradia",
    "read_columns",
    "write_athena",
    "write_data_exchange",
    "write_nxtomo",
    "write_volume",
    "write_xdi",
]
