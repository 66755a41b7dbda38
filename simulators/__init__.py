"""Simulated instruments: one coupled physical world each, behind standard EPICS records.

Foreign programs: nothing of exitwave outside of this package is imported, and clients reach them over Channel
Access alone.
"""
