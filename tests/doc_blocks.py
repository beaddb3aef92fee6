"""The code blocks of a documentation page, and how each is run.

- ``python``: executed; all of a page in one namespace.
- ``bash``: each command is called as a user would. Entry points run in this process; what is installed, and
  what needs a shell, is checked by name only.
- ``text``: what the block before it printed, line by line, figures aside; ``...`` stands for what is left
  out. With a folder as its title: what the folder holds, a name a line.
- ``yaml``, and ``python`` with a file as its title: the file, written there.
- titled ``not run``: a shell block's settings are composed, a Python block is compiled and its names are
  looked up.

``<!-- test: WORDS -->`` before a block gives a command further words (``VIDEO``, ``WORLD``, ... stand for
small sizes), or names what a Python block finds defined.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.runs import TINY, TINY_WORLD

ROOT = Path(__file__).resolve().parent.parent
_QUICK = ["collect.num_episodes=12", "device=cpu", "data.size=16", "data.num_workers=0"]
_QUICK += ["train.batch_size=8", "train.steps=4", "train.health_every=3"]
_WORLD = [word for word in TINY_WORLD[3:] if not word.startswith(("model.heads", "objective.weights"))]
_AGENT = ["rounds=2", "steps=4", "horizon=2", "batch_size=8", "hidden_dim=8", "episodes=2"]
WORDS = {
    "VIDEO": [*TINY[1:], "train.steps=4"],
    "QUICK": _QUICK,
    "WORLD": _WORLD,
    "FEW": ["plan.planner_settings={num_samples: 16, num_elites: 4, iterations: 2}"],
    "ONLINE": [*_WORLD, *(f"agent.{word}" for word in _AGENT)],
}
_BLOCK = re.compile(
    r"^(?:<!-- test: (?P<given>[^\n]*) -->\n)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"\n]*)")?\n(?P<code>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
# a figure, or the dash that stands for none
_NUMBER = re.compile(r"[-+]?\d(?:[\d.,:]*\d)?(?:e[-+]?\d+)?|nan|(?<!\S)-(?!\S)")


@dataclass(frozen=True)
class Block:
    """One block: where it stands, what it says."""

    page: str
    line: int
    language: str
    title: str
    given: tuple[str, ...]
    code: str


@dataclass
class Reader:
    """Someone who types in the blocks of a page, one after the other, in the folder they are in."""

    printed: Callable[[], str]
    objects: dict[str, Any] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    _last: str = ""

    def follow(self, block: Block) -> None:
        """Do what the block says; raise ``AssertionError`` where the page is not true."""
        if block.language == "text":
            self._compare(block)
            return
        self.printed()
        if block.title and not block.title.startswith("not run"):
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            self._python(block)
        else:
            assert block.language == "bash", f"{block.page}:{block.line}: what is {block.language}?"
            self._bash(block)
        self._last = self.printed()

    def _python(self, block: Block) -> None:
        # lines are counted as in the page, so that a traceback leads there
        tree = ast.parse("\n" * block.line + block.code)
        if block.title:
            check_names(tree)
            return
        self.names |= {name: self.objects[name] for name in block.given}
        exec(compile(tree, block.page, "exec"), self.names)

    def _bash(self, block: Block) -> None:
        commands = block.code.replace("\\\n", " ").strip().splitlines()
        for command in commands:
            words = shlex.split(command, comments=True)
            more = [word for name in block.given for word in WORDS.get(name, [name])]
            _command(words, more, run=not block.title)

    def _compare(self, block: Block) -> None:
        where = f"{block.page}:{block.line}"
        if block.title:
            for line in block.code.splitlines():
                assert (Path(block.title) / line.split()[0]).exists(), (
                    f"{where}: {line.split()[0]} is not there"
                )
            return
        there = [masked(line) for line in self._last.splitlines()]
        for line in block.code.splitlines():
            wanted = re.compile(".*".join(map(re.escape, masked(line).split("..."))))
            assert any(map(wanted.fullmatch, there)), f"{where}: {line!r} was not printed, but:\n{self._last}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        given = tuple(shlex.split(match["given"] or ""))
        found.append(Block(page.name, line, match["language"], match["title"] or "", given, match["code"]))
    assert len(found) == sum(line.startswith("```") for line in text.splitlines()) / 2, f"{page}: odd fences"
    return found


def masked(line: str) -> str:
    """Return a printed line without its figures and the width of its gaps."""
    return " ".join(_NUMBER.sub("#", line).split())


def check_names(tree: ast.Module) -> None:
    """Look up what a block imports, and what it takes from the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "worldjepa"
        ):
            assert hasattr(importlib.import_module("worldjepa"), node.attr), f"worldjepa has no {node.attr}"


def _command(words: Sequence[str], more: Sequence[str], *, run: bool) -> None:
    """Run an entry point, or (``run`` false) have it compose its settings; look at the others' names."""
    if words[:4] == ["python", "-m", "pip", "install"]:
        _check_extras(words[4:])
    elif "-m" in words and words[words.index("-m") + 1].startswith("worldjepa."):
        place = words.index("-m") + 1
        module = importlib.import_module(words[place])
        entry = module if hasattr(module, "main") else importlib.import_module(f"{words[place]}.__main__")
        arguments = [*words[place + 1 :], *(more if run else ["--cfg"])]
        code = entry.main(arguments) if inspect.signature(entry.main).parameters else entry.main()
        assert code == 0, f"{' '.join(words)} ended with {code}"
    elif words[0] == "python" and words[1].endswith(".py"):
        assert (ROOT / words[1]).exists(), f"there is no {words[1]}"
        importlib.import_module(words[1].removesuffix(".py").replace("/", ".")).main([*words[2:], *more])
    else:
        known = (["python3", "-m", "venv"], [".", ".venv/bin/activate"], ["mkdocs", "build"], ["tensorboard"])
        assert any(list(words[: len(one)]) == one for one in known), f"{' '.join(words)}: cannot be checked"


def _check_extras(packages: Sequence[str]) -> None:
    """Look up the extras of this package that are to be installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package in packages:
        for extra in re.findall(r"^(?:worldjepa|\.)\[([\w,-]+)\]$", package):
            for name in extra.split(","):
                assert name in project["optional-dependencies"], f"there is no extra {name}"
