//! The one list of weights that the typed model, the engine, checkpoints and adapters all walk.

use crate::model::Llama;
use crate::plan::{AdaptPlan, Plan};
use crate::terms::Target;

/// One tensor of the model, or of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Hugging Face's name; an adapter's ends in `.lora_A.weight` or `.lora_B.weight` in place of `.weight`.
    pub name: String,
    /// Rows first: a projection is [out, in].
    pub shape: Vec<usize>,
    /// How it starts when it is not read from a checkpoint.
    pub init: Init,
    /// Whether it learns.
    pub trainable: bool,
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal around 0.
    Normal {
        /// Its standard deviation.
        std: f64,
    },
    /// All ones.
    Ones,
    /// All zeros.
    Zeros,
    /// Uniform within ±1 ÷ √in, as PEFT starts `lora_A`.
    KaimingUniform,
}

/// Standard deviation of a matrix that starts from nothing: Hugging Face's `initializer_range` of 0.02 at 1024 inputs, and
/// the same spread of outputs at any other width.
fn initializer_range(inputs: usize) -> f64 {
    0.02 * (1024.0 / inputs.max(1) as f64).sqrt()
}

impl Parameter {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Target {
    /// All of them, in the order of a plan.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The module's name: `q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The block that holds it: `self_attn` or `mlp`.
    pub fn block(self) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V | Self::O => "self_attn",
            Self::Gate | Self::Up | Self::Down => "mlp",
        }
    }

    /// Whether the MLP holds it.
    pub(crate) fn in_mlp(self) -> bool {
        matches!(self, Self::Gate | Self::Up | Self::Down)
    }

    /// Whether it has a bias.
    pub fn biased(self, model: &Llama) -> bool {
        model.qkv_bias && matches!(self, Self::Q | Self::K | Self::V)
    }

    /// Rows and columns of its weight, [out, in].
    pub fn shape(self, model: &Llama) -> [usize; 2] {
        let (query, kv) = (model.query_width(), model.kv_width());
        match self {
            Self::Q => [query, model.hidden],
            Self::K | Self::V => [kv, model.hidden],
            Self::O => [model.hidden, query],
            Self::Gate | Self::Up => [model.ffn, model.hidden],
            Self::Down => [model.hidden, model.ffn],
        }
    }
}

impl AdaptPlan {
    /// Whether base projections learn.
    pub fn trains_projections(&self) -> bool {
        matches!(self, Self::Full)
    }

    /// What alpha is divided by: the rank, or its root, which keeps large ranks learning as fast (arXiv 2312.03732).
    pub(crate) fn divisor(rank: usize, rslora: bool) -> f64 {
        if rslora { (rank as f64).sqrt() } else { rank as f64 }
    }

    /// The same adaptation on a base that is not quantised.
    #[must_use]
    pub fn dense(self) -> Self {
        match self {
            Self::Full => Self::Full,
            Self::Lora { rank, alpha, rslora, scale, targets, embed, norm, dropout, .. } => {
                Self::Lora { rank, alpha, rslora, scale, targets, embed, norm, dropout, quantized: false }
            }
        }
    }

    /// Whether the embedding learns.
    pub fn trains_embedding(&self) -> bool {
        matches!(self, Self::Full | Self::Lora { embed: true, .. })
    }

    /// Whether the norms learn.
    pub fn trains_norms(&self) -> bool {
        matches!(self, Self::Full | Self::Lora { norm: true, .. })
    }

    /// The rank of the adapter on `target`, if it has one.
    pub fn rank(&self, target: Target) -> Option<usize> {
        match self {
            Self::Lora { rank, targets, .. } if targets.contains(&target) => Some(*rank),
            _ => None,
        }
    }

    /// The rank that a buffer for any adapter needs; 0 without adapters.
    pub fn widest_rank(&self) -> usize {
        match self {
            Self::Full => 0,
            Self::Lora { rank, .. } => *rank,
        }
    }

    /// Width of a buffer for the input of any adapter on these targets with some of it left out; 0 where nothing is.
    pub(crate) fn widest_thinned(&self, model: &Llama, on: fn(Target) -> bool) -> usize {
        match self {
            Self::Lora { targets, dropout, .. } if *dropout > 0.0 => {
                let targets = targets.iter().filter(|target| on(**target));
                targets.map(|target| target.shape(model)[1]).max().unwrap_or(0)
            }
            Self::Full | Self::Lora { .. } => 0,
        }
    }

    /// Share of an adapter's inputs that a training step leaves out.
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Full => 0.0,
            Self::Lora { dropout, .. } => *dropout,
        }
    }

    /// Whether frozen projections are stored in NF4.
    pub fn quantized(&self) -> bool {
        matches!(self, Self::Lora { quantized: true, .. })
    }
}

impl Plan {
    /// Every tensor in checkpoint order: the embedding, the layers bottom to top, the last norm, the head unless tied.
    ///
    /// A bias follows its projection, then an adapter's pair; the norms of q and k follow all four projections of attention.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (model, adapt) = (&self.model, &self.adapt);
        let table = vec![model.vocab, model.hidden];
        let mut list = vec![matrix("model.embed_tokens.weight".into(), table.clone(), adapt.trains_embedding())];
        for layer in 0..model.layers {
            self.layer_parameters(layer, &mut list);
        }
        list.push(self.norm("model.norm.weight".into(), model.hidden));
        if !model.tied {
            list.push(matrix("lm_head.weight".into(), table, adapt.trains_projections()));
        }
        list
    }

    fn layer_parameters(&self, layer: usize, list: &mut Vec<Parameter>) {
        let prefix = format!("model.layers.{layer}");
        let Llama { hidden, head_dim, qk_norm, .. } = self.model;
        list.push(self.norm(format!("{prefix}.input_layernorm.weight"), hidden));
        for target in Target::ALL {
            if target == Target::Gate {
                let norms = ["q_norm", "k_norm"].into_iter().filter(|_| qk_norm);
                list.extend(norms.map(|name| self.norm(format!("{prefix}.self_attn.{name}.weight"), head_dim)));
                list.push(self.norm(format!("{prefix}.post_attention_layernorm.weight"), hidden));
            }
            let module = format!("{prefix}.{}.{}", target.block(), target.name());
            let shape = target.shape(&self.model);
            let trainable = self.adapt.trains_projections();
            list.push(matrix(format!("{module}.weight"), shape.to_vec(), trainable));
            if target.biased(&self.model) {
                let (name, shape) = (format!("{module}.bias"), vec![shape[0]]);
                list.push(Parameter { name, shape, init: Init::Zeros, trainable });
            }
            if let Some(rank) = self.adapt.rank(target) {
                list.extend(adapter(&module, rank, shape));
            }
        }
    }

    fn norm(&self, name: String, width: usize) -> Parameter {
        let trainable = self.adapt.trains_norms();
        Parameter { name, shape: vec![width], init: Init::Ones, trainable }
    }
}

fn matrix(name: String, shape: Vec<usize>, trainable: bool) -> Parameter {
    let std = initializer_range(shape[1]);
    Parameter { name, shape, init: Init::Normal { std }, trainable }
}

/// `lora_A` [rank, in] and `lora_B` [out, rank]; B starts at zero, so that training starts from the base (arXiv 2106.09685).
fn adapter(module: &str, rank: usize, [rows, columns]: [usize; 2]) -> [Parameter; 2] {
    let part = |letter: char, shape: [usize; 2], init| Parameter {
        name: format!("{module}.lora_{letter}.weight"),
        shape: shape.to_vec(),
        init,
        trainable: true,
    };
    [part('A', [rank, columns], Init::KaimingUniform), part('B', [rows, rank], Init::Zeros)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets;
    use crate::recipe::Adapt;
    use crate::samples::bare;

    fn plan(tied: bool, adapt: Option<Adapt>) -> Plan {
        let mut recipe = bare();
        recipe.model = Llama { layers: 2, tied, kv_heads: 2, ..presets::tiny() };
        recipe.context.target = 256;
        recipe.adapt = adapt;
        recipe.plan().unwrap()
    }

    fn names(plan: &Plan, trainable: bool) -> Vec<String> {
        plan.parameters().into_iter().filter(|p| p.trainable == trainable).map(|p| p.name).collect()
    }

    #[test]
    fn the_order_is_the_checkpoints() {
        let list = plan(false, None).parameters();
        let names: Vec<&str> = list.iter().map(|p| &*p.name).collect();
        assert_eq!(names[0], "model.embed_tokens.weight");
        let layer = [
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.v_proj.weight",
            "model.layers.0.self_attn.o_proj.weight",
            "model.layers.0.post_attention_layernorm.weight",
            "model.layers.0.mlp.gate_proj.weight",
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.0.mlp.down_proj.weight",
        ];
        assert_eq!(names[1..10], layer);
        assert_eq!(names[19..], ["model.norm.weight", "lm_head.weight"]);
        assert!(list.iter().all(|p| p.trainable));
        assert_eq!(list[3].shape, [64, 128]);
        assert_eq!(list[9].shape, [128, 352]);
        assert_eq!((list[1].init, list[2].init), (Init::Ones, Init::Normal { std: 0.02 * 8.0_f64.sqrt() }));
        assert_eq!(plan(true, None).parameters().last().unwrap().name, "model.norm.weight");
    }

    fn lora(targets: Vec<Target>, embed: bool, norm: bool) -> Option<Adapt> {
        Some(Adapt::Lora {
            rank: 8,
            alpha: None,
            targets: Some(targets),
            embed,
            norm,
            quantized: false,
            rslora: false,
            dropout: None,
        })
    }

    #[test]
    fn an_adapter_follows_its_projection_and_alone_learns() {
        let plan = plan(false, lora(vec![Target::Down, Target::K], false, false));
        let learns = names(&plan, true);
        assert_eq!(
            learns[..4],
            [
                "model.layers.0.self_attn.k_proj.lora_A.weight",
                "model.layers.0.self_attn.k_proj.lora_B.weight",
                "model.layers.0.mlp.down_proj.lora_A.weight",
                "model.layers.0.mlp.down_proj.lora_B.weight",
            ]
        );
        assert_eq!(learns.len(), 8);
        let list = plan.parameters();
        let at = list.iter().position(|p| p.name.ends_with("k_proj.weight")).unwrap();
        assert_eq!((list[at + 1].shape.clone(), list[at + 1].init), (vec![8, 128], Init::KaimingUniform));
        assert_eq!((list[at + 2].shape.clone(), list[at + 2].init), (vec![64, 8], Init::Zeros));
    }

    /// transformers' order of a Qwen's tensors.
    #[test]
    fn biases_and_head_norms_stand_where_hugging_face_has_them() {
        let mut plan = plan(false, lora(vec![Target::Q], false, true));
        (plan.model.qkv_bias, plan.model.qk_norm) = (true, true);
        let list = plan.parameters();
        let attention = list.iter().filter(|p| p.name.starts_with("model.layers.0.self_attn"));
        let attention: Vec<_> = attention.map(|p| (&p.name["model.layers.0.self_attn.".len()..], p)).collect();
        let names: Vec<&str> = attention.iter().map(|(name, _)| *name).collect();
        let q = ["q_proj.weight", "q_proj.bias", "q_proj.lora_A.weight", "q_proj.lora_B.weight"];
        let rest = ["k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias", "o_proj.weight"];
        assert_eq!(names, [&q[..], &rest[..], &["q_norm.weight", "k_norm.weight"]].concat());
        let (bias, norm) = (attention[5].1, attention[10].1);
        assert_eq!((&bias.shape[..], bias.init, bias.trainable), (&[64][..], Init::Zeros, false));
        assert_eq!((&norm.shape[..], norm.init, norm.trainable), (&[32][..], Init::Ones, true));
        plan.adapt = AdaptPlan::Full;
        assert!(plan.parameters().iter().all(|p| p.trainable));
    }

    #[test]
    fn embed_and_norm_learn_beside_adapters() {
        let learns = names(&plan(false, lora(vec![Target::Q], true, true)), true);
        assert_eq!(learns.iter().filter(|name| name.contains("norm")).count(), 5);
        assert!(learns.contains(&"model.embed_tokens.weight".to_owned()));
        assert!(!learns.contains(&"lm_head.weight".to_owned()));
    }
}
