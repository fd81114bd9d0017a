"""The layer of docs/SPEC.md as the experiments of docs/training-log.md train it, with the estimators they compare.

What runs forward is SPEC's function, so every checkpoint loads into the package unchanged: parameters have PyTorch's names and
shapes, and gates are 0 or 1 in value. Only what flows backward differs. A token whose similarity to a router is s carries the gate

    m = hard + (p - p.detach()),    p = sigmoid((s - threshold) / temperature), or coordinate descent's score

where hard is 1 for a chosen token and 0 for any other, and the threshold is the similarity of the last one chosen. The gates enter as

    queries      out = m · routed + (1 - m) · null_token
    key/values   v is multiplied by m (`value_only`, as published), or out = Σ m exp(l) v / Σ m exp(l), l the logits

so a chosen token learns what leaving it out would change; with 'both', a token left out learns as well what choosing it would.
Needs PyTorch alone, 1.13 or later.
"""
import json
import math
import os
import struct
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Estimator:
    """How routers learn. The defaults, the usual straight-through gate on the chosen tokens, are what the log found best."""

    query: str = "chosen"  # which tokens teach the query router: those 'chosen', 'both' kinds or 'none'
    key_value: str = "chosen"  # the same for the key/value router
    value_only: bool = True  # gate the values alone: keys keep their share of the softmax
    explore: int = 0  # how many key/values beside the chosen ones teach the router ('both'); -1: all of the past
    surrogate: str = "sigmoid"  # p above; 'descent': the score of coordinate descent through all of its passes, as published
    temperature: float = 1.0
    detach: bool = False  # routers teach their tokens alone, not the residual stream


BOTH = dict(query="both", key_value="both", value_only=False)


@dataclass(frozen=True)
class Config:
    num_tokens: int
    dim: int
    depth: int
    heads: int
    dim_head: int
    local_attn_window_size: int
    num_routed_queries: int
    num_routed_key_values: int
    num_experts: int = 2
    ff_mult: int = 4
    cosine_sim_scale: float = 8.0
    routed: tuple = ()  # blocks with a routed part; () is local attention only
    dense: tuple = ()  # blocks whose local attention has no window: the dense rival
    selection: str = "top-k"  # or 'coordinate-descent', which looks ahead
    looks_ahead: bool = False  # the published choice of queries: the best of the whole window
    rotary: bool = False  # rotary angles for the routed part
    dropout: float = 0.0  # of the embeddings and of what each attention and feed-forward adds, in training alone
    estimator: Estimator = field(default_factory=Estimator)

    def __post_init__(self):
        if self.selection == "coordinate-descent":
            assert self.looks_ahead and self.estimator.surrogate == "descent", "descent looks ahead, and teaches by its own scores"

    @property
    def inner(self):
        return self.heads * self.dim_head


def angles(n, e, device):
    """(n, e) rotary angles of positions 0 … n − 1."""
    frequency = 10000.0 ** (-torch.arange(0, e, 2, device=device, dtype=torch.float32) / e)
    phi = torch.arange(n, device=device, dtype=torch.float32)[:, None] * frequency
    return torch.cat((phi, phi), -1)


def rotate(u, cos, sin):
    a, b = u.chunk(2, -1)
    return u * cos + torch.cat((-b, a), -1) * sin


def attend(q, k, v, mask=None, causal=False):
    """softmax(q kᵀ / √e) v; PyTorch's own where it has one."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True) if causal else F.scaled_dot_product_attention(q, k, v, mask)
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf)
    return logits.softmax(-1) @ v


class LocalAttention(nn.Module):
    """SPEC section 2; with `dense`, attention to all earlier positions."""

    def __init__(self, c, dense):
        super().__init__()
        self.c, self.dense = c, dense
        self.norm = nn.LayerNorm(c.dim)
        self.to_qkv = nn.Linear(c.dim, 3 * c.inner, bias=False)
        self.to_out = nn.Linear(c.inner, c.dim, bias=False)

    def forward(self, x):
        c, (b, n, _) = self.c, x.shape
        W, h, e = c.local_attn_window_size, c.heads, c.dim_head
        qkv = self.to_qkv(self.norm(x)).view(b, n, 3, h, e).permute(2, 0, 3, 1, 4)
        phi = angles(n, e, x.device)
        q, k = rotate(qkv[:2], phi.cos(), phi.sin()).to(qkv.dtype)
        v = qkv[2]
        if self.dense:
            o = attend(q, k, v, causal=True)
        else:
            pad = -n % W
            q, k, v = (F.pad(t, (0, 0, 0, pad)).view(b, h, -1, W, e).transpose(1, 2) for t in (q, k, v))
            k, v = (torch.cat((F.pad(t, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1], t), 3) for t in (k, v))
            i = torch.arange(W, device=x.device)[:, None]
            j = torch.arange(2 * W, device=x.device)
            band = (j >= i) & (j <= i + W)
            first = torch.arange(q.shape[1], device=x.device)[:, None, None] == 0
            mask = band & ~(first & (j < W))  # (windows, W, 2W)
            mask = mask[None, :, None].expand(b, -1, h, -1, -1).reshape(-1, h, W, 2 * W)
            o = attend(q.reshape(-1, h, W, e), k.reshape(-1, h, 2 * W, e), v.reshape(-1, h, 2 * W, e), mask)
            o = o.view(b, -1, h, W, e).transpose(1, 2).reshape(b, h, -1, e)[:, :, :n]
        return self.to_out(o.transpose(1, 2).reshape(b, n, -1))


class Router(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.scale = c.cosine_sim_scale
        self.routing_token = nn.Parameter(torch.randn(c.num_experts, c.dim))

    def forward(self, unit):
        """unit (b, n, d), rows of length 1, float32 → similarities (b, g, n), each row summed in the same order."""
        token = F.normalize(self.routing_token, dim=-1)
        return self.scale * torch.stack([(unit * t).sum(-1) for t in token], 1)


class ExpertNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(c.num_experts, c.dim, 1))


class ExpertAttention(nn.Module):
    """The parameters of SPEC's `attn`: grouped 1-wide convolutions."""

    def __init__(self, c):
        super().__init__()
        g, d, i = c.num_experts, c.dim, c.inner
        self.norm, self.context_norm = ExpertNorm(c), ExpertNorm(c)
        self.null_kv = nn.Parameter(torch.randn(2, g, c.heads, 1, c.dim_head))
        self.to_q = nn.Conv1d(g * d, g * i, 1, bias=False, groups=g)
        self.to_kv = nn.Conv1d(g * d, 2 * g * i, 1, bias=False, groups=g)
        self.to_out = nn.Conv1d(g * i, g * d, 1, bias=False, groups=g)


N_ITERS, FETCH_K_RATIO, EPS, EPS_INIT, EPS_DECAY = 20, 9 / 8, 0.03, 4.0, 0.7  # the package's defaults


def coordinate_descent(s, visible, k):
    """SPEC section 4: similarities s (…, L), visible ones true, k a scalar tensor → scores, 0 where not visible, and c, which ranks."""
    k = (k * FETCH_K_RATIO).clamp(max=s.shape[-1]).log()
    a, eps = EPS_INIT * (k - visible.sum(-1, keepdim=True).float().log()), EPS_INIT
    for _ in range(N_ITERS - 1):
        eps = max(eps * EPS_DECAY, EPS)
        reduced = (torch.minimum(s, -a) / eps).masked_fill(~visible, -math.inf)
        a = eps * (k - reduced.logsumexp(-1, keepdim=True))
    c = (s + a).clamp(max=0)
    return (c / max(eps * EPS_DECAY, EPS)).exp().masked_fill(~visible, 0.0), c


def gate(hard, p, which):
    """0 or 1 forward; backward the slope of p (see the module's docstring)."""
    hard = hard.to(p.dtype)
    if which == "none":
        return hard
    if which == "chosen":
        p = p * hard
    return hard + p - p.detach()


def gated_attention(q, k, v, m, null_k, null_v, value_only):
    """q (…, w, e), k and v (…, K, e), m (…, 1, K), null_k and null_v (…, 1, e) → (…, w, e).

    Exponentials are taken without subtracting the largest logit, which a token that is not chosen might hold; logits stay far
    from the bound of 60.
    """
    scale = q.shape[-1] ** -0.5
    exp = lambda logits: (logits.float() * scale).clamp(-60, 60).exp()
    e, e0 = exp(q @ k.transpose(-1, -2)), exp((q * null_k).sum(-1, keepdim=True))
    if value_only:
        total, e = (e * m.detach()).sum(-1, keepdim=True), e * m
    else:
        e = e * m
        total = e.sum(-1, keepdim=True)
    return ((e.to(v.dtype) @ v).float() + e0 * null_v) / (total + e0)


def value_gated_attention(q, k, v, m, null_k, null_v):
    """The same for gates on the values alone where every key is a chosen one: PyTorch's own attention, the null key in front."""
    k = torch.cat((null_k.to(k.dtype).expand(k.shape[0], -1, k.shape[2], -1, -1, -1), k), -2)
    v = torch.cat((null_v.to(v.dtype).expand(v.shape[0], -1, v.shape[2], -1, -1, -1), v * m.transpose(-1, -2).to(v.dtype)), -2)
    flat = lambda t: t.reshape(-1, *t.shape[-3:])
    return attend(flat(q), flat(k), flat(v)).view(q.shape)


class MixtureOfAutoregressiveAttention(nn.Module):
    def __init__(self, c, dense=False):
        super().__init__()
        self.c = c
        self.null_tokens = nn.Parameter(torch.randn(c.num_experts, c.dim))
        self.local_attn = LocalAttention(c, dense)
        self.query_router, self.key_value_router = Router(c), Router(c)
        self.attn = ExpertAttention(c)
        self.trace = None  # set to a dict to see what was chosen

    def forward(self, x, schedule):
        """x (b, n, d), n a multiple of the window and longer than one.

        schedule: scalar tensors 'queries' and 'key_values', how many are chosen (of key/values at most num_routed_key_values +
        explore), and 'noise', the standard deviation of what is added to similarities, or None. Tensors, so that a compiled or
        captured step can change them.
        """
        return self.local_attn(x) + self.routed(x, schedule)

    def rank(self, s, visible, k):
        """Similarities s (…, L) → coordinate descent's scores, None where it is not used, and what candidates are ranked by."""
        if self.c.estimator.surrogate != "descent":
            return None, s.detach()
        score, rank = coordinate_descent(s, visible, k)
        return score, (rank if self.c.selection == "coordinate-descent" else s).detach()

    def surrogate(self, s, bar, score):
        """p of the module's docstring."""
        return torch.sigmoid((s - bar) / self.c.estimator.temperature) if score is None else score

    def choose(self, x, schedule):
        """SPEC section 4 → x's rows at length 1, the queries' gates (b, g, m, w), the key/values' gates (b, g, m, K) and their places
        (b, g, m, K), None where all of the past stays in place."""
        c, est = self.c, self.c.estimator
        b, n, _ = x.shape
        w, g = c.local_attn_window_size, c.num_experts
        m, M = n // w - 1, n - w
        everything = est.explore < 0
        with torch.autocast(x.device.type, enabled=False):
            unit = F.normalize(x.float(), dim=-1)
            seen = unit.detach() if est.detach else unit
            sq, sk = self.query_router(seen), self.key_value_router(seen[:, :M])
            if schedule["noise"] is not None:
                sq, sk = (s + schedule["noise"] * torch.randn_like(s) for s in (sq, sk))
            sq = sq.view(b, g, m + 1, w)[:, :, 1:]
            # queries: token t is one if fewer than `queries` earlier tokens of its window have s ≥ its own
            t = torch.arange(w, device=x.device)
            score, rank = self.rank(sq, torch.ones_like(sq, dtype=torch.bool), schedule["queries"])
            own, other = rank[..., :, None], rank[..., None, :]
            earlier = t < t[:, None]
            ahead = (other > own) | ((other == own) & earlier) if c.looks_ahead else (other >= own) & earlier
            taken = ahead.sum(-1) < schedule["queries"]
            last = (schedule["queries"] - 1).clamp(min=0, max=w - 1).long().expand(b, g, m, 1)
            bar = sq.detach().sort(dim=-1, descending=True).values.gather(-1, last)
            mq = gate(taken, self.surrogate(sq, bar, score), est.query)
            # key/values: for window j the best of positions < j·w, and those that are tried beside them
            K = M if everything else min(M, c.num_routed_key_values + est.explore)
            past = torch.arange(M, device=x.device) < torch.arange(1, m + 1, device=x.device)[:, None] * w
            s = sk[:, :, None].masked_fill(~past, -1e9)
            score, rank = self.rank(s, past, schedule["key_values"])
            # equal tokens tie in the first block; with positions it matters that the earlier one is taken. Descent ties unequal ones
            if everything or c.rotary or c.selection == "coordinate-descent":
                best, index = (t[..., :K] for t in rank.sort(dim=-1, descending=True, stable=True))
            else:
                best, index = rank.topk(K, dim=-1)
            last = (torch.minimum(schedule["key_values"].long(), (best > -1e8).sum(-1, keepdim=True)) - 1).clamp(min=0, max=K - 1)
            bar = best.gather(-1, last)
            if everything:  # no gathering: every key stays in its place, with its rank
                place, real = index.argsort(dim=-1), past
            else:
                place, real, s = torch.arange(K, device=x.device), best > -1e8, s.gather(-1, index)
                score = None if score is None else score.gather(-1, index)
            hard = real & (place < schedule["key_values"])
            mk = gate(hard, self.surrogate(s, bar, score), est.key_value) * real
        if everything:
            index = None
        if self.trace is not None:
            self.trace.update(queries=taken, key_values=index, chosen=hard)
        return unit, mq, mk, index

    def routed(self, x, schedule):
        """SPEC sections 5 and 6, the sum over experts (b, n, d); zero in the first window. In training all of a window's tokens are computed."""
        c, A = self.c, self.attn
        b, n, d = x.shape
        w, g, h, e = c.local_attn_window_size, c.num_experts, c.heads, c.dim_head
        m, M = n // w - 1, n - w
        unit, mq, mk, index = self.choose(x, schedule)
        # projections: gamma goes into the weights, so that one normalised x serves every expert
        rms = unit * d**0.5
        fold = lambda conv, norm: (conv.weight.view(g, -1, d) * norm.gamma.view(g, 1, d)).reshape(-1, d)
        q = F.linear(rms[:, w:], fold(A.to_q, A.norm)).view(b, m, w, g, h, e)
        kv = F.linear(rms[:, :M], fold(A.to_kv, A.context_norm)).view(b, M, g, 2, h, e)
        if c.rotary:
            phi = angles(n, e, x.device)
            cos, sin = phi.cos(), phi.sin()
            q = rotate(q, cos[w:].view(m, w, 1, 1, e), sin[w:].view(m, w, 1, 1, e)).to(q.dtype)
            k = rotate(kv[:, :, :, 0], cos[:M].view(M, 1, 1, e), sin[:M].view(M, 1, 1, e)).to(kv.dtype)
            kv = torch.stack((k, kv[:, :, :, 1]), 3)
        null_k, null_v = A.null_kv  # (g, h, 1, e)
        if index is None:
            q = q.permute(0, 3, 4, 1, 2, 5).reshape(b, g, h, M, e)
            k, v = kv.permute(3, 0, 2, 4, 1, 5)  # (b, g, h, M, e)
            o = gated_attention(q, k, v, mk.repeat_interleave(w, 2)[:, :, None], null_k, null_v, c.estimator.value_only)
            o = o.permute(0, 3, 1, 2, 4)
        else:
            q = q.permute(0, 3, 1, 4, 2, 5)  # (b, g, m, h, w, e)
            batch = torch.arange(b, device=x.device).view(b, 1, 1, 1) * M
            rows = (batch + index) * g + torch.arange(g, device=x.device).view(1, g, 1, 1)
            K = index.shape[-1]
            kv = kv.reshape(b * M * g, -1).index_select(0, rows.flatten()).view(b, g, m, K, 2, h, e)
            k, v = kv.permute(4, 0, 1, 2, 5, 3, 6)  # (b, g, m, h, K, e)
            gates, null_k, null_v = mk[:, :, :, None, None], null_k[:, None], null_v[:, None]
            if c.estimator.value_only and c.estimator.explore == 0 and K <= w:  # then no window has fewer than K
                o = value_gated_attention(q, k, v, gates, null_k, null_v)
            else:
                o = gated_attention(q, k, v, gates, null_k, null_v, c.estimator.value_only)
            o = o.permute(0, 2, 4, 1, 3, 5)
        o = o.reshape(b, M, g, h * e).to(rms.dtype)
        o = torch.einsum("bngi,gdi->bngd", o, A.to_out.weight.view(g, d, -1)).reshape(b, m, w, g, d)
        mq = mq.permute(0, 2, 3, 1)[..., None]
        out = (mq * o + (1 - mq) * self.null_tokens).sum(3).reshape(b, M, d)
        return F.pad(out, (0, 0, w, 0))


class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.normalize(x.float(), dim=-1) * x.shape[-1] ** 0.5 * self.gamma


class Block(nn.Module):
    def __init__(self, c, routed, dense):
        super().__init__()
        self.routed = routed
        self.attention = MixtureOfAutoregressiveAttention(c, dense)
        self.feed_forward = nn.Sequential(RMSNorm(c.dim), nn.Linear(c.dim, c.dim * c.ff_mult), nn.GELU(), nn.Linear(c.dim * c.ff_mult, c.dim))
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x, schedule):
        x = x + self.drop(self.attention(x, schedule) if self.routed else self.attention.local_attn(x))
        return x + self.drop(self.feed_forward(x))


class Transformer(nn.Module):
    """SPEC section 7. `package_state()` gives the names that the package loads."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_emb = nn.Embedding(c.num_tokens, c.dim)
        self.blocks = nn.ModuleList([Block(c, i in c.routed, i in c.dense) for i in range(c.depth)])
        self.to_logits = nn.Sequential(RMSNorm(c.dim), nn.Linear(c.dim, c.num_tokens))

    def hidden(self, ids, schedule, blocks=None):
        """ids (b, n) → (b, n, d). blocks: compiled ones in place of the model's own."""
        x = F.dropout(self.token_emb(ids), self.c.dropout, self.training)
        for block in blocks or self.blocks:
            x = block(x, schedule)
        return x

    def forward(self, ids, schedule):
        return self.to_logits(self.hidden(ids, schedule))

    def used_parameters(self):
        """Parameters that the function depends on: a block without a routed part does not use its experts."""
        idle = sum(p.numel() for b in self.blocks if not b.routed for n, p in b.attention.named_parameters() if not n.startswith("local_attn"))
        return sum(p.numel() for p in self.parameters()) - idle

    def package_state(self):
        """State dict under SPEC's names. A block that is not routed has the parameters of local attention alone (`routed_layers`)."""
        state = {}
        for name, value in self.state_dict().items():
            if name.startswith("blocks."):
                _, i, part, rest = name.split(".", 3)
                if part == "attention" and not self.blocks[int(i)].routed and not rest.startswith("local_attn."):
                    continue
                name = f"layers.{i}.{'0' if part == 'attention' else '1'}.{rest}"
            state[name] = value
        return state

    def export(self, folder, dtype="float32"):
        """Write config.json and model.safetensors (float32 or float16), as the package loads them."""
        c = self.c
        assert not c.dense, "the package has no attention without a window"
        os.makedirs(folder, exist_ok=True)
        same = ("num_tokens", "dim", "depth", "heads", "dim_head", "ff_mult", "num_experts",
                "local_attn_window_size", "num_routed_queries", "num_routed_key_values")
        config = {key: getattr(c, key) for key in same}
        config.update(model_type="mixture-of-autoregressive-attention", routed_window_size=c.local_attn_window_size, prenorm=True,
                      average_routed=False, cosine_sim_routing=True, cosine_sim_scale=c.cosine_sim_scale, selection=c.selection,
                      causal=not c.looks_ahead, routed_rotary_emb=c.rotary, max_positions=None,
                      routed_layers=None if len(c.routed) == c.depth else sorted(c.routed))
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file, indent=2)
        header, pieces, at = {}, [], 0
        for name, value in self.package_state().items():
            piece = value.detach().float().cpu().contiguous().numpy().astype("<f4" if dtype == "float32" else "<f2").tobytes()
            header[name] = dict(dtype="F32" if dtype == "float32" else "F16", shape=list(value.shape), data_offsets=[at, at + len(piece)])
            pieces.append(piece)
            at += len(piece)
        header = json.dumps(header).encode()
        header += b" " * (-len(header) % 8)
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + b"".join(pieces))


@torch.no_grad()
def initialise(model, zero=True, small_null=True, token_std=0.05, published=False):
    """Initial values. Embeddings and outputs as usual for language models; of the routed part:

    zero        null tokens and `attn.to_out` start at zero, so the layer starts as local attention
    small_null  null keys and values with standard deviation 0.02 in place of 1
    token_std   of routing tokens; with cosine similarity only their direction counts, and Adam's steps, which do not know their
                length, turn short ones faster
    published   SPEC section 1's values
    """
    depth = model.c.depth
    for name, p in model.named_parameters():
        if name == "token_emb.weight":
            p.normal_(std=0.02)
        elif "local_attn.to_out" in name or name.endswith("feed_forward.3.weight"):
            p.mul_((2 * depth) ** -0.5)
        elif name.endswith("attn.to_out.weight"):
            p.mul_(0.0 if zero and not published else (2 * depth) ** -0.5)
        elif name.endswith("null_tokens"):
            p.mul_(0.02 if published or not zero else 0.0)
        elif name.endswith("null_kv"):
            p.mul_(0.02 if small_null and not published else 1.0)
        elif name.endswith("routing_token"):
            p.mul_(1.0 if published else token_std)
    return model
