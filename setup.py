"""Packages of the distribution: those under ``worldjepa/``, and ``conf/`` and ``envs/`` as parts of it.

All else stands in ``pyproject.toml``, which cannot say "the packages found there, under another name", nor
put a file straight into site-packages.
"""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

BESIDE = ("conf", "envs")
# Python runs this line when it starts (docs of the module ``site``); silent where the module has gone, as
# when the checkout of an editable install was moved
AT_START = (
    "import sys; exec('try: import worldjepa_ids; worldjepa_ids.register_with_gymnasium()"
    "\\nexcept ImportError: pass')\n"
)


class WithIds(build_py):
    """Also writes ``worldjepa_ids.pth``: in wheels, and in editable installs, which have no build folder."""

    def run(self):
        super().run()
        site = (
            self.distribution.get_command_obj("install").install_lib if self.editable_mode else self.build_lib
        )
        Path(site).mkdir(parents=True, exist_ok=True)
        (Path(site) / "worldjepa_ids.pth").write_text(AT_START)


inside = find_packages(include=["worldjepa", "worldjepa.*"])
beside = find_packages(include=[pattern for name in BESIDE for pattern in (name, f"{name}.*")])

setup(
    cmdclass={"build_py": WithIds},
    py_modules=["worldjepa_ids"],
    packages=inside + [f"worldjepa.{name}" for name in beside],
    package_dir={"worldjepa": "worldjepa"} | {f"worldjepa.{name}": name for name in BESIDE},
    package_data={"worldjepa.conf": ["**/*.yaml"]},
)
