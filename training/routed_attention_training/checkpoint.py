"""Checkpoints of a training run, marked as ours, and written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict

import torch

FORMAT = "routed-attention-training/1"
"""The mark. A checkpoint without it may come from the published layer, whose routing of two and more experts was at fault (SPEC, section 8)."""


_TEXTS = ("options", "run")
"""Entries kept as JSON: PyTorch 1.13 reads tensors without executing what a file says, and no floats beside them."""


def save_checkpoint(path: Path, content: Dict[str, Any]) -> None:
    """Writes ``content`` under our mark, in place of what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    texts = {name: json.dumps(content[name]) for name in _TEXTS}
    torch.save({"format": FORMAT, **content, **texts}, part)
    os.replace(part, path)


def load_checkpoint(path: Path) -> Dict[str, Any]:
    """A checkpoint of ours. Nothing in the file is executed.

    Raises ValueError for a file that is none.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not is_marked(content):
        raise ValueError(f"{path} is no checkpoint of this trainer: it does not carry the mark {FORMAT!r}")
    return {**content, **{name: json.loads(content[name]) for name in _TEXTS}}


def is_marked(content: Any) -> bool:
    """Whether what a file holds is a checkpoint of ours."""
    return isinstance(content, dict) and content.get("format") == FORMAT
