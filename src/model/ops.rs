//! The ops that dfdx lacks, each a call of `kernels` forward and one backward.

use std::borrow::Cow;
use std::sync::Arc;

use dfdx::shapes::{Const, HasShape, Rank1, Rank2};
use dfdx::tensor::{Cpu, Tape, Tensor};
use kernels::linear::{Dims, Write};
use kernels::rope::Direction;
use kernels::{attention, bias, cross_entropy, dropout, embedding, linear, rms_norm, rope, swiglu};

use super::error::Error;
use super::parts::Part;
use super::tape::{Hidden, Slot, open, read, record};
use super::view::View;

/// Rows of `table` at the view's tokens; the tape starts here.
pub(super) fn embed<const VOCAB: usize, const C: usize, T: Tape<f32, Cpu>>(
    view: &View,
    table: &Tensor<Rank2<VOCAB, C>, f32, Cpu>,
    learns: bool,
    tape: T,
) -> Result<Hidden<C, T>, Error> {
    let tokens = Arc::clone(&view.tokens);
    let mut x = vec![0.0; tokens.len() * C];
    embedding::forward(&tokens, &read(table), &mut x);
    let shape = (tokens.len(), Const);
    let slots = [Slot::weight(table, learns)];
    Ok(record(table.device(), tape, (x, shape), slots, move |dx, [dtable]| {
        if let Some(dtable) = dtable {
            embedding::backward(&tokens, dx, dtable);
        }
    })?)
}

/// x ÷ rms(x) · weight over each `C` features (arXiv 1910.07467): whole rows, or the heads of a row.
pub(super) fn rms_norm<const W: usize, const C: usize, T: Tape<f32, Cpu>>(
    x: Hidden<W, T>,
    weight: &Tensor<Rank1<C>, f32, Cpu>,
    learns: bool,
    eps: f32,
) -> Result<Hidden<W, T>, Error> {
    let (x, tape) = open(x)?;
    let mut y = vec![0.0; x.shape().0 * W];
    rms_norm::forward(&read(&x), &read(weight), eps, &mut y);
    let (slots, weight) = ([Slot::of(&x), Slot::weight(weight, learns)], weight.clone());
    Ok(record(&x.device().clone(), tape, (y, *x.shape()), slots, move |dy, [dx, dweight]| {
        if let Some(dx) = dx {
            rms_norm::backward(&read(&x), &read(&weight), eps, dy, dx, dweight);
        }
    })?)
}

/// y + bias in every row.
pub(super) fn add_bias<const O: usize, T: Tape<f32, Cpu>>(
    y: Hidden<O, T>,
    offset: &Tensor<Rank1<O>, f32, Cpu>,
    learns: bool,
) -> Result<Hidden<O, T>, Error> {
    let (y, tape) = open(y)?;
    let mut sum = read(&y);
    bias::forward(&read(offset), &mut sum);
    let slots = [Slot::of(&y), Slot::weight(offset, learns)];
    Ok(record(y.device(), tape, (sum, *y.shape()), slots, move |dsum, [dy, doffset]| {
        if let Some(dy) = dy {
            dy.copy_from_slice(dsum);
        }
        if let Some(doffset) = doffset {
            bias::backward(dsum, doffset);
        }
    })?)
}

/// x wᵀ, with w `[O, I]`.
pub(super) fn linear<const I: usize, const O: usize, T: Tape<f32, Cpu>>(
    x: Hidden<I, T>,
    weight: &Tensor<Rank2<O, I>, f32, Cpu>,
    learns: bool,
) -> Result<Hidden<O, T>, Error> {
    let (x, tape) = open(x)?;
    let rows = x.shape().0;
    let dims = Dims { rows, inputs: I, outputs: O };
    let mut y = vec![0.0; rows * O];
    linear::forward(dims, &read(&x), &read(weight), &mut y, 1.0, Write::Set);
    let (slots, weight) = ([Slot::of(&x), Slot::weight(weight, learns)], weight.clone());
    Ok(record(&x.device().clone(), tape, (y, (rows, Const)), slots, move |dy, [dx, dw]| {
        if let Some(dx) = dx {
            linear::backward_input(dims, dy, &read(&weight), dx, 1.0, Write::Set);
        }
        if let Some(dw) = dw {
            linear::backward_weight(dims, dy, &read(&x), dw, 1.0, Write::Set);
        }
    })?)
}

/// x with what `mask` leaves out, scaled so that its mean stays.
pub(super) fn dropout<const C: usize, T: Tape<f32, Cpu>>(
    x: Hidden<C, T>,
    mask: Option<dropout::Mask>,
) -> Result<Hidden<C, T>, Error> {
    let Some(mask) = mask else { return Ok(x) };
    let (x, tape) = open(x)?;
    let mut y = vec![0.0; x.shape().0 * C];
    dropout::apply(mask, &read(&x), &mut y, Write::Set);
    let slots = [Slot::of(&x)];
    Ok(record(x.device(), tape, (y, *x.shape()), slots, move |dy, [dx]| {
        if let Some(dx) = dx {
            dropout::apply(mask, dy, dx, Write::Set);
        }
    })?)
}

/// Every head of x turned to the view's positions (arXiv 2104.09864, Hugging Face's rotate-half layout); a pattern that
/// remaps turns them itself.
pub(super) fn rotate<const W: usize, T: Tape<f32, Cpu>>(x: Hidden<W, T>, view: &View) -> Result<Hidden<W, T>, Error> {
    if view.remaps() {
        return Ok(x);
    }
    let (x, tape) = open(x)?;
    let (tables, heads) = (Arc::clone(&view.tables), W / view.laws.head_dim);
    let mut y = read(&x);
    rope::apply(&tables, heads, &mut y, Direction::Forward);
    let slots = [Slot::of(&x)];
    Ok(record(x.device(), tape, (y, *x.shape()), slots, move |dy, [dx]| {
        if let Some(dx) = dx {
            dx.copy_from_slice(dy);
            rope::apply(&tables, heads, dx, Direction::Backward);
        }
    })?)
}

/// softmax(q kᵀ ÷ √head_dim) v over what the view's pattern and documents let a query see.
pub(super) fn attend<const QUERY: usize, const KV: usize, T: Tape<f32, Cpu>>(
    q: Hidden<QUERY, T>,
    k: Hidden<KV, T>,
    v: Hidden<KV, T>,
    view: &View,
) -> Result<Hidden<QUERY, T>, Error> {
    let ((q, tape), (k, k_tape), (v, v_tape)) = (open(q)?, open(k)?, open(v)?);
    let tape = tape.merge(k_tape).merge(v_tape);
    let job = Attend { view: view.clone(), over: view.attention(QUERY, KV) };
    let (out, lse) = job.forward([&read(&q), &read(&k), &read(&v)]);
    let slots = [Slot::of(&q), Slot::of(&k), Slot::of(&v)];
    let kept = out.clone();
    Ok(record(&q.device().clone(), tape, (out, *q.shape()), slots, move |dout, grads| {
        if let [Some(dq), Some(dk), Some(dv)] = grads {
            job.backward([&read(&q), &read(&k), &read(&v)], (&kept, &lse, dout), [dq, dk, dv]);
        }
    })?)
}

/// One attention over the parts of the view's pattern.
struct Attend {
    view: View,
    /// Shape and scale.
    over: (attention::Shape, f32),
}

impl Attend {
    fn forward(&self, [q, k, v]: [&[f32]; 3]) -> (Vec<f32>, Vec<f32>) {
        let (shape, scale) = &self.over;
        let (mut out, mut lse) = (vec![0.0; q.len()], vec![f32::NEG_INFINITY; shape.queries * shape.heads]);
        let (mut more, mut more_lse) = (out.clone(), lse.clone());
        for part in &self.view.parts(shape) {
            let [q, k] = self.turn(part, [q, k], Direction::Forward);
            attention::forward(shape, &self.view.mask(part), *scale, &q, &k, v, &mut more, &mut more_lse);
            attention::merge(shape.head_dim, (&mut out, &mut lse), (&more, &more_lse));
        }
        (out, lse)
    }

    /// With the joint output and log-sum-exp, each part's backward pass gives that part's share of the gradient.
    fn backward(
        &self,
        [q, k, v]: [&[f32]; 3],
        (out, lse, dout): (&[f32], &[f32], &[f32]),
        [dq, dk, dv]: [&mut [f32]; 3],
    ) {
        let (shape, scale) = &self.over;
        let mut part_of = [vec![0.0; dq.len()], vec![0.0; dk.len()], vec![0.0; dv.len()]];
        for part in &self.view.parts(shape) {
            let [q, k] = self.turn(part, [q, k], Direction::Forward);
            let [pq, pk, pv] = &mut part_of;
            attention::backward(shape, &self.view.mask(part), *scale, &q, &k, v, out, lse, dout, pq, pk, pv);
            let turned = self.turn(part, [pq, pk], Direction::Backward);
            for (to, from) in [(&mut *dq, &turned[0][..]), (&mut *dk, &turned[1][..]), (&mut *dv, &pv[..])] {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }

    /// Queries and keys turned to the part's places, or back.
    fn turn<'x>(&self, part: &Part, x: [&'x [f32]; 2], direction: Direction) -> [Cow<'x, [f32]>; 2] {
        let (tables, heads) = (self.view.turned(part), [self.over.0.heads, self.over.0.kv_heads]);
        std::array::from_fn(|index| match tables[index] {
            Some(table) => {
                let mut turned = x[index].to_vec();
                rope::apply(table, heads[index], &mut turned, direction);
                Cow::Owned(turned)
            }
            None => Cow::Borrowed(x[index]),
        })
    }
}

/// silu(gate) · up (arXiv 2002.05202).
pub(super) fn swiglu<const F: usize, T: Tape<f32, Cpu>>(
    gate: Hidden<F, T>,
    up: Hidden<F, T>,
) -> Result<Hidden<F, T>, Error> {
    let ((gate, tape), (up, up_tape)) = (open(gate)?, open(up)?);
    let mut out = vec![0.0; gate.shape().0 * F];
    swiglu::forward(&read(&gate), &read(&up), &mut out);
    let slots = [Slot::of(&gate), Slot::of(&up)];
    let tape = tape.merge(up_tape);
    Ok(record(&gate.device().clone(), tape, (out, *gate.shape()), slots, move |dout, grads| {
        if let [Some(dgate), Some(dup)] = grads {
            gate.copy_into(dgate);
            up.copy_into(dup);
            swiglu::backward(dout, dgate, dup);
        }
    })?)
}

/// Mean of −ln softmax(x wᵀ)[target] over the targets that are not ignored. The logits exist in chunks of rows only, and
/// a traced call computes the gradients in the same pass.
pub(super) fn cross_entropy<const VOCAB: usize, const C: usize, T: Tape<f32, Cpu>>(
    x: Hidden<C, T>,
    weight: &Tensor<Rank2<VOCAB, C>, f32, Cpu>,
    learns: bool,
    targets: &[i32],
) -> Result<Tensor<(), f32, Cpu, T>, Error> {
    let (x, tape) = open(x)?;
    let rows = x.shape().0;
    let counted = targets.iter().filter(|&&target| target != cross_entropy::IGNORED).count();
    let share = 1.0 / counted as f32;
    let job = cross_entropy::Job {
        hidden: C,
        vocab: VOCAB,
        x: &read(&x),
        w: &read(weight),
        targets,
        chunk: cross_entropy::chunk_rows(VOCAB),
        grad_scale: share,
    };
    let mut nll = vec![0.0; rows];
    let mut dx = T::OWNS_TAPE.then(|| vec![0.0; rows * C]);
    let mut dw = (T::OWNS_TAPE && learns).then(|| vec![0.0; VOCAB * C]);
    let output =
        cross_entropy::Output { nll: &mut nll, predictions: None, dx: dx.as_deref_mut(), dw: dw.as_deref_mut() };
    let mut logits = vec![0.0; cross_entropy::logits_len(VOCAB, rows, job.chunk)];
    cross_entropy::run(&job, output, &mut logits);
    let loss = nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / counted as f64;
    let slots = [Slot::of(&x), Slot::weight(weight, learns)];
    Ok(record(x.device(), tape, (vec![loss as f32], ()), slots, move |dloss, [to_x, to_w]| {
        scale_into(dloss[0], dx, to_x);
        scale_into(dloss[0], dw, to_w);
    })?)
}

fn scale_into(factor: f32, from: Option<Vec<f32>>, to: Option<&mut [f32]>) {
    if let (Some(from), Some(to)) = (from, to) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = factor * from);
    }
}
