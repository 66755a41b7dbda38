"""Nano-tomography: from the request to every projection in a file, with what a reconstruction needs beside it."""

from exitwave.plans.ct.fly import fly_tomography
from exitwave.plans.ct.resume import resume
from exitwave.plans.ct.step import step_tomography

__all__ = ["fly_tomography", "resume", "step_tomography"]
