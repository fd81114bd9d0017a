"""Causal attention over a sliding window (docs/SPEC.md, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .numerics import attend, dropout_of, pad_rows, rotary_angles, rotate, split_heads
from .options import LayerOptions


class LocalAttention(nn.Module):
    """Position t attends to positions max(0, t − W) … t, all heads rotated by their own positions."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.options = options
        if options.prenorm:
            self.norm = nn.LayerNorm(options.dim)
        self.to_qkv = nn.Linear(options.dim, 3 * options.inner, bias=False)
        self.to_out = nn.Linear(options.inner, options.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, d) to (b, n, d).

        The sequence is cut into blocks of W queries, which see their own block and the one before: 2 W keys, of which a band of W + 1 is visible.
        """
        batch, length, _ = x.shape
        heads, width, window = self.options.heads, self.options.dim_head, self.options.local_attn_window_size
        block = max(window, 1)
        blocks = -(-length // block)
        if self.options.prenorm:
            x = self.norm(x)
        query, key, value = (split_heads(part, heads) for part in self.to_qkv(x).chunk(3, -1))
        angles = rotary_angles(length, width, x.device, torch.promote_types(query.dtype, torch.float32))
        query, key = rotate(query, angles), rotate(key, angles)
        query, key, value = (
            pad_rows(part, blocks * block, 2).reshape(batch, heads, blocks, block, width) for part in (query, key, value)
        )
        attended = attend(query, _with_previous(key), _with_previous(value), self._band(blocks, x.device), dropout_of(self, self.options.dropout))
        attended = attended.reshape(batch, heads, blocks * block, width)[:, :, :length]
        return self.to_out(attended.transpose(1, 2).reshape(batch, length, heads * width))

    def _band(self, blocks: int, device: torch.device) -> Tensor:
        """Visible keys (blocks, block, 2 · block) of each query."""
        window = self.options.local_attn_window_size
        block = max(window, 1)
        query = torch.arange(block, device=device)[:, None] + block
        key = torch.arange(2 * block, device=device)
        band = (key <= query) & (key >= query - window)
        first = torch.arange(blocks, device=device)[:, None, None] == 0
        return band & ~(first & (key < block))


def _with_previous(blocks: Tensor) -> Tensor:
    """Each block (b, h, blocks, block, e) with the one before in front of it: (b, h, blocks, 2 · block, e)."""
    previous = torch.cat((torch.zeros_like(blocks[:, :, :1]), blocks[:, :, :-1]), 2)
    return torch.cat((previous, blocks), 3)
