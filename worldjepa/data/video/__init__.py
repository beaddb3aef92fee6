"""Frames out of a video file, exactly: one protocol, several readers."""
