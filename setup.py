"""Packages of the distribution: those under ``worldjepa/``, and ``conf/`` and ``envs/`` as parts of it.

All else stands in ``pyproject.toml``, which cannot say "the packages found there, under another name".
"""

from setuptools import find_packages, setup

BESIDE = ("conf", "envs")

inside = find_packages(include=["worldjepa", "worldjepa.*"])
beside = find_packages(include=[pattern for name in BESIDE for pattern in (name, f"{name}.*")])

setup(
    packages=inside + [f"worldjepa.{name}" for name in beside],
    package_dir={"worldjepa": "worldjepa"} | {f"worldjepa.{name}": name for name in BESIDE},
    package_data={"worldjepa.conf": ["**/*.yaml"]},
)
