"""Environments played and recorded."""
