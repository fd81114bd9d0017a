"""The layer and the model against the golden values, within the bounds that the package itself is held to."""

from __future__ import annotations

import unittest

import torch

from routed_attention_training import MixtureOfAutoregressiveAttention, Transformer

from . import golden


def bound(case: "dict", dtype: torch.dtype) -> float:
    """4 times the error that PyTorch makes in float32, and 1e-6; in float64, what rounding to float32 left of the golden values."""
    return 4 * case["float32_error"] + 1e-6 if dtype == torch.float32 else 2e-6


class LayerAgreement(unittest.TestCase):
    def test_every_golden_case(self) -> None:
        for case in golden.layer_cases():
            for dtype in (torch.float64, torch.float32):
                with self.subTest(case=case["name"], dtype=dtype):
                    self._check(case, dtype)

    def _check(self, case: "dict", dtype: torch.dtype) -> None:
        layer = MixtureOfAutoregressiveAttention(**case["config"]).to(dtype).eval()
        layer.load_state_dict({name: tensor.to(dtype) for name, tensor in golden.make_parameters(case).items()})
        rotary = golden.make(case["rotary"]).to(dtype) if case["rotary"] else None
        with torch.no_grad():
            out, trace = layer.forward_with_trace(golden.make_input(case).to(dtype), rotary, **case["forward"])
        expected = golden.expected(case["name"])
        stride = case["token_stride"]
        self.assertLessEqual((out[:, ::stride] - expected["out"]).abs().max().item(), bound(case, dtype))
        self.assertLessEqual((trace.local[:, ::stride] - expected["local_out"]).abs().max().item(), bound(case, dtype))
        if trace.queries is None:
            self.assertNotIn("routed_queries", expected)
            return
        self.assertTrue(torch.equal(trace.queries.taken.transpose(1, 2).to(torch.uint8), expected["routed_queries"]))
        chosen = trace.key_values.indices.masked_fill(~trace.key_values.visible, -1).sort(-1).values
        self.assertTrue(torch.equal(chosen.transpose(1, 2).int(), expected["key_value_indices"]))


class ModelAgreement(unittest.TestCase):
    def test_every_golden_model(self) -> None:
        for case in golden.model_cases():
            for dtype in (torch.float64, torch.float32):
                with self.subTest(case=case["name"], dtype=dtype):
                    model = Transformer.from_config(case["config"]).to(dtype).eval()
                    model.load_state_dict({name: tensor.to(dtype) for name, tensor in golden.make_parameters(case).items()})
                    ids = torch.tensor([case["input_ids"]])
                    expected = golden.expected(case["name"])
                    with torch.no_grad():
                        logits = model(ids)[0]
                        prefixes = torch.stack([model(ids[:, :length])[0, -1] for length in case["prefix_lengths"]])
                    self.assertLessEqual((logits - expected["logits"]).abs().max().item(), bound(case, dtype))
                    self.assertLessEqual((prefixes - expected["prefix_logits"]).abs().max().item(), bound(case, dtype))


if __name__ == "__main__":
    unittest.main()
