"""An actor and a critic on latents, and their folder on disk.

The critic has an EMA copy, ``slow_critic``, which judges the ends of imagined futures. Rewards are divided by
``reward_scale`` (set from recorded ones), and the critics' outputs are in units of 1 / (1 - discount) of
these, so that neither network has to learn how large rewards are in some environment.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from worldjepa.agents.policies import BoxPolicy, ChoicePolicy, Policy
from worldjepa.artifact import verify_folder, write_folder
from worldjepa.data.episodes.action_spec import CLOSING, ActionSpec

SETTINGS, WEIGHTS = "agent.json", "agent.safetensors"
_SMALLEST = 1e-3  # of the recorded rewards' size, where all are zero


class ActorCritic(nn.Module):
    """What to do in a latent, and what it is worth.

    Args:
        latent_dim: width of the latents.
        num_tokens: tokens of a latent step (1 for pooled latents); all are read at once.
        action: of one environment step.
        action_block: environment steps of a latent step; all of them are chosen at once.
        hidden_dim: width of the two networks.
        depth: their hidden layers.
        discount: per latent step.

    Raises:
        ValueError: a Box that is open on a side, sizes below 1, or a discount outside 0 to 1.
    """

    low: Tensor
    high: Tensor
    reward_scale: Tensor
    return_range: Tensor

    def __init__(
        self,
        *,
        latent_dim: int,
        num_tokens: int = 1,
        action: ActionSpec,
        action_block: int = 1,
        hidden_dim: int = 128,
        depth: int = 2,
        discount: float = 0.97,
    ):
        super().__init__()
        _check(latent_dim, num_tokens, action, action_block, hidden_dim, depth, discount)
        self.latent_dim, self.num_tokens = latent_dim, num_tokens
        self.action, self.action_block = action, action_block
        self.hidden_dim, self.depth, self.discount = hidden_dim, depth, discount
        self.sizes = action.sizes * action_block
        self.action_dim = action.dim * action_block
        width = latent_dim * num_tokens
        outputs = self.action_dim if self.sizes else 2 * self.action_dim
        self.actor = _mlp(width, hidden_dim, depth, outputs)
        self.critic = _mlp(width, hidden_dim, depth, 1, spread=0.0)  # so that nothing is worth anything yet
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        low, high = (torch.tensor(edge * action_block) for edge in (action.low, action.high))
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)
        self.register_buffer("reward_scale", torch.ones(()))
        self.register_buffer("return_range", torch.zeros(()))  # EMA; 0 before the first update

    def policy(self, latents: Float[Tensor, "*b p d"]) -> Policy:
        """Return the distribution over action blocks in each latent."""
        said = self.actor(latents.flatten(-2))
        return ChoicePolicy(said, self.sizes) if self.sizes else BoxPolicy.read(said, self.low, self.high)

    def values(self, latents: Float[Tensor, "*b p d"], *, slow: bool = False) -> Float[Tensor, "*b"]:
        """Return the scaled rewards to come, discounted, from each latent."""
        net = self.slow_critic if slow else self.critic
        return net(latents.flatten(-2)).squeeze(-1) / (1.0 - self.discount)

    def noise(self, generator: torch.Generator, shape: Sequence[int] = ()) -> Float[Tensor, "*b a"]:
        """Return noise to draw ``[*shape a]`` actions with: normal for a box, Gumbel for choices."""
        device = self.reward_scale.device
        if not self.sizes:
            return torch.randn(*shape, self.action_dim, generator=generator).to(device)
        uniform = torch.rand(*shape, self.action_dim, generator=generator)
        return -(-uniform.clamp(1e-7, 1 - 1e-7).log()).log().to(device)

    def fit_scale(self, rewards: Float[Tensor, " n"]) -> None:
        """Take the size (root mean square) of recorded block rewards as the unit of all rewards."""
        self.reward_scale.fill_(max(_SMALLEST, float(rewards.double().square().mean().sqrt())))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the slow critic toward the critic."""
        for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - momentum)


def save_agent(path: Path | str, agent: ActorCritic) -> Path:
    """Write an agent as a folder, whole or not at all: settings as JSON, weights as safetensors.

    Raises:
        CheckpointWriteError: it cannot be written.
        FileExistsError: there is a whole one of this name.
    """
    names = ("latent_dim", "num_tokens", "action_block", "hidden_dim", "depth", "discount")
    settings = {name: getattr(agent, name) for name in names} | {"action": agent.action.to_dict()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in agent.state_dict().items()}
    return write_folder(
        path,
        {
            SETTINGS: lambda file: file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8"),
            WEIGHTS: lambda file: save_file(tensors, file),
        },
    )


def load_agent(path: Path | str, *, device: str = "cpu") -> ActorCritic:
    """Load an agent from its folder, or the last one of an online run's folder.

    Raises:
        ValueError: no agent there, or a folder that is torn (``TornFolderError``).
    """
    path = Path(path)
    if not (path / SETTINGS).exists():
        rounds = sorted((path / "agent").glob("round_*"))
        if not rounds:
            raise ValueError(
                f"{path} holds no agent: expected {SETTINGS}, or agent/round_* of an online run; train one "
                "with python -m worldjepa.train +experiment=online"
            )
        path = rounds[-1]
    verify_folder(path)
    settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    action = ActionSpec.from_dict(settings.pop("action"))
    agent = ActorCritic(action=action, **settings)
    agent.load_state_dict(load_file(path / WEIGHTS))
    return agent.to(device)


def _mlp(width: int, hidden: int, depth: int, outputs: int, spread: float = 0.01) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(width if index == 0 else hidden, hidden), nn.LayerNorm(hidden), nn.SiLU()]
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=spread)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _check(
    latent_dim: int, tokens: int, action: ActionSpec, block: int, hidden: int, depth: int, discount: float
) -> None:
    """Raise ``ValueError`` for what no agent can be built of."""
    sizes = {
        "latent_dim": latent_dim,
        "num_tokens": tokens,
        "action_block": block,
        "hidden_dim": hidden,
        "depth": depth,
    }
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected 1 or more")
    if not 0 <= discount < 1:
        raise ValueError(f"discount={discount}: expected 0 to below 1")
    if not action.bounded:
        raise ValueError(
            f"the actions' box is open on a side (low={action.low}, high={action.high}); an actor needs "
            f"bounds: {CLOSING}"
        )
