"""The command line: what is refused, with which words, and how early."""

import subprocess
import sys
from pathlib import Path

import pytest

from worldjepa.settings.compose import compose
from worldjepa.settings.schema import ConfigError
from worldjepa.settings.validate import require_data

ROOT = Path(__file__).resolve().parent.parent.parent
KINETICS = "+experiment=kinetics"


@pytest.fixture(autouse=True)
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch):
    for name in ("KINETICS_ROOT", "SSV2_ROOT", "IMAGEFOLDER_ROOT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(list(words))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_mistakes_in_own_files_are_named(tmp_path: Path):
    own = tmp_path / "my conf"
    (own / "experiment").mkdir(parents=True)
    for name, text, said in [
        (
            "misspelt",
            "optim: {lerning_rate: 7}",
            "optim.lerning_rate: there is no such setting; did you mean optim.lr?",
        ),
        ("mistyped", "train: {steps: ten}", "train.steps: Value 'ten'"),
        ("unreadable", "train: {steps: [}", "unreadable.yaml"),
        ("acting", "data: {_target_: os.system}", "data._target_"),
    ]:
        (own / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
        assert said in refusal(f"+experiment={name}", f"--config-dir={own}")
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ntrain: {steps: 7}\n")
    (own / "experiment" / "kinetics.yaml").write_text("")
    assert "rename it" in refusal("+experiment=mine", f"--config-dir={own}")
    assert "there is no such folder" in refusal(KINETICS, "--config-dir=/nowhere")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+experimnt=kinetics", ["experimnt", "did you mean experiment?"]),
        ("+experiment=kinetcs", ["experiment", "'kinetcs'", "did you mean kinetics?"]),
        ("+optim.warmup=abc", ["optim.warmup", "expected a number", "'abc'"]),
        ("+optim.warmupp=3", ["optim.warmupp", "did you mean optim.warmup?"]),
        ("optim.lerning_rate=1", ["optim.lerning_rate", "did you mean optim.lr?"]),
        ("+optim.foo=3", ["optim.foo", "there are optim.lr, optim.start_lr"]),
        ("lr=1", ["lr", "did you mean optim.lr?"]),
        ("batch_size=8", ["did you mean train.batch_size?"]),
        ("model=nanoo", ["model", "'nanoo'", "did you mean nano?"]),
        ("model.encoder.dimm=3", ["did you mean model.encoder.dim?"]),
        ("train.steps=ten", ["train.steps", "expected a whole number", "'ten'"]),
        ("train.steps=1.5", ["train.steps", "expected a whole number", "1.5"]),
        ("train.steps=true", ["train.steps", "expected a whole number", "True"]),
        ("train.compile=1", ["train.compile", "expected true or false", "1"]),
        ("seed=null", ["seed", "expected a whole number", "null"]),
        ("optim.lr=nan", ["optim.lr", "expected a number", "nan"]),
        ("optim.ema=[0.9]", ["optim.ema", "expected 2 numbers", "[0.9]"]),
        ("optim.ema=0.9,1.0", ["several", "optim.ema=[0.9,1.0]"]),
        ("optim.lr=1,2", ["optim.lr", "several"]),
        ("optim=3", ["optim is a group", "optim.lr="]),
        ("optim={lrr: 1}", ["optim.lrr", "did you mean lr?"]),
        ("seed=", ["seed", "no value"]),
        ("=", ["no name"]),
        ("=5", ["no name"]),
        ("seed", ["'seed' lacks a value", "seed=VALUE"]),
        ("kinetics", ["'kinetics'", "did you mean experiment=kinetics?"]),
        ("what", ["'what'", "name=value"]),
        ("--multirun", ["--multirun", "one command is one run"]),
        ("-m", ["one command is one run"]),
        ("--seed=3", ["--seed", "seed=3"]),
        ("data.crop_scale=[0.3,1", ["data.crop_scale=[0.3,1", "close brackets"]),
        ("data.sources={root: /a", ["data.sources={root: /a", "close brackets"]),
        ("data.sources=[{rot: /a}]", ["data.sources[0].rot", "did you mean root?"]),
        ("data.sources=[{weight: 1}]", ["data.sources[0].root"]),
        ("data.root=${oc.env:SURELY_NOT_SET}", ["data.root", "SURELY_NOT_SET"]),
        ("hydra.run.dir=x", ["hydra.run.dir", "run.dir="]),
        ("model@other=nano", ["model@other"]),
        ("~optim.lr", ["optim.lr=null"]),
        ("~masking.nothing", ["~masking.nothing"]),
        ("optim._target_=os.system", ["optim._target_", "masking"]),
        ("data.sources=[{root: /a, _target_: os.system}]", ["_target_", "masking"]),
        ("masking.a={_target_: my.f, x: {_target_: os.system}}", ["masking.a", "_target_"]),
        ("masking.a={_target_: 3}", ["masking.a._target_", "3"]),
        ("masking.a=3", ["masking.a", "strategy"]),
        ("masking.a={strategy: futur}", ["masking.a.strategy=futur", "did you mean future?"]),
        ("masking.a={strategy: future, context_shar: 1}", ["a.context_shar", "did you mean context_share?"]),
        ("masking.a={strategy: future, context_share: x}", ["a.context_share", "expected a number", "'x'"]),
        ("masking.a={strategy: future, context_share: 1}", ["a.context_share=1.0", "between 0 and 1"]),
        ("masking.a={strategy: multi_block, aspect: [2, 1]}", ["masking.a.aspect", "smallest first"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(word: str, said: list[str]):
    words = [word] if "experim" in word else [KINETICS, word]
    message = refusal(*words)
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("data.size=-3", "data.size=-3: expected 1 or more"),
        ("data.size=70", "set data.size=64"),
        ("data.num_frames=15", "15 frames; tubelet_size=2 needs a multiple of 2; set data.num_frames=16"),
        ("data.fps=4 data.frame_skip=2", "set one of them to null"),
        ("data.fps=0", "data.fps=0.0: expected more than 0"),
        ("data.layout=folder", "did you mean folders?"),
        ("data.reader=opencv", "expected one of auto, pyav, decord, torchcodec"),
        ("data.crop_scale=[0.5,2]", "data.crop_scale=[0.5, 2.0]"),
        ("data.root=/a data.sources=[{root: /b}]", "set one of them"),
        ("device=cuda:1", "expected one of auto, cpu, cuda"),
        ("seed=-1", "seed=-1: expected 0 or more"),
        ("train.batch_size=10 train.accumulate=4", "10 is not a multiple of train.accumulate=4"),
        ("train.precision=fp16", "expected one of fp32, bf16"),
        ("train.steps=0", "train.steps=0: expected 1 or more"),
        ("model.encoder.dim=100 model.encoder.num_heads=3", "set model.encoder.dim=99"),
        ("model.encoder.num_heads=64", "rotary positions"),
        ("model.encoder.attention=causl", "did you mean causal?"),
        ("model.encoder.window=4", "set model.encoder.attention=causal"),
        ("model.encoder.tubelet_size=4 model.encoder.frames_per_step=2", "expected 1 "),
        ("objective.loss=l3", "expected one of l1, l2, smooth_l1, cosine"),
        ("objective.weights.varianse=1", "did you mean variance?"),
        ("optim.schedule=cosin", "did you mean cosine?"),
        ("optim.schedule=wsd optim.warmup=0.9 optim.cooldown=0.2", "set optim.cooldown=0.1 or less"),
        ("optim.ema=[0.9,1.1]", "optim.ema=1.1: expected a share from 0 to 1"),
        ("optim.grad_clip=0", "optim.grad_clip=null"),
        ("objective.weights.prediction=0", "expected more than 0, got 0"),
        ("data.num_frames=2 masking.a={strategy:future}", "has one; set data.num_frames=4"),
    ],
)  # fmt: skip
def test_ranges(words: str, said: str):
    parts = words.split(" ") if "{root" not in words else words.split(" ", 1)
    assert said in refusal(KINETICS, *parts)


def test_no_experiment_says_which_there_are():
    for words in ([], ["model=tiny"]):
        assert (
            "kinetics, online, pendulum, push_t, reacher, ssv2, swm_two_room, two_rooms, vjepa2"
            in refusal(*words)
        )


def test_experiments_with_files_of_their_own_need_to_be_told_where():
    for name in ("imagefolder", "ssv2"):
        with pytest.raises(ConfigError, match=r"set data\.root=FOLDER"):
            require_data(compose([f"+experiment={name}"]))
        require_data(compose([f"+experiment={name}", "data.root=/there"]))
    require_data(compose([KINETICS]))


def test_a_mistake_ends_the_command_before_torch_is_loaded():
    script = (
        "import sys\nfrom worldjepa.train import main\ncode = main(sys.argv[1:])\n"
        "sys.exit(50 if 'torch' in sys.modules else code)"
    )
    for words in (["+experimnt=kinetics"], [KINETICS, "+optim.warmupp=3"], [KINETICS, "seed="], []):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("worldjepa.train: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
