"""Corpora of videos as batches of clips."""
