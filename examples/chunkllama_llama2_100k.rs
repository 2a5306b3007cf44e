//! Dual chunk attention (arXiv 2402.17463): Llama-2 7B reads 100K without training, no distance beyond its own window.
//!
//! The released program's law: chunks of 3/4 of the window less a local window of an eighth of it, far queries at the chunk
//! size. `form = paper` puts them at the last trained distance instead.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 100K, untrained.
    pub ChunkllamaLlama2_100k {
        model: llama2_7b,
        context: 4K -> 100K,
        attention: dual_chunk(chunk = 3K, local = 512, form = code),
        eval: [perplexity(4K, 16K, 32K), passkey(4K, 16K, 32K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<ChunkllamaLlama2_100k>()
}
