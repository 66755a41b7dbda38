"""The TXM beamline BL18B."""
