"""Trains what the npm package ``routed-attention`` runs: the routed layer, language models made of it, and their export."""

from .layer import MixtureOfAutoregressiveAttention
from .options import LayerOptions, ModelOptions, OptionError
from .transformer import Transformer, initialise_for_training

__all__ = ["LayerOptions", "MixtureOfAutoregressiveAttention", "ModelOptions", "OptionError", "Transformer", "initialise_for_training"]
