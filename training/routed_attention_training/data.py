"""Token ids to train on: running text, or pairs of a prompt and its completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, NamedTuple, Sequence

import torch
from torch import Tensor

from .vocabulary import Vocabulary

IGNORED = -100
"""The target of a position that is not learnt from; ``cross_entropy`` leaves it out."""


class DataError(ValueError):
    """A file that cannot be trained on."""


class Batch(NamedTuple):
    """Both (sequences, length), int64."""

    ids: Tensor
    targets: Tensor
    """The token that follows each position, or IGNORED."""


class Text:
    """One long row of tokens, cut anywhere."""

    def __init__(self, tokens: Tensor, context: int) -> None:
        if tokens.numel() <= context:
            raise DataError(f"{tokens.numel()} tokens are too few for sequences of {context}: give more text, or a smaller --context")
        self.tokens, self.context = tokens, context

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """``size`` sequences from anywhere."""
        starts = torch.randint(self.tokens.numel() - self.context, (size,), generator=generator)
        places = starts[:, None] + torch.arange(self.context + 1)
        rows = self.tokens[places.to(self.tokens.device)].long()
        return Batch(rows[:, :-1], rows[:, 1:])


class Pair(NamedTuple):
    """A prompt and what shall follow it, the token that ends a text included."""

    prompt: "List[int]"
    completion: "List[int]"


class Pairs:
    """Prompts and completions; only completions are learnt."""

    def __init__(self, pairs: Sequence[Pair], context: int) -> None:
        if not pairs:
            raise DataError("there is no pair to train on")
        self.pairs, self.context = pairs, context
        longest = max(len(prompt) + len(completion) for prompt, completion in pairs) - 1
        if longest > context:
            raise DataError(f"the longest pair has {longest} tokens, more than the {context} of a sequence: give a larger --context")

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """``size`` pairs, padded behind."""
        chosen = torch.randint(len(self.pairs), (size,), generator=generator).tolist()
        return self.collate([self.pairs[index] for index in chosen])

    @staticmethod
    def collate(pairs: Sequence[Pair]) -> Batch:
        """Pairs as rows of one length. What stands behind a pair's end changes nothing before it, where the model is causal."""
        length = max(len(prompt) + len(completion) for prompt, completion in pairs) - 1
        ids = torch.zeros(len(pairs), length, dtype=torch.long)
        targets = torch.full((len(pairs), length), IGNORED)
        for row, (prompt, completion) in enumerate(pairs):
            both = torch.tensor([*prompt, *completion])
            ids[row, : len(both) - 1] = both[:-1]
            targets[row, len(prompt) - 1 : len(both) - 1] = both[len(prompt) :]
        return Batch(ids, targets)


def read_text(paths: Sequence[Path], vocabulary: Vocabulary) -> Tensor:
    """The tokens of several files in a row, with the token that ends a text between them: uint8 for bytes alone, else int32.

    With a tokenizer the files hold token ids as ``routed-attention tokenize`` writes them: little-endian uint16, or uint32 where the vocabulary
    has more than 65,536.
    """
    parts: List[Tensor] = []
    for path in paths:
        if parts and vocabulary.end_of_text is not None:
            parts.append(torch.tensor([vocabulary.end_of_text], dtype=torch.int32))
        parts.append(_read_ids(path, vocabulary))
    dtype = torch.uint8 if all(part.dtype == torch.uint8 for part in parts) else torch.int32
    return torch.cat([part.to(dtype) for part in parts])


def _read_ids(path: Path, vocabulary: Vocabulary) -> Tensor:
    data = bytearray(path.read_bytes())
    if vocabulary.is_bytes:
        return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    wide = vocabulary.size > 65_536
    width = 4 if wide else 2
    if len(data) % width:
        raise DataError(
            f"{path} has {len(data)} bytes, which are no {8 * width}-bit token ids: make them with "
            f"`routed-attention tokenize FOLDER TEXT > ids`, FOLDER having the tokenizer.json"
        )
    ids = torch.frombuffer(data, dtype=torch.int32 if wide else torch.int16).int() if data else torch.empty(0, dtype=torch.int32)
    if not wide:
        ids = ids & 0xFFFF
    if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < vocabulary.size):
        raise DataError(f"{path} holds token id {int(ids.max())}, and the vocabulary ends at {vocabulary.size - 1}: is it of another tokenizer?")
    return ids


def read_pairs(paths: Sequence[Path], vocabulary: Vocabulary) -> List[Pair]:
    """The pairs of JSONL files: objects with ``prompt`` and ``completion``, texts (of a byte-level model) or arrays of token ids."""
    pairs: List[Pair] = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                pairs.append(_read_pair(line, f"{path}, line {number}", vocabulary))
    return pairs


def _read_pair(line: str, where: str, vocabulary: Vocabulary) -> Pair:
    try:
        pair: Any = json.loads(line)
        prompt, completion = pair["prompt"], pair["completion"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{where} must be {{"prompt": …, "completion": …}}, got {line[:80]!r}') from error
    ids = Pair(_ids_of(prompt, where, vocabulary), _ids_of(completion, where, vocabulary))
    if not ids.prompt:
        raise DataError(f"{where} has an empty prompt; a completion follows at least one token")
    end = [] if vocabulary.end_of_text is None else [vocabulary.end_of_text]
    return Pair(ids.prompt, [*ids.completion, *end])


def _ids_of(value: Any, where: str, vocabulary: Vocabulary) -> List[int]:
    if isinstance(value, str):
        if not vocabulary.is_bytes:
            raise DataError(f"{where} holds text, and this model has a tokenizer: `routed-attention tokenize FOLDER PAIRS.jsonl` makes ids of it")
        return list(value.encode())
    if isinstance(value, list) and all(isinstance(id, int) and 0 <= id < vocabulary.size for id in value):
        return value
    raise DataError(f"{where} must hold texts or token ids from 0 to {vocabulary.size - 1}, got {value!r:.80}")


def split(tokens: Tensor, share: float, is_text: bool) -> "tuple[Tensor, Tensor]":
    """The tokens before, and the last ``share`` of them; of bytes, no character is cut in two."""
    at = round(tokens.numel() * (1 - share))
    while is_text and 0 < at < tokens.numel() and 0x80 <= int(tokens[at]) < 0xC0:
        at -= 1
    return tokens[:at], tokens[at:]
