"""Following data while they are taken."""

__all__: list[str] = []
