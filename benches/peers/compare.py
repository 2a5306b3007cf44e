#!/usr/bin/env python3
"""PyTorch beside this project's kernels, in one run: each case runs in turns on both sides, and the ratio is that of
their medians.

    pip install torch transformers peft
    cargo build --release --example bench
    python benches/peers/compare.py attention            # one group; without a name, all
    python benches/peers/compare.py --rounds 5 --out peers.json attention step

Groups: attention, gemm, step, prefill, decode, lora, hybrid. PyTorch uses as many threads as the machine has cores,
f32, and scaled_dot_product_attention. Steps run with gradient checkpointing on the same shape with random weights.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def ours(arguments, binary):
    """Figures of one run of the `bench` example."""
    done = subprocess.run([binary, *arguments, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr}")
    return json.loads(done.stdout)


def clock(job, seconds):
    """Median seconds of a job after a first run: three runs at least, or one for no seconds at all."""
    job()
    times, begin = [], time.perf_counter()
    while len(times) < (3 if seconds else 1) or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def attention_cases():
    for head_dim in (64, 128):
        for tokens in (2048, 4096, 8192, 16384):
            for backward in (False, True):
                yield tokens, 9, 9, head_dim, backward
    for backward in (False, True):
        yield 4096, 9, 3, 64, backward


def attention(tokens, heads, kv_heads, head_dim, backward, seconds):
    """Seconds of causal scaled_dot_product_attention."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention as sdpa

    def make(h):
        return torch.randn(1, h, tokens, head_dim, requires_grad=backward)

    q, k, v = make(heads), make(kv_heads), make(kv_heads)
    grad = torch.randn(1, heads, tokens, head_dim)
    gqa = {"enable_gqa": True} if kv_heads != heads else {}

    def job():
        out = sdpa(q, k, v, is_causal=True, **gqa)
        if backward:
            torch.autograd.grad(out, (q, k, v), grad)

    return clock(job, seconds)


def model(tokens):
    """A Llama of SmolLM2-135M's shape with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
        vocab_size=49152, tie_word_embeddings=True, rope_theta=1e5, max_position_embeddings=max(8192, tokens),
        rms_norm_eps=1e-5, attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def step(tokens, kind, seconds):
    """Seconds and peak RSS of one optimiser step with checkpointing; `kind` is full or lora."""
    import torch

    llama = model(tokens)
    if kind == "lora":
        from peft import LoraConfig, get_peft_model

        targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
        llama = get_peft_model(llama, LoraConfig(r=16, lora_alpha=32, target_modules=targets, lora_dropout=0.0))
        llama.enable_input_require_grads()
    llama.train()
    llama.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    llama.config.use_cache = False
    learns = [p for p in llama.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learns, lr=1e-6, betas=(0.9, 0.95), weight_decay=0.0)
    ids = torch.arange(tokens).mul(7919).remainder(49152).unsqueeze(0)

    def job():
        optimiser.zero_grad(set_to_none=True)
        llama(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(learns, 1.0)
        optimiser.step()

    return clock(job, seconds)


def prefill(tokens, seconds):
    import torch

    llama = model(tokens).eval()
    ids = torch.arange(tokens).mul(7919).remainder(49152).unsqueeze(0)
    with torch.inference_mode():
        return clock(lambda: llama(input_ids=ids, use_cache=True, logits_to_keep=1), seconds)


def decode(tokens, seconds):
    import torch

    llama = model(tokens).eval()
    ids = torch.arange(tokens).mul(7919).remainder(49152).unsqueeze(0)
    with torch.inference_mode():
        cache = llama(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        one = torch.tensor([[7]])
        return clock(lambda: llama(input_ids=one, past_key_values=cache, use_cache=True), seconds)


def apart(function, *arguments):
    """Runs one of the functions above in a process of its own: (seconds, peak RSS in bytes)."""
    call = [sys.executable, os.path.abspath(__file__), "--run", json.dumps([function, *arguments])]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def cases(group):
    """(name, our arguments, PyTorch's function and its arguments)."""
    if group == "attention":
        for tokens, heads, kv_heads, head_dim, backward in attention_cases():
            arguments = ["attention", "--tokens", str(tokens), "--heads", str(heads), "--kv-heads", str(kv_heads)]
            arguments += ["--head-dim", str(head_dim)] + ["--backward"] * backward
            yield arguments, ("attention", tokens, heads, kv_heads, head_dim, backward)
    if group == "step":
        for tokens in (2048, 4096):
            for recompute in ("every", "none"):
                yield ["step", "--tokens", str(tokens), "--recompute", recompute], ("step", tokens, "full")
    if group == "lora":
        for recompute in ("every", "none"):
            yield ["step", "--tokens", "2048", "--lora", "16", "--recompute", recompute], ("step", 2048, "lora")
    if group == "hybrid":
        pattern = ["--pattern", "hybrid(full = 1/3, window = 1K)"]
        yield ["step", "--tokens", "8192", *pattern], ("step", 8192, "full")
    if group == "prefill":
        yield ["prefill", "--tokens", "2048"], ("prefill", 2048)
    if group == "decode":
        yield ["decode", "--tokens", "256"], ("decode", 256)


GROUPS = ("attention", "step", "lora", "hybrid", "prefill", "decode")


def compare(arguments, peer, options):
    """One row: our median, PyTorch's, and the peaks."""
    mine, theirs, peak = [], [], 0
    for _ in range(options.rounds):
        figures = ours([*arguments, "--seconds", str(options.seconds)], options.binary)
        mine.append(figures["ms"])
        seconds, rss = apart(*peer, options.seconds)
        theirs.append(seconds * 1e3)
        peak = max(peak, rss)
    ms, peer_ms = statistics.median(mine), statistics.median(theirs)
    return {
        "case": figures["name"], "ms": ms, "peer_ms": peer_ms, "ratio": peer_ms / ms, "gflops": figures["gflops"],
        "peak_bytes": figures["peak_bytes"], "peer_peak_bytes": peak, "tokens_per_second": figures.get("tokens_per_second"),
    }


def show(row):
    memory = f"{row['peak_bytes'] / 1e9:6.2f} {row['peer_peak_bytes'] / 1e9:6.2f} GB"
    print(f"{row['case']:64} {row['ms']:10.1f} {row['peer_ms']:10.1f} {row['ratio']:6.2f}x  {memory}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", default=GROUPS, metavar="GROUP")
    parser.add_argument("--binary", default="target/release/examples/bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="cases whose arguments contain this")
    parser.add_argument("--out", help="where the rows go, as JSON")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        function, *arguments = json.loads(options.run)
        seconds = globals()[function](*arguments)
        return print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
    print(f"{'case':64} {'ms':>10} {'PyTorch':>10} {'ratio':>7}  peak of both")
    rows = []
    for group in options.groups:
        for arguments, peer in cases(group):
            if options.only in " ".join(arguments):
                rows.append(compare(arguments, peer, options))
                show(rows[-1])
    if options.out:
        with open(options.out, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
