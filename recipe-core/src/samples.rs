//! Recipes that tests start from.

use crate::presets;
use crate::recipe::{Adapt, Attention, Context, Eval, FullLayers, Recipe, Rope, Source, Sparse, Stage, Window};
use crate::terms::{Device, SourceKind};

/// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
pub(crate) fn llama2_128k() -> Recipe {
    const LENGTHS: [usize; 3] = [4096, 32_768, 131_072];
    Recipe {
        name: "Llama2_128k".into(),
        model: presets::llama2_7b(),
        context: Context { native: Some(4096), target: 131_072 },
        rope: Some(Rope::Interpolate { scale: 32.0 }),
        attention: Some(Attention::Hybrid {
            full: FullLayers::Share(1.0 / 3.0),
            place: None,
            sparse: Sparse::Window(Window { window: 4096, sink: Some(4), block: None }),
        }),
        positions: None,
        select: None,
        adapt: Some(Adapt::Lora {
            rank: 32,
            alpha: Some(16.0),
            targets: None,
            embed: true,
            norm: true,
            quantized: true,
            rslora: false,
            dropout: None,
        }),
        optimizer: None,
        data: vec![
            Source {
                share: Some(0.9),
                ..Source::new(SourceKind::Jsonl { glob: "corpus/*.jsonl".into(), field: "text".into() })
            },
            Source { share: Some(0.1), ..Source::new(SourceKind::Passkey) },
        ],
        train: vec![Stage {
            steps: Some(1000),
            length: Some(131_072),
            lr: Some(2e-5),
            warmup: Some(20),
            ..Stage::default()
        }],
        eval: vec![Eval::Perplexity(LENGTHS.to_vec()), Eval::Passkey(LENGTHS.to_vec())],
        allow: vec![],
        device: Some(Device::cuda(80_000_000_000)),
    }
}

/// Nothing but a model and its own window.
pub(crate) fn bare() -> Recipe {
    Recipe {
        name: "Bare".into(),
        model: presets::llama2_7b(),
        context: Context { native: None, target: 4096 },
        rope: None,
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![],
        train: vec![],
        eval: vec![],
        allow: vec![],
        device: None,
    }
}
