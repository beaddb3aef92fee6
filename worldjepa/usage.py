"""The page that ``--help`` prints. No torch."""

from __future__ import annotations

from importlib import resources

from worldjepa.compose import list_groups

# the settings most runs touch; worldjepa/config*.py hold all of them
SETTINGS = {
    "data.root=FOLDER|FILE.csv": "your videos: a folder, a folder a class, or a CSV of 'path label'",
    "run.dir=FOLDER": "where the run is kept (default runs/<experiment>); start it again to continue",
    "device=auto|cpu|cuda": "where to train",
    "seed=0": "everything random follows from it",
    "train.steps=N": "length of the run",
    "train.batch_size=N": "clips a step, over all devices",
    "train.precision=fp32|bf16": "arithmetic of the matrix products",
    "train.checkpoint_every=N": "steps between checkpoints",
    "data.num_frames=N data.size=PX": "frames and height of a clip",
    "data.fps=X | data.frame_skip=N": "frames a second, or every so-many-th frame",
    "data.num_workers=N": "processes that decode video",
    "optim.lr=X": "highest learning rate",
    "masking.NAME={strategy: future}": "one more mask in every step",
    "env.id=ID collect.num_episodes=N": "+experiment=gym: which environment, how many episodes of it",
    "agent.rounds=N agent.steps=N": "+experiment=online: rounds, and updates of the agent in all",
    "null": "as a value leaves a setting to be chosen for the device",
}

COLLECT_SETTINGS = {
    "env.id=ID": "a Gymnasium id; package.module:ID imports the module that registers it",
    "policy=NAME": "random, smooth (correlated), scripted (the environment's), or package.module:callable",
    "num_episodes=N": "whole episodes to have in the end; more can be asked for later",
    "data.root=FOLDER": "where they are kept (default runs/episodes/<id>); start it again to continue",
    "data.size=PX": "frames are squeezed to so many pixels square",
    "seed=0": "every episode follows from it",
    "env.num_envs=N": "environments side by side; changes nothing in what is collected",
    "env.kwargs={name: value}": "arguments of the environment",
    "env.pixels=render|KEY[,KEY]": "where frames come from, where the observation is no image",
    "env.proprioception=[KEY]": "vectors of the observation to record",
    "env.state=[KEY]": "true state to record, from info",
    "env.max_episode_steps=N": "cut episodes off earlier",
    "env.timeout_s=60": "an environment that takes longer for a step has hung",
}


PLAN_SETTINGS = {
    "run.dir=FOLDER": "the run whose world model plans; plan.json, report.html and the film go there",
    "plan.protocol=lewm|anywhere": "goals 25 steps on in the episode, or anywhere in other episodes",
    "plan.beside=[anywhere]": "protocols to report beside it",
    "plan.episodes=N": "tasks of each protocol, at once; starts already at the goal are drawn anew",
    "plan.goal_offset=N plan.budget=N": "environment steps to the goal in the recording, and allowed",
    "plan.offsets=[N,N]": "further goal offsets to try",
    "plan.success={KEY: X}": "keys of info and how close to the goal they have to come (none: its flag)",
    "plan.past_end=true": "steps go on where the environment ends an episode at a goal of its own",
    "plan.planner=NAME": "cem, icem, mppi, gradient, refined_cem, random_shooting, categorical_cem",
    "plan.planner_settings={name: value}": "its arguments, such as {num_samples: 300, iterations: 10}",
    "plan.reduction=NAME": "what of the distances along a plan counts: last_plus, smallest, last, mean",
    "plan.horizon=N plan.replan_every=N": "action blocks of a plan, and how many are carried out",
    "plan.time_budget_s=X": "for one plan; the best one found by then is taken",
    "data.root=FOLDER": "other episodes to take starts and goals from",
    "env.id=ID env.kwargs={name: value}": "another environment than the episodes were recorded in",
    "seed=0 device=auto|cpu|cuda": "everything random follows from the seed",
}


def plan_usage() -> str:
    """Return the help of ``python -m worldjepa.plan``."""
    settings = "\n".join(f"  {name:<37}{text}" for name, text in PLAN_SETTINGS.items())
    return f"""usage: python -m worldjepa.plan run.dir=FOLDER [name=value ...]

Plans with the world model of a run toward goals of recorded episodes, and says how many it reaches, beside
doing nothing, random actions, the recorded actions, and the same planner with a perfect model if there is
one.

settings (what is left out is as the run was trained):
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.plan run.dir=runs/two_rooms plan.episodes=200 plan.offsets=[10,50]"""


def collect_usage() -> str:
    """Return the help of ``python -m worldjepa.collect``."""
    settings = "\n".join(f"  {name:<30}{text}" for name, text in COLLECT_SETTINGS.items())
    return f"""usage: python -m worldjepa.collect env.id=ID [name=value ...]

Collects episodes of any Gymnasium environment, and continues a collection that was stopped.

settings:
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.collect env.id=worldjepa/TwoRooms-v0 policy=scripted env.state=[position]"""


def train_usage() -> str:
    """Return the help of ``python -m worldjepa.train``."""
    groups = list_groups()
    experiments = "\n".join(f"  {name:<14}{_summary(name)}" for name in groups["experiment"])
    chosen = "\n".join(
        f"  {group}={'|'.join(names)}" for group, names in groups.items() if group != "experiment"
    )
    settings = "\n".join(f"  {name:<34}{text}" for name, text in SETTINGS.items())
    return f"""usage: python -m worldjepa.train +experiment=NAME [name=value ...]

Trains an encoder from video or a world model from episodes, and continues a run that was stopped.

experiments:
{experiments}

groups (chosen for the device where left out):
{chosen}

settings, among others (worldjepa/config*.py explain all of them):
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --config-dir=DIR   also look in DIR/experiment, DIR/model and DIR/masking
  --help             print this page

example:
  python -m worldjepa.train +experiment=kinetics data.root=/videos model=tiny run.dir=runs/first"""


def _summary(experiment: str) -> str:
    """Return the first line of the comment that an experiment's file begins with."""
    text = (resources.files("worldjepa.conf") / "experiment" / f"{experiment}.yaml").read_text()
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ") and "@package" not in line]
    return comments[0] if comments else ""
