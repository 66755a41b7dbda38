"""A run as Tiled has it."""

from __future__ import annotations

import json
from typing import Any

from exitwave.profiles.storage.frames import FrameBlock, open_file
from exitwave.profiles.storage.layout import AD_DATASET, FileLocation, external_keys, local_path, without_elements
from exitwave.profiles.storage.stream import Stream

__all__ = ["TiledRun"]


class TiledRun:
    """Reads one run's structure and tables from Tiled, and tells where its frames lie.

    Parameters
    ----------
    run : BlueskyRun
        From the catalog's client.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        metadata = dict(run.metadata)
        self.start: dict[str, Any] = dict(metadata["start"])
        stop = metadata.get("stop")
        self.stop: dict[str, Any] | None = dict(stop) if stop else None

    def streams(self) -> dict[str, Stream]:
        """All streams of the run."""
        return {name: self._stream(name) for name in self._run}

    def _stream(self, name: str) -> Stream:
        node = self._run[name].base  # the parts, where the stream itself shows columns
        metadata = node.metadata
        data_keys = {key: dict(value) for key, value in metadata["data_keys"].items()}
        configuration = {device: dict(content["data"]) for device, content in metadata.get("configuration", {}).items()}
        stream = Stream(name, data_keys, configuration)
        external = set(external_keys({"data_keys": data_keys}))
        parts = list(node)
        if "internal" in parts:
            table = node["internal"].read()
            stream.time = table["time"].tolist()
            stream.seq_num = table["seq_num"].tolist()
            for key in data_keys:
                if key in table.columns:
                    known = table[key].notna()
                    stream.columns[key] = [v if k else None for v, k in zip(table[key].tolist(), known, strict=True)]
            for key in without_elements(data_keys) & stream.columns.keys():
                # as `sink` wrote them: text, or nothing
                stream.columns[key] = [json.loads(v) if v else [] for v in stream.columns[key]]
        for key in parts:
            if key in external:
                self._frames(stream, key, node[key])
            elif key in data_keys:
                stream.columns[key] = list(node[key].read())
        return stream

    def _frames(self, stream: Stream, key: str, array: Any) -> None:
        source = array.include_data_sources().data_sources()[0]
        rows, *shape = array.shape
        paths = [local_path(asset.data_uri) for asset in source.assets if asset.data_uri.startswith("file:")]
        if source.mimetype == "application/x-hdf5" and paths and all(path.exists() for path in paths):
            dataset = source.parameters.get("dataset", AD_DATASET)
            per_point = shape[0] if len(shape) > 2 else 1
            stream.data_keys[key]["shape"] = shape
            row = 0
            for path in paths:
                with open_file(path) as file:
                    count = min(rows - row, -(-file[dataset].shape[0] // per_point))
                stream.blocks.setdefault(key, []).append(FrameBlock(FileLocation(path, dataset, key), row, count, 0))
                row += count
        else:
            # Files of another machine: Tiled sends the frames.
            stream.lazy[key] = array.new_variation(structure_clients="dask").read()
