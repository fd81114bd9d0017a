"""What routing buys a language model on novels, at equal tokens and by training time.

    python novels.py DATA --variants local,dense,few --steps 855

DATA: a folder with train.u16 (or train.u16.xz), valid.u16 (Jane Eyre) and test.u16 (Treasure Island): token ids, little-endian
uint16, of novels-10m's tokenizer, curly quotes folded to straight ones. One step is 24 sequences of 2,048 tokens: 855 are 42 million.
Variants run one after another, each with the same initial seed and the same batches. Prints one RESULT line for each: bits a token
on the two novels in pieces of 2,048 tokens and by context length, in float32 under SPEC's function, and tokens a second, compiling left out.
`--results FILE` keeps the same as lines of JSON, which figures.py draws.

Where queries are chosen from the whole window, the choice tells a token something of those after it, which are not there when text
is generated. Such variants are measured a second time with the strictly causal choice, which is what a token gets that comes last.
"""
import argparse
import json
import lzma
import math
import os
import sys
import time
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from routed import BOTH, Config, Estimator, Transformer, initialise

BASE = Config(num_tokens=4096, dim=256, depth=6, heads=4, dim_head=64, local_attn_window_size=128, num_routed_queries=32,
              num_routed_key_values=128, routed=(0, 1, 2, 3, 4, 5))


def variant(init=None, steps=1.0, later=False, noise=0.0, router_lr=1.0, **config):
    """steps: how many times those of the command line. later: all tokens are queries first, fewer from a fifth to three fifths of the training."""
    estimator = {k: config.pop(k) for k in list(config) if k in Estimator.__dataclass_fields__}
    return dict(init=init or {}, steps=steps, later=later, noise=noise, router_lr=router_lr,
                config=replace(BASE, estimator=replace(BASE.estimator, **estimator), **config))


ALL = dict(num_routed_queries=128)
LAST = dict(routed=(4, 5))
ONE = dict(num_experts=1)
BEST = dict(**LAST, **ONE, ff_mult=7, dropout=0.1)
AHEAD = dict(looks_ahead=True)
TRIED = dict(explore=64, **BOTH)  # tokens left out learn too

VARIANTS = dict(
    local=variant(routed=()),
    local_one=variant(routed=(), **ONE),  # the same from the initial values that models of one expert start with
    local_ff5=variant(routed=(), ff_mult=5),
    local_ff6=variant(routed=(), ff_mult=6),
    local_ff8=variant(routed=(), ff_mult=8),
    local_ff5_longer=variant(routed=(), ff_mult=5, steps=1.12),
    dense=variant(routed=(), dense=(0, 1, 2, 3, 4, 5)),
    dense_last=variant(routed=(), dense=(4, 5)),
    dense_middle=variant(routed=(), dense=(2, 3)),
    few=variant(**TRIED),
    few_alternate=variant(routed=(1, 3, 5), **TRIED),
    all_last=variant(**ALL, **LAST, **TRIED),
    few_last_both=variant(**LAST, **TRIED),
    few_plain=variant(),
    few_published_init=variant(init=dict(published=True)),
    few_detach=variant(detach=True),
    few_noise=variant(noise=1.0),
    few_one=variant(**ONE),
    few_last_plain=variant(**LAST),
    few_last_one=variant(**LAST, **ONE),
    few_last_one_ff7=variant(**LAST, **ONE, ff_mult=7),
    few_last_one_deep=variant(routed=(7, 8), **ONE, depth=9),
    local_ff8_drop=variant(routed=(), ff_mult=8, dropout=0.1),
    local_ff8_longer=variant(routed=(), ff_mult=8, steps=1.19),
    local_ff8_drop_longer=variant(routed=(), ff_mult=8, dropout=0.1, steps=1.24),
    dense_last_ff8_drop=variant(routed=(), dense=(4, 5), ff_mult=8, dropout=0.1),
    few_last_one_ff7_drop_twice=variant(**BEST, steps=2.0),
    few_last_one_ff7_drop=variant(**BEST),
    few_last_one_deep_drop=variant(routed=(7, 8), **ONE, depth=9, dropout=0.1),
    local_deep=variant(routed=(), depth=10),
    dense_last_ff8=variant(routed=(), dense=(4, 5), ff_mult=8),
    window_last_one=variant(**LAST, **ONE, **AHEAD),
    window_last_one_ff7_drop=variant(**BEST, **AHEAD),
    descent_last_one_ff7_drop=variant(**BEST, **AHEAD, selection="coordinate-descent", surrogate="descent"),
    few_last_one_ff7_drop_descent=variant(**BEST, surrogate="descent"),  # strictly causal, taught by descent's scores
    later=variant(later=True),
    all_plain=variant(**ALL),
    all_middle_plain=variant(**ALL, routed=(2, 3)),
    all_alternate_plain=variant(**ALL, routed=(1, 3, 5)),
    all_last_plain=variant(**ALL, **LAST),
    all_last_rotary=variant(**ALL, **LAST, rotary=True),
    all_last_256=variant(**ALL, **LAST, num_routed_key_values=256),
    all_last_512=variant(**ALL, **LAST, num_routed_key_values=512),
    all_last_one=variant(**ALL, **LAST, **ONE),
    all_last_four=variant(**ALL, **LAST, num_experts=4),
)


def load(folder, name):
    path = os.path.join(folder, name + ".u16")
    if os.path.exists(path):
        return torch.from_numpy(np.fromfile(path, dtype="<u2").astype(np.int64))
    with lzma.open(path + ".xz") as file:
        return torch.from_numpy(np.frombuffer(file.read(), dtype="<u2").astype(np.int64))


@torch.no_grad()
def bits(model, schedule, ids, length, limit):
    """Bits a token over pieces of `length` tokens; at most `limit` tokens."""
    total = count = 0
    pieces = min(limit, len(ids) - 1) // length
    group = max(1, 8192 // length)
    for i in range(0, pieces, group):
        rows = torch.stack([ids[j * length : (j + 1) * length + 1] for j in range(i, min(i + group, pieces))])
        logits = model(rows[:, :-1], schedule).float()
        total += F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum").item()
        count += rows[:, 1:].numel()
    return total / math.log(2) / count


def measure(model, schedule, data, args):
    """Bits a token on both novels in pieces of the training's length, and by context."""
    limits = dict(valid=163840, test=98304) if args.device == "cuda" else dict.fromkeys(("valid", "test"), 4 * max(args.contexts))
    result = {}
    for novel, which in (("Jane Eyre", "valid"), ("Treasure Island", "test")):
        limit = 10**9 if which == "test" and args.device == "cuda" else limits[which]
        result[novel] = dict(bits=round(bits(model, schedule, data[which], args.length, limit), 4),
                             by_context={n: round(bits(model, schedule, data[which], n, limits[which]), 4) for n in args.contexts})
    return result


def without_looking_ahead(model):
    """Choose queries strictly causally from here on."""
    for block in model.blocks:
        block.attention.c = replace(block.attention.c, looks_ahead=False, selection="top-k")


def compiled(model, args, head, schedule):
    """→ blocks (None: the model's own), head, and how they run: the first way that works of whole blocks compiled, compiled but for the
    choice of tokens, and as they are."""
    ids = torch.zeros(args.batch, args.length + 1, dtype=torch.long, device=args.device)
    for how in ("compiled", "choice apart") if args.compile else ():
        try:
            if how == "choice apart":
                for b in model.blocks:
                    b.attention.choose = torch.compiler.disable(b.attention.choose)
            torch._dynamo.reset()
            blocks = [torch.compile(b, dynamic=False) for b in model.blocks]
            fast = torch.compile(head, dynamic=False)
            with torch.autocast(args.device, dtype=torch.bfloat16):
                fast(model.hidden(ids[:, :-1].contiguous(), schedule, blocks), ids[:, 1:].contiguous()).backward()
            model.zero_grad(set_to_none=True)
            return blocks, fast, how
        except Exception as error:
            print("not", how, repr(error)[-1500:], flush=True)
            model.zero_grad(set_to_none=True)
    return None, head, "eager"


def train(name, data, args):
    v = VARIANTS[name.split(":")[0]]
    c = v["config"]
    device = args.device
    cuda = device == "cuda"
    if args.tiny:
        c = replace(c, dim=32, heads=2, dim_head=16, local_attn_window_size=16, num_routed_queries=c.num_routed_queries // 8,
                    num_routed_key_values=c.num_routed_key_values // 8, estimator=replace(c.estimator, explore=c.estimator.explore // 8))
    torch.manual_seed(int((name + ":1234").split(":")[1]))
    model = initialise(Transformer(c), **v["init"]).to(device)
    scalar = lambda value: torch.tensor(float(value), device=device)
    target = dict(queries=scalar(c.num_routed_queries), key_values=scalar(c.num_routed_key_values), noise=None)
    schedule = dict(target, queries=target["queries"].clone(), noise=scalar(v["noise"]) if v["noise"] else None)
    idle = {id(p) for b in model.blocks if not b.routed for n, p in b.attention.named_parameters() if not n.startswith("local_attn")}
    named = [(n, p) for n, p in model.named_parameters() if id(p) not in idle]
    routers = [p for n, p in named if "routing_token" in n]
    decay = [p for n, p in named if p.dim() >= 2 and "routing_token" not in n]
    rest = [p for n, p in named if p.dim() < 2]
    groups = [dict(params=decay, weight_decay=0.1, scale=1.0), dict(params=rest, weight_decay=0.0, scale=1.0),
              dict(params=routers, weight_decay=0.0, scale=v["router_lr"])]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, 0.95), **(dict(fused=True) if cuda else {}))
    blocks, head, how = compiled(model, args, lambda x, y: F.cross_entropy(model.to_logits(x).float().flatten(0, 1), y.flatten()), schedule)
    generator = torch.Generator(device=device).manual_seed(7)
    train_ids, length, batch, steps = data["train"], args.length, args.batch, round(args.steps * v["steps"])
    sync = torch.cuda.synchronize if cuda else lambda: None
    model.train()
    begun = timed = time.time()
    losses, timed_from = [], min(20, steps // 2)
    for step in range(steps):
        p = step / steps
        lr = args.lr * min(1, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * p)) * 0.98 + 0.02)
        for g in optimiser.param_groups:
            g["lr"] = lr * g["scale"]
        if v["later"]:
            q, w = c.num_routed_queries, c.local_attn_window_size
            schedule["queries"].fill_(w * (q / w) ** min(1, max(0, (p - 0.2) / 0.4)))
        if v["noise"]:
            schedule["noise"].fill_(v["noise"] * max(0.0, 1 - p / 0.6))
        start = torch.randint(0, len(train_ids) - length - 1, (batch,), generator=generator, device=device)
        rows = train_ids[start[:, None] + torch.arange(length + 1, device=device)]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=cuda):
            loss = head(model.hidden(rows[:, :-1].contiguous(), schedule, blocks), rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        if step == timed_from:
            sync()
            timed = time.time()
        if step % 100 == 0:
            print(name, step, f"{loss.item():.3f} {time.time() - begun:.0f} s", flush=True)
    sync()
    seconds = time.time() - timed
    rate = (steps - 1 - timed_from) * batch * length / seconds
    memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0
    model.eval()
    final = torch.stack(losses[-50:]).mean().item() / math.log(2)
    line = (f"RESULT novels {name} used {model.used_parameters() / 1e6:.2f} M parameters; {steps * batch * length / 1e6:.1f} M tokens, "
            f"{rate:.0f} tokens/s ({how}), {memory:.1f} GiB; train {final:.4f}")
    print(line, flush=True)
    result = dict(experiment="novels", variant=name, parameters=model.used_parameters(), tokens=steps * batch * length,
                  tokens_per_second=round(rate), train=round(final, 4))
    if args.save:
        model.export(f"{args.save}/novels-{name.replace(':', '-')}", args.dtype)
    if args.bench:
        return
    result.update(measure(model, target, data, args))
    if c.looks_ahead:
        without_looking_ahead(model)
        result["without looking ahead"] = measure(model, target, data, args)
    print("RESULT", json.dumps(result), flush=True)
    if args.results:
        with open(args.results, "a") as file:
            file.write(json.dumps(result) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--variants", default="local")
    parser.add_argument("--steps", type=int, default=855)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--contexts", type=lambda s: [int(n) for n in s.split(",")], default=[256, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bench", action="store_true", help="no evaluation")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for trying the script")
    parser.add_argument("--results", help="file that one line of JSON for each variant is added to")
    parser.add_argument("--save", help="folder for the models, as the package loads them")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the saved weights")
    args = parser.parse_args()
    if args.compile:
        torch._dynamo.config.cache_size_limit = 64
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    data = {name: load(args.data, name).to(args.device) for name in ("train", "valid", "test")}
    for name in args.variants.split(","):
        try:
            train(name, data, args)
        except Exception as error:  # one variant's fault must not end the others
            print("FAILED", name, repr(error)[:1500], flush=True)
            if args.device == "cpu":
                raise
        sys.stdout.flush()
        if args.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
