"""First thing in ``ipython --profile-dir=profiles/bl18b``: the session of BL18B under its names.

EXITWAVE_SIMULATE=1 starts a simulated beamline of its own, with hidden errors and a fast clock; otherwise the
process variables are looked for where EPICS_CA_ADDR_LIST says.
"""

import atexit
import os
import sys

from exitwave.profiles.session import open_session
from exitwave.profiles.simulation import SimulatedBeamline

_simulator = (
    SimulatedBeamline("bl18b", ["--seed", "18", "--speed", "10"]) if os.environ.get("EXITWAVE_SIMULATE") else None
)
_session = open_session("bl18b", prefix=os.environ.get("EXITWAVE_PREFIX"), simulator=_simulator, report=True)
atexit.register(_session.close)
globals().update(_session.namespace)
print(f"{_session.beamline.profile.title}: {len(_session.beamline.devices)} devices", file=sys.stderr)
