//! DuoAttention (arXiv 2410.10819): which heads of Llama-2-7B-32K-Instruct (linear rope of 8, as released) need the whole
//! context. Gates learn in 2000 steps of one text each while weights stay; afterwards three quarters of the heads keep 64 sinks
//! and 256 recent tokens, and the cache of a text of 32K shrinks to about a quarter.
//!
//! Deviations: every text has 32000 tokens, where the release draws 50 lengths from 1000 to 32000; keys are hidden in generated
//! chronicles instead of books; hidden states are compared where a token is predicted, in the release one row later, at the
//! token itself. `form = paper` is the paper's mixture; `form = code` is that of the released program, whose open gates let the
//! full model's attention through.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B of 32K, a quarter of its heads full.
    pub DuoLlama2_32k {
        model: hf("examples/duo_llama2_32k.json"),
        context: 32K,
        attention: duo(gates = learned, sparsity = 75%, sink = 64, recent = 256),
        data: [passkey(keys = 10, depth = (5%, 95%), loss = answers)],
        train: [gates(steps = 2000, length = 32000, lr = 0.02, sink = 128, recent = 256, reg = 0.05)],
        eval: [perplexity(4K, 32K), passkey(4K, 16K, 32K), needle(single, 32K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<DuoLlama2_32k>()
}
