"""Whether the settings of the model and of its objective make sense, for both kinds of training. No torch."""

from __future__ import annotations

import re

from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.settings.model import EncoderConfig, MaskedPredictorConfig, ModelConfig, PredictorConfig
from worldjepa.settings.ranges import at_least, at_most, divides, near_multiple, one_of, positive, share
from worldjepa.settings.schema import ConfigError, did_you_mean

ATTENTIONS = ("full", "step", "causal", "factorised")
LOSSES = ("l1", "l2", "smooth_l1", "cosine")
HEADS = ("reward", "termination", "proprioception", "pixels")
SHAPING = (
    "variance",
    "covariance",
    "sigreg",
    "inverse_dynamics",
    "time_similarity",
)  # of the encoder's latents
TERMS = {
    "masked": ("prediction", "variance", "covariance", "consistency", "sigreg"),
    "ijepa": ("prediction", "variance", "covariance", "sigreg"),
    "mae": ("prediction",),
    "autoencoder": ("prediction",),
    "vae": ("prediction", "kl"),
    "byol": ("prediction",),
    "dynamics": ("prediction", "rollout", *SHAPING, *HEADS),
    "iris": ("prediction", "reconstruction", "commitment"),
}
TIMM = "timm/"


def names_timm(model: ModelConfig) -> bool:
    """Tell whether ``model.frozen`` names a model of timm's registry, whose own weights are fetched."""
    return model.frozen is not None and model.frozen.startswith(TIMM)


def timm_name(model: ModelConfig) -> str | None:
    """Return the name in timm's registry of the model's encoder, None if it is one of ours.

    Raises:
        ConfigError: it is not a plain name (timm would fetch code and weights from where others point).
    """
    for setting, name in (
        ("model.frozen", model.frozen.removeprefix(TIMM) if model.frozen and names_timm(model) else None),
        ("model.encoder.timm", model.encoder.timm),
    ):
        if name is not None and not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", name):
            raise ConfigError(
                f"{setting}={name}: expected a plain name of timm's registry, such as "
                "vit_small_patch14_dinov2 (model.frozen=timm/vit_small_patch14_dinov2)"
            )
        if name is not None:
            return name
    return None


# --- the model -----------------------------------------------------------------------------------


def check_model(config: TrainConfig) -> None:
    """Refuse sizes that do not divide, unknown names, and frames that do not fill latent steps."""
    model, dynamics = config.model, config.objective.kind in WORLD_KINDS
    one_of("model.latent_norm", model.latent_norm, ("layer", "none"))
    nets: dict[str, EncoderConfig | PredictorConfig | MaskedPredictorConfig] = {
        "model.encoder": model.encoder
    }
    if dynamics:
        nets["model.predictor"] = model.predictor
    elif config.objective.kind not in ("byol", "none"):
        nets["model.masked_predictor"] = model.masked_predictor
        at_least("model.masked_predictor.num_mask_tokens", model.masked_predictor.num_mask_tokens, 1)
    for place, net in nets.items():
        for name in ("dim", "depth", "num_heads"):
            at_least(f"{place}.{name}", getattr(net, name), 1)
        at_most(f"{place}.depth", net.depth, 1024)
        positive(f"{place}.mlp_ratio", net.mlp_ratio)
        divides(f"{place}.dim", net.dim, f"{place}.num_heads", net.num_heads)
        width = net.dim // net.num_heads
        if (model.encoder.positions == "rope" or place == "model.predictor") and width < 6:
            raise ConfigError(
                f"{place}: {net.dim} wide with {net.num_heads} heads leaves {width} dimensions a head; "
                f"rotary positions in time, height and width need 6; set {place}.num_heads="
                f"{max(1, net.dim // 6)} or less"
            )
    _check_encoder(model.encoder)
    timm_name(model)
    if model.fit is not None:
        one_of("model.fit", model.fit, ("crop", "squeeze"))
    if config.objective.kind == "ijepa" and model.encoder.attention != "step":
        raise ConfigError(
            f"model.encoder.attention={model.encoder.attention}: objective.kind=ijepa trains each latent "
            "step as an image of its own; set model.encoder.attention=step (objective=ijepa does)"
        )
    if config.objective.kind == "iris":
        _check_tokens(model)
    if dynamics:
        _check_world_model(model)
    elif model.encoder.projector.pool != "none" or model.frozen or model.heads:
        name = "encoder.projector" if model.encoder.projector.pool != "none" else "frozen"
        raise ConfigError(
            f"model.{name if not model.heads else 'heads'}: this is for world models from episodes; set "
            "objective.kind=dynamics (or objective=sigreg, ema or frozen), or leave it out"
        )
    _check_fit(config)


def _check_encoder(encoder: EncoderConfig) -> None:
    at_least("model.encoder.patch_size", encoder.patch_size, 1)
    at_least("model.encoder.tubelet_size", encoder.tubelet_size, 1)
    one_of("model.encoder.positions", encoder.positions, ("rope", "sincos", "sincos_thirds"))
    one_of("model.encoder.rope", encoder.rope, ("paired", "vjepa2"))
    one_of("model.encoder.attention", encoder.attention, ATTENTIONS)
    if encoder.frames_per_step not in (None, 1, encoder.tubelet_size):
        raise ConfigError(
            f"model.encoder.frames_per_step={encoder.frames_per_step}: expected 1 (a frame repeated to fill "
            f"its tubelet) or tubelet_size={encoder.tubelet_size}"
        )
    at_least("model.encoder.window", encoder.window, 1)
    if encoder.window is not None and encoder.attention not in ("causal", "factorised"):
        raise ConfigError(
            f"model.encoder.window={encoder.window} needs attention over earlier steps, and attention is "
            f"{encoder.attention}; set model.encoder.attention=causal, or model.encoder.window=null"
        )
    projector = encoder.projector
    one_of("model.encoder.projector.pool", projector.pool, ("none", "flatten", "mean"))
    one_of("model.encoder.projector.norm", projector.norm, ("batch", "none"))
    at_least("model.encoder.projector.latent_dim", projector.latent_dim, 1)
    at_least("model.encoder.projector.hidden_dim", projector.hidden_dim, 1)


def _check_world_model(model: ModelConfig) -> None:
    """Refuse what an encoder, a predictor or heads of a world model cannot be."""
    encoder = model.encoder
    if encoder.attention == "full" and model.frozen is None:
        raise ConfigError(
            "model.encoder.attention=full: a world model's latent must not depend on later frames; set "
            "model.encoder.attention=step (each latent step alone), causal or factorised"
        )
    one_of("model.target", model.target, ("ema", "none"))
    one_of("model.predictor.conditioning", model.predictor.conditioning, ("adaln", "tokens"))
    one_of("model.predictor.rope", model.predictor.rope, ("paired", "vjepa2"))
    at_least("model.predictor.window", model.predictor.window, 1)
    at_least("model.predictor.trained_grid", model.predictor.trained_grid, 1)
    if model.predictor.kinematics is not None:
        one_of("model.predictor.kinematics", model.predictor.kinematics, ("end_effector",))
    at_least("model.action_block", model.action_block, 1)
    at_least("model.action_dim", model.action_dim, 1)
    at_least("model.proprioception_dim", model.proprioception_dim, 0)
    for name in model.heads:
        one_of("model.heads", name, HEADS)
    frames = encoder.frames_per_step or encoder.tubelet_size
    if model.action_block % frames and model.frozen is None:
        raise ConfigError(
            f"model.action_block={model.action_block}: its {frames} frames a latent step must lie a whole "
            "number of environment steps apart; set model.action_block="
            f"{near_multiple(model.action_block, frames)}, or model.encoder.frames_per_step=1"
        )
    if model.encoder.timm is not None and model.frozen is None:
        raise ConfigError(
            f"model.encoder.timm={model.encoder.timm}: a timm model is used as it is; set model.frozen=timm/"
            f"{model.encoder.timm}"
        )
    if model.frozen is not None and encoder.projector.pool == "flatten":
        raise ConfigError(
            "model.encoder.projector.pool=flatten: a projector would never be trained on a frozen encoder; "
            "set pool=none (patch tokens) or mean (their mean)"
        )


def _check_tokens(model: ModelConfig) -> None:
    """Refuse what a world model of tokens has no use for."""
    at_least("model.tokens.num_codes", model.tokens.num_codes, 2)
    at_least("model.tokens.latent_dim", model.tokens.latent_dim, 1)
    fixed = {
        "model.encoder.frames_per_step": (model.encoder.frames_per_step, 1),
        "model.encoder.attention": (model.encoder.attention, "step"),
        "model.encoder.projector.pool": (model.encoder.projector.pool, "none"),
        "model.frozen": (model.frozen, None),
        "model.heads": (model.heads, []),
        "model.latent_norm": (model.latent_norm, "none"),
        "model.target": (model.target, "none"),
        "model.predictor.conditioning": (model.predictor.conditioning, "tokens"),
        "model.predictor.window": (model.predictor.window, None),
        "model.predictor.trained_grid": (model.predictor.trained_grid, None),
        "model.predictor.kinematics": (model.predictor.kinematics, None),
    }
    for name, (value, expected) in fixed.items():
        if value != expected:
            raise ConfigError(f"{name}={value}: with objective.kind=iris it is {expected} (objective=iris)")


def _check_fit(config: TrainConfig) -> None:
    """Frames must fill latent steps, of which a world model needs two, and pixels must fill patches."""
    data, encoder = config.data, config.model.encoder
    frozen = config.model.frozen is not None
    tubelet, patch = 1 if frozen else encoder.frames_per_step or encoder.tubelet_size, encoder.patch_size
    if data.num_frames is not None and data.num_frames % tubelet:
        raise ConfigError(
            f"data.num_frames={data.num_frames}: a clip has {data.num_frames} frames; tubelet_size={tubelet} "
            f"needs a multiple of {tubelet}; set data.num_frames={near_multiple(data.num_frames, tubelet)}"
        )
    if config.objective.kind in WORLD_KINDS and data.num_frames is not None:
        if data.num_frames < 2 * tubelet:
            raise ConfigError(
                f"data.num_frames={data.num_frames}: a window needs two latent steps, of {tubelet} frames "
                f"each; set data.num_frames={2 * tubelet} or more"
            )
        steps = data.num_frames // tubelet - 1
        if "rollout" in config.objective.weights and config.objective.rollout_steps > steps:
            raise ConfigError(
                f"objective.rollout_steps={config.objective.rollout_steps}: a window of data.num_frames="
                f"{data.num_frames} has {steps} latent steps to predict; set objective.rollout_steps="
                f"{steps}, or data.num_frames={(config.objective.rollout_steps + 1) * tubelet}"
            )
    if data.size is not None and timm_name(config.model) is None and data.size % patch:
        raise ConfigError(
            f"data.size={data.size}: frames are {data.size} px high; patch_size={patch} needs a multiple of "
            f"{patch}; set data.size={near_multiple(data.size, patch)}"
        )


# --- the objective -------------------------------------------------------------------------------


def check_objective(config: TrainConfig) -> None:
    """Refuse loss terms that there are not for this kind of training, or that nothing would learn from."""
    objective = config.objective
    if objective.kind == "none":
        return
    one_of("objective.kind", objective.kind, tuple(TERMS))
    if objective.loss is not None:
        one_of("objective.loss", objective.loss, LOSSES)
    terms = TERMS[objective.kind]
    for term, weight in objective.weights.items():
        if term not in terms:
            others = [kind for kind, known in TERMS.items() if term in known]
            of = f" with objective.kind={objective.kind}" if others else ""
            raise ConfigError(
                f"objective.weights.{term}: there is no such loss term{of}; expected some of "
                f"{', '.join(terms)}{did_you_mean(term, terms)}"
            )
        at_least(f"objective.weights.{term}", weight, 0)
    if not objective.weights.get("prediction"):
        raise ConfigError(
            "objective.weights.prediction: the predictor learns from this term alone; expected more than 0, "
            f"got {objective.weights.get('prediction')}"
        )
    at_least("objective.sigreg_projections", objective.sigreg_projections, 1)
    at_least("objective.sigreg_knots", objective.sigreg_knots, 2)
    at_least("objective.rollout_steps", objective.rollout_steps, 1)
    share("objective.null_actions", objective.null_actions)
    if objective.kind == "dynamics":
        _check_dynamics_terms(config)


def _check_dynamics_terms(config: TrainConfig) -> None:
    """Heads and their terms go together; nothing shapes the latents of a frozen encoder."""
    model, weights = config.model, config.objective.weights
    for name in HEADS:
        if (name in weights) != (name in model.heads):
            has, lacks = (
                ("objective.weights", "model.heads")
                if name in weights
                else ("model.heads", "objective.weights")
            )
            add = f"model.heads=[{name}]" if name in weights else f"objective.weights.{name}=1"
            raise ConfigError(f"{has}: {name} is not in {lacks}; set {add} as well, or take it out")
    idle = [name for name in SHAPING if name in weights]
    if model.frozen is not None and idle:
        raise ConfigError(
            f"objective.weights.{idle[0]}: it shapes the encoder's latents, and model.frozen={model.frozen} "
            f"keeps them as they are; leave out {', '.join(idle)}"
        )
