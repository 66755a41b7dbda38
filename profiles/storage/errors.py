"""Named errors of the storage, so that a caller can tell a full disk from a dead server."""

__all__ = [
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
]


class StorageError(RuntimeError):
    """Something about keeping or finding data failed."""


class FolderError(StorageError):
    """A folder cannot be created or written."""


class DiskSpaceError(StorageError):
    """A file system has less free space than is needed."""


class JournalError(StorageError):
    """A document could not be made durable; the run must not go on."""


class JournalEncodingError(JournalError):
    """A document holds a value that cannot be written down exactly."""


class JournalCorruptError(JournalError):
    """A journal file is damaged before its last line."""


class RunNotFoundError(StorageError, KeyError):
    """No run answers to this name, or more than one does."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StreamNotFoundError(StorageError, KeyError):
    """The run has no stream of this name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ServiceError(StorageError):
    """The Tiled server or the forwarder could not be started, reached or stopped."""


class AuditError(StorageError):
    """Frames asked for, acquired and written do not agree."""
