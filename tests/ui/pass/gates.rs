//! Learned gates behind an extension, and alone with every argument.

use context_recipe::recipe;

recipe! {
    pub Extended {
        model: tiny,
        context: 256 -> 1K,
        rope: interpolate(4),
        attention: duo(gates = learned, sparsity = 75%),
        positions: pose,
        data: [passkey],
        train: [extend(steps = 10), merge, gates(length = 512)],
    }
}

recipe! {
    pub Alone {
        model: tiny,
        context: 256,
        attention: duo(learned, sparsity = 50%, sink = 4, recent = 16),
        train: [gates(
            tokens = 4096,
            length = 128,
            sink = 8,
            recent = 32,
            reg = 0.1,
            form = code,
            lr = 0.01,
            warmup = 4,
            batch = 2,
            schedule = trapezoid,
            data = [passkey],
            documents = joined,
            betas = (0.9, 0.99),
            seed = 3
        )],
    }
}

fn main() {}
