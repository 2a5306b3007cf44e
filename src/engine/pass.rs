//! What every op of a pass over some rows knows.

use kernels::device::{Device, Rows};
use recipe_core::{Llama, Plan};

use super::Error;
use crate::model::noise::Noise;
use crate::model::parts::{Places, places};

/// What every op of one pass needs to know.
pub(crate) struct Pass<'a, D: Device> {
    pub(crate) device: &'a D,
    pub(crate) batch: &'a D::Batch,
    pub(crate) model: &'a Llama,
    pub(crate) rows: usize,
    /// The first of them among the rows of the batch.
    pub(crate) first: usize,
    /// Tables of the places that patterns give to rows.
    pub(crate) turned: &'a Turned<D>,
    /// What adapters do not see of their inputs.
    pub(crate) noise: Option<Noise>,
    /// The gates of all layers, where they learn `[layers, G]`.
    pub(crate) gates: Option<&'a D::Buffer>,
}

/// Where a backward pass adds what it finds.
pub(crate) struct Gradients<'a, D: Device> {
    /// One for each parameter that learns.
    pub(crate) weights: &'a mut [Option<D::Buffer>],
    /// Of the gates, where they learn `[layers, G]`.
    pub(crate) gates: Option<&'a mut D::Buffer>,
}

/// Rotary tables of positions that patterns give to the rows of a pass.
pub(crate) struct Turned<D: Device>(Vec<(Places, D::Batch)>);

impl<D: Device> Turned<D> {
    /// The tables of every part of the plan's patterns for rows whose documents begin at `rows.starts`.
    pub(crate) fn new(device: &D, plan: &Plan, rows: &Rows<'_>) -> Result<Self, Error> {
        let mut tables: Vec<(Places, D::Batch)> = vec![];
        for places in places(&plan.layers) {
            let positions: Vec<u32> =
                rows.starts.iter().enumerate().map(|(row, start)| places.of(row - start)).collect();
            tables.push((places, device.batch(&Rows { positions: &positions, targets: &[], ..*rows })?));
        }
        Ok(Self(tables))
    }

    /// For a pass whose keys come out of a cache, which turns them itself.
    pub(crate) fn none() -> Self {
        Self(vec![])
    }

    /// Those of some places, unless they are the batch's own.
    pub(crate) fn at(&self, places: Places) -> Option<&D::Batch> {
        self.0.iter().find(|(made_for, _)| *made_for == places).map(|(_, table)| table)
    }
}
