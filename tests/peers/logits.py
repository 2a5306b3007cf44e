"""What transformers and PEFT compute on exported directories, against logits in safetensors files.

Reads a JSON list of {name, model, adapter, tokens, logits} and prints one of {name, error, missing}: the largest difference over
the largest logit, and the names that the loader missed or did not know.
"""

import json
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

transformers.logging.set_verbosity_error()
torch.set_num_threads(2)


def load(case):
    """The model as a user loads it; an adapter brings the configuration that its base has to have."""
    adapter = case.get("adapter")
    config = AutoConfig.from_pretrained(adapter or case["model"])
    model, info = AutoModelForCausalLM.from_pretrained(
        case["model"], config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    missing = [str(name) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in info[key]]
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    return model.eval(), missing


def check(case):
    model, missing = load(case)
    tokens = torch.tensor([case["tokens"]])
    with torch.no_grad():
        found = model(tokens, attention_mask=torch.ones_like(tokens)).logits[0]
    expected = load_file(case["logits"])["logits"]
    error = (found - expected).abs().max() / expected.abs().max()
    return {"name": case["name"], "error": error.item(), "missing": missing}


print(json.dumps([check(case) for case in json.load(open(sys.argv[1]))]))
