//! Llama-2 7B from 4K to 128K on one 80 GB GPU: Position Interpolation (arXiv 2306.15595), a third of the layers full and
//! the others window + sink (LongGen, arXiv 2410.01485), QLoRA with the embedding and the norms trained (LongLoRA,
//! arXiv 2309.12307).
//!
//! Deviations: LongGen trains all weights on 5 B tokens and keeps about 2K tokens per sparse layer; here a sparse layer
//! sees one native window.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
    pub Llama2_128k {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: interpolate(32),
        attention: hybrid(full = 1/3, window = 4096, sink = 4),
        adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]),
        data: [jsonl("corpus/*.jsonl") * 90%, passkey * 10%],
        train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)],
        eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Llama2_128k>()
}
