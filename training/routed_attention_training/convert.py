"""``python3 -m routed_attention_training.convert CHECKPOINT.pt --out MODEL``: what people have, as a folder that the package loads."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

import torch
from torch import Tensor

from .checkpoint import is_marked, load_checkpoint
from .export import DTYPES, export
from .options import ModelOptions, OptionError
from .transformer import Transformer
from .vocabulary import Vocabulary, byte_vocabulary, read_vocabulary

_WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "net", "ema")
_BUFFERS = re.compile(r"(^|\.)(local_attn\.attn_fn\.rel_pos\.(inv_freq|scale)|rotary_emb\.inv_freq)$")


class ConversionError(ValueError):
    """A checkpoint that cannot become a model."""


def parser() -> argparse.ArgumentParser:
    parse = argparse.ArgumentParser(prog="python3 -m routed_attention_training.convert", description=__doc__)
    parse.add_argument("checkpoint", type=Path, metavar="CHECKPOINT.pt", help="torch.save of a state dict, or of a dict that holds one")
    parse.add_argument("--out", required=True, type=Path, metavar="MODEL", help="folder for the model")
    parse.add_argument("--config", type=Path, help="config.json with the options that no weight tells (windows, routing); needed unless the checkpoint is this trainer's")
    parse.add_argument("--tokenizer", type=Path, metavar="FOLDER", help="folder with a tokenizer.json, which goes along")
    parse.add_argument("--bytes", action="store_true", help="tokens are bytes")
    parse.add_argument("--end-of-text", type=int, metavar="ID", help="token that ends a text")
    parse.add_argument("--dtype", choices=tuple(DTYPES), default="float32", help="type of the exported weights (default: float32)")
    parse.add_argument("--force", action="store_true", help="convert an unmarked checkpoint of two or more experts all the same")
    parse.add_argument("--trust-pickle", action="store_true", help="execute what the file says; only for a file of your own that holds more than tensors")
    return parse


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command. Exit codes: 0 done, 1 failed, 2 the command line is wrong."""
    values = parser().parse_args(arguments)
    try:
        content = read_checkpoint(values.checkpoint, values.trust_pickle)
        config = json.loads(values.config.read_text(encoding="utf-8")) if values.config else None
        options, state = convert(content, config, values.force)
        export(values.out, options, state, _vocabulary(values, options), values.dtype)
    except (ConversionError, OptionError, ValueError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    print(f"{len(state)} tensors, {sum(tensor.numel() for tensor in state.values()):,} parameters; the model is in {values.out}")
    return 0


def read_checkpoint(path: Path, trusted: bool = False) -> Any:
    """What a file of ``torch.save`` holds. Nothing in it is executed unless it is ``trusted``."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=not trusted)
        return load_checkpoint(path) if is_marked(content) else content
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f"{path} holds more than tensors, or is no file of torch.save ({error}); if it is your own, --trust-pickle loads it all the same"
        ) from error
    except RuntimeError as error:
        raise ConversionError(f"{path} is no file of torch.save: {error}") from error


def convert(content: Any, config: Optional[Mapping[str, Any]], force: bool = False) -> "tuple[ModelOptions, Dict[str, Tensor]]":
    """The options and the state dict of a model.

    content: a state dict, or a dict with one under "model", "state_dict" or the like; names may share one prefix; buffers are dropped.
    config: what config.json should hold; sizes may be left out, since the weights tell them.
    Raises ConversionError, with all that is missing or left over.
    """
    marked = is_marked(content)
    state = _without_prefix(_state_dict(content))
    if config is None and not marked:
        raise ConversionError("windows and routing stand in no weight: give them with --config config.json")
    told: Dict[str, Any] = {**_sizes(state), **(content["options"] if marked else {}), **(config or {})}
    if told.get("num_experts", 2) > 1 and not marked and not force:
        raise ConversionError(
            f"this checkpoint has {told.get('num_experts', 2)} experts and does not carry this trainer's mark. The published layer routes wrongly with "
            "two or more experts: a window's tokens come from other windows and other sequences of the batch, and one expert's keys serve as "
            "all keys (SPEC, section 8). What was trained so gives other outputs here. If it was trained with the faults mended, --force converts it"
        )
    options = ModelOptions.from_config(told)
    _check_names(Transformer(options).state_dict(), state)
    return options, state


def _state_dict(content: Any) -> Dict[str, Tensor]:
    """The tensors of a checkpoint, by name."""
    while True:
        if isinstance(content, torch.nn.Module):
            content = content.state_dict()
        if not isinstance(content, Mapping):
            raise ConversionError(f"a checkpoint must hold a dict of tensors, got a {type(content).__name__}")
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), (Mapping, torch.nn.Module))), None)
        if inner is None:
            break
        content = inner
    if not any(isinstance(value, Tensor) for value in content.values()):
        raise ConversionError(f"no state dict was found: the file holds {', '.join(map(str, list(content)[:20])) or 'nothing'}")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _without_prefix(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """The same without what stands in front of ``token_emb.weight`` everywhere (``module.``, ``_orig_mod.``, ``net.``), and without buffers."""
    anchor = next((name for name in state if name.endswith("token_emb.weight")), None)
    if anchor is None:
        raise ConversionError(f"there is no token_emb.weight among {', '.join(list(state)[:20])}: is it a language model of this layer?")
    prefix = anchor[: -len("token_emb.weight")]
    stray = [name for name in state if not name.startswith(prefix)]
    if stray:
        raise ConversionError(f"token_emb.weight has the prefix {prefix!r}, and these have not: {', '.join(stray[:20])}")
    short = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in short.items() if not _BUFFERS.search(name)}


def _sizes(state: Mapping[str, Tensor]) -> Dict[str, Any]:
    """The options that shapes tell."""
    numbers = [int(match.group(1)) for match in (re.match(r"layers\.(\d+)\.", name) for name in state) if match]
    sizes: Dict[str, Any] = {"depth": max(numbers, default=-1) + 1}
    sizes["num_tokens"], sizes["dim"] = state["token_emb.weight"].shape
    if "pos_emb.weight" in state:
        sizes["max_positions"] = state["pos_emb.weight"].shape[0]
    routed = [block for block in range(sizes["depth"]) if f"layers.{block}.0.null_tokens" in state]
    sizes["routed_layers"] = None if len(routed) == sizes["depth"] else routed
    null_kv = state.get(f"layers.{routed[0] if routed else 0}.0.attn.null_kv")
    if null_kv is not None and null_kv.dim() == 5:
        sizes["num_experts"], sizes["heads"], sizes["dim_head"] = null_kv.shape[1], null_kv.shape[2], null_kv.shape[4]
    inner = state.get("layers.0.1.1.weight")
    if inner is not None:
        sizes["ff_mult"] = inner.shape[0] // sizes["dim"]
    sizes["prenorm"] = "layers.0.0.local_attn.norm.weight" in state
    return sizes


def _check_names(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    problems = [f"missing {name} {list(tensor.shape)}" for name, tensor in expected.items() if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in expected]
    problems += [
        f"{name} of shape {list(state[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise ConversionError(f"the checkpoint does not fit its options: {'; '.join(problems[:20])}{more}")


def _vocabulary(values: argparse.Namespace, options: ModelOptions) -> Optional[Vocabulary]:
    if values.bytes:
        end = values.end_of_text if values.end_of_text is not None else byte_vocabulary().end_of_text
        return Vocabulary(size=options.num_tokens, end_of_text=end if end is not None and end < options.num_tokens else None)
    if values.tokenizer:
        return read_vocabulary(values.tokenizer / "tokenizer.json", values.end_of_text)
    return None


if __name__ == "__main__":
    sys.exit(main())
