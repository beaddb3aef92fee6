"""What is imported from the package stays a function when its modules have been imported."""

import importlib
import pkgutil

import worldjepa.planning


def test_no_module_hides_an_export():
    modules = {module.name for module in pkgutil.iter_modules(worldjepa.planning.__path__)}
    for name in modules:
        importlib.import_module(f"worldjepa.planning.{name}")
    assert modules.isdisjoint(worldjepa.planning.__all__)
    assert all(callable(getattr(worldjepa.planning, name)) for name in worldjepa.planning.__all__)
