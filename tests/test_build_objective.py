"""Every criterion by its name: what is built, from one seed the same encoder, and what is refused."""

import pytest
import torch

from tests.runs import TINY
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective, build_strategies
from worldjepa.model.decoder import PixelDecoder
from worldjepa.settings.compose import compose, fill
from worldjepa.settings.schema import ConfigError

METHODS = {  # class, parts of the model, what is trained beside it, mask settings
    "vjepa": ("MaskedPrediction", {"target_encoder", "masked_predictor"}, set(), ["future"]),
    "ijepa": ("ImagePrediction", {"target_encoder", "masked_predictor"}, set(), ["blocks"]),
    "mae": ("MaskedAutoencoder", set(), {"decoder"}, ["tube"]),
    "autoencoder": ("Autoencoder", set(), {"decoder"}, []),
    "vae": ("VariationalAutoencoder", set(), {"decoder", "posterior"}, []),
    "byol": ("TwoViews", {"target_encoder"}, {"projector", "target_projector", "predictor"}, []),
}


def settings(*words):
    words = [*TINY, *words]
    return fill(compose(words), words, "cpu")[0]


@pytest.mark.parametrize("method", list(METHODS))
def test_each_method_is_built_by_its_name_over_the_same_encoder(method):
    config = settings(f"objective={method}")
    model, other = build_model(config), build_model(settings())
    objective = build_objective(config, model)
    kind, parts, beside, masks = METHODS[method]
    assert type(objective).__name__ == kind and set(objective.auxiliary) == beside
    there = {name for name in ("target_encoder", "masked_predictor") if getattr(model, name) is not None}
    assert there == parts
    if masks:
        assert list(config.masking) == masks
    assert len(build_strategies(config)) == len(masks)
    same = zip(model.encoder.parameters(), other.encoder.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in same)
    again = build_objective(config, model).auxiliary.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in objective.auxiliary.state_dict().items())


def test_a_decoder_is_of_the_size_of_the_predictor_and_minds_its_memory():
    config = settings("objective=mae", "train.activation_checkpointing=true")
    decoder = build_objective(config, build_model(config)).auxiliary["decoder"]
    assert isinstance(decoder, PixelDecoder) and decoder.checkpoint_blocks
    assert (decoder.dim, len(decoder.blocks)) == (24, 1)
    assert decoder.proj.out_features == 3 * 2 * 16 * 16


def test_masks_may_be_chosen_with_the_method():
    assert list(settings("objective=mae", "masking=random").masking) == ["tokens"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=ijepa", "model.encoder.attention=full"], r"model\.encoder\.attention=full"),
        (["objective=mae", "objective.weights.kl=1"], r"objective\.weights\.kl: there is no such loss term"),
        (["objective.kind=maae"], r"objective\.kind"),
        (["objective=vae", "model.masked_predictor.num_heads=5"], r"model\.masked_predictor"),
    ],
)
def test_what_does_not_fit_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        settings(*words)


def test_batch_statistics_of_two_views_refuse_accumulation():
    config = settings("objective=byol", "train.accumulate=2")
    with pytest.raises(ConfigError, match="objective=byol need the statistics"):
        build_objective(config, build_model(config))
