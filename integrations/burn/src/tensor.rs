//! Burn's tensors as dualstep's: the same memory, seen from both sides.
//!
//! Burn keeps a float tensor of its wgpu backend as a [`CubeTensor`] or, where it fuses operations, as the promise of one;
//! [`Primitive`] hides which.

use burn::backend::{BackendTypes, DType};
use burn::tensor::Tensor;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use burn_wgpu::{AutoCompiler, Wgpu, WgpuResource};
use cubecl::wgpu::WgpuServer;

use crate::Error;

/// What Burn's wgpu backend keeps a float tensor as.
type Kept = <Wgpu as BackendTypes>::FloatTensorPrimitive;

/// A float tensor of a backend, or the promise of one.
#[diagnostic::on_unimplemented(
    message = "Burn fuses operations here: enable dualstep-burn's feature `fusion`, too"
)]
trait Primitive: Sized {
    /// The tensor, after what it waits for was launched.
    fn resolve(self) -> CubeTensor;
    /// The way back.
    fn promise(tensor: CubeTensor) -> Self;
}

impl Primitive for CubeTensor {
    fn resolve(self) -> CubeTensor {
        self
    }

    fn promise(tensor: CubeTensor) -> Self {
        tensor
    }
}

#[cfg(feature = "fusion")]
mod fusion {
    use burn::backend::ir::{CustomOpIr, HandleContainer, OperationIr, TensorIr};
    use burn::backend::{ExecutionError, TensorMetadata};
    use burn_cubecl::fusion::FusionCubeRuntime;
    use burn_cubecl::{CubeBackend, tensor::CubeTensor};
    use burn_fusion::stream::{Operation, StreamId};
    use burn_fusion::{Client, FusionRuntime, FusionTensor};

    impl super::Primitive for FusionTensor<FusionCubeRuntime> {
        fn resolve(self) -> CubeTensor {
            self.client.clone().resolve_tensor_float::<CubeBackend>(self)
        }

        /// As what an operation without inputs returns.
        fn promise(tensor: CubeTensor) -> Self {
            let client = Client::<FusionCubeRuntime>::load(&tensor.device);
            let output = TensorIr::uninit(client.create_empty_handle(), tensor.shape(), tensor.dtype());
            let operation = CustomOpIr::new("dualstep", &[], std::slice::from_ref(&output));
            let known = Known { output, tensor };
            let mut outputs = client.register(StreamId::current(), OperationIr::Custom(operation), known);
            outputs.pop().expect("it was registered with one output")
        }
    }

    /// The operation whose output is known.
    #[derive(Debug)]
    struct Known {
        output: TensorIr,
        tensor: CubeTensor,
    }

    type Handles = HandleContainer<<FusionCubeRuntime as FusionRuntime>::FusionHandle>;

    impl Operation<FusionCubeRuntime> for Known {
        fn execute(&self, handles: &mut Handles) -> Result<(), ExecutionError> {
            handles.register_float_tensor::<CubeBackend>(&self.output.id, self.tensor.clone());
            Ok(())
        }
    }
}

/// A tensor's memory, once what computes it was launched; f32. `what` it is goes into errors.
pub fn resolve<const D: usize>(parameter: &str, what: &str, tensor: Tensor<D>) -> Result<CubeTensor, Error> {
    let refuse = |detail| Err(Error::Parameter { parameter: parameter.into(), detail });
    let tensor = match tensor.try_into_primitive::<Wgpu>() {
        Ok(tensor) => Primitive::resolve(tensor),
        Err(error) => {
            return refuse(format!(
                "{what} is not on a wgpu device of Burn's ({error:?}); use Shared::device"
            ));
        }
    };
    match tensor.dtype {
        DType::F32 => Ok(tensor),
        other => refuse(format!("{what} is stored as {other:?} but must be F32")),
    }
}

/// The axes of a tensor in the order that they lie in memory, the one whose elements are neighbours last.
pub fn axes(tensor: &CubeTensor) -> Vec<usize> {
    let strides = tensor.meta.strides();
    let mut axes: Vec<usize> = (0..strides.len()).collect();
    axes.sort_by_key(|&axis| std::cmp::Reverse(strides[axis]));
    axes
}

/// A tensor with its axes in this order, element after element in memory: as it is where it already lies so, else copied on
/// the device.
pub fn laid_out(tensor: CubeTensor, axes: &[usize]) -> CubeTensor {
    into_contiguous(permute(tensor, axes))
}

/// [`laid_out`], undone, in the same memory.
pub fn with_axes_back(tensor: CubeTensor, axes: &[usize]) -> CubeTensor {
    let mut back = vec![0; axes.len()];
    axes.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
    permute(tensor, &back)
}

/// The way back, without autodiff.
pub fn promise<const D: usize>(tensor: CubeTensor) -> Tensor<D> {
    let tensor: Kept = Primitive::promise(tensor);
    Tensor::from_primitive::<Wgpu>(tensor)
}

/// Where a tensor lies, once what writes it was handed to Burn's stream.
pub fn resource(parameter: &str, tensor: &CubeTensor) -> Result<WgpuResource, Error> {
    let handle = tensor.handle.clone();
    match tensor.client.get_resource::<WgpuServer<AutoCompiler>>(handle) {
        Ok(managed) => Ok(managed.resource().clone()),
        Err(error) => Err(Error::Parameter { parameter: parameter.into(), detail: error.to_string() }),
    }
}
