//! The embedded base model: a small Llama with a native window of 256 tokens, trained by this project.

use recipe_core::{HfConfig, Llama};
use safetensors::{Dtype, SafeTensors};

use super::Error;
use crate::data::Encoder;
use crate::hub::{Tensor, Tokenizer, Weights};

const CONFIG: &str = include_str!("../../assets/tiny/config.json");
const WEIGHTS: &[u8] = include_bytes!("../../assets/tiny/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../assets/tiny/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../../assets/tiny/tokenizer_config.json");

/// The embedded model with everything that an export needs.
#[derive(Debug)]
pub struct Base {
    /// Its `config.json`.
    pub config: HfConfig,
    /// Its shape; the preset `tiny`.
    pub model: Llama,
    /// Its weights.
    pub weights: Weights,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Base {
    /// Unpacks the embedded files.
    ///
    /// # Errors
    /// Only when this build's assets are damaged.
    pub fn embedded() -> Result<Self, Error> {
        let damaged = |reason: String| Error::Assets { reason };
        let config = HfConfig::parse(CONFIG).map_err(|error| damaged(error.to_string()))?;
        let model = config.llama().map_err(|error| damaged(error.to_string()))?;
        let file = SafeTensors::deserialize(WEIGHTS).map_err(|error| damaged(error.to_string()))?;
        let mut weights = Weights::new();
        for (name, _) in crate::hub::layout(&model) {
            let view = file.tensor(&name).map_err(|error| damaged(format!("{name}: {error}")))?;
            if view.dtype() != Dtype::BF16 {
                return Err(damaged(format!("{name} is {:?}, not BF16", view.dtype())));
            }
            let halves = view.data().chunks_exact(2);
            let data = halves.map(|two| half::bf16::from_le_bytes([two[0], two[1]]).to_f32()).collect();
            weights.insert(name, Tensor { shape: view.shape().to_vec(), data });
        }
        let tokenizer = Tokenizer::from_files(TOKENIZER, TOKENIZER_CONFIG)?;
        Ok(Self { config, model, weights, tokenizer })
    }

    /// The tokenizer as the data module takes it.
    ///
    /// # Errors
    /// Only when this build's assets are damaged.
    pub fn encoder(&self) -> Result<Encoder, Error> {
        Ok(Encoder::new(self.tokenizer.inner().clone(), self.tokenizer.bos(), self.tokenizer.eos())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::chronicle;

    #[test]
    fn the_embedded_files_are_what_the_code_makes() {
        assert_eq!(TOKENIZER, chronicle::tokenizer_json().as_bytes());
        assert_eq!(TOKENIZER_CONFIG, chronicle::tokenizer_config_json().as_bytes());
        let base = Base::embedded().unwrap();
        assert_eq!(base.model, recipe_core::presets::named("tiny").unwrap());
        assert_eq!(base.weights.parameters(), 1_271_424);
        assert_eq!(base.encoder().unwrap().encode(" the key of mira").unwrap().len(), 4);
    }
}
