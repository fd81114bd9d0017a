"""Training tokens a second at the size of novels-10m, over steps behind a warm-up.

    PYTHONPATH=training python3 training/examples/throughput.py [--steps 200] [--compile] [--local] [--profile]

Random tokens: what a step costs does not depend on them. ``--local`` trains local attention alone, for comparison.
"""

from __future__ import annotations

import argparse
import time

import torch

from routed_attention_training import LayerOptions, ModelOptions, Transformer, initialise_for_training
from routed_attention_training.data import Text
from routed_attention_training.trainer import Schedule, Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--profile", action="store_true", help="also print what the device spends its time on")
    values = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(1)
    layer = LayerOptions(
        dim=256, heads=4, dim_head=64, local_attn_window_size=128, routed_window_size=1 << 20 if values.local else None,
        num_routed_queries=32, num_routed_key_values=128, cosine_sim_routing=True, selection="top-k", causal=True,
    )  # fmt: skip
    model = Transformer(ModelOptions(layer=layer, num_tokens=4096, depth=6))
    initialise_for_training(model)
    source = Text(torch.randint(4096, (1_000_000,), dtype=torch.int32).to(device), values.context)
    schedule = Schedule(values.steps + values.warmup, None, 1e-3)
    trainer = Trainer(model, source, schedule, batch_size=values.batch, device=device, bfloat16=device.type == "cuda", compiled=values.compile)
    for _ in range(values.warmup):
        trainer.run_step()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(values.steps):
        trainer.run_step()
    _wait(device)
    seconds = time.perf_counter() - begun
    what = "local attention alone" if values.local else "routed"
    speed = values.steps * values.batch * values.context / seconds
    print(f"{what}{', compiled' if values.compile else ''}, PyTorch {torch.__version__}: {speed:,.0f} tokens/s over {values.steps} steps", flush=True)
    if values.profile:
        _profile(trainer)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _profile(trainer: Trainer) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, record_shapes=False) as profile:
        for _ in range(3):
            trainer.run_step()
        torch.cuda.synchronize()
    print(profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=70))


if __name__ == "__main__":
    main()
