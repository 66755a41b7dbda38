"""Detectors in software that write real HDF5, in the two ways that documents can tell of it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_resource
from ophyd import Component as Cpt
from ophyd import Device, Signal
from ophyd.status import Status


class Tally(Signal):
    """A number with a unit, another one at each reading."""

    def __init__(self, *args: Any, unit: str = "A", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unit = unit
        self._count = itertools.count()

    def trigger(self) -> Status:
        self.put(float(next(self._count)) / 7.0)
        status = Status(self)
        status.set_finished()
        return status

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        described[self.name]["units"] = self._unit
        return described


class SoftCamera(Device):
    """Writes ``frames`` frames per trigger into an areaDetector-like file."""

    exposure = Cpt(Signal, value=0.1, kind="config")

    def __init__(
        self, folder: Path, *, name: str, shape: tuple[int, int] = (16, 24), frames: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.folder = folder
        self.shape = shape
        self.frames = frames
        self.key = f"{name}_image"
        self.lose_frames = 0
        self._file: h5py.File | None = None
        self._docs: list[tuple[str, dict[str, Any]]] = []

    def stage(self) -> list[object]:
        staged = super().stage()
        self.path = self.folder / f"{uuid.uuid4().hex[:12]}_000000.h5"
        self._file = h5py.File(self.path, "w", libver="latest")
        self._data = self._file.create_dataset(
            "/entry/data/data",
            shape=(0, *self.shape),
            maxshape=(None, *self.shape),
            chunks=(1, *self.shape),
            dtype="uint16",
        )
        self._file.swmr_mode = True
        self._points = 0
        self._open_resource()
        return list(staged)

    def unstage(self) -> list[object]:
        if self._file is not None:
            self._file.close()
            self._file = None
        return list(super().unstage())

    def image(self, frame: int) -> np.ndarray[Any, Any]:
        y, x = np.indices(self.shape)
        return (1000 * frame + 24 * y + x).astype("uint16")

    def trigger(self) -> Status:
        for _ in range(self.frames - self.lose_frames):
            n = self._data.shape[0]
            self._data.resize(n + 1, axis=0)
            self._data[n] = self.image(n)
        self._data.flush()
        self._points += 1
        self._tell_point()
        status = Status(self)
        status.set_finished()
        return status

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        docs, self._docs = self._docs, []
        yield from docs

    def _spec(self) -> dict[str, Any]:
        return {
            "source": "SIM:camera",
            "dtype": "array",
            "shape": [self.frames, *self.shape],
            "units": "counts",
        }

    def _open_resource(self) -> None:
        raise NotImplementedError

    def _tell_point(self) -> None:
        raise NotImplementedError


class StreamCamera(SoftCamera):
    """Tells of its file by stream_resource and stream_datum."""

    def _open_resource(self) -> None:
        self._resource_uid = str(uuid.uuid4())
        self._docs.append(
            (
                "stream_resource",
                {
                    "uid": self._resource_uid,
                    "data_key": self.key,
                    "mimetype": "application/x-hdf5",
                    "uri": f"file://localhost{self.path}",
                    "parameters": {"dataset": "/entry/data/data", "chunk_shape": (1, *self.shape)},
                },
            )
        )

    def _tell_point(self) -> None:
        n = self._points
        self._docs.append(
            (
                "stream_datum",
                {
                    "uid": f"{self._resource_uid}/{n - 1}",
                    "stream_resource": self._resource_uid,
                    "indices": {"start": n - 1, "stop": n},
                    "seq_nums": {"start": 0, "stop": 0},
                    "descriptor": "",
                },
            )
        )

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            self.key: {**self._spec(), "external": "STREAM:", "dtype_numpy": "<u2"},
        }


class ClassicCamera(SoftCamera):
    """Tells of its file by resource and datum, as ophyd's FileStoreHDF5IterativeWrite does."""

    def _open_resource(self) -> None:
        resource, self._compose_datum, _ = compose_resource(
            start={"uid": "unknown", "time": 0.0},
            spec="AD_HDF5",
            root="/",
            resource_path=str(self.path).lstrip("/"),
            resource_kwargs={"frame_per_point": self.frames},
        )
        resource.pop("run_start", None)
        self._docs.append(("resource", resource))

    def _tell_point(self) -> None:
        datum = self._compose_datum(datum_kwargs={"point_number": self._points - 1})
        self._docs.append(("datum", datum))
        self._datum_id = datum["datum_id"]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), self.key: {**self._spec(), "external": "FILESTORE:"}}

    def read(self) -> dict[str, Any]:
        return {**super().read(), self.key: {"value": self._datum_id, "timestamp": 0.0}}
