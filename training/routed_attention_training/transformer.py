"""The language model whose every block is the routed layer (docs/SPEC.md, section 7), to be trained."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor, nn

from .layer import MixtureOfAutoregressiveAttention
from .local_attention import LocalAttention
from .numerics import RMSNorm, rotary_angles
from .options import LayerOptions, ModelOptions


class Transformer(nn.Module):
    """Token ids (b, n) to logits (b, n, V). Parameters have the published ``Transformer``'s names.

    residual_dropout: of the embeddings and of what each attention and feed-forward adds, in training alone.
    """

    def __init__(self, options: ModelOptions, residual_dropout: float = 0.0) -> None:
        super().__init__()
        self.options = options
        self.drop = nn.Dropout(residual_dropout)
        dim = options.layer.dim
        self.token_emb = nn.Embedding(options.num_tokens, dim)
        self.pos_emb = nn.Embedding(options.max_positions, dim) if options.max_positions is not None else None
        self.layers = nn.ModuleList(
            nn.ModuleList([_attention(options, block), feed_forward(dim, options.ff_mult)]) for block in range(options.depth)
        )
        self.to_logits = nn.Sequential(RMSNorm(dim), nn.Linear(dim, options.num_tokens))

    @staticmethod
    def from_config(config: "dict[str, Any]") -> "Transformer":
        """A new model of what config.json describes."""
        return Transformer(ModelOptions.from_config(config))

    def forward(self, ids: Tensor) -> Tensor:
        options = self.options
        length = ids.shape[1]
        x = self.token_emb(ids)
        if self.pos_emb is not None:
            if length > self.pos_emb.num_embeddings:
                raise ValueError(f"{length} tokens are more than the {self.pos_emb.num_embeddings} positions (max_positions) of this model")
            x = x + self.pos_emb.weight[:length]
        x = self.drop(x)
        angles = rotary_angles(length, options.layer.dim_head, ids.device, x.dtype) if options.routed_rotary_emb else None
        for attention, feed in self.layers:
            x = x + self.drop(attention(x, angles))
            x = x + self.drop(feed(x))
        return self.to_logits(x)


class LocalLayer(nn.Module):
    """A block's attention without a routed part. Parameters have the names that local attention has in the whole layer."""

    def __init__(self, options: LayerOptions) -> None:
        super().__init__()
        self.local_attn = LocalAttention(options)

    def forward(self, x: Tensor, rotary_emb: Optional[Tensor] = None) -> Tensor:
        """(b, n, d) to (b, n, d); ``rotary_emb`` is the routed part's, and not used."""
        return self.local_attn(x)


def _attention(options: ModelOptions, block: int) -> nn.Module:
    return MixtureOfAutoregressiveAttention(options=options.layer) if options.is_routed(block) else LocalLayer(options.layer)


def feed_forward(dim: int, multiplier: int) -> nn.Sequential:
    """RMSNorm, linear, exact GELU, linear."""
    return nn.Sequential(RMSNorm(dim), nn.Linear(dim, dim * multiplier), nn.GELU(), nn.Linear(dim * multiplier, dim))


def initialise_for_training(model: Transformer) -> None:
    """Starts a new model where it learns best; what the SPEC fixes as a layer's initial values is overwritten here.

    Embeddings are small, and what is added to the residual stream shrinks with depth. The routed part and its null tokens start at zero, so that a
    model begins as local attention alone and routing comes in as far as it helps; null keys and values start small, and so do routing tokens, of
    which only the direction counts with cosine similarity, and which Adam turns faster when they are short. docs/training-log.md has what this was worth.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_emb.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith(".attn.to_out.weight") or name.endswith("null_tokens"):
                nn.init.zeros_(parameter)
            elif name.endswith("null_kv"):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("routing_token") and model.options.layer.cosine_sim_routing:
                nn.init.normal_(parameter, std=0.05)
            elif name.endswith(("local_attn.to_out.weight", ".1.3.weight")):
                parameter.mul_((2 * model.options.depth) ** -0.5)
