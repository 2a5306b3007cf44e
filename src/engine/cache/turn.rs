//! Rotation of queries and keys at the moment of use.

use kernels::device::{Device, Rows};
use kernels::rope::Direction;

use crate::engine::Error;
use crate::engine::pass::Pass;

/// Rotation at use: for a base that follows the length, where keys that were cached rotated would keep the base of their
/// own time (Peng et al. 2023, arXiv 2309.00071, section 3.3), and for patterns whose parts want other positions.
pub(in crate::engine) struct Turn<'a, D: Device> {
    inv_freq: &'a [f64],
    attention_factor: f64,
    /// Tables by positions: layers of one pattern share them.
    tables: Vec<(Vec<u32>, D::Batch)>,
}

impl<'a, D: Device> Turn<'a, D> {
    pub(in crate::engine) fn new(inv_freq: &'a [f64], attention_factor: f64) -> Self {
        Self { inv_freq, attention_factor, tables: vec![] }
    }

    /// The first rows of `x` `[rows, heads, D]`, turned to `positions`.
    pub(super) fn copy<'w>(
        &mut self,
        pass: &Pass<'_, D>,
        (x, heads): (&D::Buffer, usize),
        positions: Vec<u32>,
        into: &'w mut Grown<D>,
    ) -> Result<&'w D::Buffer, Error> {
        let len = positions.len() * heads * pass.model.head_dim;
        let into = into.at_least(pass.device, len)?;
        pass.device.copy(x, into, len);
        pass.device.rope(self.table(pass.device, positions)?, heads, into, Direction::Forward);
        Ok(into)
    }

    fn table(&mut self, device: &D, positions: Vec<u32>) -> Result<&D::Batch, Error> {
        let found = self.tables.iter().position(|(made_for, _)| *made_for == positions);
        let index = found.unwrap_or(self.tables.len());
        if found.is_none() {
            let tokens = vec![0; positions.len()];
            let made = batch(device, &tokens, &positions, self.inv_freq, self.attention_factor)?;
            self.tables.push((positions, made));
        }
        Ok(&self.tables[index].1)
    }
}

/// Rows of the one document, at `positions`.
pub(in crate::engine) fn batch<D: Device>(
    device: &D,
    tokens: &[u32],
    positions: &[u32],
    inv_freq: &[f64],
    attention_factor: f64,
) -> Result<D::Batch, Error> {
    let starts = vec![0; tokens.len()];
    Ok(device.batch(&Rows { tokens, positions, starts: &starts, targets: &[], inv_freq, attention_factor })?)
}

/// A buffer that grows to the largest size asked of it.
#[derive(Debug)]
pub(super) struct Grown<D: Device> {
    pub(super) buffer: D::Buffer,
    len: usize,
    zeros: fn(&D, usize) -> kernels::device::Result<D::Buffer>,
}

impl<D: Device> Grown<D> {
    pub(super) fn new(device: &D) -> Result<Self, Error> {
        Ok(Self { buffer: device.zeros(0)?, len: 0, zeros: D::zeros })
    }

    /// Of f32 numbers, whatever the storage type.
    pub(super) fn new_f32(device: &D) -> Result<Self, Error> {
        Ok(Self { buffer: device.zeros_f32(0)?, len: 0, zeros: D::zeros_f32 })
    }

    pub(super) fn at_least(&mut self, device: &D, len: usize) -> Result<&mut D::Buffer, Error> {
        if self.len < len {
            *self = Self { buffer: (self.zeros)(device, len)?, len, ..*self };
        }
        Ok(&mut self.buffer)
    }
}
