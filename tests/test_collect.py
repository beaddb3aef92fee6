"""``python -m worldjepa.collect`` as a user starts it: mistakes in one line, signals, nothing left over."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.forks import Fork
from tests.runs import wait_for
from worldjepa.collect import main
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.settings.commands import compose_collection
from worldjepa.settings.env import CollectConfig
from worldjepa.settings.schema import ConfigError, setting_names

ROOT = Path(__file__).resolve().parent.parent
MADE = "env.id=tests.data.made_envs:made/Made-v0"


def children(process: int) -> list[int]:
    """Return the processes that ``process`` started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- the settings --------------------------------------------------------------------------------


def test_words_become_settings():
    words = ["env.id=a/Thing-v0", "policy=smooth", "num_episodes=7", "data.size=32"]
    config = compose_collection([*words, "env.state=[position]", "env.kwargs.size=3"])
    assert (config.policy, config.num_episodes, config.data.size) == ("smooth", 7, 32)
    assert (config.env.state, config.env.kwargs) == (["position"], {"size": 3})
    assert config.data.root == "runs/episodes/a-Thing-v0"
    assert compose_collection([MADE, "data.root=~/x"]).data.root == os.path.expanduser("~/x")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "env.id: no environment is named; add one, such as env.id=worldjepa/TwoRooms-v0"),
        ([MADE, "policy=smoth"], "policy=smoth: expected random, smooth, scripted.*did you mean smooth?"),
        ([MADE, "num_episode=3"], "num_episode: there is no such setting; did you mean num_episodes?"),
        ([MADE, "env.ide=3"], "env.ide: there is no such setting; did you mean env.id?"),
        ([MADE, "num_episodes=0"], "num_episodes=0: expected 1 or more"),
        ([MADE, "seed=x"], "seed: expected a whole number, got 'x'"),
        ([MADE, "data.size=2"], "data.size=2: expected 8 or more"),
        ([MADE, "env.num_envs=0"], "env.num_envs=0: expected 1 or more"),
        ([MADE, "env.timeout_s=0"], "env.timeout_s=0.0: expected more than 0"),
        ([MADE, "env.state=position"], r"env.state: expected a list such as \[a,b\], got 'position'"),
        ([MADE, "env.pixels=top,top"], "env.pixels: expected names, each once; got 'top', 'top'"),
        ([MADE, "env.kwargs.max_episode_steps=3"], "set env.max_episode_steps instead"),
        ([MADE, "model=tiny"], "model: there is no such setting"),
        ([MADE, "--config-dir=x"], "--config-dir"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str):
    with pytest.raises(ConfigError, match=said) as caught:
        compose_collection(words)
    assert "\n" not in str(caught.value)


def test_a_mistake_ends_the_command_before_anything_heavy_is_loaded():
    script = (
        "import sys\nfrom worldjepa.collect import main\ncode = main(sys.argv[1:])\n"
        "sys.exit(50 if {'torch', 'gymnasium', 'numpy'} & set(sys.modules) else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "polcy=random"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "worldjepa.collect: polcy: there is no such setting; did you mean policy?\n"


def test_help_and_cfg_print_and_stop(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    names = set(setting_names(CollectConfig))
    for line in page.split("settings:")[1].split("options:")[0].strip().splitlines():
        assert line.split("=")[0].strip() in names, "help lists what exists"
    assert main([MADE, "--cfg"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["env"]["id"].endswith("made/Made-v0")


# --- as a command --------------------------------------------------------------------------------


def test_a_collection_says_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = [MADE, f"data.root={tmp_path / 'a'}", "num_episodes=3", "env.num_envs=1", "data.size=8"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "episode 3/3" in out
    said = "collected 3 episodes of 12 steps in all, 0 lost, mean return 5, success 100%; "
    assert f"{said}{tmp_path / 'a'} holds 3\n" in out
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["env.id=CartPol-v1"], 2, "Did you mean: `CartPole`?"),
        ([MADE, "policy=scripted"], 2, "no method scripted_actions"),
        ([MADE, "policy=tests.data.made_envs:raising"], 2, "raised ZeroDivisionError: division by zero"),
        ([MADE, "env.kwargs={fault: raises, every: 1}"], 1, "10 episodes in a row were lost"),
        ([MADE, "data.root=/dev/null/x"], 2, "data.root=/dev/null/x cannot be written to"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    root = [] if "data.root" in words[-1] else [f"data.root={tmp_path / 'a'}"]
    assert main([*words, *root, "num_episodes=3", "env.num_envs=1"]) == code
    line = capsys.readouterr().err
    assert line.startswith("worldjepa.collect: ")
    assert said in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_whole_episodes_and_no_process(tmp_path: Path, number: signal.Signals):
    words = [MADE, f"data.root={tmp_path}", "num_episodes=100000", "env.num_envs=2", "data.size=8"]
    process = Fork(main, words)
    try:
        wait_for(lambda: len(list(tmp_path.glob("episodes/*.safetensors"))) >= 3)
        workers = children(process.pid)
        assert len(workers) == 2
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    wait_for(lambda: not any(map(running, workers)), seconds=5)
    if number != signal.SIGKILL:
        assert (process.returncode, err) == (0, "")
        assert "stopped early: run it again to go on" in out
    store = EpisodeStore.open(tmp_path)
    assert not store.torn
    assert len(store.lengths) >= 3
    more = str(len(store.lengths) + 2)
    assert main([*words[:2], f"num_episodes={more}", "env.num_envs=1", "data.size=8"]) == 0
    assert EpisodeStore.open(tmp_path).lengths.tolist() == [4] * int(more)
