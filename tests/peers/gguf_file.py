"""What gguf-py reads from exported files, against the same model as a Hugging Face directory.

Reads a JSON list of {name, file, model} and prints one of {name, tensors, others, wrong, keys}: how many tensors
there should be, which others there are, which are not bit for bit what gguf-py's own quantisation makes of the original, and the
plain metadata.
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, MODEL_ARCH, get_tensor_name_map
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file

ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3}


def permute(rows, heads):
    """As llama.cpp's converter reorders q and k of a Llama."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def expected(model, architecture, config):
    names = get_tensor_name_map(ARCHITECTURES[architecture], config["num_hidden_layers"])
    for file in sorted(Path(model).glob("*.safetensors")):
        for name, values in load_file(file).items():
            if architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
                heads = config["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
                values = permute(values, heads)
            yield names.get_name(name, try_suffixes=(".weight", ".bias")), values


def same(tensor, values):
    """Whether it holds what gguf-py makes of the values."""
    ours = dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
    return np.array_equal(ours, dequantize(quantize(values, tensor.tensor_type), tensor.tensor_type))


def check(case):
    reader = GGUFReader(case["file"])
    plain = {name: field for name, field in reader.fields.items() if field.types[:1] != [GGUFValueType.ARRAY]}
    keys = {name: field.contents() for name, field in plain.items()}
    config = json.loads((Path(case["model"]) / "config.json").read_text())
    found = {tensor.name: tensor for tensor in reader.tensors}
    wanted = dict(expected(case["model"], keys["general.architecture"], config))
    wrong = [name for name, values in wanted.items() if not same(found[name], values)]
    others = sorted(set(found) - set(wanted))
    return {"name": case["name"], "tensors": len(wanted), "others": others, "wrong": wrong, "keys": keys}


print(json.dumps([check(case) for case in json.load(open(sys.argv[1]))]))
