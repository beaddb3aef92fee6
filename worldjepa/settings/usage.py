"""The page that ``--help`` prints. No torch."""

from __future__ import annotations

from importlib import resources

from worldjepa.settings.joining import list_groups

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
    "data.index=FILE|off": "what is known of the files (default: in the cache folder; see worldjepa.index)",
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
    "run.dir=FOLDER": "the run whose world model plans; plan.json, a film and report.html go there",
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


CONVERT_SETTINGS = {
    "num_heads=N predictor_heads=N": "attention heads, where the width is not a published one",
    "image_size=PX num_frames=N": "clips that the weights were trained on",
    "positions=rope|sincos_thirds": "V-JEPA 2 or V-JEPA, for a file with position tables and no predictor",
    "timm=NAME": "architecture and tag of a timm checkpoint file",
    "allow_missing=[NAME]": "tensors or parts that may be absent, such as masked_predictor",
}


def convert_usage() -> str:
    """Return the help of ``python -m worldjepa.convert``."""
    settings = "\n".join(f"  {name:<32}{text}" for name, text in CONVERT_SETTINGS.items())
    return f"""usage: python -m worldjepa.convert SOURCE OUT [name=value ...]

Writes published weights as a checkpoint folder, and says what became of every tensor. OUT is then taken by
worldjepa.load and by model.frozen=.

SOURCE is one of
  hf:OWNER/NAME[@REVISION] or FOLDER   VJEPA2 of transformers, or a timm model, as on the Hugging Face hub
  FILE.pt                              V-JEPA, V-JEPA 2 or V-JEPA 2-AC as Meta publishes them
  timm:NAME, or FILE with timm=NAME    DINOv2, DINOv3, CLIP, MAE, ... of timm's registry, or a checkpoint

settings, for what the weights do not say:
{settings}

example:
  python -m worldjepa.convert hf:facebook/vjepa2-vitl-fpc64-256 weights/vjepa2_large"""


INDEX_SETTINGS = {
    "data.root=FOLDER|FILE.csv": "the videos (default: the built-in corpus)",
    "data.layout=NAME": "auto, csv, folders, flat or ssv2, as in training",
    "data.index=FILE": "where it is kept (default: in the cache folder, where training looks)",
    "data.num_workers=N": "processes (default: one a core)",
    "data.timeout_s=60": "a file that takes longer is bad",
    "report=FILE.json": "also write the figures there",
}

PREPARE_SETTINGS = {
    "data.root=FOLDER|FILE.csv": "the videos (default: the built-in corpus)",
    "data.layout=NAME": "auto, csv, folders, flat or ssv2, as in training",
    "out=FOLDER": "the store; start the command again to continue, give it to training as data.root=",
    "data.size=256": "short side in pixels",
    "data.num_workers=N": "processes (default: one a core)",
    "prepare.raw=true": "frames as they are, for small corpora",
    "prepare.gop=4": "frames from one keyframe to the next",
    "prepare.crf=26": "quality (lower is better), as far as the bytes allow",
    "prepare.max_share=1.0": "bytes of a video at most, relative to its source (null: no limit)",
    "prepare.preset=slow": "of x264; a slower one makes smaller files",
    "prepare.shard_mb=256": "size of a shard",
    "prepare.verify=true": "check the sums of the finished store at out=, and nothing else",
}


def index_usage() -> str:
    """Return the help of ``python -m worldjepa.index``."""
    settings = "\n".join(f"  {name:<27}{text}" for name, text in INDEX_SETTINGS.items())
    return f"""usage: python -m worldjepa.index data.root=FOLDER [name=value ...]

Looks at every video of a corpus once, without decoding it, keeps what training wants to know of it, and says
what is there and what is wrong; damage within pictures shows when training decodes it, and is listed then.
Continues where it was stopped; files that have changed are looked at again.

settings:
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.index data.root=/videos report=videos.json"""


def prepare_usage() -> str:
    """Return the help of ``python -m worldjepa.prepare``."""
    settings = "\n".join(f"  {name:<27}{text}" for name, text in PREPARE_SETTINGS.items())
    return f"""usage: python -m worldjepa.prepare data.root=FOLDER out=FOLDER [name=value ...]

Rewrites a corpus once, at training size and fast to decode, and continues where it was stopped. Training
from the store (data.root=FOLDER of it) sees the same samples in the same order as from the originals.

settings:
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.prepare data.root=/videos out=/fast/videos_256"""


EVALUATE_SETTINGS = {
    "run.dir=FOLDER": "the run to evaluate; evaluation.json goes there",
    "probe=NAME | probe=[NAME,NAME]": "linear, knn, attentive, anticipation (labels); segmentation,",
    "": "detection, regression (true masks, boxes, states); gauges; surprise; quick; all",
    "data.root=FOLDER|FILE.csv": "other labelled clips or images: as in training, or CIFAR-10 of torchvision",
    "data.val_root=FOLDER data.layout=NAME": "held-out files of it, and how they lie on disk",
    "eval.clips=N": "at most so many clips to fit to, and to judge by",
    "eval.segments=N eval.crops=N": "views of a clip whose answers are averaged",
    "eval.beside=[context,untrained,raw]": "what stands beside the target encoder",
    "eval.depth=N eval.heads=N": "blocks of the attentive probe, and their heads",
    "eval.lrs=[X,X] eval.weight_decays=[X]": "settings of heads, all trained at the same time",
    "eval.epochs=N eval.dense_epochs=N": "passes over the clips that heads are fitted to",
    "eval.twins=N": "pairs of each kind of clip that breaks physics",
    "seed=0 device=auto|cpu|cuda": "everything random follows from the seed",
}


def evaluate_usage() -> str:
    """Return the help of ``python -m worldjepa.evaluate``."""
    settings = "\n".join(f"  {name:<39}{text}" for name, text in EVALUATE_SETTINGS.items())
    return f"""usage: python -m worldjepa.evaluate run.dir=FOLDER [name=value ...]

Probes what the frozen encoder of a run knows, beside its context encoder, the untrained one and raw patches.

settings:
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.evaluate run.dir=runs/kinetics probe=[linear,attentive,surprise]"""


REPORT_SETTINGS = {
    "run.dir=FOLDER": "the run to show, finished or not; report.html goes there",
    "clips=256": "held-out ones that the pictures use at most, and others that a probe is fitted to",
    "device=auto|cpu|cuda": "where the model draws its pictures",
}


def report_usage() -> str:
    """Return the help of ``python -m worldjepa.report``."""
    settings = "\n".join(f"  {name:<22}{text}" for name, text in REPORT_SETTINGS.items())
    return f"""usage: python -m worldjepa.report run.dir=FOLDER [name=value ...]

Writes one page that holds all there is to see of a run, and needs no network: health in words, curves, what
was measured, films of tokens, predictions and plans, settings, and the command to run it again.

settings:
{settings}

options:
  --cfg              print the settings that the command asks for, and stop
  --help             print this page

example:
  python -m worldjepa.report run.dir=runs/kinetics"""


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
