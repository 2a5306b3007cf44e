//! The one list of weights that the typed model, the engine, checkpoints and adapters all walk.

use crate::model::Llama;
use crate::plan::{AdaptPlan, Plan};
use crate::recipe::Target;

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

/// Hugging Face's `initializer_range`.
const INITIALIZER_RANGE: f64 = 0.02;

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

    /// Rows and columns of its weight, [out, in].
    pub fn shape(self, model: &Llama) -> [usize; 2] {
        let (query, kv) = (model.heads.saturating_mul(model.head_dim), model.kv_heads.saturating_mul(model.head_dim));
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

    /// Whether frozen projections are stored in NF4.
    pub fn quantized(&self) -> bool {
        matches!(self, Self::Lora { quantized: true, .. })
    }
}

impl Plan {
    /// Every tensor in checkpoint order: the embedding, the layers bottom to top, the last norm, the head unless tied.
    ///
    /// An adapter's pair follows its projection.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (model, adapt) = (&self.model, &self.adapt);
        let table = vec![model.vocab, model.hidden];
        let mut list = vec![matrix("model.embed_tokens.weight".into(), table.clone(), adapt.trains_embedding())];
        for layer in 0..model.layers {
            self.layer_parameters(layer, &mut list);
        }
        list.push(self.norm("model.norm.weight".into()));
        if !model.tied {
            list.push(matrix("lm_head.weight".into(), table, adapt.trains_projections()));
        }
        list
    }

    fn layer_parameters(&self, layer: usize, list: &mut Vec<Parameter>) {
        let prefix = format!("model.layers.{layer}");
        list.push(self.norm(format!("{prefix}.input_layernorm.weight")));
        for target in Target::ALL {
            if target == Target::Gate {
                list.push(self.norm(format!("{prefix}.post_attention_layernorm.weight")));
            }
            let module = format!("{prefix}.{}.{}", target.block(), target.name());
            let shape = target.shape(&self.model);
            list.push(matrix(format!("{module}.weight"), shape.to_vec(), self.adapt.trains_projections()));
            if let Some(rank) = self.adapt.rank(target) {
                list.extend(adapter(&module, rank, shape));
            }
        }
    }

    fn norm(&self, name: String) -> Parameter {
        let trainable = self.adapt.trains_norms();
        Parameter { name, shape: vec![self.model.hidden], init: Init::Ones, trainable }
    }
}

fn matrix(name: String, shape: Vec<usize>, trainable: bool) -> Parameter {
    Parameter { name, shape, init: Init::Normal { std: INITIALIZER_RANGE }, trainable }
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
