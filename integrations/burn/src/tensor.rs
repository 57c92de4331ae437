//! Burn's tensors as dualstep's: the same memory, seen from both sides.
//!
//! Burn keeps a float tensor of its wgpu backend as a [`CubeTensor`] or, where it fuses operations, as the promise of one;
//! [`Primitive`] hides which.

use std::sync::mpsc::{Receiver, Sender, channel};

use burn::backend::{BackendTypes, DType, TensorMetadata};
use burn::tensor::Tensor;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::{CubeDevice, tensor::CubeTensor};
use burn_wgpu::{AutoCompiler, Wgpu, WgpuResource};
use cubecl::wgpu::WgpuServer;

use crate::Error;

/// What Burn's wgpu backend keeps a float tensor as.
type Kept = <Wgpu as BackendTypes>::FloatTensorPrimitive;

/// The memory of a parameter and of its gradients, all in the order of axes that the parameter's has.
pub struct Memory {
    /// Which of those that were asked for.
    index: usize,
    /// The parameter's axes in the order that they lie in memory, the one whose elements are neighbours last.
    pub axes: Vec<usize>,
    /// The parameter.
    pub weight: CubeTensor,
    /// Of each sub-batch.
    pub gradients: Vec<CubeTensor>,
}

impl Memory {
    fn new(index: usize, weight: CubeTensor, gradients: Vec<CubeTensor>) -> Self {
        let strides = weight.meta.strides();
        let mut axes: Vec<usize> = (0..strides.len()).collect();
        axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis]));
        // As it is where it already lies so, else copied on the device.
        let laid_out = |tensor| into_contiguous(permute(tensor, &axes));
        let weight = laid_out(weight);
        // Whoever else looks at this memory keeps what they see.
        let weight = if weight.can_mut() { weight } else { weight.copy() };
        let gradients = gradients.into_iter().map(laid_out).collect();
        Self { index, axes, weight, gradients }
    }

    /// The parameter with its axes as they were, in the memory that is to be stepped.
    fn stepped(&self) -> CubeTensor {
        let mut back = vec![0; self.axes.len()];
        self.axes.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
        permute(self.weight.clone(), &back)
    }
}

/// A float tensor of a backend, or the promise of one.
#[diagnostic::on_unimplemented(
    message = "Burn fuses operations here: enable dualstep-burn's feature `fusion`, too"
)]
trait Primitive: TensorMetadata<Device = CubeDevice> + Sized {
    /// Has the memory of a parameter and its gradients sent, once what computes them was launched; returns the parameter to go
    /// on with, in that memory.
    fn exchange(self, gradients: Vec<Self>, index: usize, to: Sender<Memory>) -> Self;
    /// Has everything sent now.
    fn settle(device: &CubeDevice);
}

impl Primitive for CubeTensor {
    fn exchange(self, gradients: Vec<Self>, index: usize, to: Sender<Memory>) -> Self {
        let memory = Memory::new(index, self, gradients);
        let stepped = memory.stepped();
        // Nobody listens once a step was refused.
        let _ = to.send(memory);
        stepped
    }

    fn settle(_device: &CubeDevice) {}
}

/// Where Burn fuses, an exchange is an operation among others that it queues: all of a step take one visit to its queue.
#[cfg(feature = "fusion")]
mod fusion {
    use std::sync::mpsc::Sender;

    use burn::backend::ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
    use burn::backend::{ExecutionError, TensorMetadata};
    use burn_cubecl::fusion::FusionCubeRuntime;
    use burn_cubecl::{CubeBackend, CubeDevice};
    use burn_fusion::stream::{Operation, StreamId};
    use burn_fusion::{Client, FusionRuntime, FusionTensor};

    use super::Memory;

    impl super::Primitive for FusionTensor<FusionCubeRuntime> {
        fn exchange(self, gradients: Vec<Self>, index: usize, to: Sender<Memory>) -> Self {
            let client = self.client.clone();
            let output = TensorIr::uninit(client.create_empty_handle(), self.shape(), self.dtype());
            let inputs: Vec<_> = std::iter::once(self).chain(gradients).map(Self::into_ir).collect();
            let operation = CustomOpIr::new("dualstep", &inputs, std::slice::from_ref(&output));
            let exchange = Exchanged { inputs, output, index, to };
            let mut outputs = client.register(StreamId::current(), OperationIr::Custom(operation), exchange);
            outputs.pop().expect("it was registered with one output")
        }

        fn settle(device: &CubeDevice) {
            Client::<FusionCubeRuntime>::load(device).sync(|| ());
        }
    }

    #[derive(Debug)]
    struct Exchanged {
        /// The parameter, then its gradients.
        inputs: Vec<TensorIr>,
        output: TensorIr,
        index: usize,
        to: Sender<Memory>,
    }

    type Handles = HandleContainer<<FusionCubeRuntime as FusionRuntime>::FusionHandle>;

    impl Operation<FusionCubeRuntime> for Exchanged {
        fn execute(&self, handles: &mut Handles) -> Result<(), ExecutionError> {
            let mut inputs = self.inputs.iter().map(|input| handles.get_float_tensor::<CubeBackend>(input));
            let weight = inputs.next().expect("there is a parameter");
            let memory = Memory::new(self.index, weight, inputs.collect());
            handles.register_float_tensor::<CubeBackend>(&self.output.id, memory.stepped());
            // Nobody listens once a step was refused.
            let _ = self.to.send(memory);
            Ok(())
        }
    }
}

/// The parameters of a step on their way from Burn.
pub struct Exchange {
    to: Sender<Memory>,
    from: Receiver<Memory>,
    device: Option<CubeDevice>,
    asked: usize,
}

impl Exchange {
    pub fn new() -> Self {
        let (to, from) = channel();
        Self { to, from, device: None, asked: 0 }
    }

    /// Asks for the memory of a parameter and its gradients; returns the parameter to go on with, without autodiff.
    pub fn ask<const D: usize>(
        &mut self,
        parameter: &str,
        tensor: Tensor<D>,
        gradients: Vec<Tensor<D>>,
    ) -> Result<Tensor<D>, Error> {
        let weight = primitive(parameter, "it", tensor)?;
        let gradients = gradients.into_iter().map(|gradient| primitive(parameter, "its gradient", gradient));
        let gradients = gradients.collect::<Result<Vec<_>, _>>()?;
        self.device = Some(weight.device());
        let stepped = weight.exchange(gradients, self.asked, self.to.clone());
        self.asked += 1;
        Ok(Tensor::from_primitive::<Wgpu>(stepped))
    }

    /// What was asked for, in that order, once all that computes it was launched.
    pub fn settle(self) -> Result<Vec<Memory>, Error> {
        let Self { to, from, device, asked } = self;
        drop(to);
        if let Some(device) = &device {
            Kept::settle(device);
        }
        let mut found: Vec<_> = from.try_iter().collect();
        found.sort_by_key(|memory| memory.index);
        if found.len() == asked {
            return Ok(found);
        }
        Err(Error::Burn { detail: "what computes a parameter or its gradient failed".into() })
    }
}

/// An f32 tensor as the backend keeps it. `what` it is goes into errors.
fn primitive<const D: usize>(parameter: &str, what: &str, tensor: Tensor<D>) -> Result<Kept, Error> {
    let refuse = |detail| Err(Error::Parameter { parameter: parameter.into(), detail });
    let stored = tensor.dtype();
    match tensor.try_into_primitive::<Wgpu>() {
        Ok(primitive) if stored == DType::F32 => Ok(primitive),
        Ok(_) => refuse(format!("{what} is stored as {stored:?} but must be F32")),
        Err(error) => {
            refuse(format!("{what} is not on a wgpu device of Burn's ({error:?}); use Shared::device"))
        }
    }
}

/// Where a tensor lies, once what writes it was handed to Burn's stream.
pub fn resource(parameter: &str, tensor: &CubeTensor) -> Result<WgpuResource, Error> {
    let handle = tensor.handle.clone();
    match tensor.client.get_resource::<WgpuServer<AutoCompiler>>(handle) {
        Ok(managed) => Ok(managed.resource().clone()),
        Err(error) => Err(Error::Parameter { parameter: parameter.into(), detail: error.to_string() }),
    }
}
