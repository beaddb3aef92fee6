"""Imports point down only, ``import worldjepa`` loads nothing heavy, names do not shadow each other."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import worldjepa

ROOT = Path(__file__).resolve().parent.parent
# the floor of each room (docs/architecture.md); the longest name that fits counts
FLOORS: dict[str, float] = {
    "worldjepa.types": 0,
    "worldjepa.config": 0,
    "worldjepa.settings": 0,
    "worldjepa.hardware": 0,
    "worldjepa.refusals": 0,
    "worldjepa.answering": 0,
    "worldjepa.plain_data": 0,
    "worldjepa.artifact": 0,
    "worldjepa.tensorfile": 1,
    "worldjepa.hub": 1,
    "worldjepa.runlock": 0,
    "worldjepa.seeding": 0,
    "worldjepa.pictures": 0,
    "worldjepa.memory": 0,
    "worldjepa.components": 0,
    "worldjepa.films": 0,
    "worldjepa.learning_curve": 0,
    "worldjepa.online_record": 1,
    "worldjepa.data": 1,
    "worldjepa.data.video": 1.1,
    "worldjepa.data.clips": 1.2,
    "worldjepa.data.episodes": 1.3,
    "worldjepa.data.collection": 1.4,
    "worldjepa.model.layers": 1,
    "worldjepa.model": 2,
    "worldjepa.model.iris": 2.5,
    "worldjepa.model.foreign": 2.5,
    "worldjepa.model.world_model": 3,
    "worldjepa.model.quantize": 3,
    "worldjepa.objectives": 4,
    "worldjepa.planning": 4,
    "worldjepa.imagination": 4,
    "worldjepa.imagination.latent_env": 5,  # shares history and observing with planning
    "worldjepa.agents": 5,
    "worldjepa.training": 5,
    "worldjepa.training.health": 4,
    "worldjepa.evaluation": 5,
    "worldjepa.build": 6,
    "worldjepa.build_objective": 6,
    "worldjepa.run_data": 6,
    "worldjepa.run_episodes": 6,
    "worldjepa.build_planner": 6,
    "worldjepa.run_facts": 6,
    "worldjepa.loading": 7,
    "worldjepa.export": 7.5,
    "worldjepa.export.__main__": 8,
    "worldjepa.outcome": 7.2,
    "worldjepa.uses": 7.4,
    "worldjepa.report": 7.5,
    "worldjepa.report.__main__": 8,
    "worldjepa.conversion": 7,
    "worldjepa.stages": 7.6,  # ends with the report
    "worldjepa.online": 7.6,
    "worldjepa.experience": 7,
}
ENTRY = 8  # a file with ``if __name__ == "__main__"`` is an entry point; nothing imports one


def modules() -> dict[str, ast.Module]:
    files = sorted(ROOT.glob("worldjepa/**/*.py"))
    names = {file: ".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files}
    return {name.removesuffix(".__init__"): ast.parse(file.read_text()) for file, name in names.items()}


def floor_of(name: str, tree: ast.Module | None) -> float | None:
    fitting = [room for room in FLOORS if name == room or name.startswith(room + ".")]
    if fitting:
        return FLOORS[max(fitting, key=len)]
    source = ast.unparse(tree) if tree else ""
    return ENTRY if "__name__ == '__main__'" in source else None


def imported(tree: ast.Module, known: set[str], neighbours: bool = False) -> set[str]:
    """Return the modules of ours that ``tree`` imports, also inside functions, less those for types only.

    ``neighbours``: files of its own folder may be imported as ``.name``; they are not returned.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1 and neighbours:
                continue
            assert node.level == 0, "imports are absolute"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & known) or {str(node.module)}
    return {name for name in found if name.split(".")[0] in ("worldjepa", "conf", "envs")}


def room(name: str) -> str:
    """Return the folder that a module stands in; files at the top of the package share one."""
    return name if (ROOT / name.replace(".", "/")).is_dir() else name.rsplit(".", 1)[0]


def wrong_imports(trees: dict[str, ast.Module]) -> list[str]:
    wrong = []
    for name, tree in trees.items():
        if name in ("worldjepa", "worldjepa.data"):
            continue  # look their exports up by name, when they are asked for
        mine = floor_of(name, tree)
        if mine is None:
            wrong.append(f"{name} has no floor: add it to FLOORS and to docs/architecture.md")
            continue
        for other in imported(tree, set(trees)) - {"worldjepa", "worldjepa.data"}:
            theirs = floor_of(other, trees.get(other))
            if theirs is None or theirs == ENTRY:
                wrong.append(f"{name} imports {other}: nothing imports an entry point")
            elif theirs > mine or (theirs == mine and room(name) != room(other) and theirs > 0):
                wrong.append(f"{name} [{mine}] imports {other} [{theirs}]: imports point down only")
    return wrong


def test_imports_point_down():
    assert wrong_imports(modules()) == []


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        (
            "worldjepa.data.clips.loader",
            "from worldjepa.model.encoder import VideoEncoder",
            "imports point down",
        ),
        ("worldjepa.training.loop", "def f():\n    import worldjepa.evaluation.probes", "imports point down"),
        ("worldjepa.stages", "from worldjepa.entry import main", "nothing imports an entry point"),
        ("worldjepa.novelty", "x = 1", "has no floor"),
        ("worldjepa.model.encoder", "from worldjepa.model import world_model", "imports point down"),
    ],
)
def test_the_rule_notices(name: str, source: str, words: str):
    trees = {
        "worldjepa.model.world_model": ast.parse(""),
        "worldjepa.entry": ast.parse("if __name__ == '__main__': pass"),
        name: ast.parse(source),
    }
    assert [words in line for line in wrong_imports(trees)] == [True]


@pytest.mark.parametrize("folder", ["conf", "envs"])
def test_environments_and_settings_meet_the_rest_in_registries_only(folder: str):
    """Files of ``envs`` import each other as ``.name``: type checkers follow that wherever it is mapped."""
    for file in (ROOT / folder).glob("**/*.py"):
        assert imported(ast.parse(file.read_text()), set(), neighbours=folder == "envs") == set(), file


def test_settings_and_data_know_no_torch():
    """The rooms that run before torch is loaded import it nowhere at their top."""
    early = ["config", "settings.compose", "settings.usage", "hardware", "answering"]
    script = (
        f"import sys\nfor name in {early}:\n    __import__('worldjepa.' + name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_import_is_quick_and_loads_nothing_heavy():
    script = (
        "import sys, time, json\nstart = time.perf_counter()\nimport worldjepa\n"
        "spent = time.perf_counter() - start\n"
        "heavy = [name for name in ('torch', 'numpy', 'hydra') if name in sys.modules]\n"
        "print(json.dumps([spent, heavy, 'load' in dir(worldjepa)]))"
    )
    runs = []
    for _ in range(3):  # the least of three: the machine may be busy
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
        runs.append(json.loads(done.stdout))
    assert min(spent for spent, _, _ in runs) < 0.3
    assert runs[0][1:] == [[], True]


def test_no_module_bears_the_name_of_an_export():
    """``worldjepa.load`` the module would hide ``load`` the function at the second look."""
    modules_at_top = {file.stem for file in (ROOT / "worldjepa").iterdir()}
    assert modules_at_top.isdisjoint(worldjepa.__all__)


def test_exports_are_found_and_unknown_names_are_not():
    for name in worldjepa.__all__:
        assert getattr(worldjepa, name) is not None
    assert worldjepa.VideoEncoder.__module__ == "worldjepa.model.encoder"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = worldjepa.lod
