"""The embedded Tiled server: a process of its own on loopback, its catalog in SQLite.

Run as ``python -m exitwave.profiles.storage.server --folder FOLDER --readable FRAMES``. Once it
answers it writes ``server.json`` (uri, pid) into its folder and prints ``READY uri``. Its single
user's key lies in ``api_key`` (mode 0600). The port is kept from start to start if it is still free.
"""

from __future__ import annotations

import argparse
import copy
import os
import secrets
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.errors import ServiceError
from exitwave.profiles.storage.process import follow_parent, hold_lock, is_alive, read_json, write_json

__all__ = ["Address", "api_key", "embedded_address", "main"]

_HOST = "127.0.0.1"
# A request that meets the closing of its idle connection fails: the forwarder would begin its run anew.
_KEEP_ALIVE_S = 3600


@dataclass(frozen=True)
class Address:
    """Where a Tiled server is and how to be let in."""

    uri: str
    key: str | None = field(default=None, repr=False)


def api_key(folder: Path) -> str:
    """Key of the embedded server in `folder`, made at the first call; its file is for the user alone."""
    path = folder / "api_key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with open(fd, "w") as file:
        key = secrets.token_hex(32)
        file.write(key + "\n")
    return key


def embedded_address(folder: Path) -> Address | None:
    """Address of the embedded server of `folder` if one is ready, else None."""
    state = read_json(folder / "server.json")
    if state is None or not is_alive(int(state["pid"])):
        return None
    return Address(state["uri"], api_key(folder))


def _bind(port: int, folder: Path) -> socket.socket:
    """Listen on the port asked for, else on the last one, else on a free one."""
    last = read_json(folder / "server.json") or {}
    wanted = port or int(last.get("port", 0))
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((_HOST, wanted))
    except OSError as error:
        if port:
            sock.close()
            raise ServiceError(
                f"Tiled: port {port} of {_HOST} cannot be used ({error.strerror}); choose another"
            ) from error
        sock.bind((_HOST, 0))
    return sock


def _build(folder: Path, readable: list[Path], key: str) -> Any:
    from bluesky_tiled_plugins.exporters import json_seq_exporter
    from tiled.catalog import from_uri
    from tiled.config import Authentication
    from tiled.media_type_registration import default_serialization_registry
    from tiled.server.app import build_app

    catalog = folder / "catalog.db"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    tree = from_uri(
        str(catalog),
        specs=[{"name": "CatalogOfBlueskyRuns", "version": "3.0"}],
        writable_storage=[str(folder / "data"), f"sqlite:///{folder / 'tables.db'}"],
        readable_storage=[str(path) for path in readable],
        # Makes the tables in another Python process, seconds of start-up: until a server was ready once.
        init_if_not_exists=not (folder / "server.json").exists(),
    )
    registry = copy.copy(default_serialization_registry)
    registry.register("BlueskyRun", "application/json-seq", json_seq_exporter)
    return build_app(
        tree,
        authentication=Authentication(single_user_api_key=key),
        serialization_registry=registry,
    )


def _serve(folder: Path, readable: list[Path], port: int) -> None:
    import uvicorn

    sock = _bind(port, folder)
    app = _build(folder, readable, api_key(folder))
    port = sock.getsockname()[1]
    uri = f"http://{_HOST}:{port}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                write_json(folder / "server.json", {"uri": uri, "pid": os.getpid(), "port": port})
                print(f"READY {uri}", flush=True)

    Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, timeout_keep_alive=_KEEP_ALIVE_S
        )
    ).run(sockets=[sock])


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGINT, SIGTERM or, with ``--child``, the end of standard input."""
    parser = argparse.ArgumentParser(prog="exitwave.profiles.storage.server", description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="catalog, tables, key")
    parser.add_argument("--readable", type=Path, action="append", default=[], help="folder of frames")
    parser.add_argument("--port", type=int, default=0, help="0 takes the last one or a free one")
    parser.add_argument("--child", action="store_true", help="end with the parent process")
    args = parser.parse_args(argv)
    if args.child:
        follow_parent()
    with hold_lock(args.folder / "server.lock"):
        _serve(args.folder.absolute(), [path.absolute() for path in args.readable], args.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
