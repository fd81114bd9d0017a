"""The golden cases of test/golden, made by the recipe of its README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import torch
from torch import Tensor

from routed_attention_training.safetensors import read_safetensors

FOLDER = Path(__file__).resolve().parents[2] / "test" / "golden"


def layer_cases() -> "List[Dict[str, Any]]":
    return json.loads((FOLDER / "cases.json").read_text())


def model_cases() -> "List[Dict[str, Any]]":
    return json.loads((FOLDER / "models.json").read_text())


def expected(name: str) -> "Dict[str, Tensor]":
    return read_safetensors(FOLDER / f"{name}.safetensors")[0]


def make(recipe: "Dict[str, Any]") -> Tensor:
    """A tensor by its recipe: a hash of each element's index, scaled, in float64 and rounded once to float32."""
    shape = recipe["shape"]
    count = 1
    for size in shape:
        count *= size
    mask = 0xFFFFFFFF
    h = (torch.arange(count, dtype=torch.int64) + ((recipe["seed"] * 0x9E3779B1) & mask)) & mask
    h ^= h >> 16
    h = _multiply(h, 0x85EBCA6B)
    h ^= h >> 13
    h = _multiply(h, 0xC2B2AE35)
    h ^= h >> 16
    values = ((h >> 8).double() * 2.0**-23 - 1) * recipe["scale"] + recipe["offset"]
    return values.float().view(shape)


def make_input(case: "Dict[str, Any]") -> Tensor:
    made = make(case["input"])
    rows = case["input"].get("rows")
    if rows is None:
        return made
    first = torch.cat((made.flatten(0, 1), torch.zeros(1, made.shape[-1])))
    return first[torch.tensor(rows)].view(made.shape)


def make_parameters(case: "Dict[str, Any]") -> "Dict[str, Tensor]":
    return {recipe["name"]: make(recipe) for recipe in case["parameters"]}


def _multiply(h: Tensor, constant: int) -> Tensor:
    """h · constant modulo 2^32, without leaving 63 bits."""
    low, high = constant & 0xFFFF, constant >> 16
    return (h * low + (((h * high) & 0xFFFF) << 16)) & 0xFFFFFFFF
