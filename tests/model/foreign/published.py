"""V-JEPA, V-JEPA 2 and V-JEPA 2-AC, slow and literal, over random weights in the published names.

Written from the papers (arXiv:2404.08471, arXiv:2506.09985) and the facts of their public code: every token
attends in a loop of its own, rotary angles are tiled in blocks as the published weights need it. In float64.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def block_shapes(prefix, dim, hidden):
    return {
        f"{prefix}.norm1.weight": (dim,),
        f"{prefix}.norm1.bias": (dim,),
        f"{prefix}.attn.qkv.weight": (3 * dim, dim),
        f"{prefix}.attn.qkv.bias": (3 * dim,),
        f"{prefix}.attn.proj.weight": (dim, dim),
        f"{prefix}.attn.proj.bias": (dim,),
        f"{prefix}.norm2.weight": (dim,),
        f"{prefix}.norm2.bias": (dim,),
        f"{prefix}.mlp.fc1.weight": (hidden, dim),
        f"{prefix}.mlp.fc1.bias": (hidden,),
        f"{prefix}.mlp.fc2.weight": (dim, hidden),
        f"{prefix}.mlp.fc2.bias": (dim,),
    }


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def encoder_shapes(dim, depth, patch=8, tubelet=2):
    shapes = {"patch_embed.proj.weight": (dim, 3, tubelet, patch, patch), "patch_embed.proj.bias": (dim,)}
    for index in range(depth):
        shapes |= block_shapes(f"blocks.{index}", dim, 4 * dim)
    return shapes | {"norm.weight": (dim,), "norm.bias": (dim,)}


def predictor_shapes(latent_dim, dim, depth, mask_tokens=0, actions=0, proprioception=0):
    shapes = linear("predictor_embed", dim, latent_dim)
    shapes |= {f"mask_tokens.{index}": (1, 1, dim) for index in range(mask_tokens)}
    if actions:
        shapes |= linear("action_encoder", dim, actions) | linear("state_encoder", dim, proprioception)
        shapes |= linear("extrinsics_encoder", dim, actions - 1)
    for index in range(depth):
        shapes |= block_shapes(f"predictor_blocks.{index}", dim, 4 * dim)
    shapes |= {"predictor_norm.weight": (dim,), "predictor_norm.bias": (dim,)}
    return shapes | linear("predictor_proj", latent_dim, dim)


def draw(shapes, seed=0):
    """Draw weights of about unit gain, so that errors are neither hidden nor blown up."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes.items():
        scale = math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1
        found[name] = scale * torch.randn(shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            found[name] += 1
    return found


def wrapped(tensors):
    """Return tensors as DistributedDataParallel around a multi-mask wrapper names them."""
    return {f"module.backbone.{name}": tensor for name, tensor in tensors.items()}


def thirds_table(dim, t, h, w):
    """V-JEPA's positions: sines and cosines, a third of the width an axis, time first."""
    width = 2 * math.ceil(dim / 6)
    rows = []
    for place in np.ndindex(t, h, w):
        row = []
        for position in place:
            angles = [position / 10000 ** (2 * k / width) for k in range(width // 2)]
            row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        rows.append(row[:dim])
    return torch.tensor(rows).unsqueeze(0)


def rotated(x, position):
    """Rotate one axis' channels of a query or key; angles are tiled in blocks (not interleaved)."""
    width = len(x)
    angles = [position / 10000 ** (k / (width / 2)) for k in range(width // 2)] * 2
    turned = torch.empty_like(x)
    for channel in range(width):
        partner = -x[channel + 1] if channel % 2 == 0 else x[channel - 1]
        turned[channel] = x[channel] * math.cos(angles[channel]) + partner * math.sin(angles[channel])
    return turned


def placed(x, place):
    """Rotate a head's query or key to (time, row, column): a third of the width each, the rest stays."""
    axis = 2 * (len(x) // 3 // 2)
    parts = [rotated(x[i * axis : (i + 1) * axis], position) for i, position in enumerate(place)]
    return torch.cat([*parts, x[3 * axis :]])


def attention(x, state, prefix, heads, places, steps):
    """Attend token by token: each sees those of its own and earlier ``steps`` (None: all)."""
    n, dim = x.shape
    joined = x @ state[f"{prefix}.qkv.weight"].T + state[f"{prefix}.qkv.bias"]
    q, k, v = joined.reshape(n, 3, heads, dim // heads).unbind(1)
    if places is not None:
        q, k = (
            torch.stack([torch.stack([placed(y[i, h], places[i]) for h in range(heads)]) for i in range(n)])
            for y in (q, k)
        )
    out = torch.zeros_like(x)
    for i in range(n):
        seen = [j for j in range(n) if steps is None or steps[j] <= steps[i]]
        heads_out = []
        for h in range(heads):
            scores = torch.stack([q[i, h] @ k[j, h] for j in seen]) / math.sqrt(dim // heads)
            heads_out.append(scores.softmax(0) @ v[seen, h])
        out[i] = torch.cat(heads_out)
    return out @ state[f"{prefix}.proj.weight"].T + state[f"{prefix}.proj.bias"]


def norm(x, state, name):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)


def dense(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def transformer(x, state, prefix, heads, places=None, steps=None):
    index = 0
    while f"{prefix}.{index}.norm1.weight" in state:
        here = f"{prefix}.{index}"
        x = x + attention(norm(x, state, f"{here}.norm1"), state, f"{here}.attn", heads, places, steps)
        hidden = F.gelu(dense(norm(x, state, f"{here}.norm2"), state, f"{here}.mlp.fc1"))
        x = x + dense(hidden, state, f"{here}.mlp.fc2")
        index += 1
    return x


def vjepa_encoder(frames, state, heads, ids=None):
    """V-JEPA's encoder on one clip ``[f c y x]``: convolution, plus table, blocks, norm."""
    state = {name: tensor.double() for name, tensor in state.items()}
    weight = state["patch_embed.proj.weight"]
    x = F.conv3d(
        frames.double().transpose(0, 1)[None], weight, state["patch_embed.proj.bias"], weight.shape[2:]
    )
    x = x.flatten(2)[0].T + state["pos_embed"][0]
    x = x if ids is None else x[ids]
    return norm(transformer(x, state, "blocks", heads), state, "norm")


def vjepa_predictor(context, state, heads, context_ids, target_ids, setting):
    """V-JEPA's predictor: context and mask tokens plus their positions; the targets' predictions."""
    state = {name: tensor.double() for name, tensor in state.items()}
    table = state["predictor_pos_embed"][0]
    x = dense(context.double(), state, "predictor_embed") + table[context_ids]
    asked = state[f"mask_tokens.{setting}"].flatten() + table[target_ids]
    x = transformer(torch.cat([x, asked]), state, "predictor_blocks", heads)
    return dense(norm(x, state, "predictor_norm"), state, "predictor_proj")[len(context_ids) :]


def action_predictor(latents, actions, states, state, heads, grid, trained_grid):
    """V-JEPA 2-AC's predictor on one row: latents ``[t p d]``, actions and states ``[t 7]``.

    A step's tokens are action, proprioception, patches. The first two turn with time only; rows and columns
    of patches are scaled to the grid trained on.
    """
    state = {name: tensor.double() for name, tensor in state.items()}
    tokens, places, steps = [], [], []
    for t in range(len(latents)):
        tokens += [dense(actions[t].double(), state, "action_encoder")]
        tokens += [dense(states[t].double(), state, "state_encoder")]
        places += [(t, 0, 0), (t, 0, 0)]
        for p, patch in enumerate(latents[t]):
            row, column = divmod(p, grid[1])
            tokens.append(dense(patch.double(), state, "predictor_embed"))
            places.append((t, row * trained_grid / grid[0], column * trained_grid / grid[1]))
        steps += [t] * (2 + len(latents[t]))
    x = transformer(torch.stack(tokens), state, "predictor_blocks", heads, places, steps)
    x = dense(norm(x, state, "predictor_norm"), state, "predictor_proj")
    return x.reshape(len(latents), -1, x.shape[-1])[:, 2:]


def turn(angles):
    """Multiply out the turns about fixed x, y and z."""
    x, y, z = (float(a) for a in angles)
    about_x = [[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]]
    about_y = [[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]]
    about_z = [[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_y) @ np.array(about_x)


def next_pose(pose, action):
    """V-JEPA 2-AC's planner: the pose of an end effector after an action, both ``[7]``."""
    m = turn(action[3:6]) @ turn(pose[3:6])
    angles = (math.atan2(m[2, 1], m[2, 2]), math.asin(-m[2, 0]), math.atan2(m[1, 0], m[0, 0]))
    place = [float(pose[i] + action[i]) for i in range(3)]
    return torch.tensor([*place, *angles, min(1.0, max(0.0, float(pose[6] + action[6])))], dtype=pose.dtype)


def action_rollout(latents, actions, poses, state, heads, grid, trained_grid):
    """Run V-JEPA 2-AC's predictor anew for every step: latents ``[t p d]`` are given, and ``t`` poses.

    There are ``t - 1`` actions of the past and those to come; predictions go through LayerNorm.
    """
    latents, poses = list(latents), list(poses)
    first = len(latents)
    for step in range(first - 1, len(actions)):
        if step >= first:
            poses.append(next_pose(poses[-1], actions[step - 1]))
        given = (torch.stack(latents), actions[: step + 1], torch.stack(poses))
        said = action_predictor(*given, state, heads, grid, trained_grid)[-1]
        latents.append(F.layer_norm(said, said.shape[-1:]).to(latents[0].dtype))
    return torch.stack(latents[first:])
