import errno
import json
import resource

import pytest
import torch
from torch import nn

from worldjepa import artifact
from worldjepa.artifact import CheckpointWriteError, TornFolderError
from worldjepa.training import checkpoint
from worldjepa.training.checkpoint import (
    KeyMismatchError,
    clean_name,
    load_checkpoint,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)

CONFIG = {"seed": 3, "optim": {"lr": 2.5e-7, "betas": (0.9, 0.999), "ema": None}, "masking": {"a": [1, 2]}}


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2))


def adam(model, reverse=False):
    groups = [{"params": [p for p in model.parameters() if p.ndim == d]} for d in (1, 2)]
    return torch.optim.AdamW(groups[::-1] if reverse else groups, lr=0.01, fused=True)


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def save(run, model, optimizer, step=5, **changes):
    parts = {
        "config": CONFIG,
        "model": model.state_dict(),
        "optimizer": optimizer_tensors(optimizer, model.named_parameters()),
        "record": {"file_list": "abc", "skipped": 2},
    }
    return save_checkpoint(run, step, **parts | changes)


def test_resumed_equals_uninterrupted_bit_by_bit_whatever_the_order_of_groups(tmp_path):
    straight = net()
    train(straight, optimizer := adam(straight), 9)

    model = net()
    train(model, optimizer := adam(model), 5)
    loaded = load_checkpoint(save(tmp_path, model, optimizer))
    assert loaded.step == 5
    resumed = net(seed=1)
    optimizer = adam(resumed, reverse=True)
    restore_module(resumed, loaded.model)
    restore_optimizer(optimizer, resumed.named_parameters(), loaded.optimizer)
    train(resumed, optimizer, 4, start=5)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_folder_holds_what_the_layout_promises(tmp_path):
    model = net()
    train(model, optimizer := adam(model), 1)
    path = save(tmp_path, model, optimizer)
    assert path == tmp_path / "checkpoints" / "step_00000005"
    assert sorted(p.name for p in path.iterdir()) == [
        "config.yaml",
        "manifest.json",
        "model.safetensors",
        "train_state.json",
        "train_state.safetensors",
    ]
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_00000005\n"
    loaded = load_checkpoint(path)
    assert loaded.config == {
        "seed": 3,
        "optim": {"lr": 2.5e-7, "betas": [0.9, 0.999], "ema": None},
        "masking": {"a": [1, 2]},
    }
    assert loaded.record == {"file_list": "abc", "skipped": 2}
    assert loaded.versions["torch"].split("+")[0] == torch.__version__.split("+")[0]
    kinds = ("step", "exp_avg", "exp_avg_sq")
    assert loaded.optimizer.keys() == {f"optim.{k}.{n}" for k in kinds for n, _ in model.named_parameters()}
    assert loaded.optimizer["optim.step.0.weight"].item() == 1.0
    gradient = model.get_parameter("2.bias").grad
    assert gradient is not None
    torch.testing.assert_close(loaded.optimizer["optim.exp_avg.2.bias"], 0.1 * gradient)
    assert load_checkpoint(path, with_optimizer=False).optimizer == {}


def test_old_ones_are_pruned_and_a_saved_step_is_left_alone(tmp_path):
    model = net()
    train(model, optimizer := adam(model), 1)
    for step in (10, 20, 30, 40):
        save(tmp_path, model, optimizer, step, keep_last=1, keep_every=20)
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["latest", "step_00000020", "step_00000040"]
    before = (folder / "step_00000040" / "manifest.json").stat().st_mtime_ns
    assert save(tmp_path, model, optimizer, 40) == folder / "step_00000040"
    assert (folder / "step_00000040" / "manifest.json").stat().st_mtime_ns == before


def test_wrapped_names_are_saved_clean_and_shared_memory_apart(tmp_path):
    assert clean_name("module.encoder._orig_mod.blocks.0.weight") == "encoder.blocks.0.weight"
    assert clean_name("encoder.module.weight") == "encoder.module.weight"
    table = torch.arange(6.0)
    state = {"module.encoder.table": table, "module.target_encoder.table": table, "module.half": table[:3]}
    path = save_checkpoint(tmp_path, 0, config={}, model=state, optimizer={}, record={})
    loaded = load_checkpoint(path)
    assert loaded.model.keys() == {"encoder.table", "target_encoder.table", "half"}
    assert torch.equal(loaded.model["target_encoder.table"], table)
    assert torch.equal(loaded.model["half"], table[:3])
    assert loaded.optimizer == {}


def test_a_compiled_model_is_saved_and_restored_under_clean_names():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model._modules["0"] = torch.compile(model[0])  # pyright: ignore[reportArgumentType]
    clean = {clean_name(name): t + 1 for name, t in model.state_dict().items()}
    assert "0.weight" in clean
    restore_module(model, clean)
    assert torch.equal(model.state_dict()["0._orig_mod.weight"], clean["0.weight"])


def test_a_model_that_does_not_fit_is_reported_by_name_and_left_untouched():
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = {name: tensor + 1 for name, tensor in before.items()}
    del tensors["2.bias"]
    tensors["0.weight"] = torch.zeros(6, 5)
    tensors |= {f"extra.{i}": torch.zeros(1) for i in range(13)}
    with pytest.raises(KeyMismatchError) as caught:
        restore_module(model, tensors, source="runs/a/checkpoints/step_00000001")
    said = str(caught.value)
    assert said.startswith("runs/a/checkpoints/step_00000001 does not fit the model; nothing was loaded.")
    assert "1 missing: 2.bias." in said
    assert "13 unexpected: extra.0, extra.1," in said
    assert "extra.9, and 3 more." in said
    assert "extra.10" not in said
    assert "1 of another shape: 0.weight (6, 5), expected (6, 4)." in said
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_optimizer_that_does_not_fit_is_left_untouched():
    model = net()
    train(model, optimizer := adam(model), 2)
    tensors = optimizer_tensors(optimizer, model.named_parameters())
    fresh = adam(model)

    def refused(changed, says):
        with pytest.raises(KeyMismatchError, match=says):
            restore_optimizer(fresh, model.named_parameters(), changed)
        assert not fresh.state

    refused(
        {k: t for k, t in tensors.items() if k != "optim.exp_avg.2.bias"}, r"1 missing: optim\.exp_avg\.2"
    )
    refused(tensors | {"optim.step.9.bias": torch.tensor(1.0)}, r"1 unexpected: optim\.step\.9\.bias")
    refused(tensors | {"optim.exp_avg.2.bias": torch.zeros(3)}, r"2\.bias \(3,\), expected \(2,\)")
    restore_optimizer(fresh, model.named_parameters(), tensors)
    assert fresh.state[model.get_parameter("0.weight")]["step"].item() == 2.0


def test_parameters_without_state_stay_without():
    model = net()
    unused = nn.Linear(3, 3)
    both = nn.ModuleDict({"used": model, "unused": unused})
    optimizer = torch.optim.AdamW(both.parameters())
    train(model, optimizer, 1)
    tensors = optimizer_tensors(optimizer, both.named_parameters())
    assert not any("unused" in name for name in tensors)
    other = torch.optim.AdamW(both.parameters())
    restore_optimizer(other, both.named_parameters(), tensors)
    assert unused.weight not in other.state
    assert len(other.state) == len(list(model.parameters()))


def test_a_full_disk_keeps_the_previous_one(tmp_path):
    model = nn.Linear(100, 100)
    first = save_checkpoint(tmp_path, 1, config={}, model=model.state_dict(), optimizer={}, record={})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        with pytest.raises(CheckpointWriteError) as caught:
            save_checkpoint(tmp_path, 2, config={}, model=model.state_dict(), optimizer={}, record={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert "at model.safetensors): File too large" in str(caught.value)
    assert "step_00000001 is kept" in str(caught.value)
    assert artifact.latest_checkpoint(tmp_path) == first
    assert sorted(p.name for p in first.parent.iterdir()) == ["latest", "step_00000001"]


def test_trouble_with_the_pointer_does_not_lose_a_saved_checkpoint(tmp_path, monkeypatch, caplog):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "point_latest", full)
    path = save_checkpoint(tmp_path, 1, config={}, model={}, optimizer={}, record={})
    assert artifact.latest_checkpoint(tmp_path) == path
    assert "is saved, but tidying up after it failed" in caplog.text


def test_damaged_and_foreign_folders_are_refused(tmp_path):
    path = save_checkpoint(tmp_path, 1, config={}, model={"w": torch.zeros(4)}, optimizer={}, record={})
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)
    with pytest.raises(TornFolderError, match=r"contents of model\.safetensors differ"):
        load_checkpoint(path)
    other = artifact.write_folder(tmp_path / "x", {"a.json": lambda p: p.write_text(json.dumps({}))})
    with pytest.raises(TornFolderError, match=r"holds no config\.yaml: it is not a checkpoint"):
        load_checkpoint(other)
