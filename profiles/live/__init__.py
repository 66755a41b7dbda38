"""Live analysis in a process of its own: it follows the journal and the growing files, and never holds up a scan."""

from __future__ import annotations

from exitwave.profiles.live.child import LiveAnalysis, start_live

__all__ = ["LiveAnalysis", "start_live"]
