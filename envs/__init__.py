"""Gymnasium environments and wrappers of our own, as the package ``worldjepa.envs``.

They meet the rest of worldjepa only in Gymnasium's registry, so nothing here imports it.
"""
