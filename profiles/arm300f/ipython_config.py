"""IPython's settings for the session."""

from traitlets.config import get_config

c = get_config()
c.TerminalIPythonApp.display_banner = False
c.InteractiveShell.xmode = "Minimal"
