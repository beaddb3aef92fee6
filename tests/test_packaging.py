"""The distribution holds what the repository holds, and works in every way it can be installed.

No package index is needed: builds take setuptools from this environment, and the fresh environments see
its packages, but not what it has installed of worldjepa.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import worldjepa

ROOT = Path(__file__).resolve().parent.parent
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
OFFLINE = ["--no-deps", "--no-index", "--no-build-isolation"]
PROBE = """
import json, worldjepa, worldjepa.conf, worldjepa.envs
from worldjepa.settings.compose import compose
from worldjepa.settings.joining import experiments
places = [module.__file__ for module in (worldjepa, worldjepa.conf, worldjepa.envs)]
print(json.dumps([places, experiments(), compose(["+experiment=vjepa2"]).model.encoder.dim]))
"""
# nobody imports worldjepa here
USE = """
import gymnasium, json, sys
env, rows = gymnasium.make("worldjepa/TwoRooms-v0"), gymnasium.make_vec("worldjepa/Point-v0", num_envs=3)
shapes = [list(env.reset(seed=0)[0].shape), list(rows.reset(seed=0)[0].shape)]
print(json.dumps([shapes, type(rows.unwrapped).__name__, "torch" in sys.modules]))
"""
# what is imported at the start of a program that has nothing to do with us
START = (
    "import sys; print({'gymnasium', 'numpy', 'worldjepa', 'worldjepa.envs', 'logging'} & set(sys.modules))"
)


def launch(python: Path, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([python, *args], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run(python: Path, *args: str, cwd: Path) -> str:
    return launch(python, *args, cwd=cwd).stdout


def assert_gymnasium_knows_our_ids(python: Path, cwd: Path) -> None:
    done = launch(python, "-c", USE, cwd=cwd)
    assert json.loads(done.stdout) == [[[64, 64, 3], [3, 16, 16, 3]], "DotVectorEnv", False]
    assert done.stderr == ""


def files_in(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if "__pycache__" not in file.parts}


def files_of_the_repository() -> list[str]:
    """Return what git has or would add; in a tree without git, all that is no build product."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        done = None
    if done is not None and done.returncode == 0:
        found = done.stdout.splitlines()
    else:
        found = [file.relative_to(ROOT).as_posix() for file in ROOT.glob("**/*") if file.suffix != ".pyc"]
    wanted = ("worldjepa/", "conf/", "envs/", "worldjepa_ids.py", "setup.py", "pyproject.toml", "README.md")
    return sorted(name for name in found if name.startswith(wanted) and (ROOT / name).is_file())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that building leaves nothing in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in files_of_the_repository():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(Path(sys.executable), *PIP, "wheel", *OFFLINE, "-w", str(out), str(source), cwd=out)
    shutil.rmtree(source / "build")
    return next(out.glob("worldjepa-*.whl"))


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a fresh virtual environment that sees the packages of this one.

    The packages come by a path, whose own ``.pth`` files (an editable worldjepa) are not followed.
    """
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    paths = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
    inside = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (inside / "packages_of_the_tests.pth").write_text("\n".join(sorted(paths)) + "\n")
    return tmp_path / "venv" / "bin" / "python"


def probe(python: Path, cwd: Path) -> list[Path]:
    """Return where worldjepa, worldjepa.conf and worldjepa.envs were found, having composed with them."""
    places, experiments, dim = json.loads(run(python, "-c", PROBE, cwd=cwd))
    assert (experiments, dim) == (sorted(file.stem for file in ROOT.glob("conf/experiment/*.yaml")), 1024)
    return [Path(place) for place in places]


def test_wheel_holds_the_files_of_the_repository(wheel: Path):
    names = [name for name in files_of_the_repository() if "/" in name]
    expected = {name if name.startswith("worldjepa/") else f"worldjepa/{name}" for name in names}
    expected |= {"worldjepa_ids.py", "worldjepa_ids.pth"}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected
    assert f"-{worldjepa.__version__}-" in wheel.name


def test_installed_wheel_works_anywhere_also_in_the_checkout(
    wheel: Path, source: Path, python: Path, tmp_path: Path
):
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    before = files_in(site)
    run(python, *PIP, "install", "--no-deps", "--no-index", str(wheel), cwd=tmp_path)
    assert all(place.is_relative_to(site) for place in probe(python, tmp_path))
    assert all(place.is_relative_to(source) for place in probe(python, source)), "the checkout comes first"
    assert_gymnasium_knows_our_ids(python, tmp_path)
    assert_gymnasium_knows_our_ids(python, source)
    assert run(python, "-c", START, cwd=tmp_path) == "set()\n"
    (site / "worldjepa" / "envs" / "__init__.py").write_text("raise OSError('half a file')")
    others = launch(
        python, "-W", "error", "-c", "import gymnasium; gymnasium.make('CartPole-v1')", cwd=tmp_path
    )
    assert "worldjepa.envs` shows where it fails): OSError('half a file')" in others.stderr
    run(python, *PIP, "uninstall", "-y", "worldjepa", cwd=tmp_path)
    assert files_in(site) == before


def test_editable_install_follows_the_sources(source: Path, python: Path, tmp_path: Path):
    checkout = shutil.copytree(source, tmp_path / "checkout")
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    before = files_in(site)
    run(python, *PIP, "install", *OFFLINE, "-e", str(checkout), cwd=tmp_path)
    assert all(place.is_relative_to(checkout) for place in probe(python, tmp_path))
    assert all(place.is_relative_to(checkout) for place in probe(python, checkout))
    assert_gymnasium_knows_our_ids(python, tmp_path)
    assert run(python, "-c", START, cwd=tmp_path) == "set()\n"
    moved = checkout.rename(tmp_path / "elsewhere")
    assert launch(python, "-c", "import gymnasium", cwd=tmp_path).stderr == "", "what is gone is not missed"
    moved.rename(checkout)
    run(python, *PIP, "uninstall", "-y", "worldjepa", cwd=tmp_path)
    assert files_in(site) == before


def test_checkout_works_uninstalled_and_shows_no_other_folder(source: Path, python: Path):
    assert all(place.is_relative_to(source) for place in probe(python, source))
    script = (
        "import importlib.util as u; print([u.find_spec('worldjepa.' + n) for n in ('tests', 'benchmarks')])"
    )
    (source / "benchmarks").mkdir()
    assert run(python, "-c", script, cwd=source) == "[None, None]\n"
    for words in (
        "import worldjepa, gymnasium",
        "import gymnasium, worldjepa",
        "import worldjepa.envs, gymnasium",
    ):
        assert run(python, "-c", f"{words}; gymnasium.make('worldjepa/Point-v0')", cwd=source) == ""


def test_the_package_alone_imports_also_without_its_neighbours(source: Path, python: Path, tmp_path: Path):
    shutil.copytree(source / "worldjepa", tmp_path / "alone" / "worldjepa")
    assert (
        run(python, "-c", "import worldjepa; print(worldjepa.__version__)", cwd=tmp_path / "alone")
        == f"{worldjepa.__version__}\n"
    )


def test_requirements_are_those_of_the_issue():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = re.compile(r"[A-Za-z0-9_-]+")
    named = lambda lines: {found[0] for line in lines if (found := name.match(line))}  # noqa: E731
    runtime = (
        "torch torchvision decord av einops timm hydra-core gymnasium safetensors numpy rich tensorboard"
    )
    assert set(runtime.split()) | {"jaxtyping"} <= named(project["dependencies"])
    tools = {"pytest", "hypothesis", "beartype", "ruff", "pyright", "transformers"}
    assert tools <= named(project["optional-dependencies"]["dev"])
    assert all(">=" in line for line in project["dependencies"]), "every requirement has a tried lower bound"


def test_readme_commands_begin_alike_and_ci_runs_the_second():
    """``.ci/run`` takes its command from the README; both commands are the ones a newcomer is promised."""
    blocks = re.findall(
        r"<!-- ci:(\w+) -->\n```bash\n(.*?)\n```\n<!-- ci:end -->", (ROOT / "README.md").read_text()
    )
    begin = "python3 -m venv .venv && . .venv/bin/activate && python -m pip install -e "
    assert dict(blocks) == {
        "train": begin + ". && python -m worldjepa.train +experiment=kinetics",
        "test": begin + "'.[dev]' && pytest",
    }
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- ci:test -->" in script
    assert "${command//.venv/$work/venv}" in script


def test_skips_that_are_not_allowed_fail_the_check(tmp_path: Path):
    allowed = tmp_path / "allowed.txt"
    allowed.write_text("# why\ntests/test_a.py: needs a GPU\n")
    log = "SKIPPED [2] tests/test_a.py:12: needs a GPU\n1 passed, 2 skipped\n"
    command = [sys.executable, ROOT / ".ci" / "skips.py", allowed]
    assert subprocess.run(command, input=log, text=True, check=False).returncode == 0
    log += "SKIPPED [1] tests/test_b.py:3: could not import 'x'\n"
    done = subprocess.run(command, input=log, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert "tests/test_b.py: could not import 'x'" in done.stderr
