"""Which tokens each expert takes (docs/SPEC.md, section 4), and how gradients reach the routing tokens.

The forward pass takes a token or does not; a decision has no gradient. Every selection therefore carries, beside the decision, a score whose
*value* is what the SPEC says and whose *gradient* is that of a surrogate:

===================  =======================================  ==============================================================
selection            value                                    gradient
===================  =======================================  ==============================================================
coordinate descent,  the descent's score                      its own, through all passes of the descent
soft scores
coordinate descent,  1                                        the descent's score (straight-through, as published)
straight-through
top-k, soft scores   the descent's score                      its own
top-k, and causal,   1                                        sigmoid((s - t) / temperature), t the similarity at the edge of
straight-through                                              the selection, held constant (straight-through)
===================  =======================================  ==============================================================

The last row is ours. A descent would cost 20 passes over all candidates of all windows, for a value that is then replaced by 1; the sigmoid is
one pass, it is steepest where the decision is closest, and it needs nothing that a causal choice may not see.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .numerics import at_least_float32
from .options import LayerOptions


class Router(nn.Module):
    """One routing token for each expert, and the similarity of tokens to it."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.options = options
        self.routing_token = nn.Parameter(torch.randn(options.num_experts, options.dim))

    def forward(self, x: Tensor) -> Tensor:
        """Similarities (b, g, n) of ``x`` (b, n, d), in float32 or wider.

        Multiplied and summed, never a matrix product: autocast and TF32 would round a product's operands, and equal tokens must have
        bit-equal similarities wherever they stand (SPEC, section 4).
        """
        with torch.autocast(x.device.type, enabled=False):
            x, tokens = at_least_float32(x), at_least_float32(self.routing_token)
            if self.options.cosine_sim_routing:
                x, tokens = F.normalize(x, dim=-1, eps=1e-12), F.normalize(tokens, dim=-1, eps=1e-12)
            similarity = torch.stack([(x * token).sum(-1) for token in tokens], 1)
            return similarity * self.options.cosine_sim_scale if self.options.cosine_sim_routing else similarity


def coordinate_descent(similarity: Tensor, visible: Tensor, k: int, options: LayerOptions) -> Tuple[Tensor, Tensor]:
    """Scores of candidates (…, L), of which ``visible`` ones may be chosen.

    Returns the scores, 0 where not visible, and c = min(s + a, 0), by which they are ranked: it orders as the scores do and does not underflow.
    """
    k_effective = min(k * options.fetch_k_ratio, similarity.shape[-1])
    hidden = torch.finfo(similarity.dtype).min / 4
    s = similarity.masked_fill(~visible, hidden)
    eps = max(options.eps_init, options.eps)
    used = eps
    # in the first pass s + b is 0 wherever a candidate is visible; from the second on it is min(s, -a)
    count = visible.sum(-1, keepdim=True).clamp(min=1).to(s.dtype)
    a = eps * (math.log(k_effective) - count.log())
    for _ in range(options.n_iters - 1):
        used = max(used * options.eps_decay, options.eps)
        reduced = (torch.minimum(s, -a) / used).masked_fill(~visible, -math.inf)
        a = used * (math.log(k_effective) - reduced.logsumexp(-1, keepdim=True))
    c = torch.clamp(s + a, max=0)
    last = max(used * options.eps_decay, options.eps)
    return (c / last).exp().masked_fill(~visible, 0.0), c


class Queries(NamedTuple):
    """Which tokens are queries. Both are (b, g, windows, w)."""

    taken: Tensor
    """Booleans."""
    score: Optional[Tensor]
    """What the routed output of a taken token is multiplied by; None where that is 1."""


class KeyValues(NamedTuple):
    """Which tokens each window reads as keys and values. All are (b, g, windows, k), k at most the number of candidates."""

    indices: Tensor
    """Positions in the sequence."""
    visible: Tensor
    """Booleans: fewer than k candidates may be visible."""
    score: Optional[Tensor]
    """What a value is multiplied by; None where that is 1."""


def choose_queries(similarity: Tensor, real: Tensor, k: int, options: LayerOptions) -> Queries:
    """Chooses the queries of each window among its own tokens.

    similarity (b, g, windows, w); real: booleans (windows, w), false for the padding behind the sequence.
    """
    real = real.expand_as(similarity)
    if similarity.shape[-1] <= k:
        return Queries(real, None)
    if options.causal:
        taken = fewer_than_k_before(similarity.detach(), k) & real
        return Queries(taken, _straight_through(causal_margin(similarity, k)))
    score, rank = _score_and_rank(similarity, real, k, options)
    chosen = _largest(rank.masked_fill(~real, -math.inf), k)
    taken = torch.zeros_like(real).scatter(-1, chosen, True) & real
    return Queries(taken, score)


def choose_key_values(similarity: Tensor, window: int, k: int, options: LayerOptions) -> KeyValues:
    """Chooses, for windows 1, 2, …, among all tokens of the windows before.

    similarity (b, g, m · window), of all windows but the last.
    """
    batch, experts, candidates = similarity.shape
    windows = candidates // window
    position = torch.arange(candidates, device=similarity.device)
    ends = torch.arange(1, windows + 1, device=similarity.device)[:, None] * window
    past = (position < ends).expand(batch, experts, windows, candidates)
    if candidates <= k:
        return KeyValues(position.expand_as(past), past, None)
    each = similarity[:, :, None].expand_as(past)
    score, rank = _score_and_rank(each, past, k, options)
    indices = _largest(rank.detach().masked_fill(~past, -math.inf), k)
    return KeyValues(indices, past.gather(-1, indices), None if score is None else score.gather(-1, indices))


def fewer_than_k_before(similarity: Tensor, k: int) -> Tensor:
    """Booleans like ``similarity`` (…, w): whether fewer than k earlier tokens of the window are at least as similar (SPEC, section 4)."""
    width = similarity.shape[-1]
    earlier = torch.ones(width, width, dtype=torch.bool, device=similarity.device).tril(-1)
    return ((similarity[..., None, :] >= similarity[..., :, None]) & earlier).sum(-1) < k


def causal_margin(similarity: Tensor, k: int) -> Tensor:
    """How far each similarity lies above the k-th largest of the earlier tokens of its window; held constant, that one.

    The first k tokens, which have none, are measured against the smallest so far.
    """
    with torch.no_grad():
        width = similarity.shape[-1]
        earlier = torch.ones(width, width, dtype=torch.bool, device=similarity.device).tril(-1)
        before = similarity[..., None, :].masked_fill(~earlier, -math.inf)
        edge = before.topk(k, -1).values
        # of fewer than k, the last that there is; a window's first token is measured against itself
        edge = edge.masked_fill(edge == -math.inf, math.inf).amin(-1)
        edge = torch.where(edge == math.inf, similarity, edge)
    return similarity - edge


def _score_and_rank(similarity: Tensor, visible: Tensor, k: int, options: LayerOptions) -> Tuple[Tensor, Tensor]:
    """The score that a candidate carries if it is chosen, and what candidates are ranked by."""
    if options.selection == "top-k" and options.straight_through:
        with torch.no_grad():
            edge = similarity.masked_fill(~visible, -math.inf).topk(k, -1).values
            edge = edge.masked_fill(edge == -math.inf, math.inf).amin(-1, keepdim=True)
            edge = edge.clamp(max=torch.finfo(edge.dtype).max)
        return _straight_through((similarity - edge).masked_fill(~visible, 0.0)), similarity
    score, c = coordinate_descent(similarity, visible, k, options)
    if options.straight_through:
        score = 1 + (score - score.detach())
    return score, similarity if options.selection == "top-k" else c


TEMPERATURE = 1.0
"""Similarities are cosines times 8, or products of normed vectors: a unit is a clear preference, and no more."""


def _straight_through(margin: Tensor) -> Tensor:
    """1, with the gradient of sigmoid(margin / temperature)."""
    soft = torch.sigmoid(margin / TEMPERATURE)
    return 1 + (soft - soft.detach())


def _largest(values: Tensor, k: int) -> Tensor:
    """Indices of the k largest; ties go to the lower index, which ``topk`` does not promise."""
    return values.detach().sort(dim=-1, descending=True, stable=True).indices[..., :k]
