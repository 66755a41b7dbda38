"""IPython's settings for the session."""

c = get_config()  # noqa: F821
c.TerminalIPythonApp.display_banner = False
c.InteractiveShell.xmode = "Minimal"
