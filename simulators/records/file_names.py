"""Folder and name of the next file, formed as areaDetector's NDPluginFile forms them."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

from exitwave.simulators.records.board import Board

__all__ = ["FileNames", "full_file_name"]

_CONVERSION = re.compile(r"%(?:(?P<percent>%)|(?P<flags>[-+ 0]*)(?P<width>\d*)(?P<precision>\.\d*)?l{0,2}(?P<kind>.?))")


def full_file_name(template: str, folder: str, name: str, number: int) -> str:
    """Return what ``epicsSnprintf(template, folder, name, number)`` makes, e.g. of ``%s%s_%6.6d.h5``.

    The arguments go to the conversions in this order; those that are left over are ignored, as in C. Flags
    ``-+ 0``, width and precision are honoured.

    Raises
    ------
    ValueError
        Where C would read what is not there or takes one kind of argument for another: more than three conversions,
        anything but ``%s`` for folder and name, anything but ``%d %i %u %o %x %X`` for the number. And for a
        template that makes an empty name.
    """
    waiting: list[str | int] = [folder, name, number]

    def convert(found: re.Match[str]) -> str:
        if found["percent"]:
            return "%"
        if not waiting:
            raise ValueError(f"{template!r}: {found[0]} is one conversion more than path, name and number")
        value = waiting.pop(0)
        kind, flags, precision = found["kind"], found["flags"], found["precision"] or ""
        if kind not in ({"s"} if isinstance(value, str) else set("diuoxX")):
            what = "path and name take %s" if isinstance(value, str) else "the number takes %d"
            raise ValueError(f"{template!r}: {what}, not {found[0]!r}")
        if isinstance(value, int):
            if kind in "uoxX":
                value &= 0xFFFFFFFF
                flags = flags.replace("+", "").replace(" ", "")  # these belong to signed numbers
            if precision:
                flags = flags.replace("0", "")  # a precision says how many zeros, and the flag is ignored
        return f"%{flags}{found['width']}{precision}{kind}" % value

    full = _CONVERSION.sub(convert, template)
    if not full:
        raise ValueError("it makes an empty name")
    return full


class FileNames:
    """The folder of one file plugin and the names of its files.

    Parameters
    ----------
    board : Board
        The plugin's channels; puts to FilePath and CreateDirectory come here.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        board.check(["FilePath"], self._accept_folder)
        board.react(["CreateDirectory"], self._create_folder)

    def reserve(self) -> tuple[Path, Path]:
        """Form the next file's name and move the file number on, as NDPluginFile does when it opens a file.

        Returns
        -------
        tuple of Path
            The name to write under, and the name of the file once it is complete.

        Raises
        ------
        OSError
            If the template makes no name or the folder can't be written to.
        """
        board = self._board
        folder, number = board.value("FilePath_RBV"), board.value("FileNumber_RBV")
        try:
            full = full_file_name(board.value("FileTemplate_RBV"), folder, board.value("FileName_RBV"), number)
        except ValueError as error:
            raise OSError(errno.EINVAL, f"FileTemplate does not take path, name and number: {error}", "") from None
        if not folder or not os.path.isdir(folder):
            raise OSError(errno.ENOENT, "FilePath does not exist", folder)
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), folder)
        values: dict[str, Any] = {"FullFileName_RBV": full, "WriteStatus": 0, "WriteMessage": ""}
        if board.value("AutoIncrement_RBV"):
            values |= {"FileNumber": number + 1, "FileNumber_RBV": number + 1}
        board.later(values, urgent=True)
        return Path(full + board.value("TempSuffix_RBV")), Path(full)

    def _create_folder(self, _: int) -> None:
        self._accept_folder(self._board.value("FilePath_RBV"))

    def _accept_folder(self, folder: str) -> str:
        folder = folder.strip()
        if folder and not folder.endswith("/"):
            folder += "/"
        levels = self._board.value("CreateDirectory_RBV")
        if folder and levels and not os.path.isdir(folder):
            self._make_folder(Path(folder), abs(levels))
        self._board.post(FilePathExists_RBV=int(bool(folder) and os.path.isdir(folder)))
        return folder

    def _make_folder(self, folder: Path, levels: int) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        if len(missing) <= levels:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._board.post(WriteStatus=1, WriteMessage=str(error)[:255])
