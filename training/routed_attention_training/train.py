"""``python3 -m routed_attention_training.train TEXT… --out MODEL``: from text files to a model that the package runs."""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Union

import torch

from .data import DataError, Pair, Pairs, Text, read_pairs, read_text, split
from .evaluate import bits_per_token, sample, score_pairs
from .export import DTYPES, export
from .options import LayerOptions, ModelOptions, OptionError
from .plot import loss_curve
from .trainer import Schedule, Trainer
from .transformer import Transformer, initialise_for_training
from .vocabulary import Vocabulary, byte_vocabulary, read_vocabulary

CHECKPOINT = "training/checkpoint.pt"
CURVE = "training/loss.svg"
VALIDATION = "training/validation.txt"
VALIDATION_TOKENS = 20_000
"""Of a validation on the way; the last one takes all."""


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(
        prog="python3 -m routed_attention_training.train",
        description="Trains a language model on texts, and writes it as a folder that `routed-attention generate` and `LanguageModel.load` take.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parse.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="UTF-8 texts; with --tokenizer, files of token ids; or .jsonl files of pairs")
    parse.add_argument("--out", required=True, type=Path, metavar="MODEL", help="folder for the model; checkpoints and the loss curve go to its training/")
    parse.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="folder with the tokenizer.json of the token ids; without it a token is a byte")
    parse.add_argument("--end-of-text", type=int, metavar="ID", help="token that ends a text, where the tokenizer.json has none of the usual names")

    length = parse.add_argument_group("how long, and on what")
    length.add_argument("--minutes", type=float, help="train for so long, beside validations (10 where --steps is not given either)")
    length.add_argument("--steps", type=int, help="train for so many steps")
    length.add_argument("--resume", action="store_true", help="go on from the checkpoint in MODEL/training")
    length.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU where there is one")
    length.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="arithmetic of matrix products; auto: bfloat16 on a GPU that has it")
    length.add_argument("--compile", action="store_true", help="compile the model with torch.compile (PyTorch 2)")
    length.add_argument("--threads", type=int, help="processor threads; PyTorch's own choice by default")

    model = parse.add_argument_group("the model (defaults suit the device: about 1 million parameters on a processor, 10 on a GPU)")
    model.add_argument("--config", type=Path, help="a config.json with options; those given here go before it")
    for name, help_text in (
        ("dim", "channels of a token"),
        ("depth", "blocks"),
        ("heads", "attention heads"),
        ("dim-head", "channels of a head"),
        ("ff-mult", "inner channels of the feed-forward, in multiples of dim"),
        ("local-attn-window-size", "tokens before it that local attention sees"),
        ("num-experts", "experts of a layer"),
        ("num-routed-queries", "tokens of a window that each expert takes as queries"),
        ("num-routed-key-values", "tokens of the past that each expert holds"),
    ):
        model.add_argument(f"--{name}", type=int, help=help_text)
    model.add_argument("--routed-layers", type=_blocks, metavar="BLOCKS", help="blocks that are routed, such as 4,5; all, or none")
    model.add_argument("--dropout", type=float, help="dropout of attention probabilities")
    model.add_argument("--residual-dropout", type=float, help="dropout of embeddings and of what each block adds (0 on a processor, 0.1 on a GPU)")

    learning = parse.add_argument_group("learning")
    learning.add_argument("--context", type=int, help="tokens of a sequence (512 on a processor, 2048 on a GPU)")
    learning.add_argument("--batch", type=int, help="sequences of a step on each device (8 on a processor, 24 on a GPU)")
    learning.add_argument("--learning-rate", type=float, help="largest learning rate (3e-3 at dim 128, less for wider models)")
    learning.add_argument("--warmup", type=int, default=100, help="steps until it is reached")
    learning.add_argument("--weight-decay", type=float, default=0.1, help="decay of matrices")
    learning.add_argument("--clip", type=float, default=1.0, help="largest norm of a step's gradients")
    learning.add_argument("--seed", type=int, default=1, help="of initial values and batches")
    learning.add_argument("--validation-share", type=float, default=0.1, help="the last part of the texts that is kept to measure by")

    report = parse.add_argument_group("what it tells and writes")
    report.add_argument("--report-every", type=float, default=30, metavar="SECONDS", help="seconds between validations, checkpoints and samples")
    report.add_argument("--sample", type=int, default=120, metavar="TOKENS", help="length of the samples; 0 for none")
    report.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="type of the exported weights")
    return parse


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command. Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 ended by Ctrl-C (with everything saved)."""
    values = parser().parse_args(arguments)
    try:
        return run(values)
    except (DataError, OptionError, ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1


def run(values: argparse.Namespace) -> int:
    with process_group() as (rank, world, local_rank):
        device = choose_device(values.device, local_rank)
        if values.threads:
            torch.set_num_threads(values.threads)
        return Run(values, device, rank, world).run()


@contextmanager
def process_group() -> "Iterator[tuple[int, int, int]]":
    """This process's place among those that ``torchrun`` started: (rank, world size, rank on this host)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1, 0
        return
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield torch.distributed.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0"))
    finally:
        torch.distributed.destroy_process_group()


def choose_device(wanted: str, local_rank: int) -> torch.device:
    kind = wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        torch.cuda.set_device(local_rank)
        torch.backends.cuda.matmul.allow_tf32 = True
        return torch.device("cuda", local_rank)
    return torch.device(kind)


class Run:
    """One run of the command."""

    def __init__(self, values: argparse.Namespace, device: torch.device, rank: int, world: int) -> None:
        self.values, self.device, self.is_first = values, device, rank == 0
        on_gpu = device.type == "cuda"
        self.vocabulary = read_vocabulary(values.tokenizer / "tokenizer.json", values.end_of_text) if values.tokenizer else byte_vocabulary()
        self.context = values.context or (2048 if on_gpu else 512)
        options = model_options(values, self.vocabulary, on_gpu)
        if options.max_positions is not None and options.max_positions < self.context:
            raise OptionError(f"sequences of {self.context} tokens do not fit the {options.max_positions} positions (max_positions) of the model")
        self.is_pairs = values.texts[0].suffix == ".jsonl"
        source, self.validation = self._read(options)

        torch.manual_seed(values.seed)
        dropout = values.residual_dropout if values.residual_dropout is not None else 0.1 if on_gpu else 0.0
        model = Transformer(options, dropout)
        initialise_for_training(model)
        seconds = values.minutes * 60 if values.minutes is not None else None if values.steps is not None else 600.0
        self.trainer = Trainer(
            model,
            source,
            Schedule(values.steps, seconds, values.learning_rate or 3e-3 * (128 / options.layer.dim) ** 0.75, values.warmup),
            batch_size=values.batch or (24 if on_gpu else 8),
            device=device,
            bfloat16=values.precision == "bfloat16" or (values.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported()),
            compiled=values.compile,
            rank=rank,
            world=world,
            seed=values.seed,
            clip=values.clip,
            weight_decay=values.weight_decay,
            unused_parameters=self.is_pairs,
        )
        if values.resume:
            self.trainer.resume(values.out / CHECKPOINT)
        self.interrupted = False
        self.sampler = torch.Generator().manual_seed(values.seed)

    def _read(self, options: ModelOptions) -> "tuple[Any, Any]":
        """What is trained on, and what is kept back."""
        values = self.values
        if any((path.suffix == ".jsonl") != self.is_pairs for path in values.texts):
            raise DataError("texts and .jsonl files of pairs cannot be mixed")
        if self.is_pairs:
            if not options.layer.causal:
                raise DataError("pairs are padded behind, and only a causal model's outputs do not depend on what follows: set causal true")
            pairs = read_pairs(values.texts, self.vocabulary)
            at = len(pairs) - round(len(pairs) * values.validation_share)
            return Pairs(pairs[:at], self.context), pairs[at:]
        tokens = read_text(values.texts, self.vocabulary)
        training, validation = split(tokens, values.validation_share, self.vocabulary.is_bytes)
        if self.is_first and self.vocabulary.is_bytes:
            place = values.out / VALIDATION
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(bytes(id for id in validation.tolist() if id < 256))
        return Text(training.to(self.device) if self.device.type == "cuda" else training, self.context), validation

    def run(self) -> int:
        trainer, values = self.trainer, self.values
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        self.tell(f"{parameters:,} parameters on {self.device}, {trainer.world} process(es); sequences of {self.context} tokens")
        with self._watching_interrupts():
            begun = reported = told = time.monotonic()
            begun_tokens = trainer.tokens
            pause = values.report_every
            while trainer.agree(float(trainer.progress < 1 and not self.interrupted)):
                trainer.run_step()
                now = trainer.agree(time.monotonic()) if trainer.world > 1 else time.monotonic()
                if now - told >= min(2.0, values.report_every):
                    told = now
                    loss = trainer.note_loss()
                    self.tell_progress(loss, (trainer.tokens - begun_tokens) / (now - begun))
                if now - reported >= pause:
                    self.report()
                    reported = trainer.agree(time.monotonic())
                    # whatever a report costs, training gets nine tenths of the time
                    pause = max(values.report_every, 9 * (reported - now))
            final = self.finish()
        self.tell(final)
        return 130 if self.interrupted else 0

    def report(self) -> None:
        """Now and then: validation, a sample, a checkpoint, the curve."""
        trainer, values = self.trainer, self.values
        if self.is_first:
            self.tell(f"  validation: {self.measure(VALIDATION_TOKENS)}")
            if values.sample and not self.is_pairs:
                prompt = self.validation[:32].tolist()
                written = sample(trainer.model, prompt, values.sample, self.context, 0.8, self.sampler)
                self.tell(f"  sample: {self.vocabulary.text_of(prompt)!r} … {self.vocabulary.text_of(written)!r}")
            self._write_curve()
        trainer.save(values.out / CHECKPOINT)

    def finish(self) -> str:
        """The last checkpoint and the export; @returns what to tell at the end."""
        trainer, values = self.trainer, self.values
        trainer.save(values.out / CHECKPOINT)
        if not self.is_first:
            return ""
        # what is measured is what is exported
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.copy_(parameter.to(DTYPES[values.dtype]).to(parameter.dtype))
        measured = self.measure(2**62)
        self._write_curve()
        export(values.out, trainer.model.options, trainer.model.state_dict(), self.vocabulary, values.dtype)
        ended = "ended by Ctrl-C, " if self.interrupted else ""
        return f"{ended}{trainer.step} steps, {trainer.tokens:,} tokens in {trainer.elapsed:.0f} s; validation: {measured}; the model is in {values.out}"

    def measure(self, limit: int) -> str:
        """How well what was kept back is predicted, of pairs and texts alike about the first ``limit`` tokens; notes it for the curve."""
        trainer = self.trainer
        if self.is_pairs:
            if not self.validation:
                return "none"
            ends = itertools.accumulate(len(prompt) + len(completion) for prompt, completion in self.validation)
            pairs = self.validation[: max(1, sum(end <= limit for end in ends))]
            bits, accuracy = score_pairs(trainer.model, pairs, trainer.batch_size)
            trainer.history.validation.append((trainer.tokens, bits))
            return f"{bits:.4f} bits a token of completions, {100 * accuracy:.1f} % of {len(pairs)} right"
        if self.validation.numel() < 2:
            return "none"
        chunk = min(2048, trainer.model.options.max_positions or 2048)
        bits = bits_per_token(trainer.model, self.validation, chunk, limit)
        trainer.history.validation.append((trainer.tokens, bits))
        return f"{bits:.4f} bits a {'byte' if self.vocabulary.is_bytes else 'token'}"

    def tell(self, line: str) -> None:
        if self.is_first and line:
            if sys.stderr.isatty():
                sys.stderr.write("\r\x1b[K")
            print(line, flush=True)

    def tell_progress(self, bits: float, speed: float) -> None:
        """One line on a terminal, changed in place; elsewhere a line each time."""
        trainer = self.trainer
        left = (1 - trainer.progress) / max(trainer.progress, 1e-9) * trainer.elapsed
        line = f"step {trainer.step}, {100 * min(1.0, trainer.progress):.1f} %: {bits:.3f} bits a token, {speed:,.0f} tokens/s, {left / 60:.1f} min to go"
        if self.is_first:
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
            else:
                print(line, file=sys.stderr, flush=True)

    def _write_curve(self) -> None:
        path = self.values.out / CURVE
        path.parent.mkdir(parents=True, exist_ok=True)
        history = self.trainer.history
        path.write_text(loss_curve(history.training, history.validation, "tokens", "bits a token"), encoding="utf-8")

    @contextmanager
    def _watching_interrupts(self) -> Iterator[None]:
        """Ctrl-C ends the run after the step under way, with everything saved; a second one ends it at once."""

        def note(*_: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        before = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def model_options(values: argparse.Namespace, vocabulary: Vocabulary, on_gpu: bool) -> ModelOptions:
    """The options of the command line, before those of --config, before those that suit the device."""
    import json

    config = dict(_GPU_MODEL if on_gpu else _PROCESSOR_MODEL)
    if values.config:
        config.update(json.loads(values.config.read_text(encoding="utf-8")))
    names: List[str] = [*LayerOptions.__dataclass_fields__, *ModelOptions.__dataclass_fields__]
    given = {name: getattr(values, name) for name in names if name != "routed_layers" and getattr(values, name, None) is not None}
    if "local_attn_window_size" in given:
        config.pop("routed_window_size", None)
    config.update(given)
    if values.routed_layers is not None:
        config["routed_layers"] = None if values.routed_layers == "all" else values.routed_layers
    elif on_gpu and not values.config:
        # the last third of the blocks: docs/training-log.md, runs 3 and 8
        config["routed_layers"] = list(range(config["depth"] - -(-config["depth"] // 3), config["depth"]))
    if config.get("num_tokens", vocabulary.size) < vocabulary.size:
        raise OptionError(f"num_tokens {config['num_tokens']} is less than the {vocabulary.size} tokens of the vocabulary")
    config.setdefault("num_tokens", vocabulary.size)
    return ModelOptions.from_config(config)


def _blocks(text: str) -> "Union[str, List[int]]":
    """A list of blocks, or "all"."""
    if text == "all":
        return text
    try:
        return [] if text == "none" else [int(block) for block in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected blocks such as 4,5, or all, or none; got {text!r}") from None


_COMMON = {"selection": "top-k", "causal": True, "cosine_sim_routing": True}
_PROCESSOR_MODEL = {
    **_COMMON, "dim": 128, "depth": 4, "heads": 4, "dim_head": 32, "num_experts": 2, "ff_mult": 4,
    "local_attn_window_size": 64, "num_routed_queries": 16, "num_routed_key_values": 64,
}  # fmt: skip
_GPU_MODEL = {
    **_COMMON, "dim": 256, "depth": 6, "heads": 4, "dim_head": 64, "num_experts": 1, "ff_mult": 7,
    "local_attn_window_size": 128, "num_routed_queries": 32, "num_routed_key_values": 128,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
