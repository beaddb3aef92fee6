"""Calls into the package are checked against their annotations, axes of tensors too."""

from pathlib import Path

from beartype import BeartypeConf
from beartype.claw import beartype_package
from jaxtyping import install_import_hook

FOLDERS = {"worldjepa": "worldjepa", "conf": "worldjepa.conf", "envs": "worldjepa.envs"}
ROOT = Path(__file__).resolve().parent.parent


def check_types() -> None:
    """Check what is imported from now on; whole numbers pass where a float is declared, as in Python.

    jaxtyping's hook compares axes over a whole call, which makes every call slower: only modules that need
    it pay for it.
    """
    conf = BeartypeConf(is_pep484_tower=True, claw_is_pep526=False)
    beartype_package("worldjepa", conf=conf)
    install_import_hook(
        _compared_by_call(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
    )


def _compared_by_call() -> list[str]:
    """Return the modules that name axes, and those with names that beartype's own hook cannot look up.

    It misses a NamedTuple's annotations, and what is imported for type checkers only.
    """
    signs = ("from jaxtyping import", "(NamedTuple)", "TYPE_CHECKING")
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if path.name == "__init__.py" or not any(sign in text for sign in signs):
                continue  # the hook takes the name of a package for all that is in it
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            found.append(".".join([package, *inside]))
    return found
