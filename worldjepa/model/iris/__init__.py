"""IRIS: discrete tokens and an autoregressive transformer over them (arXiv:2209.00588), to compare with."""
