"""Readers and writers of file formats, frame by frame."""

__all__: list[str] = []
