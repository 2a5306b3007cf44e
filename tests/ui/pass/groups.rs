//! Attention without training, and training with groups.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: dual_chunk,
    }
}

recipe! {
    pub Extended {
        model: llama2_7b,
        context: 4K -> 16K,
        attention: self_extend(group = 8, window = 1024),
    }
}

recipe! {
    pub Grouped {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups,
        adapt: lora(rank = 8, alpha = 16, train = [embed, norm]),
        train: [extend(steps = 1000)],
    }
}

recipe! {
    pub Strided {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 1/3, stride = 64, local = 2),
    }
}

recipe! {
    pub Gated {
        model: tiny,
        context: 256,
        attention: duo("configs/gates.json", sparsity = 75%, sink = 4, recent = 64),
    }
}

fn main() {}
