"""How well a model predicts, measured as the package measures it."""

from __future__ import annotations

import math
from typing import Iterable, List, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import IGNORED, Pair, Pairs
from .transformer import Transformer


@torch.no_grad()
def bits_per_token(model: Transformer, tokens: Tensor, chunk: int, limit: int = 2**62) -> float:
    """Mean of −log₂ p of each token after the first, in float32.

    Chunk i reads tokens i·chunk … and predicts those from i·chunk + 1 on, as ``model.evaluate`` and ``routed-attention eval`` do.
    limit: tokens to predict at most.
    """
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with evaluating(model):
        for start in range(0, tokens.numel() - 1, chunk):
            piece = tokens[start : start + chunk + 1].to(device).long()
            logits = model(piece[None, :-1])[0].float()
            total += F.cross_entropy(logits, piece[1:], reduction="sum").item()
            count += piece.numel() - 1
            if count >= limit:
                break
    return total / math.log(2) / count if count else math.nan


class PairScore(NamedTuple):
    bits_per_token: float
    """Of completions only."""
    accuracy: float
    """Share of pairs whose completion, greedily continued, comes out exactly."""


@torch.no_grad()
def score_pairs(model: Transformer, pairs: Sequence[Pair], batch: int) -> PairScore:
    """How well completions are predicted.

    A completion comes out greedily if each of its tokens is the most probable one after those before it, which one forward tells.
    """
    device = next(model.parameters()).device
    total, count, right = 0.0, 0, 0
    with evaluating(model):
        for start in range(0, len(pairs), batch):
            ids, targets = (part.to(device) for part in Pairs.collate(pairs[start : start + batch]))
            logits = model(ids).float()
            total += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum").item()
            count += int((targets != IGNORED).sum())
            right += int(((logits.argmax(-1) == targets) | (targets == IGNORED)).all(-1).sum())
    return PairScore(total / math.log(2) / max(count, 1), right / max(len(pairs), 1))


@torch.no_grad()
def sample(model: Transformer, prompt: Sequence[int], count: int, context: int, temperature: float, generator: torch.Generator) -> List[int]:
    """``count`` tokens behind ``prompt``, each drawn after a forward over the last ``context``."""
    device = next(model.parameters()).device
    ids = list(prompt)
    with evaluating(model):
        for _ in range(count):
            logits = model(torch.tensor([ids[-context:]], device=device))[0, -1].float().cpu()
            ids.append(int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)))
    return ids[len(prompt) :]


class evaluating:  # noqa: N801 - reads as a statement
    """Within it a model computes in float32 and without dropout."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.was_training = model, model.training

    def __enter__(self) -> None:
        self.tf32 = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        self.model.eval()

    def __exit__(self, *_: Iterable[object]) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        self.model.train(self.was_training)
