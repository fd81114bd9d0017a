"""The options of the layer and of the model: their names, defaults and rules (docs/SPEC.md, sections 1 and 7).

``config.json`` holds these names, and the package that runs the exported model checks them again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Mapping, Optional, Sequence

SELECTIONS = ("coordinate-descent", "top-k")


class OptionError(ValueError):
    """An option that is unknown, missing or out of range."""


@dataclass(frozen=True)
class LayerOptions:
    """The options of one ``MixtureOfAutoregressiveAttention``."""

    dim: int
    """Channels of a token, d."""
    num_routed_queries: int
    """Tokens of a window that each expert takes as queries; the window's length or more takes all."""
    num_routed_key_values: int
    """Tokens of all earlier windows that each expert takes as keys and values."""
    local_attn_window_size: int
    """W: local attention sees a token and the W before it."""
    routed_window_size: Optional[int] = None
    """w: tokens of a routed window; None means ``local_attn_window_size``."""
    num_experts: int = 2
    dim_head: int = 64
    """Channels of a head, e; even, because rotary angles turn pairs."""
    heads: int = 8
    dropout: float = 0.0
    """Dropout of attention probabilities while training; it has no effect at inference."""
    prenorm: bool = True
    average_routed: bool = False
    cosine_sim_routing: bool = False
    cosine_sim_scale: float = 8.0
    n_iters: int = 20
    fetch_k_ratio: float = 9 / 8
    eps: float = 0.03
    eps_init: float = 4.0
    eps_decay: float = 0.7
    straight_through: bool = True
    selection: str = "coordinate-descent"
    causal: bool = False
    """Choose queries without looking ahead. Needs ``selection="top-k"``, ``straight_through`` and no ``average_routed``."""

    def __post_init__(self) -> None:
        if self.routed_window_size is None:
            object.__setattr__(self, "routed_window_size", self.local_attn_window_size)
        for name in ("dim", "num_routed_queries", "num_routed_key_values", "routed_window_size", "num_experts", "heads", "n_iters"):
            _check_integer(name, getattr(self, name), 1)
        _check_integer("local_attn_window_size", self.local_attn_window_size, 0)
        _check_integer("dim_head", self.dim_head, 2)
        if self.dim_head % 2:
            raise OptionError(f"dim_head must be even, for rotary pairs; got {self.dim_head}")
        for name in ("fetch_k_ratio", "eps", "eps_init", "eps_decay"):
            _check_number(name, getattr(self, name), "above 0", lambda value: value > 0)
        _check_number("eps_decay", self.eps_decay, "up to 1", lambda value: value <= 1)
        _check_number("dropout", self.dropout, "from 0 to 1", lambda value: 0 <= value <= 1)
        _check_number("cosine_sim_scale", self.cosine_sim_scale, "finite", lambda value: abs(value) < float("inf"))
        for name in ("prenorm", "average_routed", "cosine_sim_routing", "straight_through", "causal"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.selection not in SELECTIONS:
            raise OptionError(f"selection must be one of {', '.join(SELECTIONS)}; got {self.selection!r}")
        if self.causal and (self.selection != "top-k" or not self.straight_through or self.average_routed):
            raise OptionError(
                "causal requires selection 'top-k', straight_through true and average_routed false, since anything else lets later tokens decide"
            )

    @property
    def inner(self) -> int:
        """Channels of all heads together, i."""
        return self.heads * self.dim_head


@dataclass(frozen=True)
class ModelOptions:
    """The options of a ``Transformer``: those of its layers, and its own."""

    layer: LayerOptions
    num_tokens: int
    """Size of the vocabulary, V."""
    depth: int
    """Blocks."""
    ff_mult: int = 4
    """Inner channels of the feed-forward, in multiples of ``dim``."""
    routed_rotary_emb: bool = False
    """Rotate routed queries and keys by the angles of their positions."""
    max_positions: Optional[int] = None
    """Rows of the learned position table; None: no table, and inputs of any length."""
    routed_layers: Optional[Sequence[int]] = None
    """Blocks that are routed, counted from 0; None: all. The others have local attention alone."""

    def __post_init__(self) -> None:
        for name in ("num_tokens", "depth", "ff_mult"):
            _check_integer(name, getattr(self, name), 1)
        if self.max_positions is not None:
            _check_integer("max_positions", self.max_positions, 1)
        if not isinstance(self.routed_rotary_emb, bool):
            raise OptionError(f"routed_rotary_emb must be true or false, got {self.routed_rotary_emb!r}")
        blocks = self.routed_layers
        if blocks is not None:
            if not isinstance(blocks, (list, tuple)) or not all(type(block) is int and 0 <= block < self.depth for block in blocks) or len(set(blocks)) < len(blocks):
                raise OptionError(f"routed_layers must be None or a list of different blocks from 0 to {self.depth - 1}, got {blocks!r}")
            object.__setattr__(self, "routed_layers", None if len(blocks) == self.depth else tuple(sorted(blocks)))

    def is_routed(self, block: int) -> bool:
        """Whether a block has a routed part."""
        return self.routed_layers is None or block in self.routed_layers

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> "ModelOptions":
        """Reads what config.json holds. ``model_type`` and names unknown here are ignored, as the package ignores them.

        Raises OptionError for a missing or unfit value.
        """
        config = dict(config)
        if "seq_len" in config:
            config.setdefault("max_positions", config["seq_len"])
        own = {name: config[name] for name in _names(ModelOptions) if name != "layer" and name in config}
        layer = {name: config[name] for name in _names(LayerOptions) if name in config}
        for name, kind in (*_required(LayerOptions, layer), *_required(ModelOptions, {**own, "layer": layer})):
            raise OptionError(f"{name} is missing; a {kind} needs it")
        return ModelOptions(layer=LayerOptions(**layer), **own)

    def to_config(self) -> "dict[str, Any]":
        """Everything that config.json should hold, with no value left to a default."""
        own = {name: getattr(self, name) for name in _names(ModelOptions) if name != "layer"}
        return {"model_type": "mixture-of-autoregressive-attention", **own, **asdict(self.layer)}


def _names(kind: type) -> "list[str]":
    return [field.name for field in fields(kind)]


def _required(kind: type, given: Mapping[str, Any]) -> "list[tuple[str, str]]":
    from dataclasses import MISSING

    what = "layer" if kind is LayerOptions else "model"
    return [(field.name, what) for field in fields(kind) if field.default is MISSING and field.name not in given]


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} must be an integer from {least}, got {value!r}")


def _check_number(name: str, value: Any, expected: str, fits: Any) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not fits(value):
        raise OptionError(f"{name} must be a number {expected}, got {value!r}")
