"""The command line: what composes, what is refused and with which words, what is filled in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from worldjepa.compose import ConfigError, compose, fill, list_groups
from worldjepa.config import STRATEGIES, Future, SourceConfig, TrainConfig
from worldjepa.hardware import batch_size_for, cpu_has_bf16
from worldjepa.schema import changed_settings, from_dict, setting_names, to_dict
from worldjepa.train import main
from worldjepa.validate import read_strategy, require_data

ROOT = Path(__file__).resolve().parent.parent
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


# --- what composes -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_groups()["experiment"])
@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_experiment_composes_and_fills(name: str, kind: str):
    config = compose([f"+experiment={name}"])
    assert (config.experiment, config.run.dir) == (name, f"runs/{name}")
    filled, _ = fill(config, [f"+experiment={name}"], kind)
    for place in ("data.num_frames", "data.size", "train.steps", "train.batch_size", "optim.lr", "optim.ema"):
        group, field = place.split(".")
        assert getattr(getattr(filled, group), field) is not None, place
    assert filled.masking
    assert filled.model.size
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(filled)))) == filled


@pytest.mark.parametrize("group", ["model", "masking"])
def test_every_file_of_a_group_composes(group: str):
    for name in list_groups()[group]:
        config = compose([KINETICS, f"{group}={name}"])
        assert name in (config.model.size, "") or config.masking


def test_experiment_files_are_short():
    for file in (ROOT / "conf" / "experiment").glob("*.yaml"):
        assert len(file.read_text().splitlines()) <= 25, file


def test_public_dimensions():
    """ViT sizes of V-JEPA 2; the MLP of g and G is 48/11 and 64/13 of the width, a whole number."""
    dims = {}
    for name in ("large", "huge", "giant", "gigantic"):
        encoder = compose([KINETICS, f"model={name}"]).model.encoder
        dims[name] = (encoder.dim, encoder.depth, encoder.num_heads, int(encoder.dim * encoder.mlp_ratio))
    assert dims == {
        "large": (1024, 24, 16, 4096),
        "huge": (1280, 32, 16, 5120),
        "giant": (1408, 40, 22, 6144),
        "gigantic": (1664, 48, 26, 8192),
    }


@pytest.mark.parametrize(
    "words", [["+experiment=kinetics"], ["experiment=kinetics"], ["++experiment=kinetics"]]
)
def test_an_experiment_is_chosen_with_or_without_plus(words: list[str]):
    assert compose(words).experiment == "kinetics"


def test_a_plus_before_a_known_setting_changes_nothing():
    assert compose([KINETICS, "+optim.warmup=0.1"]).optim.warmup == 0.1
    assert compose([KINETICS, "++optim.warmup=0.1"]) == compose([KINETICS, "optim.warmup=0.1"])


def test_values_take_the_types_of_the_dataclasses():
    words = ["train.steps=1e4", "optim.lr=1", "optim.ema=[0.9,1]", "optim={eps: 1e-6}", "data.flip=0"]
    words += ["data.sources=[{root: /a, weight: 2}, {root: /b}]", "objective.weights.variance=2"]
    config = compose([KINETICS, *words])
    assert config.train.steps == 10000
    assert type(config.train.steps) is int
    assert type(config.optim.lr) is float
    assert config.optim.ema == (0.9, 1.0)
    assert (config.optim.eps, config.optim.cooldown) == (1e-6, 0.2), "a mapping is merged"
    assert type(config.data.flip) is float
    assert config.data.sources == [SourceConfig(root="/a", weight=2.0), SourceConfig(root="/b")]
    assert config.objective.weights == {"prediction": 1.0, "variance": 2.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/a path/with spaces", "/a path/with spaces"),
        ("/a,b", "/a,b"),
        ("/x=y (1) [2] {3} it's #1 \u00e9", "/x=y (1) [2] {3} it's #1 \u00e9"),
        ("'/quoted path'", "/quoted path"),
        ("2024", "2024"),
        ("1e3", "1e3"),
        ("null", None),
        ("~/videos", os.path.expanduser("~/videos")),
    ],
)
def test_text_is_taken_as_the_shell_gave_it(text: str, value: str | None):
    assert compose([KINETICS, f"data.root={text}"]).data.root == value


def test_data_comes_from_the_environment_where_it_is_set(monkeypatch: pytest.MonkeyPatch):
    assert compose([KINETICS]).data.root is None
    monkeypatch.setenv("KINETICS_ROOT", "/k")
    assert compose([KINETICS]).data.root == "/k"
    assert compose([KINETICS, "data.root=/mine"]).data.root == "/mine"
    monkeypatch.setenv("KINETICS_ROOT", "")
    assert compose([KINETICS]).data.root is None


def test_the_command_line_wins_over_the_experiment_and_the_experiment_over_the_model():
    assert compose(["+experiment=vjepa2"]).model.encoder.dim == 1024
    tiny = compose(["model=tiny", "+experiment=vjepa2", "train.steps=5"])
    assert (tiny.model.size, tiny.model.encoder.dim, tiny.model.encoder.rope) == ("tiny", 192, "vjepa2")
    assert (tiny.train.steps, tiny.train.batch_size) == (5, 3072)
    assert compose(["+experiment=imagefolder", "model=base"]).model.encoder.tubelet_size == 1


def test_masks_are_added_changed_and_removed():
    words = [KINETICS, "masking=vjepa2", "masking.more={strategy: future}", "masking.more.context_share=0.25"]
    config = compose([*words, "~masking.large_blocks"])
    assert list(config.masking) == ["small_blocks", "more"]
    assert read_strategy("more", config.masking["more"]) == Future(context_share=0.25)
    small = read_strategy("small_blocks", config.masking["small_blocks"])
    assert (small.num_blocks, small.spatial_scale, small.temporal_scale) == (8, (0.15, 0.15), (1.0, 1.0))


def test_every_strategy_passes_with_its_defaults():
    for name, cls in STRATEGIES.items():
        assert read_strategy("mine", {"strategy": name}) == cls()


def test_a_callable_of_the_users_own_is_kept_as_text():
    entry = {"_target_": "my.masks.draw", "share": 0.5}
    config = compose([KINETICS, "masking.mine={_target_: my.masks.draw, share: 0.5}"])
    assert config.masking == {"mine": entry}
    assert read_strategy("mine", config.masking["mine"]) == entry


def test_own_files_are_found_beside_ours(tmp_path: Path):
    own = tmp_path / "my conf"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ntrain: {steps: 7}\n")
    words = ["+experiment=mine", f"--config-dir={own}"]
    assert (compose(words).train.steps, compose(words).run.dir) == (7, "runs/mine")
    assert fill(compose(words), words, "cpu")[0].train.steps == 7
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
    (own / "experiment" / "kinetics.yaml").write_text("")
    assert "rename it" in refusal(*words)
    assert "there is no such folder" in refusal(KINETICS, "--config-dir=/nowhere")


def test_a_hydra_application_around_us_keeps_its_state():
    with initialize_config_module("worldjepa.conf", version_base="1.3"):
        before = GlobalHydra.instance().hydra
        assert compose([KINETICS, "model=tiny"]).model.size == "tiny"
        with pytest.raises(ConfigError):
            compose([KINETICS, "model=none"])
        assert GlobalHydra.instance().hydra is before
        assert hydra_compose("train", overrides=["experiment=kinetics"]).seed == 0
    assert not GlobalHydra.instance().is_initialized()


# --- what is refused -----------------------------------------------------------------------------


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
        ("data.reader=opencv", "expected one of pyav, decord, torchcodec"),
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
        assert "imagefolder, kinetics, ssv2, vjepa2" in refusal(*words)


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


def test_help_and_cfg_print_and_stop(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    names = set(setting_names(TrainConfig))
    for line in page.split("settings, among others")[1].split("options:")[0].splitlines()[1:]:
        for word in line.strip().split("  ")[0].split():
            name = word.split("=")[0]
            assert name in names or name in ("masking.NAME", "|", "null", "future}"), "help lists what exists"
    assert main([KINETICS, "train.steps=3", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == to_dict(compose([KINETICS, "train.steps=3"]))


# --- what is filled ------------------------------------------------------------------------------


def test_fill_chooses_only_what_is_unset_and_says_so():
    words = [KINETICS, "train.steps=5", "data.fps=3", "optim.ema=[0.9,0.95]"]
    filled, line = fill(compose(words), words, "cpu")
    assert (filled.model.size, filled.model.encoder.dim) == ("nano", 128)
    assert (filled.train.steps, filled.data.fps, filled.data.frame_skip) == (5, 3.0, None)
    assert filled.optim.ema == (0.9, 0.95)
    assert line.startswith("cpu: model=nano masking=")
    assert f"data.size={filled.data.size}" in line
    assert f"train.precision={'bf16' if cpu_has_bf16() else 'fp32'}" in line
    for chosen in ("train.steps", "data.fps", "data.frame_skip", "optim.ema"):
        assert chosen not in line
    assert fill(filled, words, "cpu")[0] == filled


def test_fill_keeps_a_model_and_masks_of_ones_own():
    words = [KINETICS, "model=tiny", "masking.mine={strategy: future}"]
    filled, line = fill(compose(words), words, "gpu")
    assert (filled.model.size, list(filled.masking)) == ("tiny", ["mine"])
    assert "model=" not in line
    assert "masking=" not in line
    words = [KINETICS, "model.encoder.depth=2"]
    assert fill(compose(words), words, "cpu")[0].model.encoder.depth == 2


def test_nothing_to_fill_says_nothing():
    words = [KINETICS, "model=nano", "masking=tube"]
    config = fill(compose(words), words, "cpu")[0]
    assert fill(config, words, "cpu")[1] == ""


def test_what_is_filled_is_checked():
    words = [KINETICS, "model.encoder.patch_size=7"]
    with pytest.raises(ConfigError, match="patch_size=7 needs a multiple of 7"):
        fill(compose(words), words, "cpu")


def test_gpu_batch_follows_memory_ranks_and_accumulation():
    words = [KINETICS]
    config = fill(compose(words), words, "gpu")[0]
    sizes = [batch_size_for(config, gib * 2**30) for gib in (8, 24, 80, 141)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 8, "never below the smallest"
    assert all(size % 8 == 0 for size in sizes)
    assert batch_size_for(config, 80 * 2**30, ranks=4) == 4 * sizes[2]
    config.train.accumulate = 4
    assert batch_size_for(config, 80 * 2**30) % 32 == 0
    assert batch_size_for(config, 80 * 2**30) > 3 * sizes[2]


def test_bf16_instructions_are_read_from_the_system(tmp_path: Path):
    for index, (text, expected) in enumerate(
        [
            ("flags\t\t: fpu avx512f avx512_bf16 sse\n", True),
            ("flags\t\t: fpu avx512f avx512vbmi\n", False),
            ("Features\t: fp asimd bf16\n", True),
            ("model name\t: bf16\n", False),
        ]
    ):
        file = tmp_path / str(index)
        file.write_text(text)
        assert cpu_has_bf16(file) is expected
    assert cpu_has_bf16(tmp_path / "absent") is False


# --- stored settings -----------------------------------------------------------------------------


def test_changed_settings_names_what_changes_the_weights():
    old = compose([KINETICS, "masking=vjepa2"])
    words = ["train.checkpoint_every=7", "run.dir=elsewhere", "device=cpu", "data.num_workers=3"]
    assert changed_settings(old, compose([KINETICS, "masking=vjepa2", *words])) == []
    words = ["seed=1", "optim.ema=[0.9,1.0]", "masking.more={strategy: future}", "~masking.large_blocks"]
    changed = changed_settings(old, compose([KINETICS, "masking=vjepa2", *words]))
    assert changed == ["seed", "masking.large_blocks", "masking.more", "optim.ema"]
    assert changed_settings(from_dict(to_dict(old)), old) == []


def test_stored_settings_are_checked_and_never_acted_on():
    stored = to_dict(compose([KINETICS]))
    for change, said in [
        ({"optim": {"lrr": 1}}, "optim.lrr"),
        ({"seed": "0"}, "seed: expected a whole number"),
        ({"_target_": "os.system"}, "_target_"),
        ({"model": {"_target_": "os.system"}}, "_target_"),
        ({"data": None}, "data: expected a mapping"),
    ]:
        with pytest.raises(ConfigError, match=said):
            from_dict(stored | change)
    older = {name: value for name, value in stored.items() if name != "objective"}
    assert from_dict(older) == from_dict(stored), "a setting that came later takes its default"
