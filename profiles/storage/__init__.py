"""Keeping what was measured: journal first, Tiled behind it, one way to read either.

Names are looked up on first use, so that ``import exitwave.profiles.storage`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exitwave.profiles.storage.audit import RunAudit, StreamAudit, audit_run
    from exitwave.profiles.storage.dose_ledger import DoseLedger
    from exitwave.profiles.storage.errors import (
        AuditError,
        DiskSpaceError,
        FolderError,
        JournalCorruptError,
        JournalEncodingError,
        JournalError,
        RunNotFoundError,
        ServiceError,
        StorageError,
        StreamNotFoundError,
    )
    from exitwave.profiles.storage.exporter import ExportFormatError, TomogramExporter, export_tomogram
    from exitwave.profiles.storage.frames import FramesMissingError
    from exitwave.profiles.storage.history import JournalReader, Run, find_run, read_journal, runs
    from exitwave.profiles.storage.journal import Journal
    from exitwave.profiles.storage.mosaic import Mosaic, open_mosaic
    from exitwave.profiles.storage.paths import DataFolder, check_free, check_writable, data_folder
    from exitwave.profiles.storage.publisher import Publisher, consume
    from exitwave.profiles.storage.reader import RunReader, connect_catalog, iter_documents, open_run
    from exitwave.profiles.storage.server import Address, embedded_address
    from exitwave.profiles.storage.services import Services, ServicesStatus, forwarder_status
    from exitwave.profiles.storage.spectrum_image import NoSpectrumImageError, SpectrumImage, open_spectrum_image
    from exitwave.profiles.storage.tomogram import NoTomogramError, Tomogram, TomogramFinder, open_tomogram
    from exitwave.profiles.storage.xanes_finder import XanesFinder
    from exitwave.profiles.storage.xanes_series import open_xanes_series
    from exitwave.profiles.storage.xanes_stack import NoXanesError, XanesPoint, XanesStack, open_xanes

_HOMES = {
    "audit": ("RunAudit", "StreamAudit", "audit_run"),
    "dose_ledger": ("DoseLedger",),
    "errors": (
        "AuditError",
        "DiskSpaceError",
        "FolderError",
        "JournalCorruptError",
        "JournalEncodingError",
        "JournalError",
        "RunNotFoundError",
        "ServiceError",
        "StorageError",
        "StreamNotFoundError",
    ),
    "exporter": ("ExportFormatError", "TomogramExporter", "export_tomogram"),
    "frames": ("FramesMissingError",),
    "journal": ("Journal",),
    "mosaic": ("Mosaic", "open_mosaic"),
    "paths": ("DataFolder", "check_free", "check_writable", "data_folder"),
    "publisher": ("Publisher", "consume"),
    "reader": ("RunReader", "connect_catalog", "iter_documents", "open_run"),
    "history": ("JournalReader", "Run", "find_run", "read_journal", "runs"),
    "server": ("Address", "embedded_address"),
    "services": ("Services", "ServicesStatus", "forwarder_status"),
    "spectrum_image": ("NoSpectrumImageError", "SpectrumImage", "open_spectrum_image"),
    "tomogram": ("NoTomogramError", "Tomogram", "TomogramFinder", "open_tomogram"),
    "xanes_series": ("open_xanes_series",),
    "xanes_finder": ("XanesFinder",),
    "xanes_stack": ("NoXanesError", "XanesPoint", "XanesStack", "open_xanes"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Address",
    "AuditError",
    "DataFolder",
    "DiskSpaceError",
    "DoseLedger",
    "ExportFormatError",
    "FolderError",
    "FramesMissingError",
    "Journal",
    "JournalCorruptError",
    "JournalEncodingError",
    "JournalError",
    "JournalReader",
    "Mosaic",
    "NoSpectrumImageError",
    "NoTomogramError",
    "NoXanesError",
    "Publisher",
    "Run",
    "RunAudit",
    "RunNotFoundError",
    "RunReader",
    "ServiceError",
    "Services",
    "ServicesStatus",
    "SpectrumImage",
    "StorageError",
    "StreamAudit",
    "StreamNotFoundError",
    "Tomogram",
    "TomogramExporter",
    "TomogramFinder",
    "XanesFinder",
    "XanesPoint",
    "XanesStack",
    "audit_run",
    "check_free",
    "check_writable",
    "connect_catalog",
    "consume",
    "data_folder",
    "embedded_address",
    "export_tomogram",
    "find_run",
    "forwarder_status",
    "iter_documents",
    "open_mosaic",
    "open_run",
    "open_spectrum_image",
    "open_tomogram",
    "open_xanes",
    "open_xanes_series",
    "read_journal",
    "runs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
