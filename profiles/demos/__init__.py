"""Demonstrations: a simulated instrument, aligned and measured by its own plans, with figures beside the truth."""
