"""EPICS records: motors, detectors, meters, shutters."""
