"""Gradients, in float64: against finite differences, and of routers against the surrogates that routing.py states."""

from __future__ import annotations

import unittest
from unittest import mock

import torch
from torch import Tensor

from routed_attention_training import MixtureOfAutoregressiveAttention, Transformer, routing
from routed_attention_training.options import ModelOptions

SIZES = dict(dim=6, heads=2, dim_head=4, local_attn_window_size=5, num_routed_queries=2, num_routed_key_values=3, num_experts=2)
SELECTIONS = {
    "coordinate descent, soft": dict(straight_through=False),
    "coordinate descent": dict(),
    "top-k, soft": dict(selection="top-k", straight_through=False),
    "top-k": dict(selection="top-k"),
    "causal": dict(selection="top-k", causal=True),
}


def make_layer(**options: object) -> MixtureOfAutoregressiveAttention:
    torch.manual_seed(3)
    # a wide temperature keeps soft scores, and with them their gradients, away from 0 and 1
    return MixtureOfAutoregressiveAttention(**{**SIZES, "eps": 0.5, "n_iters": 8, **options}).double()


def make_input(length: int = 17) -> Tensor:
    return torch.randn(2, length, SIZES["dim"], generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def loss_of(layer: MixtureOfAutoregressiveAttention, x: Tensor) -> Tensor:
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return (layer(x) * weights).sum()


def difference(run: "object", parameter: Tensor, index: int, step: float = 1e-6) -> float:
    """The central difference of a loss by one element."""
    flat = parameter.data.view(-1)
    value = flat[index].item()
    flat[index] = value + step
    above = run().item()  # type: ignore[operator]
    flat[index] = value - step
    below = run().item()  # type: ignore[operator]
    flat[index] = value
    return (above - below) / (2 * step)


class SoftScores(unittest.TestCase):
    def test_every_parameter_has_the_gradient_of_finite_differences(self) -> None:
        for name in ("coordinate descent, soft", "top-k, soft"):
            layer, x = make_layer(**SELECTIONS[name]), make_input()
            loss_of(layer, x).backward()
            for parameter_name, parameter in layer.named_parameters():
                with self.subTest(selection=name, parameter=parameter_name):
                    gradient = parameter.grad.flatten()
                    self.assertGreater(gradient.abs().max().item(), 1e-3)
                    for index in gradient.abs().topk(min(3, gradient.numel())).indices.tolist():
                        expected = difference(lambda: loss_of(layer, x), parameter, index)
                        self.assertAlmostEqual(gradient[index].item(), expected, delta=1e-5 * max(1, abs(expected)))


class StraightThrough(unittest.TestCase):
    def test_all_but_the_routers_have_the_gradient_of_finite_differences(self) -> None:
        for name, options in SELECTIONS.items():
            if "soft" in name:
                continue
            layer, x = make_layer(**options), make_input()
            loss_of(layer, x).backward()
            for parameter_name, parameter in layer.named_parameters():
                if "routing_token" in parameter_name:
                    continue
                with self.subTest(selection=name, parameter=parameter_name):
                    gradient = parameter.grad.flatten()
                    for index in gradient.abs().topk(min(3, gradient.numel())).indices.tolist():
                        expected = difference(lambda: loss_of(layer, x), parameter, index)
                        self.assertAlmostEqual(gradient[index].item(), expected, delta=1e-5 * max(1, abs(expected)))

    def test_a_router_has_the_surrogate_gradient(self) -> None:
        """The loss's slope by a carried score, found by finite differences, times the surrogate's own gradient."""
        for name, options in SELECTIONS.items():
            if "soft" in name:
                continue
            for which, router in (("choose_queries", "query_router"), ("choose_key_values", "key_value_router")):
                with self.subTest(selection=name, router=router):
                    self._check_router(make_layer(**options), which, router)

    def _check_router(self, layer: MixtureOfAutoregressiveAttention, which: str, router: str) -> None:
        x = make_input()
        token = getattr(layer, router).routing_token
        loss_of(layer, x).backward()
        gradient = token.grad.clone()
        self.assertGreater(gradient.abs().max().item(), 1e-4)

        original = getattr(routing, which)
        kept = {}

        def keep(*arguments: object) -> object:
            chosen = original(*arguments)
            kept["score"] = chosen.score
            kept.setdefault("shift", torch.zeros_like(chosen.score))
            return chosen._replace(score=chosen.score.detach() + kept["shift"])

        with mock.patch(f"routed_attention_training.layer.{which}", keep):
            with torch.no_grad():
                loss_of(layer, x)
                shift = kept["shift"]
                slopes = [difference(lambda: loss_of(layer, x), shift, index) for index in range(shift.numel())]
            loss_of(layer, x)
        # what is carried is 1, or of that value up to a rounding; its gradient is the surrogate's
        self.assertTrue(torch.equal(kept["score"], torch.ones_like(kept["score"])))
        (expected,) = torch.autograd.grad(kept["score"], token, torch.tensor(slopes, dtype=torch.float64).view_as(shift))
        self.assertTrue(torch.allclose(gradient, expected, rtol=1e-4, atol=1e-7))

    def test_surrogates_are_those_that_the_documentation_states(self) -> None:
        x, k = make_input(), SIZES["num_routed_key_values"]
        layer = make_layer(selection="top-k")
        context = x[:, :15]
        similarity = layer.key_value_router(context)
        chosen = routing.choose_key_values(similarity, 5, k, layer.options)
        # of the last window: the edge is the k-th largest of all candidates
        edge = similarity.detach().sort(-1, descending=True).values[..., k - 1 : k]
        surrogate = torch.sigmoid(similarity - edge).gather(-1, chosen.indices[:, :, -1])
        token = layer.key_value_router.routing_token
        (actual,) = torch.autograd.grad(chosen.score[:, :, -1].sum(), token, retain_graph=True)
        (expected,) = torch.autograd.grad(surrogate.sum(), token)
        self.assertTrue(torch.allclose(actual, expected, rtol=1e-9))

        causal = make_layer(selection="top-k", causal=True)
        window = causal.query_router(x[:, 5:10])[:, :, None]
        queries = routing.choose_queries(window, torch.ones(1, 5, dtype=torch.bool), 2, causal.options)
        edges = [window[..., 0], window[..., 0], *(window[..., :t].topk(2, -1).values[..., -1] for t in (2, 3, 4))]
        surrogate = torch.sigmoid(window - torch.stack(edges, -1).detach())
        token = causal.query_router.routing_token
        (actual,) = torch.autograd.grad(queries.score.sum(), token, retain_graph=True)
        (expected,) = torch.autograd.grad(surrogate.sum(), token)
        self.assertTrue(torch.allclose(actual, expected, rtol=1e-9))


class Routers(unittest.TestCase):
    def test_routing_tokens_receive_gradients_and_move(self) -> None:
        for name, options in SELECTIONS.items():
            with self.subTest(selection=name):
                torch.manual_seed(1)
                layer_options = make_layer(**options).options
                model = Transformer(ModelOptions(layer=layer_options, num_tokens=11, depth=1))
                before = {n: p.detach().clone() for n, p in model.named_parameters() if "routing_token" in n}
                optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
                ids = torch.randint(11, (4, 33))
                for _ in range(3):
                    loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                for parameter_name, parameter in model.named_parameters():
                    if parameter_name in before:
                        self.assertGreater(parameter.grad.abs().min(-1).values.max().item(), 0)
                        self.assertGreater((parameter - before[parameter_name]).abs().amax(-1).min().item(), 1e-3)


if __name__ == "__main__":
    unittest.main()
