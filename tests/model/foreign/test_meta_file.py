"""Files as Meta publishes them: V-JEPA and V-JEPA 2-AC against literal references, V-JEPA 2 against HF."""

import zipfile
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.model.foreign import published
from worldjepa.conversion import complete
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.foreign import ForeignError, read_foreign
from worldjepa.model.foreign.names import TRANSFORMERS_ENCODER, TRANSFORMERS_PREDICTOR, to_ours, to_theirs
from worldjepa.planning.costs import rollout_cost
from worldjepa.settings.convert import ConvertConfig
from worldjepa.types import Grid, Masks

SIDE, STEPS = 2, 2  # tokens a side, latent steps
SIZES = ConvertConfig(num_heads=2, predictor_heads=2, num_frames=4)
AC_SIZES = ConvertConfig(num_heads=2, predictor_heads=2, image_size=32)


def vjepa_file(path, *, dim=48, mask_tokens=2, tables=True, **more):
    """Write a file as facebookresearch/jepa saves it; return its state dicts."""
    parts = {
        "encoder": published.draw(published.encoder_shapes(dim, 2), 0),
        "target_encoder": published.draw(published.encoder_shapes(dim, 2), 1),
        "predictor": published.draw(published.predictor_shapes(dim, 24, 2, mask_tokens), 2),
    }
    if tables:
        parts["encoder"]["pos_embed"] = published.thirds_table(dim, STEPS, SIDE, SIDE)
        parts["target_encoder"]["pos_embed"] = published.thirds_table(dim, STEPS, SIDE, SIDE)
        parts["predictor"]["predictor_pos_embed"] = published.thirds_table(24, STEPS, SIDE, SIDE)
    rest = {"opt": {"state": {}}, "scaler": None, "epoch": 3, "loss": 0.5, "lr": 1e-4}
    saved = {name: published.wrapped(tensors) for name, tensors in parts.items()} | rest | more
    torch.save({name: value for name, value in saved.items() if value is not ...}, path)
    return parts


def test_vjepa_equals_the_literal_reference(tmp_path):
    parts = vjepa_file(tmp_path / "vitx.pth.tar")
    model, config, report = complete(read_foreign(tmp_path / "vitx.pth.tar", SIZES))
    assert config.model.encoder.positions == "sincos_thirds" and config.data.size == 8 * SIDE
    assert report.missing == () and report.format == "V-JEPA (.pt)"
    assert set(report.left_over) == {
        "opt", "scaler", "epoch", "loss", "lr",
        "encoder.pos_embed", "target_encoder.pos_embed", "predictor.predictor_pos_embed",
    }  # fmt: skip
    frames = torch.randn(1, 2 * STEPS, 3, 8 * SIDE, 8 * SIDE)
    for part in ("encoder", "target_encoder"):
        encoder = getattr(model, part)
        expected = published.vjepa_encoder(frames[0], parts[part], 2)
        torch.testing.assert_close(encoder(frames).flatten(0, 2), expected.float(), atol=1e-5, rtol=0)
    masks = Masks(torch.tensor([[0, 2, 5, 7]]), torch.tensor([[1, 3, 4]]))
    assert isinstance(model.encoder, VideoEncoder) and model.masked_predictor is not None
    context = model.encoder.visible(frames, masks.context)
    ids = (masks.context[0], masks.target[0])
    expected = published.vjepa_predictor(context[0].detach(), parts["predictor"], 2, *ids, setting=1)
    found = model.masked_predictor(context, masks, Grid(STEPS, SIDE, SIDE), setting=1)
    torch.testing.assert_close(found[0], expected.float(), atol=1e-5, rtol=0)


def test_vjepa2_equals_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    parts = vjepa_file(tmp_path / "vitx.pt", mask_tokens=10)  # their tables are there and unused
    sizes = ConvertConfig(num_heads=2, predictor_heads=2, image_size=8 * SIDE, num_frames=2 * STEPS)
    model, config, _ = complete(read_foreign(tmp_path / "vitx.pt", sizes))
    assert (config.model.encoder.rope, config.model.encoder.positions) == ("vjepa2", "rope")
    assert config.model.masked_predictor.num_mask_tokens == 10
    settings = transformers.VJEPA2Config(
        patch_size=8, crop_size=8 * SIDE, frames_per_clip=2 * STEPS, hidden_size=48, num_attention_heads=2,
        num_hidden_layers=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=2,
    )  # fmt: skip
    theirs = transformers.VJEPA2Model(settings).eval()
    assert model.masked_predictor is not None
    state = {}
    for part, table, ours in (
        ("encoder", TRANSFORMERS_ENCODER, model.encoder),
        ("predictor", TRANSFORMERS_PREDICTOR, model.masked_predictor),
    ):
        named = to_theirs(ours.state_dict(), table, num_heads=2, kernel=(3, 2, 8, 8))
        state |= {f"{part}.{name}": tensor for name, tensor in named.items()}
    weight = parts["encoder"]["blocks.1.attn.qkv.weight"]
    assert torch.equal(state["encoder.layer.1.attention.key.weight"], weight.chunk(3)[1])  # as in the file
    theirs.load_state_dict(state)
    frames = torch.randn(2, 2 * STEPS, 3, 8 * SIDE, 8 * SIDE)
    expected = theirs(frames, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(model.encoder(frames).flatten(1, 2), expected, atol=1e-5, rtol=0)


def test_a_table_on_its_own_does_not_say_which_model_it_is(tmp_path):
    parts = vjepa_file(tmp_path / "alone.pt", predictor=...)
    frames = torch.randn(1, 2 * STEPS, 3, 8 * SIDE, 8 * SIDE)
    with pytest.raises(ForeignError, match=r"set positions=sincos_thirds or positions=rope"):
        read_foreign(tmp_path / "alone.pt", SIZES)
    asked = ConvertConfig(num_heads=2, num_frames=4, positions="sincos_thirds")
    foreign = read_foreign(tmp_path / "alone.pt", asked)
    assert foreign.report.missing == ("masked_predictor",)
    with pytest.raises(
        ForeignError, match=r"masked_predictor are missing.*allow_missing=\[masked_predictor\]"
    ):
        complete(foreign)
    model, config, _ = complete(foreign, ["masked_predictor"])
    assert config.objective.kind == "none" and model.masked_predictor is None
    assert model.encoder.positions == "sincos_thirds"
    expected = published.vjepa_encoder(frames[0], parts["target_encoder"], 2)
    torch.testing.assert_close(model.encoder(frames).flatten(0, 2), expected.float(), atol=1e-5, rtol=0)
    assert "target encoder stands alone" in foreign.report.left_over["encoder"]


def test_a_learned_table_is_refused(tmp_path):
    parts = vjepa_file(tmp_path / "a.pt")
    encoder = published.wrapped(parts["encoder"] | {"pos_embed": torch.randn(1, 8, 48)})
    vjepa_file(tmp_path / "learned.pt", encoder=encoder)
    with pytest.raises(ForeignError, match=r"encoder\.pos_embed .* is not V-JEPA's table"):
        read_foreign(tmp_path / "learned.pt", SIZES)


def test_published_widths_say_the_heads_and_others_have_to_be_told(tmp_path):
    vjepa_file(tmp_path / "tiny.pt", dim=192, mask_tokens=10, tables=False)
    foreign = read_foreign(tmp_path / "tiny.pt", ConvertConfig(predictor_heads=2))
    assert foreign.settings["model"]["encoder"]["num_heads"] == 3
    vjepa_file(tmp_path / "odd.pt", mask_tokens=10, tables=False)
    with pytest.raises(ForeignError, match=r"48 wide, which is no published size .* set num_heads="):
        read_foreign(tmp_path / "odd.pt")


# --- V-JEPA 2-AC -----------------------------------------------------------------------------------


def action_file(path):
    parts = {
        "encoder": published.draw(published.encoder_shapes(48, 1), 3),
        "predictor": published.draw(published.predictor_shapes(48, 32, 2, actions=7, proprioception=7), 4),
    }
    saved = {name: published.wrapped(tensors) for name, tensors in parts.items()}
    torch.save({**saved, "target_encoder": saved["encoder"], "epoch": 315}, path)
    return parts


def test_vjepa2_ac_equals_the_literal_reference(tmp_path):
    parts = action_file(tmp_path / "ac.pt")
    model, config, report = complete(read_foreign(tmp_path / "ac.pt", AC_SIZES))
    assert report.missing == ()
    assert {name for name in report.left_over if "extrinsics" in name} == {
        "predictor.extrinsics_encoder.weight",
        "predictor.extrinsics_encoder.bias",
    }
    assert isinstance(model.predictor, ActionPredictor) and config.model.predictor.conditioning == "tokens"
    latents, actions, states = torch.randn(1, 3, 16, 48), torch.randn(1, 3, 7), torch.randn(1, 3, 7)
    expected = published.action_predictor(
        latents[0], actions[0], states[0], parts["predictor"], 2, grid=(4, 4), trained_grid=4
    )
    found = model.predictor(latents, actions, proprioception=states)
    torch.testing.assert_close(found[0], expected.float(), atol=1e-5, rtol=0)


def test_vjepa2_ac_rolls_out_as_the_published_planner_does(tmp_path):
    """It carries the arm's pose on by each action, and runs everything again for every step."""
    parts = action_file(tmp_path / "ac.pt")
    sizes = replace(AC_SIZES, image_size=16)
    model, config, report = complete(read_foreign(tmp_path / "ac.pt", sizes))
    assert config.model.predictor.kinematics == "end_effector"
    assert any(note.startswith("rollouts carry the pose") for note in report.notes)
    generator = torch.Generator().manual_seed(5)
    latents = model.normalise(torch.randn(2, 2, 4, 48, generator=generator))
    past, actions = (0.5 * torch.randn(*shape, 7, generator=generator) for shape in ((2, 1), (2, 2, 3)))
    poses = torch.rand(2, 2, 7, generator=generator)
    given: dict[str, Any] = {"past_actions": past, "proprioception": poses}
    future = model.rollout(latents, actions, **given)
    for row in range(2):
        for s in range(2):
            taken = torch.cat([past[row], actions[row, s]])
            expected = published.action_rollout(
                latents[row], taken, poses[row], parts["predictor"], 2, grid=(2, 2), trained_grid=2
            )
            torch.testing.assert_close(future[row, s], expected, atol=1e-5, rtol=0)
    state = model.start(latents, **given)
    for step in range(3):
        state, latent = model.step(state, actions[:, 1, step])
        torch.testing.assert_close(latent, future[:, 1, step], atol=1e-5, rtol=0)
    cost = rollout_cost(model, latents, None, cost=lambda futures, *_: futures[..., 0].sum((2, 3)), **given)
    torch.testing.assert_close(cost(actions), future[..., 0].sum((2, 3)), atol=1e-4, rtol=0)
    forgotten = model.rollout(latents, actions, past_actions=past)
    assert (forgotten - future).abs().max() > 1e-2


def test_vjepa2_ac_scales_places_of_another_grid_to_the_one_trained_on(tmp_path):
    parts = action_file(tmp_path / "ac.pt")
    foreign = read_foreign(tmp_path / "ac.pt", AC_SIZES)
    sizes = foreign.settings["model"]["predictor"]
    predictor = ActionPredictor(latent_dim=48, action_dim=7, proprioception_dim=7, grid=(2, 3), **sizes)
    own = {n.removeprefix("predictor."): x for n, x in foreign.tensors.items() if n.startswith("predictor.")}
    predictor.load_state_dict(own)
    latents, actions, states = torch.randn(1, 2, 6, 48), torch.randn(1, 2, 7), torch.randn(1, 2, 7)
    expected = published.action_predictor(
        latents[0], actions[0], states[0], parts["predictor"], 2, grid=(2, 3), trained_grid=4
    )
    found = predictor(latents, actions, proprioception=states)
    torch.testing.assert_close(found[0], expected.float(), atol=1e-5, rtol=0)


# --- what is refused -------------------------------------------------------------------------------


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def test_a_pickle_that_would_run_something_is_refused_and_does_not(tmp_path):
    torch.save({"encoder": Payload(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ForeignError, match="nothing but tensors"):
        read_foreign(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_archives_that_torch_does_not_write_are_refused(tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ForeignError, match=r"since 1\.6"):
        read_foreign(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(ForeignError, match="compressed archive"):
        read_foreign(tmp_path / "packed.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.0.mlp.fc3.weight": torch.zeros(4, 4)}, r"encoder\.blocks\.0\.mlp\.fc3\.weight .* no place"),
        ({"blocks.7.norm1.weight": torch.ones(48)}, "blocks go up to number 7, but there are 3"),
        ({"norm.weight": torch.ones(48, dtype=torch.int32)}, "is of torch.int32"),
        ({"patch_embed.proj.weight": torch.zeros(48, 4, 2, 8, 8)}, "kernel is"),
        ({"norm.bias": torch.zeros(1).expand(1 << 40)}, "claims tensors of"),
        ({"norm.weight": torch.tensor(1.0)}, r"norm\.weight is \(\)"),
        ({"blocks.0.attn.qkv.weight": torch.zeros(3)}, "at least 2 axes"),
        ({"blocks.0.attn.qkv.weight": torch.zeros(20, 48)}, "heads of even width"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, words):
    parts = vjepa_file(tmp_path / "a.pt", mask_tokens=10, tables=False)
    vjepa_file(
        tmp_path / "b.pt", mask_tokens=10, tables=False, encoder=published.wrapped(parts["encoder"] | change)
    )
    with pytest.raises(ForeignError, match=words):
        read_foreign(tmp_path / "b.pt", ConvertConfig(num_heads=2, predictor_heads=2))


def test_a_missing_tensor_has_to_be_named_and_is_fresh(tmp_path):
    parts = vjepa_file(tmp_path / "a.pt", mask_tokens=10, tables=False)
    del parts["encoder"]["norm.bias"]
    whole = published.wrapped(parts["encoder"])
    vjepa_file(tmp_path / "b.pt", mask_tokens=10, tables=False, encoder=whole)
    asked = ConvertConfig(num_heads=2, predictor_heads=2, image_size=16)
    foreign = read_foreign(tmp_path / "b.pt", asked)
    for allowed in ((), ("encoder.norm.weight", "predictor")):
        with pytest.raises(ForeignError, match=r"encoder\.norm\.bias are missing"):
            complete(foreign, allowed)
    model, _, report = complete(foreign, ["encoder.norm"])
    assert isinstance(model.encoder, VideoEncoder)
    assert report.missing == ("encoder.norm.bias",) and not model.encoder.norm.bias.any()


def test_tables_of_names_are_read_both_ways():
    tensors = published.draw(published.encoder_shapes(48, 2))
    from worldjepa.model.foreign.names import META_ENCODER

    ours, _ = to_ours(tensors, META_ENCODER, num_heads=2)
    back = to_theirs(ours, META_ENCODER, num_heads=2, kernel=(3, 2, 8, 8))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
