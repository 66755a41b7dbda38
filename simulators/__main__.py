"""`python -m exitwave.simulators`."""

from exitwave.simulators.launch import main

raise SystemExit(main())
