"""The command line: what composes, and what is filled in."""

import os
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from worldjepa.config import SourceConfig, TrainConfig
from worldjepa.hardware import batch_size_for, cpu_has_bf16
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.joining import list_groups
from worldjepa.settings.masking import STRATEGIES, Future
from worldjepa.settings.schema import ConfigError, from_dict, setting_names, to_dict
from worldjepa.settings.validate import read_strategy
from worldjepa.train import main

ROOT = Path(__file__).resolve().parent.parent.parent
KINETICS = "+experiment=kinetics"


@pytest.fixture(autouse=True)
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch):
    for name in ("KINETICS_ROOT", "SSV2_ROOT", "IMAGEFOLDER_ROOT", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


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
    assert bool(filled.masking) == (filled.objective.kind == "masked")
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


def test_a_hydra_application_around_us_keeps_its_state():
    with initialize_config_module("worldjepa.conf", version_base="1.3"):
        before = GlobalHydra.instance().hydra
        assert compose([KINETICS, "model=tiny"]).model.size == "tiny"
        with pytest.raises(ConfigError):
            compose([KINETICS, "model=none"])
        assert GlobalHydra.instance().hydra is before
        assert hydra_compose("train", overrides=["experiment=kinetics"]).seed == 0
    assert not GlobalHydra.instance().is_initialized()


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
