"""Reading a run: from the journal, or from Tiled, with the same result."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from exitwave.profiles.storage.errors import RunNotFoundError, ServiceError, StreamNotFoundError
from exitwave.profiles.storage.history import find_run, read_journal
from exitwave.profiles.storage.paths import DataFolder, data_folder
from exitwave.profiles.storage.server import Address, embedded_address
from exitwave.profiles.storage.stream import Stream, streams_from_documents

if TYPE_CHECKING:
    import xarray

__all__ = ["RunReader", "connect_catalog", "iter_documents", "open_run"]


class _Source(Protocol):
    start: dict[str, Any]
    stop: dict[str, Any] | None

    def streams(self) -> dict[str, Stream]: ...


class RunReader:
    """One run, opened by `open_run`.

    Attributes
    ----------
    source : str
        "journal" or "tiled".
    """

    def __init__(self, source: str, place: _Source) -> None:
        self.source = source
        self._place = place
        self._streams: dict[str, Stream] | None = None

    def __repr__(self) -> str:
        plan = self.start.get("plan_name", "?")
        return f"<run {self.uid[:8]} {plan}: {', '.join(self.streams)} (from {self.source})>"

    @property
    def uid(self) -> str:
        """The run's uid."""
        return str(self.start["uid"])

    @property
    def start(self) -> dict[str, Any]:
        """The start document."""
        return self._place.start

    @property
    def stop(self) -> dict[str, Any] | None:
        """The stop document, None if the run goes on or was broken off."""
        return self._place.stop

    @property
    def metadata(self) -> dict[str, Any]:
        """Start and stop documents together."""
        return {"start": self.start, "stop": self.stop}

    @property
    def streams(self) -> list[str]:
        """Names of the streams."""
        return list(self._all())

    def stream(self, name: str = "primary") -> Stream:
        """One stream: columns, data keys, configuration, where frames lie.

        Raises
        ------
        StreamNotFoundError
            If the run has no such stream.
        """
        try:
            return self._all()[name]
        except KeyError:
            raise StreamNotFoundError(
                f"run {self.uid[:8]}: no stream {name!r}; it has {', '.join(self.streams) or 'none'}"
            ) from None

    def to_xarray(self, stream: str = "primary") -> xarray.Dataset:
        """One stream as a Dataset, its frames lazy; see `Stream.to_xarray`.

        Raises
        ------
        StreamNotFoundError, FramesMissingError
        """
        return self.stream(stream).to_xarray()

    def _all(self) -> dict[str, Stream]:
        if self._streams is None:
            self._streams = self._place.streams()
        return self._streams


class _JournalRun:
    def __init__(self, path: Path) -> None:
        self._documents = read_journal(path)
        self.start = self._documents[0][1]
        name, last = self._documents[-1]
        self.stop = last if name == "stop" else None

    def streams(self) -> dict[str, Stream]:
        return streams_from_documents(self._documents)


def connect_catalog(address: Address, *, lazy: bool = False) -> Any:
    """Connect databroker's client to a Tiled server.

    Parameters
    ----------
    address : Address
        Where it is; `server.embedded_address` for the embedded one.
    lazy : bool
        Let `read` return dask arrays.

    Returns
    -------
    CatalogOfBlueskyRuns
        Sorted by the time of measurement: ``catalog[-1]`` is the newest run,
        ``catalog[uid]["primary"].read()`` gives xarray.
    """
    from tiled.client import from_uri

    client = from_uri(address.uri, "dask" if lazy else "numpy", api_key=address.key)
    # Runs that were replaced or came late stand at their time all the same.
    return client.sort(("start.time", 1))


def _from_journal(data: DataFolder, key: str | int) -> RunReader:
    return RunReader("journal", _JournalRun(find_run(data.journal, key).path))


def _from_tiled(catalog: Any, data: DataFolder, key: str | int) -> RunReader:
    from exitwave.profiles.storage.tiled_run import TiledRun

    own = catalog is None
    if own:
        address = embedded_address(data.tiled)
        if address is None:
            raise ServiceError(f"Tiled: no server is ready for {data.tiled}; start a session or read from the journal")
        catalog = connect_catalog(address)
    try:
        reader = RunReader("tiled", TiledRun(catalog[key]))
    except (KeyError, IndexError) as error:
        raise RunNotFoundError(f"Tiled {catalog.context.api_uri}: no run {key!r}; is the forwarder behind?") from error
    if own:
        # Frames of another machine come through this connection for as long as the reader lives.
        weakref.finalize(reader, catalog.context.close)
    return reader


def open_run(
    key: str | int = -1,
    *,
    data: DataFolder | None = None,
    catalog: Any = None,
    source: str = "auto",
) -> RunReader:
    """Open a run by uid, the beginning of its uid, scan_id (positive) or position (-1 is the newest).

    Parameters
    ----------
    key : str or int
        Which run.
    data : DataFolder, optional
        The data folder, by default the user's.
    catalog : CatalogOfBlueskyRuns, optional
        Client of Tiled, by default of the data folder's own server.
    source : {"auto", "journal", "tiled"}
        "auto" reads the journal if the run is in it (always whole, needs no server), else Tiled.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    ServiceError
        If Tiled is needed and not there.
    """
    data = data or data_folder()
    if source == "journal":
        return _from_journal(data, key)
    if source == "tiled":
        return _from_tiled(catalog, data, key)
    try:
        return _from_journal(data, key)
    except RunNotFoundError:
        if catalog is None and embedded_address(data.tiled) is None:
            raise
        return _from_tiled(catalog, data, key)


def iter_documents(key: str | int = -1, *, data: DataFolder | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Replay the documents of a run from the journal, as the RunEngine emitted them."""
    return find_run((data or data_folder()).journal, key).documents()
