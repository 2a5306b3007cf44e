//! How many weights there are of which kind, in closed form: no list is made, and nothing overflows.

use crate::model::Llama;
use crate::plan::{AdaptPlan, Plan};
use crate::terms::Target;

/// Numbers of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The embedding.
    pub embedding: u64,
    /// All projections of all layers, without adapters.
    pub projections: u64,
    /// All biases of projections.
    pub biases: u64,
    /// All norms.
    pub norms: u64,
    /// `lm_head`; 0 when tied.
    pub head: u64,
    /// All adapters.
    pub adapters: u64,
    /// Those of the above that learn; none where the only stage learns gates.
    pub trainable: u64,
}

impl Counts {
    /// Everything but the adapters: what a released model's size is called after.
    pub fn base(&self) -> u64 {
        let rest = [self.projections, self.biases, self.norms, self.head];
        rest.into_iter().fold(self.embedding, u64::saturating_add)
    }
}

impl Plan {
    /// How many weights there are of which kind.
    pub fn counts(&self) -> Counts {
        let (model, adapt) = (&self.model, &self.adapt);
        let layers = model.layers as u64;
        let embedding = product(&[model.vocab, model.hidden]);
        let biases = if model.qkv_bias { product(&[model.layers, model.qkv_width()]) } else { 0 };
        let head_norms = if model.qk_norm { product(&[model.layers, 2, model.head_dim]) } else { 0 };
        let norms = layers.saturating_mul(2).saturating_add(1).saturating_mul(model.hidden as u64);
        let norms = norms.saturating_add(head_norms);
        let head = if model.tied { 0 } else { embedding };
        let projections = layers.saturating_mul(layer_sum(model, |shape, _| product(&shape)));
        let adapter = |[rows, columns]: [usize; 2], target| {
            product(&[rows.saturating_add(columns), adapt.rank(target).unwrap_or(0)])
        };
        let adapters = layers.saturating_mul(layer_sum(model, adapter));
        let mut counts = Counts { embedding, projections, biases, norms, head, adapters, trainable: 0 };
        let idle = !self.stages.is_empty() && !self.trains_weights();
        counts.trainable = if idle { 0 } else { trainable(adapt, &counts) };
        counts
    }

    /// Whether the moments of some tensor are kept in 8 bits.
    pub fn packs_moments(&self) -> bool {
        self.learning_tensors().into_iter().any(|(numbers, times)| times > 0 && self.optimizer.packs(numbers))
    }

    /// Numbers of each tensor that learns, and how many tensors are like it.
    pub(crate) fn learning_tensors(&self) -> Vec<(u64, u64)> {
        if !self.stages.is_empty() && !self.trains_weights() {
            return vec![];
        }
        let (model, adapt, layers) = (&self.model, &self.adapt, self.model.layers as u64);
        let (embedding, norm) = (product(&[model.vocab, model.hidden]), model.hidden as u64);
        let head_norms = if model.qk_norm { layers.saturating_mul(2) } else { 0 };
        let (all, head) = (adapt.trains_projections(), if model.tied { 0 } else { 1 });
        let mut list = vec![
            (adapt.trains_embedding(), embedding, 1),
            (adapt.trains_norms(), norm, layers.saturating_mul(2).saturating_add(1)),
            (adapt.trains_norms(), model.head_dim as u64, head_norms),
            (all, embedding, head),
        ];
        for target in Target::ALL {
            let shape = target.shape(model);
            list.push((all, product(&shape), layers));
            list.push((all && target.biased(model), shape[0] as u64, layers));
            list.extend(
                adapt
                    .rank(target)
                    .into_iter()
                    .flat_map(|rank| shape.map(|width| (true, product(&[width, rank]), layers))),
            );
        }
        list.into_iter().filter(|(learns, ..)| *learns).map(|(_, numbers, times)| (numbers, times)).collect()
    }
}

fn trainable(adapt: &AdaptPlan, counts: &Counts) -> u64 {
    let parts = [
        (adapt.trains_embedding(), counts.embedding),
        (adapt.trains_norms(), counts.norms),
        (adapt.trains_projections(), counts.projections),
        (adapt.trains_projections(), counts.biases),
        (adapt.trains_projections(), counts.head),
        (true, counts.adapters),
    ];
    parts.iter().filter(|(learns, _)| *learns).fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
}

/// The sum of `count` over a layer's projections.
fn layer_sum(model: &Llama, count: impl Fn([usize; 2], Target) -> u64) -> u64 {
    Target::ALL.into_iter().fold(0, |sum: u64, target| sum.saturating_add(count(target.shape(model), target)))
}

/// The product of `factors`, at most `u64::MAX`.
pub(crate) fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets;
    use crate::recipe::Adapt;
    use crate::samples::{bare, llama2_128k};

    fn base(name: &str) -> u64 {
        let mut recipe = bare();
        recipe.model = presets::named(name).unwrap();
        recipe.context.target = recipe.model.context;
        recipe.plan().unwrap().counts().base()
    }

    #[test]
    fn presets_have_the_released_sizes() {
        assert_eq!(base("llama_7b"), 6_738_415_616);
        assert_eq!(base("llama2_7b"), 6_738_415_616);
        assert_eq!(base("llama2_13b"), 13_015_864_320);
        assert_eq!(base("llama2_70b"), 68_976_648_192);
        assert_eq!(base("llama3_8b"), 8_030_261_248);
        assert_eq!(base("llama31_8b"), 8_030_261_248);
        assert_eq!(base("mistral_7b"), 7_241_732_096);
        assert_eq!(base("llama3_70b"), 70_553_706_496);
        assert_eq!(base("smollm2_135m"), 134_515_008);
        assert_eq!(base("qwen2_7b"), 7_615_616_512);
        assert_eq!(base("qwen2_0_5b"), 494_032_768);
        assert_eq!(base("qwen3_8b"), 8_190_735_360);
        assert_eq!(base("qwen3_0_6b"), 596_049_920);
    }

    #[test]
    fn closed_forms_equal_the_list() {
        let lora = |embed, norm| {
            Some(Adapt::Lora {
                rank: 8,
                alpha: None,
                targets: None,
                embed,
                norm,
                quantized: true,
                rslora: false,
                dropout: None,
            })
        };
        for (model, adapt) in [
            (presets::tiny(), None),
            (presets::tiny(), lora(true, false)),
            (presets::smollm2_135m(), lora(false, true)),
            (presets::qwen2_0_5b(), None),
            (presets::qwen2_0_5b(), lora(false, true)),
            (presets::qwen3_0_6b(), lora(false, true)),
            (presets::qwen3_0_6b(), lora(true, false)),
            (
                presets::llama3_8b(),
                Some(Adapt::Lora {
                    rank: 8,
                    alpha: None,
                    targets: Some(Target::ALL.to_vec()),
                    embed: true,
                    norm: true,
                    quantized: false,
                    rslora: false,
                    dropout: None,
                }),
            ),
        ] {
            let mut recipe = bare();
            recipe.context.target = model.context;
            recipe.model = model;
            recipe.adapt = adapt;
            let plan = recipe.plan().unwrap();
            let list = plan.parameters();
            let sum = |trainable: bool| {
                list.iter().filter(|p| p.trainable || !trainable).map(|p| p.count() as u64).sum::<u64>()
            };
            let counts = plan.counts();
            assert_eq!(counts.base() + counts.adapters, sum(false));
            assert_eq!(counts.trainable, sum(true));
            let mut sizes: Vec<u64> = list.iter().filter(|p| p.trainable).map(|p| p.count() as u64).collect();
            let learning = plan.learning_tensors().into_iter();
            let mut closed: Vec<u64> = learning.flat_map(|(numbers, times)| vec![numbers; times as usize]).collect();
            sizes.sort_unstable();
            closed.sort_unstable();
            assert_eq!(closed, sizes);
        }
    }

    /// arXiv 2404.19553: 27.3 M for rank 32 on q, k, v, o of Llama-3 8B.
    #[test]
    fn adapters_of_the_ten_fold_recipe() {
        let mut recipe = llama2_128k();
        recipe.model = presets::llama3_8b();
        recipe.context.native = Some(8192);
        recipe.allow.push("does_not_fit".into());
        let counts = recipe.plan().unwrap().counts();
        assert_eq!(counts.adapters, 27_262_976);
        assert_eq!(counts.embedding, 128_256 * 4096);
    }
}
