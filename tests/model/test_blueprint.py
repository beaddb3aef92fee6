"""Every model can be told as data and built again from it; what is not ours or out of bounds is refused."""

import copy
import inspect
import json

import pytest
import torch
from torch import nn

from tests.model.worlds import world
from worldjepa.build import from_config
from worldjepa.model import blueprint
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.blueprint import BlueprintError, describe_arguments, read_arguments
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone
from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.projector import Projector
from worldjepa.model.world_model import WorldModel


def rebuilt(model):
    """Return a model built from another's description as it stands in a file."""
    data = json.loads(json.dumps(describe_arguments(model)))
    return WorldModel(**read_arguments(WorldModel, data, "model"))


def hand_built():
    projector = Projector(dim=20, num_tokens=4, latent_dim=10, hidden_dim=14, pool="mean", norm="none")
    encoder = VideoEncoder(
        dim=20,
        depth=3,
        num_heads=2,
        mlp_ratio=2.7,
        patch_size=4,
        tubelet_size=3,
        frames_per_step=1,
        positions="sincos",
        attention="causal",
        window=5,
        projector=projector,
    )
    heads = {
        "reward": ScalarHead(latent_dim=10, num_tokens=1, hidden_dim=12),
        "proprioception": VectorHead(latent_dim=10, num_tokens=1, out_dim=3),
        "pixels": PixelHead(latent_dim=10, grid=(1, 1), image_size=8, hidden_dim=16),
    }
    stats = ActionStats(2)
    return WorldModel(
        encoder=encoder, heads=heads, action_stats=stats, action_block=3, image_size=8, latent_norm="none"
    )


def frozen():
    timm = TimmBackbone("vit_tiny_patch16_224", image_size=32, pretrained=False)
    return WorldModel(encoder=FrozenEncoder(timm, pool="mean"), image_size=32)


def frozen_video():
    encoder = VideoEncoder(dim=24, depth=1, num_heads=2, attention="step", frames_per_step=1, rope="vjepa2")
    return WorldModel(encoder=FrozenEncoder(encoder), image_size=32)


MODELS = {
    "kinetics": lambda: from_config("kinetics", ["model=nano", "data.size=32", "data.num_frames=4"]),
    "two_rooms": lambda: from_config("two_rooms"),
    "tokens": lambda: world(
        conditioning="tokens", proprioception_dim=3, window=4, rope="vjepa2", mlp_ratio=1.3
    ),
    "by hand": hand_built,
    "timm": frozen,
    "frozen": frozen_video,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_again_from_its_description(name):
    model = MODELS[name]()
    again = rebuilt(model)
    assert describe_arguments(again) == describe_arguments(model)
    theirs, ours = again.state_dict(), model.state_dict()
    assert {n: t.shape for n, t in theirs.items()} == {n: t.shape for n, t in ours.items()}
    again.load_state_dict(ours)
    frames = torch.randint(0, 256, (2, 6, 3, model.image_size, model.image_size), dtype=torch.uint8)
    with torch.no_grad():
        again = again.to(next(model.parameters()).dtype)
        assert torch.equal(again.eval().encode(frames), model.eval().encode(frames))


@pytest.mark.parametrize("hidden", range(1, 200, 7))
def test_the_width_of_an_mlp_survives_division(hidden):
    encoder = VideoEncoder(dim=24, depth=1, num_heads=2, mlp_ratio=(hidden + 0.5) / 24)
    ratio = describe_arguments(encoder)["mlp_ratio"]
    assert int(24 * ratio) == hidden


def test_every_argument_of_every_part_is_read_off_it():
    """A new argument of a part fails here until ``blueprint`` can find it."""
    for cls in [*blueprint.PARTS.values(), WorldModel]:
        for name, declared in blueprint._types(cls).items():
            kinds = ("int", "float", "str", "bool", "None", "tuple[int, int]", "Mapping[str, nn.Module]")
            words = {word.strip() for word in declared.split("|")}
            parts = {part.__name__ for part in blueprint.PARTS.values()}
            assert words <= set(kinds) | parts | UNPUBLISHED, f"{cls.__name__}.{name}: {declared}"
    covered = {type(part) for model in MODELS.values() for part in model().modules()}
    assert set(blueprint.PARTS.values()) - covered == set(), "a part that no model of MODELS has"
    assert MaskedPredictor in covered


def test_a_part_of_the_users_own_is_refused_by_name():
    class Mine(nn.Module):
        pass

    model = world()
    model.heads["mine"] = Mine()
    with pytest.raises(BlueprintError, match="a Mine cannot be described as data, and so not be published"):
        describe_arguments(model)


UNPUBLISHED = {"FrameTokenizer", "TokenDynamics"}  # they share a codebook, which no argument says
FETCHED = {"kind": "timm", "name": "hf-hub:a/b", "image_size": 32}


def changed(place, value):
    """Return a description with one value in another's place; ``place`` is dotted."""
    data = copy.deepcopy(json.loads(json.dumps(describe_arguments(world()))))
    *path, last = place.split(".")
    inner = data
    for name in path:
        inner = inner[name]
    inner[last] = value
    return data


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("encoder.dim", "12", "model.encoder.dim: expected int, got '12'"),
        ("encoder.dim", 12.5, "model.encoder.dim: expected int, got 12.5"),
        ("encoder.dim", True, "model.encoder.dim: expected int, got True"),
        ("encoder.dim", -1, "expected a whole number from 1 to 1048576"),
        ("encoder.dim", 10**30, "expected a whole number from 1 to 1048576"),
        ("encoder.depth", 10**6, "model.encoder.depth: expected a whole number from 0 to 1024"),
        ("encoder.num_heads", 0, "expected a whole number from 1 to 1048576"),
        ("encoder.mlp_ratio", float("nan"), "model.encoder.mlp_ratio: expected float, got nan"),
        ("encoder.mlp_ratio", float("inf"), "expected float, got inf"),
        ("encoder.attention", "sideways", "attention must be one of full"),
        ("encoder._target_", "os.system", "model.encoder._target_: there is no such argument"),
        ("encoder.kind", "os.system", "expected a part with a kind of video_encoder"),
        ("encoder.kind", "pixels", "there is no such argument"),
        ("encoder", None, "model.encoder: expected"),
        ("predictor", {"kind": "projector"}, "model.predictor.dim is not there"),
        ("predictor.grid", [1, 2, 3], r"expected tuple\[int, int\]"),
        ("predictor.grid", [4097, 1], "from 1 to 4096"),
        ("heads.reward", {"kind": ["scalar"]}, "expected a part with a kind"),
        ("heads", [], "model.heads: expected"),
        ("image_size", 10**6, "from 1 to 8192"),
        ("surprise", 1, "model.surprise: there is no such argument"),
        ("target_encoder", {**FETCHED, "pretrained": True}, "the weights are in the file; expected false"),
        ("target_encoder", {**FETCHED, "pretrained": False}, "timm has no model 'hf-hub:a/b'"),
    ],
)  # fmt: skip
def test_what_no_model_can_be_is_refused(place, value, says):
    with pytest.raises(BlueprintError, match=says):
        read_arguments(WorldModel, changed(place, value), "model")


def test_one_that_is_left_out_is_named():
    data = describe_arguments(world())
    del data["image_size"]
    with pytest.raises(BlueprintError, match=r"model\.image_size is not there"):
        read_arguments(WorldModel, data, "model")
    assert "image_size" in inspect.signature(WorldModel.__init__).parameters
