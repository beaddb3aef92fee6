"""Train Stable-Baselines3's PPO inside a world model, then score it in the real environment.

A world model with a reward head first, then the agent (it never acts in the real environment until scored):

    python -m worldjepa.train +experiment=gym env.id=worldjepa/Point-v0 env.kwargs.image_size=32 \
        data.size=32 model.heads=[reward] objective.weights.reward=1 plan.episodes=0 run.dir=runs/point
    python -m pip install stable-baselines3
    python examples/imagined_ppo.py runs/point --steps 100000
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO

import worldjepa
from worldjepa import ActionPredictor, ImaginedVectorEnv, LatentVectorEnv, WorldModel
from worldjepa.data.episodes.store import Episodes, open_episodes
from worldjepa.data.episodes.windows import WindowSampling, window_loader
from worldjepa.imagination import Starts, as_sb3_vec_env


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Train, score, print one line of JSON."""
    args = parse(argv)
    model = worldjepa.load(args.run)
    episodes = open_episodes(args.episodes or Path(args.run) / "episodes")
    seeds = range(args.seed + 1, args.seed + 1 + args.members)
    members = [another_predictor(model, episodes, steps=args.member_steps, seed=seed) for seed in seeds]
    env = ImaginedVectorEnv(
        model,
        Starts.recorded(model, episodes, seed=args.seed),
        num_envs=args.num_envs,
        horizon=args.horizon,
        ensemble=members,
        penalty=args.penalty,
    )
    agent = PPO(
        "MlpPolicy",
        as_sb3_vec_env(env),
        n_steps=2 * args.horizon,
        batch_size=256,
        gamma=0.95,
        device="cpu",
        seed=args.seed,
        verbose=args.verbose,
    )
    began = time.perf_counter()
    agent.learn(args.steps)
    seconds = time.perf_counter() - began

    real = LatentVectorEnv(real_environments(episodes, args.score), model)
    real.action_space.seed(args.seed)
    found = {
        "imagined_steps": agent.num_timesteps,
        "seconds": round(seconds, 1),
        "trained": score(real, lambda seen: agent.predict(seen, deterministic=True)[0], args.seed),
        "random": score(real, lambda seen: real.action_space.sample(), args.seed),
    }
    real.close()
    print(json.dumps(found))
    return found


def another_predictor(model: WorldModel, episodes: Episodes, *, steps: int, seed: int) -> WorldModel:
    """Train one more predictor over the latents of ``model``: a member of an ensemble."""
    torch.manual_seed(seed)
    encoder = model.encoder if model.target_encoder is None else model.target_encoder
    known = model.predictor
    assert known is not None
    predictor = ActionPredictor(
        latent_dim=known.latent_dim,
        action_dim=known.action_dim,
        grid=known.grid[1:],
        proprioception_dim=known.proprioception_dim,
        dim=96,
        depth=3,
        num_heads=3,
    ).to(model.device)
    member = WorldModel(
        encoder=encoder,
        predictor=predictor,
        action_stats=model.action_stats,
        action_block=model.action_block,
        image_size=model.image_size,
        latent_norm=model.latent_norm,
    ).eval()
    per_step = encoder.frames_per_step
    loader = window_loader(
        episodes,
        np.flatnonzero(episodes.lengths).tolist(),
        sampling=WindowSampling(5 * per_step, per_step, model.action_block),
        size=model.image_size,
        batch_size=64,
        seed=seed,
        last_step=steps,
    )
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=1e-3)
    with loader:
        for batch in loader:
            with torch.no_grad():
                latents = model.encode(batch.frames)
            assert batch.actions is not None
            predicted = member.rollout(latents[:, :1], batch.actions)
            loss = (predicted - latents[:, 1:]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return member


def real_environments(episodes: Episodes, num_envs: int) -> gymnasium.vector.VectorEnv:
    """Make the environments that the episodes were recorded in; they leave resetting to their user."""
    return gymnasium.make_vec(
        episodes.spec.env_id,
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": "Disabled"},
        **episodes.spec.env_kwargs,
    )


def score(env: LatentVectorEnv, act: Callable[[np.ndarray], np.ndarray], seed: int) -> dict[str, float]:
    """Play one episode in every row; the same starts and goals for the same seed."""
    observations, _ = env.reset(seed=10_000 + seed)
    returns, running = np.zeros(env.num_envs), np.ones(env.num_envs, bool)
    while running.any():
        observations, rewards, terminated, truncated, _ = env.step(act(observations))
        returns[running] += rewards[running]
        running &= ~(terminated | truncated)
    error = returns.std() / np.sqrt(len(returns))
    return {"mean_return": round(float(returns.mean()), 3), "standard_error": round(float(error), 3)}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run folder of a world model with a reward head")
    parser.add_argument("--episodes", help="recorded episodes to start from (default: those of the run)")
    parser.add_argument("--steps", type=int, default=100_000, help="imagined steps to train PPO for")
    parser.add_argument("--num-envs", type=int, default=64, help="episodes imagined side by side")
    parser.add_argument("--horizon", type=int, default=8, help="latent steps of an imagined episode")
    parser.add_argument("--members", type=int, default=0, help="further predictors of an ensemble")
    parser.add_argument("--member-steps", type=int, default=300, help="training steps of each of them")
    parser.add_argument("--penalty", type=float, default=0.0, help="reward taken off for their disagreement")
    parser.add_argument("--score", type=int, default=100, help="real episodes to score by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0, help="1: what PPO reports")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
