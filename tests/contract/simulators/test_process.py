"""The simulator as a process: starting, refusing, stopping, several at once."""

from __future__ import annotations

READ = """
import sys
from caproto.sync.client import read
print(float(read(sys.argv[1], repeater=False).data[0]))
"""
