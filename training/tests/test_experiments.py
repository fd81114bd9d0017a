"""The layer of training/experiments is the package's: the same outputs, and where both learn alike the same gradients."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import torch

from routed_attention_training import LayerOptions, MixtureOfAutoregressiveAttention

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import routed  # noqa: E402

SIZES = dict(dim=16, heads=2, dim_head=8, num_experts=2, local_attn_window_size=16, num_routed_queries=4, num_routed_key_values=8)
CHOICES = {
    "strictly causal": (dict(), dict(selection="top-k", causal=True)),
    "the best of the window": (dict(looks_ahead=True), dict(selection="top-k")),
    "coordinate descent": (
        dict(looks_ahead=True, selection="coordinate-descent", estimator=routed.Estimator(surrogate="descent")),
        dict(selection="coordinate-descent"),
    ),
}


def both(experiment: dict, package: dict) -> tuple:
    """The two layers with the same random weights, and what runs the first."""
    torch.manual_seed(0)
    ours = MixtureOfAutoregressiveAttention(options=LayerOptions(**SIZES, cosine_sim_routing=True, **package))
    torch.nn.init.zeros_(ours.null_tokens)  # of which only the experiment's gates take account, see its docstring
    config = routed.Config(num_tokens=2, depth=1, routed=(0,), **SIZES, **experiment)
    tried = routed.MixtureOfAutoregressiveAttention(config)
    tried.load_state_dict(ours.state_dict())
    schedule = dict(queries=torch.tensor(4.0), key_values=torch.tensor(8.0), noise=None)
    return ours, tried, lambda x: tried(x, schedule)


class Agreement(unittest.TestCase):
    def test_outputs(self) -> None:
        for name, (experiment, package) in CHOICES.items():
            with self.subTest(choice=name), torch.no_grad():
                ours, _, run = both(experiment, package)
                x = torch.randn(2, 96, 16)
                self.assertLess((run(x) - ours(x)).abs().max().item(), 1e-5)

    def test_gradients_of_coordinate_descent(self) -> None:
        ours, tried, run = both(*CHOICES["coordinate descent"])
        x = torch.randn(2, 96, 16)
        run(x).square().sum().backward()
        ours(x).square().sum().backward()
        for router in ("query_router", "key_value_router"):
            expected, got = (getattr(layer, router).routing_token.grad for layer in (ours, tried))
            self.assertGreater(expected.abs().max().item(), 1e-3)
            self.assertLess((got - expected).abs().max().item(), 1e-4 * expected.abs().max().item())


if __name__ == "__main__":
    unittest.main()
