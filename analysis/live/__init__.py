"""Following data while they are taken."""

from exitwave.analysis.live.frames import follow_frames
from exitwave.analysis.live.router import LiveRouter

__all__ = ["LiveRouter", "follow_frames"]
