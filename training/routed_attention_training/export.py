"""Writes a model as the folder that the package loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import torch
from torch import Tensor

from .options import ModelOptions
from .safetensors import write_safetensors
from .vocabulary import Vocabulary

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export(folder: Path, options: ModelOptions, state: Mapping[str, Tensor], vocabulary: Optional[Vocabulary], dtype: str = "float32") -> None:
    """Writes ``model.safetensors``, ``config.json`` with every option, and what text needs.

    Files are replaced one by one, each whole or not at all; the weights come last but one and config.json last, so that a folder with a new
    config.json has the weights that belong to it.

    vocabulary: None leaves text to whoever has the tokenizer.json.
    dtype: "float32", "float16" or "bfloat16".
    Raises ValueError where a weight is not finite in that type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: _convert(name, tensor, DTYPES[dtype]) for name, tensor in state.items()}
    config: Dict[str, Any] = options.to_config()
    if vocabulary is not None:
        if vocabulary.is_bytes:
            config["tokenizer"] = "bytes"
        else:
            _write(folder / "tokenizer.json", lambda path: path.write_bytes(vocabulary.tokenizer_json or b""))
        if vocabulary.end_of_text is not None:
            _write_json(folder / "generation_config.json", {"eos_token_id": vocabulary.end_of_text})
    _write(folder / "model.safetensors", lambda path: write_safetensors(path, tensors, {"format": "pt"}))
    _write_json(folder / "config.json", config)


def _convert(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.detach().cpu().to(dtype)
    if not bool(torch.isfinite(converted.float()).all()):
        came = "is not finite" if not bool(torch.isfinite(tensor.float()).all()) else f"is too large for {dtype}"
        raise ValueError(f"{name} {came}; nothing was exported")
    return converted


def _write_json(path: Path, value: Any) -> None:
    _write(path, lambda place: place.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))


def _write(path: Path, write: Any) -> None:
    """Writes a file under another name first, so that nobody finds half of it."""
    part = path.with_name(path.name + ".part")
    write(part)
    shutil.move(str(part), str(path))
