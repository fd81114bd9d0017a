"""What must hold of the layer beside its values: who may influence whom, and in which arithmetic."""

from __future__ import annotations

import unittest

import torch

from routed_attention_training import LayerOptions, MixtureOfAutoregressiveAttention, OptionError, Transformer
from routed_attention_training.options import ModelOptions

from .test_gradients import SELECTIONS, make_input, make_layer


class Independence(unittest.TestCase):
    def test_sequences_of_a_batch_do_not_influence_each_other(self) -> None:
        for name, options in SELECTIONS.items():
            with self.subTest(selection=name), torch.no_grad():
                layer, x = make_layer(**options), make_input()
                other = x.clone()
                other[1] = make_input().flip(0)[1] * 3
                self.assertTrue(torch.equal(layer(x)[0], layer(other)[0]))
                self.assertTrue(torch.allclose(layer(x)[0], layer(x[:1])[0], rtol=0, atol=1e-12))

    def test_a_causal_layer_does_not_look_ahead(self) -> None:
        layer, x = make_layer(selection="top-k", causal=True), make_input(23)
        with torch.no_grad():
            out = layer(x)
            for position in range(1, 23):
                changed = x.clone()
                changed[:, position:] = changed[:, position:].flip(-1) * 2
                self.assertTrue(torch.equal(layer(changed)[:, :position], out[:, :position]), position)

    def test_other_selections_do(self) -> None:
        """So that the test above can fail."""
        layer, x = make_layer(), make_input(23)
        changed = x.clone()
        changed[:, 9:] *= -2
        with torch.no_grad():
            self.assertFalse(torch.equal(layer(changed)[:, :9], layer(x)[:, :9]))


class Precision(unittest.TestCase):
    def test_similarities_are_float32_under_autocast(self) -> None:
        for cosine in (False, True):
            layer = make_layer(cosine_sim_routing=cosine).float()
            x = make_input().float()
            exact = layer.query_router(x)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                self.assertTrue(torch.equal(layer.query_router(x), exact))
                self.assertEqual(layer.query_router(x.bfloat16()).dtype, torch.float32)

    def test_a_forward_and_backward_pass_under_autocast_is_finite(self) -> None:
        for name, options in SELECTIONS.items():
            with self.subTest(selection=name):
                model = Transformer(ModelOptions(layer=make_layer(**options).options, num_tokens=11, depth=2, routed_rotary_emb=True))
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    logits = model(torch.randint(11, (2, 21)))
                logits.float().logsumexp(-1).sum().backward()
                self.assertTrue(all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None))

    def test_equal_tokens_have_equal_similarities(self) -> None:
        layer = MixtureOfAutoregressiveAttention(96, num_routed_queries=2, num_routed_key_values=2, local_attn_window_size=8)
        row = torch.randn(96)
        x = torch.randn(3, 41, 96)
        x[:, 7::5] = row
        similarity = layer.query_router(x)[:, :, 7::5]
        self.assertTrue(torch.equal(similarity, similarity[:1, :, :1].expand_as(similarity)))

    @unittest.skipUnless(hasattr(torch, "compile"), "this PyTorch has no torch.compile")
    def test_compiled_agrees(self) -> None:
        layer, x = make_layer(selection="top-k", causal=True), make_input()
        with torch.no_grad():
            self.assertTrue(torch.allclose(torch.compile(layer)(x), layer(x), rtol=0, atol=1e-9))


class Options(unittest.TestCase):
    def test_what_does_not_fit_is_refused(self) -> None:
        sizes = dict(dim=8, num_routed_queries=2, num_routed_key_values=2, local_attn_window_size=4)
        for wrong in (dict(dim=0), dict(dim_head=3), dict(heads=True), dict(eps=0), dict(selection="all"), dict(causal=True), dict(dropout=2)):
            with self.subTest(wrong=wrong), self.assertRaises(OptionError):
                LayerOptions(**{**sizes, **wrong})

    def test_blocks_that_are_not_routed_have_local_attention_alone(self) -> None:
        layer = make_layer(selection="top-k", causal=True).options
        model = Transformer(ModelOptions(layer=layer, num_tokens=11, depth=3, routed_layers=[2, 0]))
        self.assertEqual(model.options.to_config()["routed_layers"], (0, 2))
        names = {name for name, _ in model.named_parameters() if name.startswith("layers.1.0.")}
        self.assertEqual(names, {f"layers.1.0.local_attn.{name}" for name in ("norm.weight", "norm.bias", "to_qkv.weight", "to_out.weight")})
        self.assertIn("layers.2.0.null_tokens", dict(model.named_parameters()))
        x = torch.randn(2, 40, layer.dim)
        self.assertTrue(torch.equal(model.layers[1][0](x), model.layers[1][0].local_attn(x)))
        self.assertIsNone(ModelOptions(layer=layer, num_tokens=11, depth=2, routed_layers=(0, 1)).routed_layers)
        for wrong in ([3], [-1], [0, 0], [True], "01", 1):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(OptionError, "routed_layers"):
                ModelOptions(layer=layer, num_tokens=11, depth=3, routed_layers=wrong)

    def test_config_json_comes_back_with_every_option(self) -> None:
        config = dict(dim=8, num_routed_queries=2, num_routed_key_values=2, local_attn_window_size=4, num_tokens=5, depth=1, seq_len=64, theirs=1)
        options = ModelOptions.from_config(config)
        written = options.to_config()
        self.assertEqual(ModelOptions.from_config(written), options)
        self.assertEqual((written["max_positions"], written["routed_window_size"]), (64, 4))
        for name in (*LayerOptions.__dataclass_fields__, "num_tokens", "depth", "ff_mult", "routed_rotary_emb", "max_positions", "routed_layers"):
            self.assertIn(name, written)
        with self.assertRaisesRegex(OptionError, "num_tokens is missing"):
            ModelOptions.from_config({name: value for name, value in config.items() if name != "num_tokens"})


if __name__ == "__main__":
    unittest.main()
