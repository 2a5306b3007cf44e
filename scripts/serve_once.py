#!/usr/bin/env python3
"""Serves a GGUF file by llama.cpp, asks it for one completion over HTTP, and prints the answer.

    scripts/serve_once.py MODEL.gguf PROMPT

Needs the Python package xllamacpp (scripts/peers_venv.sh makes an environment with it).
"""

import json
import sys
import urllib.request

import xllamacpp as xlc

params = xlc.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 1024
params.n_parallel = 1
params.warmup = False
params.hostnames = ["127.0.0.1"]
params.port = 0
server = xlc.Server(params)
address = server.listening_address
if not address.startswith("http"):
    address = f"http://{address}"
question = json.dumps({"prompt": sys.argv[2], "max_tokens": 16, "temperature": 0}).encode()
request = urllib.request.Request(f"{address}/v1/completions", question, {"Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=120) as answer:
    text = json.load(answer)["choices"][0]["text"]
print(f"{address}/v1/completions: {sys.argv[2]}{text}")
