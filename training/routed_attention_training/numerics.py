"""Arithmetic that the layer's parts share: norms, rotary angles, attention."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """``x``, widened if it has 16 bits."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def unit_rms(x: Tensor) -> Tensor:
    """x / max(‖x‖₂, 1e-12) · √d over the last axis, in float32 or wider: an RMSNorm before its gamma."""
    return F.normalize(at_least_float32(x), dim=-1, eps=1e-12) * x.shape[-1] ** 0.5


class RMSNorm(nn.Module):
    """x / max(‖x‖₂, 1e-12) · √d · gamma over (…, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return unit_rms(x) * self.gamma


def rotary_angles(length: int, dim_head: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Angles (length, dim_head): t · 10000^(−2j/e) at position t for pair (j, j + e/2).

    Computed in float64 and rounded once, so that position 1,000,000 is as exact as position 1 (SPEC, section 2).
    """
    # made on the processor where the device has no float64
    place = device if device.type != "mps" else torch.device("cpu")
    frequencies = 10000.0 ** (-2.0 * torch.arange(dim_head // 2, device=place, dtype=torch.float64) / dim_head)
    angles = torch.arange(length, device=place, dtype=torch.float64)[:, None] * frequencies
    # reduced before they are rounded; only their sines and cosines count
    angles = torch.remainder(angles, 2 * math.pi)
    return torch.cat((angles, angles), -1).to(device=device, dtype=dtype)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turns the pairs (j, j + e/2) of ``x`` (…, n, e) by ``angles`` (…, n, e): x · cos + rotate_half(x) · sin."""
    first, second = x.chunk(2, -1)
    return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q·k / √e) v, where ``visible`` allows it.

    query (…, rows, e), key and value (…, columns, e), visible: booleans that broadcast to (…, rows, columns).
    """
    query, key = query.to(value.dtype), key.to(value.dtype)
    fused = getattr(F, "scaled_dot_product_attention", None)
    if fused is not None:
        shape = query.shape
        flat = lambda t: t.reshape(-1, *t.shape[-3:])  # noqa: E731 - fused kernels want four axes
        mask = flat(visible.expand(*shape[:-2], *visible.shape[-2:])) if visible.dim() > 2 else visible
        return fused(flat(query), flat(key), flat(value), attn_mask=mask, dropout_p=dropout).reshape(shape)
    scores = (query @ key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return F.dropout(weights, dropout) @ value if dropout > 0 else weights @ value


def dropout_of(module: nn.Module, share: float) -> float:
    """``share`` while the module trains, 0 otherwise."""
    return share if module.training else 0.0


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(b, n, h·e) as (b, h, n, e)."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).transpose(1, 2)


def pad_rows(x: Tensor, rows: int, axis: int = 1) -> Tensor:
    """``x`` with zeros behind its ``axis`` until that has so many rows."""
    missing = rows - x.shape[axis]
    if missing == 0:
        return x
    after_axis = x.dim() - 1 - axis
    return F.pad(x, (0, 0) * after_axis + (0, missing))


