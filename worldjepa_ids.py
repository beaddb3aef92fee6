"""Makes ``gymnasium.make("worldjepa/...")`` work where worldjepa is installed, without importing it first.

Gymnasium looks up no entry points since 1.0 (release notes of v1.0.0, "Removing the plugin system"), so a
line in site-packages (``setup.py``) calls this module when Python starts. Other programs must not notice:
nothing is imported before Gymnasium is, and whatever fails then is logged, not raised.
"""

import sys


def register_with_gymnasium():
    """Register our ids now if Gymnasium is loaded, else as soon as it is."""
    if "gymnasium.envs" in sys.modules:
        _register()
    elif _AfterGymnasium not in sys.meta_path:
        sys.meta_path.insert(0, _AfterGymnasium)


class _AfterGymnasium:
    """An import finder that finds nothing itself; it has ``gymnasium.envs`` register our ids once loaded.

    It stays in ``sys.meta_path``: taken out amid an import, it would make other threads skip a finder.
    """

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname != "gymnasium.envs":
            return None
        others = (finder for finder in sys.meta_path if finder is not cls)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            _register_after(spec.loader)
        return spec


def _register_after(loader):
    """Let ``loader`` register our ids after the next module that it executes."""
    execute = loader.exec_module

    def execute_and_register(module):
        loader.exec_module = execute
        execute(module)
        _register()

    loader.exec_module = execute_and_register


def _register():
    try:
        import worldjepa.envs  # noqa: F401
    except Exception as error:  # a half-removed or half-edited worldjepa must not break who uses Gymnasium
        import logging

        logging.getLogger("worldjepa").warning(
            "Gymnasium does not know our environments (`import worldjepa.envs` shows where it fails): %r",
            error,
        )
