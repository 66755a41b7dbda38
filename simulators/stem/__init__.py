"""A scanning transmission electron microscope with X-ray detectors, as one coupled world behind EPICS records."""
