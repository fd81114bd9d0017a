"""What token ids mean: bytes, or the entries of a tokenizer.json. Texts are turned into ids elsewhere (``routed-attention tokenize``)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, Optional

_END_OF_TEXT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary, and the token that ends a text."""

    size: int
    end_of_text: Optional[int]
    tokenizer_json: Optional[bytes] = None
    """The file itself, which goes into the exported model; None for bytes."""
    byte_texts: Dict[int, bytes] = field(default_factory=dict, repr=False)
    """What a token adds to the text, for byte-level vocabularies."""

    @property
    def is_bytes(self) -> bool:
        return self.tokenizer_json is None

    def text_of(self, ids: Iterable[int]) -> str:
        """Text of token ids, for people to read; ids without a text are shown as numbers."""
        if self.is_bytes:
            return bytes(id for id in ids if id < 256).decode("utf-8", "replace")
        if not self.byte_texts:
            return " ".join(str(id) for id in ids)
        return b"".join(self.byte_texts.get(id, b"") for id in ids).decode("utf-8", "replace")


def byte_vocabulary() -> Vocabulary:
    """UTF-8 bytes, and one token behind them that ends a text."""
    return Vocabulary(size=257, end_of_text=256)


def read_vocabulary(path: Path, end_of_text: Optional[int] = None) -> Vocabulary:
    """The vocabulary of a tokenizer.json.

    end_of_text: the id that ends a text; by default that of a token with one of the usual names, or none.
    Raises ValueError for a file that is none.
    """
    data = path.read_bytes()
    try:
        tokenizer: Any = json.loads(data)
        vocabulary = tokenizer["model"]["vocab"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no tokenizer.json in Hugging Face's format: {error!r}") from error
    # Unigram lists pieces and their scores; the others map pieces to ids
    ids = {piece: index for index, (piece, _) in enumerate(vocabulary)} if isinstance(vocabulary, list) else dict(vocabulary)
    added = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or []}
    size = max((*ids.values(), *added.values())) + 1
    if end_of_text is None:
        end_of_text = next((added.get(name, ids.get(name)) for name in _END_OF_TEXT_NAMES if name in added or name in ids), None)
    elif not 0 <= end_of_text < size:
        raise ValueError(f"end of text must be a token id from 0 to {size - 1}, got {end_of_text}")
    byte_texts: Dict[int, bytes] = {}
    if "ByteLevel" in _types(tokenizer.get("decoder")):
        letters = _byte_level_letters()
        byte_texts = {id: bytes(letters[letter] for letter in piece) for piece, id in ids.items() if all(letter in letters for letter in piece)}
        byte_texts.update({id: content.encode() for content, id in added.items()})
    return Vocabulary(size, end_of_text, data, byte_texts)


def _types(component: Any) -> "list[str]":
    """The types of a tokenizer's component and of those that it is a sequence of."""
    if not isinstance(component, dict):
        return []
    parts = component.get("decoders") or component.get("pretokenizers") or []
    return [component.get("type", ""), *(type for part in parts for type in _types(part))]


def _byte_level_letters() -> "Dict[str, int]":
    """The printable letter that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + index): byte for index, byte in enumerate(others)}}
