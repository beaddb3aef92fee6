"""Recorded episodes, ours and others', and windows of them."""
