"""Control, acquisition and analysis for full-field X-ray microscopes and analytical STEM."""

__version__ = "0.1.0"
