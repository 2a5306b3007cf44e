//! Which kernels a model takes, and those that are proven to compile.

use super::source::Source;
use super::{Kernel, copy};
use crate::{
    adamw, attention, bias, cross_entropy, distance, dropout, embedding, gate, linear, nf4, rms_norm, rope, swiglu,
};

/// What kernels are specialised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// C.
    pub hidden: usize,
    /// D.
    pub head_dim: usize,
    /// V.
    pub vocab: usize,
    /// Widths of the biases of queries and of keys, where there are any.
    pub biases: Option<[usize; 2]>,
    /// Whether each head's queries and keys are normed.
    pub head_norms: bool,
}

impl Sizes {
    /// Every kernel that a model of these sizes may start, in training, scoring and generation.
    pub fn kernels(&self) -> Vec<Kernel> {
        let Sizes { hidden, head_dim, vocab, biases, head_norms } = *self;
        let mut kernels = common();
        let norms = [Some(hidden), head_norms.then_some(head_dim)];
        let norms = norms.into_iter().flatten().flat_map(|hidden| rms_norm::cuda::RmsNorm { hidden }.kernels());
        kernels.extend(norms);
        kernels.extend(embedding::cuda::Embedding { hidden }.kernels());
        kernels.push(distance::cuda::Distance { hidden }.kernel());
        kernels.push(rope::cuda::Rope { head_dim }.kernel());
        kernels.extend(attention::cuda::Attention { head_dim }.kernels());
        kernels.extend(gate::cuda::Gate { head_dim }.kernels());
        kernels.push(cross_entropy::cuda::CrossEntropy { vocab: vocab.next_multiple_of(8) }.kernel());
        kernels.extend(biases.into_iter().flatten().flat_map(|width| bias::cuda::Bias { width }.kernels()));
        kernels
    }
}

/// Kernels that know no sizes.
fn common() -> Vec<Kernel> {
    let mut kernels = vec![nf4::cuda::kernel()];
    kernels.extend(copy::kernels());
    kernels.extend(dropout::cuda::kernels());
    kernels.extend(linear::cuda::kernels());
    kernels.extend(swiglu::cuda::kernels());
    kernels.extend(adamw::cuda::kernels());
    kernels
}

/// Sizes of the models that presets name, of those that recipes rehearse on, and of the embedded one.
pub const SHIPPED: [Sizes; 13] = {
    const fn plain(hidden: usize, head_dim: usize, vocab: usize) -> Sizes {
        Sizes { hidden, head_dim, vocab, biases: None, head_norms: false }
    }
    const fn biased(hidden: usize, head_dim: usize, vocab: usize, biases: [usize; 2]) -> Sizes {
        Sizes { biases: Some(biases), ..plain(hidden, head_dim, vocab) }
    }
    const fn normed(hidden: usize, head_dim: usize, vocab: usize) -> Sizes {
        Sizes { head_norms: true, ..plain(hidden, head_dim, vocab) }
    }
    [
        plain(4096, 128, 32_000),
        plain(5120, 128, 32_000),
        plain(8192, 128, 32_000),
        plain(4096, 128, 128_256),
        plain(8192, 128, 128_256),
        plain(576, 64, 49_152),
        plain(128, 32, 512),
        biased(896, 64, 151_936, [896, 128]),
        biased(3584, 128, 152_064, [3584, 512]),
        biased(128, 32, 512, [128, 128]),
        normed(1024, 128, 151_936),
        normed(4096, 128, 151_936),
        normed(128, 32, 512),
    ]
};

/// Every kernel of [`SHIPPED`], each once.
pub fn kernels() -> Vec<Kernel> {
    let mut found: Vec<Kernel> = Vec::new();
    for kernel in SHIPPED.iter().flat_map(Sizes::kernels) {
        if !found.contains(&kernel) {
            found.push(kernel);
        }
    }
    found
}

/// The texts of [`kernels`], each once.
pub fn sources() -> Vec<Source> {
    let mut found: Vec<Source> = Vec::new();
    for Kernel { source, .. } in kernels() {
        if !found.contains(&source) {
            found.push(source);
        }
    }
    found
}
