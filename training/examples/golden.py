"""Golden values of a model: what PyTorch computes in float64 with the weights as they are stored.

    PYTHONPATH=training python3 training/examples/golden.py MODEL IDS

MODEL: a folder with config.json and weights, in one file or in shards. IDS: a file of token ids (little-endian uint16). Of its tokens 1000 … 1699 the
``golden.safetensors`` written into MODEL holds ``input_ids``, ``bits`` (-log2 p of each next token) and ``logits`` (of the last 16); of tokens
5000 … 5299 ``prompt_ids`` and the 32 tokens that a greedy continuation writes (``greedy_ids``).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy
import torch

from routed_attention_training import Transformer
from routed_attention_training.safetensors import read_safetensors, write_safetensors


def read_model(folder: Path) -> Transformer:
    model = Transformer.from_config(json.loads((folder / "config.json").read_text(encoding="utf-8"))).double().eval()
    state = {}
    for path in sorted(folder.glob("model*.safetensors")):
        state.update(read_safetensors(path)[0])
    model.load_state_dict({name: tensor.double() for name, tensor in state.items()})
    return model


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("ids", type=Path)
    values = parser.parse_args()
    model = read_model(values.model)
    ids = torch.from_numpy(numpy.fromfile(values.ids, dtype="<u2").astype(numpy.int64))
    input_ids, prompt = ids[1000:1700], ids[5000:5300]
    logits = model(input_ids[None])[0]
    bits = -logits[:-1].log_softmax(-1).gather(1, input_ids[1:, None])[:, 0] / math.log(2)
    written, margin = prompt, math.inf
    for _ in range(32):
        best = model(written[None])[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        written = torch.cat((written, best.indices[:1]))
    print(f"{bits.mean().item():.6f} bits a token; smallest margin of a greedy token {margin:.4f}")
    tensors = dict(input_ids=input_ids.int(), bits=bits.float(), logits=logits[-16:].float(), prompt_ids=prompt.int(), greedy_ids=written[300:].int())
    write_safetensors(values.model / "golden.safetensors", tensors, {"format": "pt"})


if __name__ == "__main__":
    main()
