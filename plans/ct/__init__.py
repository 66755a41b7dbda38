"""Nano-tomography: from the request to every projection in a file, with what a reconstruction needs beside it."""

from exitwave.plans.ct.alignment import align_rotation_axis
from exitwave.plans.ct.fly import fly_tomography
from exitwave.plans.ct.resume import make_safe, resume
from exitwave.plans.ct.series import SamplePlace, mosaic_tomography, sample_list, time_series
from exitwave.plans.ct.step import step_tomography

__all__ = [
    "SamplePlace",
    "align_rotation_axis",
    "fly_tomography",
    "make_safe",
    "mosaic_tomography",
    "resume",
    "sample_list",
    "step_tomography",
    "time_series",
]
