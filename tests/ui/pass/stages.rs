//! Stages with their own rope and data, a replay, a merge and an annealing.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: tiny,
        context: 256 -> 2K,
        rope: theta(5e6),
        data: [text("long/*.txt") * 90%, passkey * 10%],
        train: [
            extend(steps = 100, length = 1K, theta = 1e6),
            extend(steps = 100, documents = joined),
            replay(tokens = 20_000, data = [chat("short/*.jsonl"), text("a", upsample = 512, times = 3), parquet("b/*.parquet", field = "body", upsample = 512, times = 3), dataset("c", split = "test", config = "en", field = "body", upsample = 512)]),
            merge(base = 50%, form = spherical),
            anneal(steps = 10, lr = 1e-5),
        ],
    }
}

fn main() {
    assert_eq!(Case::PLAN.stages.len(), 4);
}
