"""Following data while they are taken."""

from exitwave.analysis.live.frames import follow_frames

__all__ = ["follow_frames"]
