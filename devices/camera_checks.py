"""What a camera refuses before anything is set: exposures, regions, binnings, folders."""

from __future__ import annotations

import math
import shutil
import uuid
from pathlib import Path
from typing import Any

from exitwave.devices.area_detector import Acquisition
from exitwave.devices.errors import SettingError, StorageSpaceError

__all__ = ["CameraChecks"]


class CameraChecks:
    """Checks of a camera, and the size of what it delivers.

    A camera mixes it in, and has a driver `cam`, a `folder` for frames as its server sees it, and `readout_s`.
    """

    name: str
    cam: Any
    folder: str
    readout_s: float

    def check_acquisition(self, acquisition: Acquisition) -> None:
        """Refuse what the camera can't take, before anything is set.

        Raises
        ------
        SettingError
            Exposure not positive, longer than the frame period, or a period shorter than the readout.
        """
        a = acquisition
        if a.trigger == "software" and a.num_frames:
            raise SettingError(f"{self.name}: frames triggered one by one are not counted ahead; leave num_frames out")
        if not (math.isfinite(a.exposure_s) and a.exposure_s > 0):
            raise SettingError(f"{self.name}: exposure {a.exposure_s:g} s is not positive; give seconds")
        if a.num_frames < 0:
            raise SettingError(f"{self.name}: {a.num_frames} frames can't be taken; give 1 or more")
        if a.period_s is not None:
            if a.exposure_s > a.period_s:
                raise SettingError(
                    f"{self.name}: exposure {a.exposure_s:g} s is longer than the frame period {a.period_s:g} s; "
                    "shorten the exposure or leave the period out"
                )
            if a.period_s < self.readout_s:
                raise SettingError(
                    f"{self.name}: frame period {a.period_s:g} s is shorter than the readout {self.readout_s:g} s; "
                    "give a longer period"
                )

    def check_region(self, x: int, y: int, width: int, height: int) -> None:
        """Refuse a region that is not on the sensor.

        Raises
        ------
        SettingError
        """
        max_x, max_y = int(self.cam.max_size_x.get()), int(self.cam.max_size_y.get())
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > max_x or y + height > max_y:
            raise SettingError(
                f"{self.name}: region x {x}..{x + width}, y {y}..{y + height} pixels is not on the sensor of "
                f"{max_x} x {max_y} pixels; choose one inside"
            )

    def check_binning(self, x: int, y: int) -> None:
        """Refuse a binning that the region does not allow.

        Raises
        ------
        SettingError
        """
        width, height = int(self.cam.size_x.get()), int(self.cam.size_y.get())
        if x != int(x) or y != int(y) or not (1 <= x <= 8 and 1 <= y <= 8 and x <= width and y <= height):
            raise SettingError(
                f"{self.name}: binning {x} x {y} is not possible; give whole numbers from 1 to 8, at most the region's "
                f"{width} x {height} pixels"
            )

    def check_storage(self, num_frames: int) -> None:
        """Refuse a folder that can't be written or that has no room.

        The folder is looked at where the client can see it too; where it can't, the server's own answer counts.

        Raises
        ------
        StorageSpaceError
        """
        if not self.folder:
            raise StorageSpaceError(f"{self.name}: no folder for frames; set frames_folder in the profile")
        folder = Path(self.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".writable-{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StorageSpaceError(
                f"{self.name}: folder {folder} can't be written ({error.strerror}); choose another frames_folder"
            ) from error
        needed = num_frames * self.frame_bytes
        free = shutil.disk_usage(folder).free
        if needed > 0.98 * free:
            raise StorageSpaceError(
                f"{self.name}: {num_frames} frames need {needed / 1e9:.3g} GB, {folder} has {free / 1e9:.3g} GB free; "
                "free some space or take fewer frames"
            )

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape (y, x) of a frame with the region and binning that are set."""
        return (
            int(self.cam.size_y.get()) // int(self.cam.bin_y.get()),
            int(self.cam.size_x.get()) // int(self.cam.bin_x.get()),
        )

    @property
    def frame_bytes(self) -> int:
        """Size of a frame on disk, bytes."""
        height, width = self.frame_shape
        return 2 * height * width
