"""Forward physics of the simulated instruments: pure functions and small state-free parts, no control system.

Every formula here is written for the simulators alone; the client has its own. Only `scipy.constants` and the tables
of xraydb are common to both.
"""
