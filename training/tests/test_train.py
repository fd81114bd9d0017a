"""The commands, run as a user runs them, on models small enough for a test."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import torch

from routed_attention_training import Transformer, train
from routed_attention_training.checkpoint import load_checkpoint
from routed_attention_training.convert import ConversionError, convert, main as convert_main
from routed_attention_training.data import IGNORED, DataError, Pair, Pairs, read_pairs, read_text, split
from routed_attention_training.evaluate import bits_per_token, score_pairs
from routed_attention_training.safetensors import FormatError, read_safetensors, write_safetensors
from routed_attention_training.vocabulary import byte_vocabulary, read_vocabulary

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "models" / "novels-10m" / "treasure-island.txt"
SMALL = (
    "--dim 16 --depth 1 --heads 2 --dim-head 8 --local-attn-window-size 16 --num-routed-queries 4 --num-routed-key-values 8 "
    "--context 64 --batch 4 --sample 4 --device cpu --warmup 5"
).split()


# Seconds after which a process counts as hanging: many times what it needs on a machine that is quiet.
PATIENCE = 900


def free_port() -> str:
    """A port that nobody listens on, of those that the system gives to nobody by itself, before it is used here."""
    for port in random.sample(range(20_000, 30_000), 100):
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return str(port)
    raise AssertionError("no port is free")


class Folder(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.text = self.folder / "text.txt"
        self.text.write_bytes(BOOK.read_bytes()[:20_000])
        torch.set_num_threads(1)

    def train(self, *arguments: str) -> int:
        return train.main([str(self.text), "--out", str(self.folder / "model"), *SMALL, *arguments])


class Training(Folder):
    def test_text_to_model(self) -> None:
        self.assertEqual(self.train("--steps", "60", "--report-every", "0.5", "--dtype", "float16"), 0)
        model = self.folder / "model"
        config = json.loads((model / "config.json").read_text())
        self.assertEqual((config["num_tokens"], config["tokenizer"], config["causal"]), (257, "bytes", True))
        self.assertEqual(json.loads((model / "generation_config.json").read_text()), {"eos_token_id": 256})
        self.assertIn("<polyline", (model / "training" / "loss.svg").read_text())
        tensors, _ = read_safetensors(model / "model.safetensors")
        self.assertEqual({tensor.dtype for tensor in tensors.values()}, {torch.float16})
        exported = Transformer.from_config(config)
        exported.load_state_dict(tensors)
        validation = torch.frombuffer(bytearray((model / "training" / "validation.txt").read_bytes()), dtype=torch.uint8)
        # it has learnt something: 60 steps take it from 8 bits a byte to below 6
        self.assertLess(bits_per_token(exported, validation, 2048), 6)
        self.assertEqual(len(validation), len(split(read_text([self.text], byte_vocabulary()), 0.1, True)[1]))

    def test_a_resumed_run_takes_the_steps_of_an_unbroken_one(self) -> None:
        self.train("--steps", "6")
        whole = load_checkpoint(self.folder / "model" / train.CHECKPOINT)
        # a run that was killed behind its third step leaves this
        values = train.parser().parse_args([str(self.text), "--out", str(self.folder / "model"), *SMALL, "--steps", "6"])
        run = train.Run(values, torch.device("cpu"), 0, 1)
        for _ in range(3):
            run.trainer.run_step()
        run.trainer.save(values.out / train.CHECKPOINT)
        self.train("--steps", "6", "--resume")
        resumed = load_checkpoint(self.folder / "model" / train.CHECKPOINT)
        self.assertEqual(resumed["run"]["step"], 6)
        for name, tensor in whole["model"].items():
            self.assertTrue(torch.equal(tensor, resumed["model"][name]), name)

    def test_ctrl_c_saves_and_exports(self) -> None:
        command = [sys.executable, "-m", "routed_attention_training.train", str(self.text), "--out", str(self.folder / "model"), *SMALL]
        process = subprocess.Popen(
            [*command, "--minutes", "60", "--report-every", "0.2"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "training"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.addCleanup(process.kill)
        checkpoint = self.folder / "model" / train.CHECKPOINT
        deadline = time.monotonic() + PATIENCE
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertTrue(checkpoint.exists(), f"no checkpoint; the process has ended with {process.poll()}")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 130, told)
        self.assertIn("ended by Ctrl-C", told)
        self.assertTrue((self.folder / "model" / "model.safetensors").exists())

    def test_two_processes_train_one_model(self) -> None:
        # started as torchrun starts them; the one that Debian's PyTorch 1.13 brings fails under its Python 3.11
        command = [sys.executable, "-m", "routed_attention_training.train", str(self.text), "--out", str(self.folder / "model"), *SMALL]
        processes = []
        port = free_port()
        for rank in range(2):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = {**os.environ, **place, "PYTHONPATH": str(ROOT / "training"), "OMP_NUM_THREADS": "1"}
            processes.append(subprocess.Popen([*command, "--steps", "12"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            self.addCleanup(processes[-1].kill)
        told = [process.communicate(timeout=PATIENCE) for process in processes]
        self.assertEqual([process.returncode for process in processes], [0, 0], told)
        self.assertIn("2 process(es)", told[0][0])
        self.assertEqual(told[1][0], "")
        content = load_checkpoint(self.folder / "model" / train.CHECKPOINT)
        # both processes' sequences count
        self.assertEqual((content["run"]["step"], content["run"]["tokens"]), (12, 12 * 2 * 4 * 64))

    def test_pairs(self) -> None:
        pairs = self.folder / "pairs.jsonl"
        digits = ["zero", "one", "two", "three"]
        pairs.write_text("".join(json.dumps({"prompt": f"{word}: ", "completion": str(i)}) + "\n" for i, word in enumerate(digits)) * 10)
        self.text = pairs
        self.assertEqual(self.train("--steps", "150", "--learning-rate", "1e-2", "--validation-share", "0.1"), 0)
        model = Transformer.from_config(json.loads((self.folder / "model" / "config.json").read_text()))
        model.load_state_dict(read_safetensors(self.folder / "model" / "model.safetensors")[0])
        self.assertEqual(score_pairs(model, read_pairs([pairs], byte_vocabulary()), 8).accuracy, 1)

    def test_what_cannot_be_trained_on_is_told(self) -> None:
        self.text.write_text("too short")
        self.assertEqual(self.train("--steps", "1"), 1)
        self.assertEqual(self.train("--steps", "1", "--resume"), 1)
        self.text = self.folder / "none.txt"
        self.assertEqual(self.train("--steps", "1"), 1)


class Data(Folder):
    def test_only_completions_are_learnt(self) -> None:
        batch = Pairs.collate([Pair([1, 2, 3], [4, 5]), Pair([6], [7])])
        self.assertEqual(batch.ids.tolist(), [[1, 2, 3, 4], [6, 0, 0, 0]])
        self.assertEqual(batch.targets.tolist(), [[IGNORED, IGNORED, 4, 5], [7, IGNORED, IGNORED, IGNORED]])

    def test_texts_are_joined_by_the_token_that_ends_one(self) -> None:
        (self.folder / "a").write_text("ab")
        (self.folder / "b").write_text("c")
        self.assertEqual(read_text([self.folder / "a", self.folder / "b"], byte_vocabulary()).tolist(), [97, 98, 256, 99])

    def test_no_character_is_cut_in_two(self) -> None:
        tokens = torch.tensor(list("aéé".encode()), dtype=torch.uint8)
        before, behind = split(tokens, 0.3, True)
        self.assertEqual((bytes(before.tolist()).decode(), bytes(behind.tolist()).decode()), ("aé", "é"))

    def test_token_ids_of_a_tokenizer(self) -> None:
        vocabulary = read_vocabulary(ROOT / "models" / "novels-10m" / "tokenizer.json")
        self.assertEqual((vocabulary.size, vocabulary.end_of_text), (4096, 0))
        ids = self.folder / "ids"
        ids.write_bytes(bytes([1, 0, 255, 15]))
        self.assertEqual(read_text([ids], vocabulary).tolist(), [1, 4095])
        for bad in (b"abc", bytes([0, 16])):
            ids.write_bytes(bad)
            with self.assertRaises(DataError):
                read_text([ids], vocabulary)

    def test_pairs_that_are_none_are_told_by_their_line(self) -> None:
        pairs = self.folder / "pairs.jsonl"
        for bad in ("[]", "{", '{"prompt": "a"}', '{"prompt": "", "completion": "a"}', '{"prompt": [1], "completion": [257]}'):
            pairs.write_text('{"prompt": "a", "completion": "b"}\n' + bad)
            with self.subTest(bad=bad), self.assertRaisesRegex(DataError, "line 2"):
                read_pairs([pairs], byte_vocabulary())

    def test_safetensors(self) -> None:
        path = self.folder / "x.safetensors"
        tensors = {"a": torch.randn(2, 3), "b": torch.randn(5).bfloat16(), "none": torch.empty(0, 4), "t": torch.arange(6).view(2, 3).t()}
        write_safetensors(path, tensors, {"format": "pt"})
        read, metadata = read_safetensors(path)
        self.assertEqual(metadata, {"format": "pt"})
        for name, tensor in tensors.items():
            self.assertTrue(torch.equal(read[name], tensor))
        whole = path.read_bytes()
        for bad in (whole[:4], b"\xff" * 16, whole[:-1], whole[:8] + b"x" + whole[9:]):
            path.write_bytes(bad)
            with self.assertRaises(FormatError):
                read_safetensors(path)


class Conversion(Folder):
    def setUp(self) -> None:
        super().setUp()
        self.config = dict(
            num_tokens=7, dim=8, depth=1, heads=1, dim_head=4, ff_mult=2, num_experts=1,
            local_attn_window_size=4, num_routed_queries=2, num_routed_key_values=2, selection="top-k", causal=True,
        )  # fmt: skip
        self.state = Transformer.from_config(self.config).state_dict()

    def test_what_people_have(self) -> None:
        prefixed = {f"module.net.{name}": tensor for name, tensor in self.state.items()}
        prefixed["module.net.layers.0.0.local_attn.attn_fn.rel_pos.inv_freq"] = torch.ones(2)
        for content in (self.state, {"model": self.state, "step": 3}, {"state_dict": prefixed}, prefixed):
            options, state = convert(content, self.config)
            self.assertEqual(set(state), set(self.state))
            self.assertEqual(options.to_config()["dim"], 8)
        sizes = ("num_tokens", "dim", "depth", "heads", "dim_head", "ff_mult", "num_experts")
        told = {name: value for name, value in self.config.items() if name not in sizes}
        self.assertEqual(convert(self.state, told)[0], convert(self.state, self.config)[0])

    def test_unmarked_checkpoints_of_two_experts_are_refused(self) -> None:
        config = {**self.config, "num_experts": 2}
        state = Transformer.from_config(config).state_dict()
        with self.assertRaisesRegex(ConversionError, "section 8"):
            convert(state, config)
        self.assertEqual(len(convert(state, config, force=True)[1]), len(state))

    def test_our_own_checkpoints_need_nothing_else(self) -> None:
        self.train("--steps", "1")
        out = self.folder / "converted"
        self.assertEqual(convert_main([str(self.folder / "model" / train.CHECKPOINT), "--out", str(out), "--bytes"]), 0)
        self.assertEqual((out / "model.safetensors").read_bytes(), (self.folder / "model" / "model.safetensors").read_bytes())
        self.assertEqual(json.loads((out / "config.json").read_text()), json.loads((self.folder / "model" / "config.json").read_text()))

    def test_what_does_not_fit_is_listed(self) -> None:
        state = {name: tensor for name, tensor in self.state.items() if name != "to_logits.1.bias"}
        state["head.weight"] = torch.ones(1, 2)
        with self.assertRaisesRegex(ConversionError, "missing to_logits.1.bias.*unexpected head.weight"):
            convert(state, self.config)
        for content in ({}, {"a": 1}, [1], {"weight": torch.ones(2)}):
            with self.assertRaises(ConversionError):
                convert(content, self.config)

    def test_nothing_in_a_file_is_executed(self) -> None:
        path = self.folder / "evil.pt"
        torch.save({"model": self.state, "path": Path("x")}, path)
        self.assertEqual(convert_main([str(path), "--out", str(self.folder / "out")]), 1)
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
