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
    let find_out = find(&out);
    tape.add_backward_op(move |gradients| {
        // Taken out and put back, since only one gradient can be borrowed at a time.
        let dout = std::mem::take(find_out(gradients)?);
        let mut parts = inputs.each_ref().map(Slot::buffer);
        backward(&dout, parts.each_mut().map(Option::as_deref_mut));
        for (slot, part) in inputs.into_iter().zip(parts) {
            slot.add(gradients, part)?;
        }
        *find_out(gradients)? = dout;
        Ok(())
    });
    Ok(out.put_tape(tape))
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
