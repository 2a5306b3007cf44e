"""What llama.cpp writes after a prompt, greedily, with a cache in f32.

Reads a JSON list of {name, file, prompt, count, context}, the prompt as ids or as text, and prints one of {name, read, tokens,
top}: the prompt's length in tokens, the ids, and for each the best two log-probabilities.
"""

import json
import sys

import xllamacpp as xlc


def server(case):
    params = xlc.CommonParams()
    params.model.path = case["file"]
    params.n_ctx = case["context"]
    params.n_parallel = 1
    params.warmup = False
    params.cache_type_k = xlc.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xlc.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xlc.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = 2
    params.cpuparams_batch.n_threads = 2
    return xlc.Server(params)


def check(case):
    answer = server(case).handle_completions(
        {
            "prompt": case["prompt"],
            "n_predict": case["count"],
            "temperature": 0.0,
            "samplers": ["temperature"],
            "ignore_eos": False,
            "cache_prompt": False,
            "n_probs": 2,
        }
    )
    if "choices" not in answer:
        raise SystemExit(f"{case['name']}: {answer}")
    rows = answer["choices"][0]["logprobs"]["content"]
    top = [[best["logprob"] for best in row["top_logprobs"]] for row in rows]
    read = answer["usage"]["prompt_tokens"]
    return {"name": case["name"], "read": read, "tokens": [row["id"] for row in rows], "top": top}


print(json.dumps([check(case) for case in json.load(open(sys.argv[1]))]))
