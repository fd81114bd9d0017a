"""One training run: steps, validation, checkpoints."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .checkpoint import load_checkpoint, save_checkpoint
from .data import IGNORED, Batch
from .options import ModelOptions
from .transformer import Transformer


@dataclass(frozen=True)
class Schedule:
    """How long a run is, and how fast it learns."""

    steps: Optional[int]
    """Steps in all; None where time decides."""
    seconds: Optional[float]
    """Seconds in all; None where steps decide. With both, what ends first."""
    learning_rate: float
    warmup: int = 100
    """Steps until the learning rate is reached."""
    final_share: float = 0.02
    """What is left of it at the end of the cosine."""

    def progress(self, step: int, elapsed: float) -> float:
        """From 0 to 1."""
        shares = [step / self.steps] if self.steps else []
        if self.seconds:
            shares.append(elapsed / self.seconds)
        return max(shares, default=1.0)

    def rate(self, step: int, elapsed: float) -> float:
        """The learning rate of the next step: linear warm-up, then half a cosine."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress(step, elapsed))))
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * (cosine * (1 - self.final_share) + self.final_share)


@dataclass
class History:
    """What a run has come through, for its curve."""

    training: List[Tuple[int, float]] = field(default_factory=list)
    """(tokens, bits a token)."""
    validation: List[Tuple[int, float]] = field(default_factory=list)


class Source(Protocol):
    """Where batches come from."""

    def batch(self, size: int, generator: torch.Generator) -> Batch: ...


class Trainer:
    """Trains a model on one device, or on one of several under DistributedDataParallel."""

    def __init__(
        self,
        model: Transformer,
        source: Source,
        schedule: Schedule,
        *,
        batch_size: int,
        device: torch.device,
        bfloat16: bool = False,
        compiled: bool = False,
        rank: int = 0,
        world: int = 1,
        seed: int = 1,
        clip: float = 1.0,
        weight_decay: float = 0.1,
        unused_parameters: bool = False,
    ) -> None:
        """batch_size: sequences of a step on this device. unused_parameters: whether a step may leave out the routed part (short sequences)."""
        self.model, self.source, self.schedule = model.to(device), source, schedule
        self.batch_size, self.device, self.bfloat16, self.clip = batch_size, device, bfloat16, clip
        self.rank, self.world = rank, world
        self.generator = torch.Generator().manual_seed(seed * 1_000_003 + rank)
        self.optimizer = _optimizer(model, schedule.learning_rate, weight_decay, device)
        self.step = 0
        self.tokens = 0
        self.elapsed = 0.0
        self.history = History()
        self._recent: List[Tensor] = []
        runner: nn.Module = torch.compile(model) if compiled else model  # type: ignore[attr-defined]
        self.runner = DistributedDataParallel(runner, find_unused_parameters=unused_parameters) if world > 1 else runner

    @property
    def progress(self) -> float:
        return self.schedule.progress(self.step, self.elapsed)

    def run_step(self) -> None:
        """One batch, forward, backward and update."""
        started = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step, self.elapsed)
        ids, targets = (part.to(self.device, non_blocking=True) for part in self.source.batch(self.batch_size, self.generator))
        with torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext():
            logits = self.runner(ids)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._recent.append(loss.detach())
        self.step += 1
        self.tokens += ids.numel() * self.world
        self.elapsed += time.perf_counter() - started

    def note_loss(self) -> float:
        """Bits a token since it was asked last, averaged over all devices; goes into the history."""
        mean = torch.stack(self._recent).mean() / math.log(2)
        self._recent = []
        if self.world > 1:
            torch.distributed.all_reduce(mean)
            mean = mean / self.world
        self.history.training.append((self.tokens, mean.item()))
        return mean.item()

    def agree(self, value: float) -> float:
        """The first process's value, so that all decide alike: when to end, when to validate."""
        if self.world == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(shared, 0)
        return shared.item()

    def state(self) -> Dict[str, Any]:
        """All that a resumed run needs."""
        run = {"step": self.step, "tokens": self.tokens, "elapsed": self.elapsed, "history": asdict(self.history)}
        return {
            "options": self.model.options.to_config(),
            "run": run,
            "model": self.model.state_dict(),
            # what its groups say comes from the command again
            "optimizer": self.optimizer.state_dict()["state"],
            "generator": self.generator.get_state(),
        }

    def save(self, path: Path) -> None:
        if self.rank == 0:
            save_checkpoint(path, self.state())

    def resume(self, path: Path) -> None:
        """Goes on where a checkpoint stands; one process takes the very batches that an unbroken run would have taken.

        Raises ValueError for a checkpoint of other options.
        """
        content = load_checkpoint(path)
        theirs, ours = ModelOptions.from_config(content["options"]), self.model.options
        if theirs != ours:
            raise ValueError(f"{path} holds a model of other options, {theirs}; the command asks for {ours}")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": content["optimizer"]})
        if self.world == 1:
            self.generator.set_state(content["generator"])
        else:  # a stream of its own for each process, which no earlier step has used
            self.generator.manual_seed(content["run"]["step"] * 1_000_003 + self.rank)
        self.step, self.tokens, self.elapsed = (content["run"][name] for name in ("step", "tokens", "elapsed"))
        self.history = History(**{name: [tuple(point) for point in points] for name, points in content["run"]["history"].items()})


def _optimizer(model: nn.Module, rate: float, weight_decay: float, device: torch.device) -> torch.optim.Optimizer:
    """AdamW; matrices decay, except the few that stand for tokens."""
    decaying, others = [], []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.dim() >= 2 and not name.endswith(("routing_token", "null_tokens", "null_kv", "gamma"))
        (decaying if is_matrix else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = {"fused": True} if device.type == "cuda" and torch.__version__ >= "2" else {}
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), **fused)
