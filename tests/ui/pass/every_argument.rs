//! Every argument of the language once.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama { layers = 4, hidden = 256, heads = 4, kv_heads = 2, head_dim = 64, ffn = 512, vocab = 1_000, context = 2K, rope_theta = 1e4, norm_eps = 1e-5, tied = true, qkv_bias = true, qk_norm = false },
        context: 2K -> 16K,
        rope: llama3(8, 1, 4),
        select: impactful(types = [num, pron, aux, cconj, adp], keep = 1/4, form = paper),
        attention: hybrid(full = 25%, window = 512, sink = 4, place = interleaved, block = 32),
        adapt: lora(rank = 8, alpha = 16, targets = [q, k, v, o, gate, up, down], train = [embed, norm], dropout = 5%, rslora = true),
        optimizer: adamw_8bit,
        data: [text("a/*.txt") * 1/2, jsonl("b/*.jsonl", field = "body") * 0.3, passkey(keys = 3, depth = (5%, 95%), loss = answers) * 10%, qa(questions = 2, depth = [0, 1/2], loss = all) * 5%, replay(text("c/*.txt", upsample = 1K, times = 2)) * 5%],
        train: [extend(steps = 10, length = 4K, lr = 2e-5, warmup = 2, batch = 4, schedule = cosine, betas = (0.9, 0.95), weight_decay = 0.1, clip = 1, seed = 7, recompute = none), extend(tokens = 2e6, schedule = linear)],
        eval: [perplexity(2K, 1.5K), passkey(16K), k_max(16K), needle(single, 2K), needle(multikey, 2K, 16K), needle(multivalue, 2K), needle(multiquery, 2K), topics(16K), short(max_loss = 0.1), short, choice("questions.jsonl")],
        device: cpu(64GiB),
    }
}

fn main() {}
