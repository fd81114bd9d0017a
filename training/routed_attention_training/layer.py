"""The routed layer (docs/SPEC.md, sections 1 to 6), to be trained."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from .local_attention import LocalAttention
from .numerics import attend, dropout_of, pad_rows, rotate, unit_rms
from .options import LayerOptions
from .routing import KeyValues, Queries, Router, choose_key_values, choose_queries


class ExpertNorm(nn.Module):
    """An RMSNorm's gamma for each expert; the norm itself is the same for all."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(options.num_experts, options.dim, 1))


class RoutedAttention(nn.Module):
    """The experts' attention. Its linear maps are PyTorch's grouped 1-wide convolutions, by name and shape."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.options = options
        dim, inner, experts = options.dim, options.inner, options.num_experts
        self.null_kv = nn.Parameter(torch.randn(2, experts, options.heads, 1, options.dim_head))
        if options.prenorm:
            self.norm = ExpertNorm(options)
            self.context_norm = ExpertNorm(options)
        self.to_q = nn.Conv1d(dim * experts, inner * experts, 1, bias=False, groups=experts)
        self.to_kv = nn.Conv1d(dim * experts, 2 * inner * experts, 1, bias=False, groups=experts)
        self.to_out = nn.Conv1d(inner * experts, dim * experts, 1, bias=False, groups=experts)

    def project(self, x: Tensor, linear: nn.Conv1d, norm: Optional[str]) -> Tensor:
        """Every token of ``x`` (b, n, d) through every expert's map: (b, g, n, out).

        The experts see one input, so their maps are one matrix product; a norm's gamma, which is all that differs between them, scales the columns.
        """
        experts = self.options.num_experts
        weight = linear.weight.view(experts, -1, x.shape[-1])
        if norm is not None and self.options.prenorm:
            weight = weight * getattr(self, norm).gamma.transpose(1, 2)
            x = unit_rms(x)
        batch, length, _ = x.shape
        return nn.functional.linear(x, weight.flatten(0, 1)).view(batch, length, experts, -1).transpose(1, 2)


class Trace(NamedTuple):
    """What one forward routed."""

    local: Tensor
    """Local attention's output (b, n, d)."""
    queries: Optional[Queries]
    """None where there is one window only."""
    key_values: Optional[KeyValues]


class MixtureOfAutoregressiveAttention(nn.Module):
    """Local attention, plus experts that route a few tokens of each window to the best tokens of all windows before.

    Parameters have PyTorch's names and shapes (SPEC, section 1), and so do the options; ``dim`` may stand first.
    """

    def __init__(self, dim: Optional[int] = None, *, options: Optional[LayerOptions] = None, **named: Any) -> None:
        super().__init__()
        for accepted in ("use_triton", "flash_attn"):
            named.pop(accepted, None)
        self.options = options or LayerOptions(dim=dim, **named)  # type: ignore[arg-type]
        self.null_tokens = nn.Parameter(torch.randn(self.options.num_experts, self.options.dim))
        self.local_attn = LocalAttention(self.options)
        self.query_router = Router(self.options)
        self.key_value_router = Router(self.options)
        self.attn = RoutedAttention(self.options)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """SPEC section 1: linear maps uniform in ±1/√columns, tokens and null keys and values standard normal, norms the identity."""
        for name, parameter in self.named_parameters():
            if name.endswith(("routing_token", "null_tokens", "null_kv")):
                nn.init.normal_(parameter)
            elif name.endswith(("to_qkv.weight", "to_out.weight", "to_q.weight", "to_kv.weight")):
                bound = parameter.shape[1] ** -0.5
                nn.init.uniform_(parameter, -bound, bound)

    def forward(
        self,
        x: Tensor,
        rotary_emb: Optional[Tensor] = None,
        num_routed_queries: Optional[int] = None,
        num_routed_key_values: Optional[int] = None,
    ) -> Tensor:
        """(b, n, d) to (b, n, d).

        rotary_emb: angles (n, e) shared by the heads, or (n, h · e), one set for each head; the two numbers override the options for this call.
        """
        return self.forward_with_trace(x, rotary_emb, num_routed_queries, num_routed_key_values)[0]

    def forward_with_trace(
        self,
        x: Tensor,
        rotary_emb: Optional[Tensor] = None,
        num_routed_queries: Optional[int] = None,
        num_routed_key_values: Optional[int] = None,
    ) -> "tuple[Tensor, Trace]":
        """The same, and what was routed."""
        options = self.options
        length, window = x.shape[1], options.routed_window_size
        local = self.local_attn(x)
        windows = -(-length // window) - 1
        if windows <= 0:
            return local, Trace(local, None, None)

        padded = pad_rows(x, (windows + 1) * window)
        if rotary_emb is not None:
            rotary_emb = pad_rows(rotary_emb, (windows + 1) * window, 0)
        real = torch.arange((windows + 1) * window, device=x.device) < length
        candidates, context = padded[:, window:], padded[:, : windows * window]
        similarity = self.query_router(candidates).unflatten(-1, (windows, window))
        queries = choose_queries(similarity, real[window:].view(windows, window), num_routed_queries or options.num_routed_queries, options)
        key_values = choose_key_values(
            self.key_value_router(context), window, num_routed_key_values or options.num_routed_key_values, options
        )
        routed = self._attend(candidates, context, rotary_emb, queries, key_values)
        out = local + nn.functional.pad(routed[:, : length - window], (0, 0, window, 0))
        if options.average_routed:
            out = out / (options.num_experts + 1)
        return out, Trace(local, queries, key_values)

    def _attend(self, candidates: Tensor, context: Tensor, angles: Optional[Tensor], queries: Queries, key_values: KeyValues) -> Tensor:
        """The experts' outputs, added up: (b, windows · w, d). SPEC sections 5 and 6."""
        options, attn = self.options, self.attn
        batch, experts, windows, window = queries.taken.shape
        heads, width, chosen = options.heads, options.dim_head, key_values.indices.shape[-1]

        def by_head(t: Tensor) -> Tensor:  # (b, g, n, h·e) to (b, g, n, h, e)
            return t.unflatten(-1, (heads, width))

        query = by_head(attn.project(candidates, attn.to_q, "norm"))
        key, value = (by_head(part) for part in attn.project(context, attn.to_kv, "context_norm").chunk(2, -1))
        if angles is not None:
            per_head = angles.view(angles.shape[0], -1, width)  # (positions, 1 or h, e)
            query, key = rotate(query, per_head[window:]), rotate(key, per_head[: context.shape[1]])
        key = key.to(value.dtype)

        rows = _flat_rows(key_values.indices, context.shape[1])

        def chosen_rows(t: Tensor) -> Tensor:  # (b, g, n, h, e) to (b, g, windows, h, k, e)
            picked = t.reshape(-1, heads * width).index_select(0, rows)
            return picked.view(batch, experts, windows, chosen, heads, width).transpose(3, 4)

        key, value = chosen_rows(key), chosen_rows(value)
        if key_values.score is not None:
            value = value * key_values.score[:, :, :, None, :, None].to(value.dtype)
        null_key, null_value = (t[None, :, None].expand(batch, -1, windows, -1, -1, -1).to(value.dtype) for t in attn.null_kv)
        visible = nn.functional.pad(key_values.visible, (1, 0), value=True)[:, :, :, None, None]
        query = query.unflatten(2, (windows, window)).transpose(3, 4)  # (b, g, windows, h, w, e)
        attended = attend(query, torch.cat((null_key, key), -2), torch.cat((null_value, value), -2), visible, dropout_of(self, options.dropout))

        # (b, windows·w, g, h·e): what a token's experts say side by side, so that their maps back are one matrix product
        attended = attended.permute(0, 2, 4, 1, 3, 5).reshape(batch, windows * window, experts, heads * width)
        taken = queries.taken.flatten(2).transpose(1, 2)  # (b, windows·w, g)
        carried = taken if queries.score is None else taken * queries.score.flatten(2).transpose(1, 2)
        attended = attended * carried[..., None].to(attended.dtype)
        weight = attn.to_out.weight.view(experts, options.dim, -1).transpose(0, 1).flatten(1)
        out = nn.functional.linear(attended.flatten(2), weight)
        return out + (~taken).to(self.null_tokens.dtype) @ self.null_tokens


def _flat_rows(indices: Tensor, positions: int) -> Tensor:
    """Rows of (b · g · positions) that ``indices`` (b, g, windows, k) name, in their order."""
    batch, experts = indices.shape[:2]
    start = torch.arange(batch * experts, device=indices.device).view(batch, experts, 1, 1) * positions
    return (indices + start).flatten()
