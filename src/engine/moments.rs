//! AdamW's state as a checkpoint holds it, and back.

use kernels::adamw::eight_bit;
use kernels::device::{Device, Weight};
use recipe_core::Parameter;

use super::store::{self, Store};
use super::{Engine, Error, expect};
use crate::hub::Weights;

/// AdamW's moments by Hugging Face name; those of gates as [`GATES`](super::GATES). A tensor has them in f32 or in 8 bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// First moments in f32.
    pub first: Weights,
    /// Second moments in f32.
    pub second: Weights,
    /// Both moments of the tensors that `optimizer: adamw_8bit` packs, in the order of the model.
    pub packed: Vec<Packed>,
}

/// Moments of one tensor in 8 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Codes and scales.
    pub moments: eight_bit::Moments,
}

impl Moments {
    fn packed(&self, spec: &Parameter) -> Option<&Packed> {
        self.packed.iter().find(|packed| packed.name == spec.name)
    }

    /// Whether they fit a tensor, whose moments are packed or not.
    fn check(&self, spec: &Parameter, packs: bool) -> Result<(), Error> {
        match self.packed(spec) {
            Some(_) if !packs => Err(Error::OtherMoments { name: spec.name.clone(), expected: "f32", got: "8 bits" }),
            None if packs && self.first.get(&spec.name).is_some() => {
                Err(Error::OtherMoments { name: spec.name.clone(), expected: "8 bits", got: "f32" })
            }
            None if packs => Err(Error::MissingTensor { name: spec.name.clone(), expected: spec.shape.clone() }),
            Some(found) if found.shape == spec.shape && found.moments.fits(store::numel(spec)) => Ok(()),
            Some(Packed { shape, .. }) => {
                Err(Error::Shape { name: spec.name.clone(), expected: spec.shape.clone(), got: shape.clone() })
            }
            None => [&self.first, &self.second].into_iter().try_for_each(|source| expect(source, spec).map(drop)),
        }
    }
}

impl<D: Device> Engine<D> {
    /// AdamW's moments as they stand.
    pub fn moments(&self) -> Moments {
        let first = self.read_back(|index| self.store.moment(index, 0), |gates| &gates.first);
        let second = self.read_back(|index| self.store.moment(index, 1), |gates| &gates.second);
        let packed = |(spec, moments): (&Parameter, &Option<store::Moments<D>>)| match moments {
            Some(store::Moments::EightBit(moments)) => Some(Packed {
                name: spec.name.clone(),
                shape: spec.shape.clone(),
                moments: self.device.download_8bit(moments),
            }),
            _ => None,
        };
        let packed = self.store.specs.iter().zip(&self.store.moments).filter_map(packed).collect();
        Moments { first, second, packed }
    }

    /// Puts back what [`Engine::trained`] and [`Engine::moments`] gave.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape or other moments than the plan's; nothing is changed then.
    pub fn restore(&mut self, trained: &Weights, moments: &Moments) -> Result<(), Error> {
        let Store { specs, moments: held, .. } = &self.store;
        for (spec, held) in specs.iter().zip(held).filter_map(|(spec, held)| Some((spec, held.as_ref()?))) {
            expect(trained, spec)?;
            moments.check(spec, matches!(held, store::Moments::EightBit(_)))?;
        }
        if let Some(gates) = &mut self.gates {
            gates.restore(&self.device, [trained, &moments.first, &moments.second])?;
        }
        let Store { specs, values, moments: held, .. } = &mut self.store;
        for ((spec, value), held) in specs.iter().zip(values).zip(held) {
            let (Weight::Dense(value), Some(held)) = (value, held) else { continue };
            self.device.write(expect(trained, spec)?, value);
            match (held, moments.packed(spec)) {
                (store::Moments::EightBit(held), Some(packed)) => self.device.write_8bit(&packed.moments, held),
                (store::Moments::F32 { first, second }, _) => {
                    self.device.write(expect(&moments.first, spec)?, first);
                    self.device.write(expect(&moments.second, spec)?, second);
                }
                (store::Moments::EightBit(_), None) => {}
            }
        }
        Ok(())
    }
}
