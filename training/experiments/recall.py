"""Do routers learn to remember? Pairs (mark, key, value) stand in random filler; at the end of the sequence each key is asked for.

    python recall.py --seconds 345 --batch 64 --variants few_plain,local:1    (a name may carry a seed)

Windows of 32, two blocks: local attention reaches 64 tokens back, a pair at twice that is 128 or more before its question.
Chance is 1 of 16 values (0.06). A model that knows which values occurred, but not whose they are, gets 0.52 of four pairs by
leaving out those answered already (1/4, 1/3, 1/2, 1; a loss of ln(24)/4 = 0.79): that much is no recall.
All variants train side by side on one GPU, each step a CUDA graph on a stream of its own; `--device cpu` is for trying the script.
Prints, for each variant, a RESULT line: accuracy by place of the pairs under SPEC's function at the target numbers, and what the
last block's routers chose in the last window: the asked keys among the queries, and the pairs of which a token (key, value or one of
the two after) is among the key/values. `--results FILE` keeps, as lines of JSON which figures.py draws, accuracy by number of pairs
and by distance, the latter also in sequences four times as long as those of training.
"""
import argparse
import contextlib
import json
import math
import time
from dataclasses import replace

import torch
import torch.nn.functional as F

import routed
from routed import BOTH, Config, Estimator, Transformer, initialise

LENGTH, WINDOW, KEYS, VALUES, FILLER, PAIRS = 512, 32, 8, 16, 64, 4
FAR = 128  # from a pair to its question: twice of what two blocks of local attention reach
EDGES = {LENGTH: range(0, LENGTH + 1, 64), 4 * LENGTH: (0, 128, 256, 512, 1024, 1536, 2048)}  # of distances, by a sequence's length
TOKENS = 2 + KEYS + VALUES + FILLER
QUERIES, KEY_VALUES = 8, 16
BASE = Config(num_tokens=TOKENS, dim=128, depth=2, heads=4, dim_head=32, local_attn_window_size=WINDOW, num_routed_queries=QUERIES,
              num_routed_key_values=KEY_VALUES, routed=(0, 1))


def constant(value):
    return lambda p: value


def falling(start, end, since, until):
    """From start to end, in equal ratios, while the training's progress p goes from since to until."""
    return lambda p: start * (end / start) ** min(1.0, max(0.0, (p - since) / (until - since)))


FEW_QUERIES, ALL_QUERIES = constant(QUERIES), constant(WINDOW)
FEW_KEYS, ALL_KEYS = constant(KEY_VALUES), constant(LENGTH)
LATER_QUERIES, LATER_KEYS = falling(WINDOW, QUERIES, 0.35, 0.7), falling(LENGTH, KEY_VALUES, 0.2, 0.6)


def variant(queries=FEW_QUERIES, keys=FEW_KEYS, noise=None, data="many", lr=1e-3, router_lr=1.0, init=None, **config):
    """data: what the training's sequences are (see `sequences`): all of them in its first half, then every second, the others as tested."""
    estimator = {k: config.pop(k) for k in list(config) if k in Estimator.__dataclass_fields__}
    return dict(queries=queries, keys=keys, noise=noise, data=data, lr=lr, router_lr=router_lr, init=init or {},
                config=replace(BASE, estimator=Estimator(**estimator), **config))


def memory(key_values):
    return dict(keys=constant(key_values), num_routed_key_values=key_values)


EVERYTHING = dict(explore=-1, **BOTH)
LATER = dict(queries=LATER_QUERIES, keys=falling(64, KEY_VALUES, 0.2, 0.6), explore=48, **BOTH)

VARIANTS = dict(
    local=variant(routed=()),
    # the usual straight-through gate
    few_plain=variant(),
    few_plain_lr2=variant(lr=2e-3),
    few_plain_lr_half=variant(lr=5e-4),
    few_plain_lr_quarter=variant(lr=2.5e-4),
    few_plain_slow_routers=variant(router_lr=0.1),
    few_softmax=variant(value_only=False),
    few_plain_published_init=variant(init=dict(published=True)),
    later_queries_plain=variant(queries=LATER_QUERIES),
    few_32_lr_half=variant(lr=5e-4, **memory(32)),
    few_64_lr_half=variant(lr=5e-4, **memory(64)),
    few_64_lr_quarter=variant(lr=2.5e-4, **memory(64)),
    few_64_four_lr_half=variant(lr=5e-4, data="four", **memory(64)),
    window_lr_half=variant(lr=5e-4, looks_ahead=True),
    descent_lr_half=variant(lr=5e-4, looks_ahead=True, selection="coordinate-descent", surrogate="descent"),
    dense_attention=variant(routed=(), dense=(0, 1)),
    dense_attention_lr_half=variant(lr=5e-4, routed=(), dense=(0, 1)),
    dense_attention_lr_quarter=variant(lr=2.5e-4, routed=(), dense=(0, 1)),
    # tokens left out learn too, at the cost of some key/values beside the chosen
    few=variant(explore=48, **BOTH),
    few_both_detach=variant(explore=16, detach=True, **BOTH),
    few_noise=variant(explore=48, noise=falling(1.0, 0.01, 0.0, 0.6), **BOTH),
    few_published_init=variant(explore=48, init=dict(published=True), **BOTH),
    all_queries=variant(queries=ALL_QUERIES, explore=48, **BOTH),
    later=variant(**LATER),
    later_lr2=variant(**LATER, lr=2e-3),
    # the same over all of the past
    dense=variant(queries=ALL_QUERIES, keys=ALL_KEYS, **EVERYTHING),  # nothing is left out
    dense_four=variant(queries=ALL_QUERIES, keys=ALL_KEYS, data="four", **EVERYTHING),
    all_keys_four=variant(keys=ALL_KEYS, data="four", **EVERYTHING),
    few_everything_mixed=variant(data="mixed", **EVERYTHING),
    later_everything=variant(queries=LATER_QUERIES, keys=LATER_KEYS, **EVERYTHING),
    later_everything_mixed=variant(queries=LATER_QUERIES, keys=LATER_KEYS, data="mixed", **EVERYTHING),
    later_everything_plain=variant(queries=LATER_QUERIES, keys=LATER_KEYS, data="four", explore=-1),
)


def asked(length, pairs):
    """Where a key is asked for in the test."""
    return length - 3 * pairs + 3 * torch.arange(pairs) + 1


def sequences(count, device, low=0, high=400, data="four", often=0.33, generator=None, length=LENGTH, pairs=PAIRS):
    """→ ids (count, length), answers (count, length), −1 where nothing is asked, and places of the pairs.

    four   `pairs` pairs stand in [low, high) and are asked for, one after another, at the end: the test
    mixed  one to `pairs` pairs
    many   six pairs in the first half; at every place for a question after them, one of those seen so far is asked for with probability `often`
    """
    rand = lambda *shape: torch.rand(shape, device=device, generator=generator)
    x = 2 + KEYS + VALUES + (rand(count, length) * FILLER).long()
    answers = torch.full_like(x, -1)
    pairs = 6 if data == "many" else pairs
    keys = 2 + rand(count, KEYS).argsort(-1)[:, :pairs]
    values = 2 + KEYS + (rand(count, pairs) * VALUES).long()
    if data == "many":
        high = length // 2
    slots = rand(count, (high - low) // 4).argsort(-1)[:, :pairs] * 4 + low
    put = lambda to, at, what, where: to.scatter_(1, at, torch.where(where, what, to.gather(1, at)))

    def write(at, first, key, value, where):
        for i, what in enumerate((torch.full_like(key, first), key, value)):
            put(x, at + i, what, where)

    if data == "many":
        at = torch.arange(0, length, 4, device=device).expand(count, -1)
        seen = slots[:, None, :] < at[..., None]  # (count, places, pairs)
        which = (rand(count, at.shape[1], pairs) + seen).argmax(-1)
        free = ~(slots[:, None, :] == at[..., None]).any(-1)
        where = (rand(count, at.shape[1]) < often) & seen.any(-1) & free
        key, value = keys.gather(1, which), values.gather(1, which)
        present = torch.ones_like(keys, dtype=torch.bool)
    else:
        at = (asked(length, pairs) - 1).to(device).expand(count, -1)
        present = torch.arange(pairs, device=device) < (1 + (rand(count, 1) * pairs).long() if data == "mixed" else pairs)
        where, key, value = present.expand(count, -1), keys, values
    write(slots, 0, keys, values, present)
    write(at, 1, key, value, where)
    put(answers, at + 1, value, where)
    return x, answers, slots


def training_sequences(count, device, data, often):
    """→ (ids, answers) of count sequences as `data` says, and the same of count in turn as in the test and as `data` says."""
    four, other, more = (sequences(count // 2, device, data=kind, often=often)[:2] for kind in ("four", data, data))
    mixed = tuple(torch.stack(t, 1).flatten(0, 1) for t in zip(four, other))
    return tuple(torch.cat(t) for t in zip(other, more)), mixed


class Training:
    """One variant: its model, its optimiser, and its step as a CUDA graph."""

    def __init__(self, name, device, batch, beta2):
        self.name, self.device, self.batch = name, device, batch
        self.variant = VARIANTS[name.split(":")[0]]
        torch.manual_seed(int((name + ":0").split(":")[1]))
        self.model = initialise(Transformer(self.variant["config"]), **self.variant["init"]).to(device)
        self.settings = torch.zeros(5, device=device)  # queries, key_values, noise, learning rate, that of routers
        self.schedule = dict(queries=self.settings[0], key_values=self.settings[1], noise=self.settings[2] if self.variant["noise"] else None)
        named = [(n, p) for n, p in self.model.named_parameters() if not self.idle(n)]
        routers = [p for n, p in named if "routing_token" in n]
        others = [p for n, p in named if "routing_token" not in n]
        self.parameters = routers + others
        cuda = device == "cuda"
        groups = [dict(params=others, lr=self.settings[3]), dict(params=routers, lr=self.settings[4], weight_decay=0.0)]
        if not cuda:
            groups = [{**g, "lr": 1e-3} for g in groups]
        extra = dict(capturable=True, fused=True) if cuda else {}
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=1e-3, betas=(0.9, beta2), weight_decay=0.01, **extra)
        self.ids = torch.zeros(batch, LENGTH, dtype=torch.long, device=device)
        self.answers = torch.zeros(batch, LENGTH, dtype=torch.long, device=device)
        self.loss = torch.zeros((), device=device)
        self.stream = torch.cuda.Stream() if cuda else None
        self.graph = None

    def idle(self, name):
        """Whether a parameter belongs to the routed part of a block that has none."""
        if ".attention." not in name or ".local_attn." in name:
            return False
        return not self.model.blocks[int(name.split(".")[1])].routed

    def settings_at(self, p):
        v = self.variant
        lr = v["lr"] * min(1.0, (p + 1e-4) / 0.03) * (0.5 * (1 + math.cos(math.pi * min(1.0, p))) * 0.95 + 0.05)
        return [v["queries"](p), v["keys"](p), v["noise"](p) if v["noise"] else 0.0, lr, lr * v["router_lr"]]

    attention = staticmethod(routed.gated_attention)  # a compiled one where there is one

    def compute(self):
        loss = F.cross_entropy(self.model(self.ids, self.schedule).float().flatten(0, 1), self.answers.flatten(), ignore_index=-1)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.loss.copy_(loss.detach())

    def prepare(self, data):
        """Warm up and capture. data: (ids, answers)."""
        self.ids.copy_(data[0][: self.batch]), self.answers.copy_(data[1][: self.batch])
        self.settings.copy_(torch.tensor(self.settings_at(0.0)))
        if not self.stream:
            return
        plain = routed.gated_attention
        try:
            routed.gated_attention = Training.attention
            self.warm_up()
        except Exception as error:
            print(self.name, "runs without the compiled attention:", repr(error)[-300:], flush=True)
            routed.gated_attention = plain
            self.warm_up()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.compute()
        routed.gated_attention = plain

    def warm_up(self):
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self.compute()
        torch.cuda.synchronize()

    def step(self, data, at, table):
        with torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            self.ids.copy_(data[0][at : at + self.batch], non_blocking=True)
            self.answers.copy_(data[1][at : at + self.batch], non_blocking=True)
            self.settings.copy_(table, non_blocking=True)
            if self.graph:
                self.graph.replay()
            else:
                for g, lr in zip(self.optimiser.param_groups, table[3:].tolist()):
                    g["lr"] = lr
                self.compute()

    @torch.no_grad()
    def ask(self, count, low=0, high=None, length=LENGTH, pairs=PAIRS):
        """Under SPEC's function at the target numbers, or at all of them where the variant never chooses.

        high: where pairs end; None: where they are FAR from all questions.
        → whether each of the (count, pairs) answers is right and how far back its pair is, and two shares of the chosen (see above).
        """
        device = self.device
        target = self.settings_at(1.0)
        queries, key_values = (torch.tensor(float(k), device=device) for k in target[:2])
        schedule = dict(queries=queries, key_values=key_values, noise=None)
        blocks = [b for b in self.model.blocks if b.routed]
        for b in blocks:
            b.attention.trace = {}
        generator = torch.Generator(device=device).manual_seed(low + 1)
        at = asked(length, pairs).to(device)
        high = length - 3 * pairs - FAR if high is None else high
        size = min(count, 64 * LENGTH // length)
        right, distance, asking, stored = [], [], 0.0, 0.0
        for _ in range(count // size):
            ids, answers, slots = sequences(size, device, low, high, generator=generator, length=length, pairs=pairs)
            logits = self.model.to_logits(self.model.hidden(ids, schedule)[:, at])
            right.append(logits.argmax(-1) == answers[:, at])
            distance.append(at - (slots + 1))
            if blocks:
                trace = blocks[-1].attention.trace
                asking += trace["queries"][:, :, -1].any(1)[:, at - (length - WINDOW)].float().mean().item()
                chosen = trace["chosen"][:, :, -1]
                index = trace["key_values"]
                index = index[:, :, -1] if index is not None else torch.arange(chosen.shape[-1], device=device).expand_as(chosen)
                chosen = torch.zeros(size, chosen.shape[1], length, dtype=torch.bool, device=device).scatter(-1, index, chosen)
                stored += torch.stack([chosen.any(1).gather(1, slots + 1 + i) for i in range(4)]).any(0).float().mean().item()
        for b in blocks:
            b.attention.trace = None
        n = count // size
        return torch.cat(right), torch.cat(distance), asking / n, stored / n

    def accuracy(self, *args, **named):
        return self.ask(*args, **named)[0].float().mean().item()

    def by_distance(self, count, length):
        """→ [from, to, accuracy] for pairs anywhere before their questions."""
        right, distance, *_ = self.ask(count, high=length - 3 * PAIRS, length=length)
        within = [(a, b, (distance >= a) & (distance < b)) for a, b in zip(EDGES[length], EDGES[length][1:])]
        return [[a, b, round(right[here].float().mean().item(), 4)] for a, b, here in within if here.any()]

    def result(self, count, **more):
        """What `--results` keeps."""
        right, _, asking, stored = self.ask(count)
        return dict(experiment="recall", variant=self.name, **more, recall=round(right.float().mean().item(), 4), asking=round(asking, 3),
                    stored=round(stored, 3), by_pairs={n: round(self.accuracy(count, pairs=n), 4) for n in (1, 2, 3, 4, 6, 8)},
                    by_distance={length: self.by_distance(4 * count, length) for length in EDGES})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, help="in place of as many as fit into --seconds")
    parser.add_argument("--often", type=float, default=0.33, help="how often 'many' asks")
    parser.add_argument("--throughout", action="store_true", help="every second sequence as tested from the first step on")
    parser.add_argument("--beta2", type=float, default=0.98)
    parser.add_argument("--evaluate", type=int, default=2048, help="sequences for the last evaluation")
    parser.add_argument("--results", help="file that one line of JSON for each variant is added to")
    parser.add_argument("--save", help="folder for the models, as the package loads them")
    args = parser.parse_args()
    device, begun = args.device, time.time()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if device == "cuda":
        Training.attention = staticmethod(torch.compile(routed.gated_attention, dynamic=False))
    pools = {}

    def refill(count):
        for data in {VARIANTS[name.split(":")[0]]["data"] for name in args.variants.split(",")}:
            pools[data] = training_sequences(count, device, data, args.often)

    refill(args.batch * 256 if device == "cuda" else args.batch * 4)
    sync = torch.cuda.synchronize if device == "cuda" else lambda: None
    runs = []
    for name in args.variants.split(","):
        try:
            run = Training(name, device, args.batch, args.beta2)
            run.prepare(pools[run.variant["data"]][0])
            runs.append(run)
        except Exception as error:  # one variant's fault must not end the others
            print("FAILED", name, repr(error)[:500], flush=True)
    sync()
    print(f"prepared {len(runs)} runs in {time.time() - begun:.0f} s", flush=True)
    step, p, size, next_report = 0, 0.0, args.batch * (256 if device == "cuda" else 4), 0.1
    tables = {r.name: torch.tensor([r.settings_at(i / 1000) for i in range(1001)], device=device) for r in runs}
    sync()  # the runs' streams do not wait for copies
    begun = time.time()
    while p < 1:
        at = (step * args.batch) % (size - args.batch + 1)
        if step and step % (size // args.batch) == 0:
            sync()
            refill(size)
            sync()
        for r in runs:
            r.step(pools[r.variant["data"]][p > 0.5 or args.throughout], at, tables[r.name][min(1000, int(p * 1000))])
        step += 1
        if args.steps:
            p = step / args.steps
        elif step % 16 == 0:
            sync()
            p = (time.time() - begun) / args.seconds
        if p >= next_report:
            sync()
            count = 64 if device == "cuda" else 8
            print(f"progress {p:.2f} step {step}", *(f"{r.name} {r.loss.item():.3f}/{r.accuracy(count):.2f}" for r in runs), flush=True)
            next_report += 0.1
    sync()
    for r in runs:
        places = [(0, 100), (100, 200), (200, 300), (300, 372), (400, 480)]
        by_place = ", ".join(f"{a}-{b}: {r.accuracy(args.evaluate // 4, a, b):.3f}" for a, b in places)
        result = r.result(args.evaluate, steps=step, batch=args.batch, loss=round(r.loss.item(), 4))
        print(f"RESULT by place: {by_place}", json.dumps(result), flush=True)
        if args.results:
            with open(args.results, "a") as file:
                file.write(json.dumps(result) + "\n")
        if args.save:
            r.model.export(f"{args.save}/recall-{r.name.replace(':', '-')}")


if __name__ == "__main__":
    main()
