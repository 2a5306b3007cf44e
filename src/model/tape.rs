//! An op of our own on dfdx's tape: values in, values out, and a backward closure over plain slices.
//!
//! dfdx's own ops are closed to other crates, but its tape is open: anyone may add a closure that reads the output's
//! gradient and adds to the inputs'. [`record`] is the one place that does so.

use dfdx::shapes::{Const, HasShape, Shape};
use dfdx::tensor::{Cpu, CpuError, Gradients, NoneTape, OwnedTape, PutTape, SplitTape, Tape, Tensor, TensorFromVec};
use dfdx::tensor::{Trace, ZerosTensor};
use dfdx::tensor_ops::ReshapeTo;

/// Activations: one row of `C` features per token; the number of rows is known at run time only.
pub type Hidden<const C: usize, T = NoneTape> = Tensor<(usize, Const<C>), f32, Cpu, T>;

type Find = Box<dyn for<'g> Fn(&'g mut Gradients<f32, Cpu>) -> Result<&'g mut Vec<f32>, CpuError>>;

/// One input of an op: where its gradient goes, if it wants one.
pub(super) struct Slot {
    len: usize,
    find: Option<Find>,
}

impl Slot {
    /// An input whose gradient is wanted.
    pub(super) fn of<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Self {
        Self { len: tensor.shape().num_elements(), find: Some(find(tensor)) }
    }

    /// A weight, whose gradient is wanted only where it learns.
    pub(super) fn weight<S: Shape>(tensor: &Tensor<S, f32, Cpu>, learns: bool) -> Self {
        if learns { Self::of(tensor) } else { Self { len: 0, find: None } }
    }

    fn buffer(&self) -> Option<Vec<f32>> {
        self.find.as_ref().map(|_| vec![0.0; self.len])
    }

    fn add(self, gradients: &mut Gradients<f32, Cpu>, part: Option<Vec<f32>>) -> Result<(), CpuError> {
        if let (Some(find), Some(part)) = (self.find, part) {
            find(gradients)?.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        Ok(())
    }
}

/// Makes a tensor of `values` and puts the op that computed it on the tape.
///
/// `backward` gets the output's gradient and, for each input that wants one, a zeroed buffer to write its share into.
pub(super) fn record<S: Shape, T: Tape<f32, Cpu>, const N: usize>(
    device: &Cpu,
    mut tape: T,
    (values, shape): (Vec<f32>, S),
    inputs: [Slot; N],
    backward: impl FnOnce(&[f32], [Option<&mut [f32]>; N]) + 'static,
) -> Result<Tensor<S, f32, Cpu, T>, CpuError> {
    let out = device.try_tensor_from_vec(values, shape)?;
    let (find_out, backward) = (find(&out), Box::new(backward));
    tape.add_backward_op(move |gradients| play(gradients, &find_out, inputs, backward));
    Ok(out.put_tape(tape))
}

type Play<const N: usize> = dyn FnOnce(&[f32], [Option<&mut [f32]>; N]);

/// Runs one op's backward closure.
fn play<const N: usize>(
    gradients: &mut Gradients<f32, Cpu>,
    find_out: &Find,
    inputs: [Slot; N],
    backward: Box<Play<N>>,
) -> Result<(), CpuError> {
    // Taken out and put back, since only one gradient can be borrowed at a time.
    let dout = std::mem::take(find_out(gradients)?);
    let mut parts = inputs.each_ref().map(Slot::buffer);
    backward(&dout, parts.each_mut().map(Option::as_deref_mut));
    for (slot, part) in inputs.into_iter().zip(parts) {
        slot.add(gradients, part)?;
    }
    *find_out(gradients)? = dout;
    Ok(())
}

/// Splits the tape off a tensor whose values then lie row-major, whatever was done to it before.
pub(super) fn open<const C: usize, T: Tape<f32, Cpu>>(x: Hidden<C, T>) -> Result<(Hidden<C>, T), CpuError> {
    Ok(x.try_contiguous()?.split_tape())
}

/// The values of a tensor, row-major.
pub(super) fn read<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.shape().num_elements()];
    tensor.copy_into(&mut values);
    values
}

/// The gradient of `tensor`, allocated as zeros where there is none yet.
pub(super) fn gradient<'g, S: Shape>(
    gradients: &'g mut Gradients<f32, Cpu>,
    tensor: &Tensor<S, f32, Cpu>,
) -> Result<&'g mut Vec<f32>, CpuError> {
    Ok(&mut **gradients.get_or_alloc_mut(tensor)?)
}

/// A tape that accumulates into `gradients`, as from dfdx's `alloc_grads`.
pub fn tape(gradients: Gradients<f32, Cpu>) -> OwnedTape<f32, Cpu> {
    let anchor: Tensor<(), f32, Cpu> = Cpu::default().zeros();
    anchor.traced(gradients).split_tape().1
}

fn find<S: Shape>(tensor: &Tensor<S, f32, Cpu>) -> Find {
    let ghost = tensor.ghost();
    Box::new(move |gradients| Ok(&mut **gradients.get_or_alloc_mut(&ghost)?))
}

#[cfg(test)]
mod tests {
    use dfdx::shapes::Rank2;
    use dfdx::tensor::Trace;
    use dfdx::tensor_ops::{Backward, PermuteTo, SumTo, TryMul};

    use super::*;

    /// x · w element by element, as an op of ours.
    fn product(x: Hidden<2, OwnedTape<f32, Cpu>>, w: &Hidden<2>, learns: bool) -> Hidden<2, OwnedTape<f32, Cpu>> {
        let (x, tape) = open(x).unwrap();
        let (a, b) = (read(&x), read(w));
        let y = a.iter().zip(&b).map(|(a, b)| a * b).collect();
        let slots = [Slot::of(&x), Slot::weight(w, learns)];
        record(x.device(), tape, (y, *x.shape()), slots, move |dy, [dx, dw]| {
            for (into, other) in [(dx, &b), (dw, &a)] {
                let Some(into) = into else { continue };
                into.iter_mut().zip(dy.iter().zip(other)).for_each(|(into, (dy, other))| *into = dy * other);
            }
        })
        .unwrap()
    }

    fn tensor(values: [f32; 4]) -> Hidden<2> {
        Cpu::default().tensor_from_vec(values.to_vec(), (2, Const))
    }

    #[test]
    fn gradients_add_up_among_ops_of_dfdx() {
        let (x, w) = (tensor([1.0, 2.0, 3.0, 4.0]), tensor([5.0, 6.0, 7.0, 8.0]));
        let y = product(x.leaky_trace(), &w, true).try_mul(2.0).unwrap();
        let gradients = product(y, &w, true).sum::<(), _>().backward();
        // Σ 2 x w²
        assert_eq!(read(&gradients.get(&x)), [50.0, 72.0, 98.0, 128.0]);
        assert_eq!(read(&gradients.get(&w)), [20.0, 48.0, 84.0, 128.0]);
    }

    #[test]
    fn one_tensor_may_be_two_inputs() {
        let x = tensor([1.0, 2.0, 3.0, 4.0]);
        let gradients = product(x.leaky_trace(), &x, true).sum::<(), _>().backward();
        assert_eq!(read(&gradients.get(&x)), [2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn a_frozen_weight_gets_no_gradient() {
        let (x, w) = (tensor([1.0; 4]), tensor([3.0; 4]));
        let mut gradients = product(x.leaky_trace(), &w, false).sum::<(), _>().backward();
        assert_eq!(gradient(&mut gradients, &w).unwrap(), &[0.0; 4]);
        assert_eq!(gradient(&mut gradients, &x).unwrap(), &[3.0; 4]);
    }

    #[test]
    fn a_permuted_view_gets_its_gradient_in_place() {
        let cpu = Cpu::default();
        let x: Tensor<Rank2<2, 2>, f32, Cpu> = cpu.tensor_from_vec(vec![1.0, 2.0, 3.0, 4.0], (Const, Const));
        let w = tensor([1.0, 10.0, 100.0, 1000.0]);
        let turned: Tensor<Rank2<2, 2>, f32, Cpu, _> = x.leaky_trace().permute();
        let turned: Hidden<2, _> = turned.reshape_like(&(2, Const));
        let y = product(turned, &w, true);
        assert_eq!(read(&y), [1.0, 30.0, 200.0, 4000.0]);
        let gradients = y.sum::<(), _>().backward();
        assert_eq!(read(&gradients.get(&x)), [1.0, 100.0, 10.0, 1000.0]);
    }

    #[test]
    fn a_tape_accumulates_into_the_gradients_it_is_given() {
        let x = tensor([1.0; 4]);
        let once = product(x.leaky_trace(), &x, false).sum::<(), _>().backward();
        let twice = product(x.clone().put_tape(tape(once)), &x, false).sum::<(), _>().backward();
        assert_eq!(read(&twice.get(&x)), [2.0; 4]);
    }
}
