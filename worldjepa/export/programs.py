"""Write ``encode`` and ``step`` as ONNX files and torch programs, with a description, and compare them.

A robot needs nothing of this package to run them: onnxruntime reads the one, ``torch.export.load`` the other.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldjepa.artifact import write_folder
from worldjepa.export.deployed import Step
from worldjepa.export.functions import ROWS, ExportError, Function, encode_function, step_function
from worldjepa.model.world_model import WorldModel

DESCRIPTION = "model.json"
RESIZE = {"crop": "short side to size, then cropped at the centre", "squeeze": "all of it to size x size"}
TOLERANCE = 1e-4  # of the largest number that comes out


def export_programs(
    model: WorldModel,
    out: str | Path,
    *,
    num_frames: int | None = None,
    history: int | None = None,
) -> dict[str, Any]:
    """Write a folder that holds ``encode`` and, of a model with an action predictor, ``step``.

    Each is there as ``.onnx`` and ``.pt2``; ``model.json`` names inputs, outputs, shapes and units. The batch
    is dynamic, all else is fixed.

    Args:
        model: in eval mode, on the CPU, in float32.
        out: a folder that is not there yet.
        num_frames: frames of a clip; left out: one latent step, which is all that an encoder needs whose
            latent steps do not see each other.
        history: earlier latent steps that ``step`` keeps; with a window it is the window's and left out.

    Returns:
        The description.

    Raises:
        ExportError: an argument that the model does not take, or a program that does not give what it gives.
        ImportError: packages of the extra ``onnx`` are not installed.
    """
    need_onnx()
    functions = {"encode": encode_function(model, num_frames)}
    if model.predictor is not None:
        functions["step"] = step_function(model, history)
    elif history is not None:
        raise ExportError("history is of step, and this model has no action predictor; leave it out")
    writers: dict[str, Callable[[Path], object]] = {}
    described = {}
    for name, function in functions.items():
        described[name] = _describe(function)
        program = trace(function)
        onnx = to_onnx(program, function)
        described[name]["difference"] = {
            "onnx": compare(f"{name}.onnx", function, run_onnx(onnx, function)),
            "pt2": compare(f"{name}.pt2", function, program.module()(*_some_rows(function).values())),
        }
        writers[f"{name}.onnx"] = onnx.save
        writers[f"{name}.pt2"] = _program_writer(program)
    description = _model_description(model, functions) | described
    writers[DESCRIPTION] = lambda path: path.write_text(json.dumps(description, indent=2) + "\n")
    write_folder(out, writers)
    return description


def need_onnx() -> None:
    """Raise ``ImportError``, which says how to install them, unless the packages for ONNX are there."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ImportError(
                f"exporting needs {error.name}: python -m pip install 'worldjepa[onnx]'"
            ) from error


# --- tracing, and comparing what was traced ------------------------------------------------------


@torch.no_grad()
def trace(function: Function) -> torch.export.ExportedProgram:
    """Return the function as a program of torch's, its batch left open.

    Tables of positions, which are made once and kept, are made before: the tracer's stand-ins must not be.
    """
    function.module(*function.inputs.values())
    batch = torch.export.Dim("b", min=1)
    shapes = tuple({axis: batch} for axis in function.rows.values())
    return torch.export.export(function.module, tuple(function.inputs.values()), dynamic_shapes=shapes)


def to_onnx(program: torch.export.ExportedProgram, function: Function) -> Any:
    """Return the program as ONNX (``torch.onnx.ONNXProgram``), inputs, outputs and batch named."""
    batch = torch.export.Dim("b", min=1)
    with _silence():
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(function.inputs),
            output_names=list(function.outputs),
            dynamic_shapes=tuple({axis: batch} for axis in function.rows.values()),
        )
    assert onnx is not None
    return onnx


def run_onnx(onnx: Any, function: Function) -> list[Tensor]:
    """Return what onnxruntime gives for a batch of another size than the traced one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx.model_proto.SerializeToString())
    given = {name: value.numpy() for name, value in _some_rows(function).items()}
    return [torch.from_numpy(value) for value in session.run(None, given)]


@torch.no_grad()
def compare(name: str, function: Function, found: Tensor | Sequence[Tensor]) -> float:
    """Return the largest difference from the model, as a share of its largest number.

    Raises:
        ExportError: it is more than ``TOLERANCE``.
    """
    expected = function.module(*_some_rows(function).values())
    pairs = zip(_as_tuple(expected), _as_tuple(found), strict=True)
    difference = max(
        float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs if a.numel()
    )
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{name} differs from the model by {difference:.2g} of its largest number, and {TOLERANCE:g} is "
            "allowed; nothing was written"
        )
    return difference


def _some_rows(function: Function) -> dict[str, Tensor]:
    rows = {name: value.narrow(function.rows[name], 1, ROWS - 1) for name, value in function.inputs.items()}
    return {name: value.contiguous() for name, value in rows.items()}


def _as_tuple(value: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (value,) if isinstance(value, Tensor) else tuple(value)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress, and its remark that inputs share their batch, from the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*The axis name: b will not be used")
        yield


def _program_writer(program: torch.export.ExportedProgram) -> Callable[[Path], object]:
    return lambda path: torch.export.save(program, path)


# --- the description -----------------------------------------------------------------------------


def _describe(function: Function) -> dict[str, Any]:
    with torch.no_grad():
        results = _as_tuple(function.module(*function.inputs.values()))
    inputs = [_tensor(name, value, function.rows[name]) for name, value in function.inputs.items()]
    named = zip(function.outputs, results, function.row_axes, strict=True)
    return {"inputs": inputs, "outputs": [_tensor(*one) for one in named]}


def _tensor(name: str, value: Tensor, row_axis: int) -> dict[str, Any]:
    shape: list[int | str] = list(value.shape)
    shape[row_axis] = "b"
    return {"name": name, "shape": shape, "dtype": str(value.dtype).removeprefix("torch.")}


def _model_description(model: WorldModel, functions: Mapping[str, Function]) -> dict[str, Any]:
    """Return what a caller has to know beside the shapes."""
    frames = functions["encode"].inputs["frames"].shape[1]
    described: dict[str, Any] = {
        "format": 1,
        "files": {name: [f"{name}.onnx", f"{name}.pt2"] for name in functions},
        "frames": {
            "order": "[batch, frame, channel, row, column], RGB, 0..255, oldest first",
            "size": model.image_size,
            "resize": f"{RESIZE[model.fit]}, antialiased; done by the caller",
            "normalisation": "inside encode",
            "frames_per_latent_step": model.encoder.frames_per_step,
            "latent_steps": frames // model.encoder.frames_per_step,
        },
        "latent_norm": model.latent_norm,
    }
    if "step" in functions and model.predictor is not None:
        step = functions["step"].module
        assert isinstance(step, Step)
        described["actions"] = {
            "width": model.predictor.action_dim,
            "environment_steps": model.action_block,
            "order": "step-major: all numbers of an environment step, then those of the next",
            "scaling": "inside step: pass environment units, one-hots for discrete actions",
        }
        described["state"] = {
            "beginning": "keys and values of zeros, position 0",
            "history": step.history,
            "window": model.predictor.window,
        }
    return described
