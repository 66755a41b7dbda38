"""Which hardware, where: one folder per instrument, the session that wires it together, and storage."""
