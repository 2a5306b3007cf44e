#!/usr/bin/env python3
"""Perplexity of SmolLM2-135M by transformers, on the tokens that `evidence` reads: the first 16K of Persuasion, in one
pass, untrained, under each rotary law. docs/evidence.md holds both beside each other.

    pip install torch transformers gguf
    python benches/peers/perplexity.py --model SmolLM2-135M-Instruct.Q4_1.gguf --text novels/persuasion.txt
"""

import argparse
import json
import math
import os
import sys
import time

NATIVE, TARGET, SCALE = 8192, 16384, 2.0
HEAD_DIM, THETA = 64, 100000.0


def laws():
    """Name, and what a config.json says for it."""
    static = THETA * SCALE ** (HEAD_DIM / (HEAD_DIM - 2))
    original = {"original_max_position_embeddings": NATIVE}
    yield "none", {"rope_type": "default", "rope_theta": THETA}
    yield "interpolate", {"rope_type": "linear", "rope_theta": THETA, "factor": SCALE}
    yield "ntk", {"rope_type": "default", "rope_theta": static}
    yield "dynamic_ntk", {"rope_type": "dynamic", "rope_theta": THETA, "factor": SCALE}
    yield "yarn", {"rope_type": "yarn", "rope_theta": THETA, "factor": SCALE, **original}
    yield "llama3", {
        "rope_type": "llama3", "rope_theta": THETA, "factor": SCALE, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **original
    }


def loss(model, tokens):
    """Sum of −ln p, with logits of some rows at a time."""
    import torch

    with torch.no_grad():
        hidden = model.model(tokens, use_cache=False).last_hidden_state[0, :-1]
        total = 0.0
        for at in range(0, hidden.shape[0], 1024):
            logits = model.lm_head(hidden[at : at + 1024])
            total += torch.nn.functional.cross_entropy(
                logits, tokens[0, at + 1 : at + 1 + logits.shape[0]], reduction="sum"
            ).item()
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the GGUF file")
    parser.add_argument("--text", required=True, help="Persuasion")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "../../docs/evidence/peers/smollm2.json"))
    arguments = parser.parse_args()

    import torch
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    folder, name = os.path.split(os.path.abspath(arguments.model))
    load = {"gguf_file": name, "dtype": torch.float32}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **load).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    with open(arguments.text, encoding="utf-8") as file:
        text = file.read()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][:TARGET]
    tokens = torch.tensor([ids])
    record = {
        "model": name,
        "text": os.path.basename(arguments.text),
        "tokens": len(ids),
        "token_sum": sum(ids),
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
    }
    found = kept(arguments.out, record)
    for law, parameters in laws():
        if law in found:
            continue
        begin = time.perf_counter()
        config = model.config
        config.max_position_embeddings = NATIVE if law == "dynamic_ntk" else TARGET
        config.rope_parameters = parameters
        model.model.rotary_emb = LlamaRotaryEmbedding(config=config)
        found[law] = round(math.exp(loss(model, tokens) / (len(ids) - 1)), 4)
        print(f"{law}: {found[law]:.4f} in {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        keep(arguments.out, {**record, "perplexity": found})


def kept(path, record):
    """What an earlier run of the same versions found on the same tokens."""
    try:
        with open(path, encoding="utf-8") as file:
            earlier = json.load(file)
    except FileNotFoundError:
        return {}
    return earlier["perplexity"] if all(earlier.get(key) == record[key] for key in record) else {}


def keep(path, record):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=2) + "\n")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    main()
