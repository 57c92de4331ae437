//! What a step takes of a module: the parameters that are to be stepped, and where they and their gradients lie.

use burn::module::{ModuleMapper, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{GradientCheckpointingStrategy, Tensor};
use cubecl::server::ServerError;

use crate::Error;
use crate::places::Place;
use crate::rule::Parameter;
use crate::tensor::{Exchange, Memory, resource};

/// A parameter to be stepped, before it is known how it lies in memory.
pub struct Wanted {
    id: ParamId,
    path: String,
    shape: Vec<usize>,
    /// Whether it is the weight of a linear layer.
    is_layer: bool,
}

impl Wanted {
    pub fn new<const D: usize>(
        id: ParamId,
        path: &str,
        tensor: &Tensor<D>,
        gradients: &[&Tensor<D>],
    ) -> Result<Self, Error> {
        let shape = tensor.dims();
        if let Some(gradient) = gradients.iter().find(|gradient| gradient.dims() != shape) {
            let detail = format!("its shape is {shape:?} but the gradient's is {:?}", gradient.dims());
            return Err(Error::Parameter { parameter: path.into(), detail });
        }
        Ok(Self { id, path: path.into(), shape: shape.into(), is_layer: false })
    }
}

/// A parameter to be stepped. Keeps its memory and that of its gradients from Burn's allocator until the step was submitted.
pub struct Found {
    pub parameter: Parameter,
    memory: Memory,
}

/// What was asked for, with its memory.
pub fn found(wanted: Vec<Wanted>, exchange: Exchange) -> Result<Vec<Found>, Error> {
    let found = |(wanted, memory): (Wanted, Memory)| {
        let Wanted { id, path, shape, is_layer } = wanted;
        let is_row_major_layer = is_layer && shape.len() == 2 && memory.axes.is_sorted();
        let shape = memory.axes.iter().map(|&axis| shape[axis]).collect();
        Found { parameter: Parameter { id, path, shape, is_row_major_layer }, memory }
    };
    Ok(wanted.into_iter().zip(exchange.settle()?).map(found).collect())
}

impl Found {
    /// Its own, then those of its gradients.
    fn places(&self) -> Result<Vec<Place>, Error> {
        let Parameter { path, shape, .. } = &self.parameter;
        let columns = u32::try_from(shape.iter().product::<usize>()).map_err(|_| Error::Parameter {
            parameter: path.clone(),
            detail: format!("{shape:?} are more than 2³² elements; split it"),
        })?;
        let place = |tensor| {
            let resource = resource(path, tensor)?;
            Ok(Place { buffer: resource.buffer, offset: resource.offset, columns })
        };
        let Memory { weight, gradients, .. } = &self.memory;
        std::iter::once(weight).chain(gradients).map(place).collect()
    }
}

/// Where all of them lie, once Burn has handed what it queued to the driver: in one visit to the thread that owns the device,
/// which each question by itself would be otherwise.
pub fn places(found: &[Found]) -> Result<Vec<Vec<Place>>, Error> {
    let Some(Found { memory: Memory { weight, .. }, .. }) = found.first() else {
        return Err(Error::Module { detail: "no parameter has a gradient".into() });
    };
    let failed = |error: ServerError| Error::Burn { detail: error.to_string() };
    let visit = || {
        let places = found.iter().map(Found::places).collect::<Result<Vec<_>, _>>()?;
        weight.client.flush().map_err(failed)?;
        Ok(places)
    };
    weight.client.exclusive(visit).map_err(failed)?
}

/// Takes each parameter that is to be stepped out of a module, and puts its successor there.
pub struct Collect<'a> {
    /// Names down to where the walk is, and what each names.
    path: Vec<String>,
    containers: Vec<String>,
    which: Which<'a>,
    wanted: Result<Vec<Wanted>, Error>,
    exchange: Exchange,
}

/// Which parameters are to be stepped.
enum Which<'a> {
    /// Those with gradients.
    Gradients(&'a mut [GradientsParams]),
    /// These.
    Known(&'a [Parameter]),
}

impl<'a> Collect<'a> {
    pub fn of(gradients: &'a mut [GradientsParams]) -> Self {
        Self::new(Which::Gradients(gradients))
    }

    pub fn known(parameters: &'a [Parameter]) -> Self {
        Self::new(Which::Known(parameters))
    }

    fn new(which: Which<'a>) -> Self {
        let (path, containers) = (Vec::new(), Vec::new());
        Self { path, containers, which, wanted: Ok(Vec::new()), exchange: Exchange::new() }
    }

    pub fn found(self) -> Result<Vec<Found>, Error> {
        found(self.wanted?, self.exchange)
    }

    /// The gradients of a parameter that is to be stepped.
    fn gradients<const D: usize>(&mut self, id: ParamId) -> Result<Option<Vec<Tensor<D>>>, Error> {
        let (found, all): (Vec<_>, _) = match &mut self.which {
            Which::Known(parameters) => {
                return Ok(parameters.iter().any(|parameter| parameter.id == id).then(Vec::new));
            }
            Which::Gradients(all) => {
                (all.iter_mut().filter_map(|of| of.remove::<D>(id)).collect(), all.len())
            }
        };
        if found.is_empty() || found.len() == all {
            return Ok((!found.is_empty()).then_some(found));
        }
        let detail = format!("it has gradients in {} of {all} sub-batches", found.len());
        Err(Error::Parameter { parameter: self.path.join("."), detail })
    }

    fn take<const D: usize>(&mut self, id: ParamId, tensor: Tensor<D>) -> Result<Tensor<D>, Error> {
        let Some(gradients) = self.gradients::<D>(id)? else { return Ok(tensor) };
        let context = Context::of(&tensor);
        let (path, tensor) = (self.path.join("."), tensor.inner());
        let mut wanted = Wanted::new(id, &path, &tensor, &gradients.iter().collect::<Vec<_>>())?;
        wanted.is_layer = self.containers.last().is_some_and(|container| container == "Struct:Linear");
        let stepped = self.exchange.ask(&path, tensor, gradients)?;
        if let Ok(all) = &mut self.wanted {
            all.push(wanted);
        }
        Ok(context.restore(stepped, id))
    }
}

impl ModuleMapper for Collect<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.into());
        self.containers.push(container_type.into());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.wanted.is_err() {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device());
        let stepped = self.take(id, tensor).unwrap_or_else(|error| {
            // The module will not be returned.
            self.wanted = Err(error);
            Tensor::empty(shape, &device)
        });
        Param::from_mapped_value(id, stepped, mapper)
    }
}

/// What autodiff knows of a parameter, which a new tensor has to be told again.
struct Context {
    requires_gradient: bool,
    is_distributed: bool,
    checkpointing: Option<GradientCheckpointingStrategy>,
}

impl Context {
    fn of<const D: usize>(tensor: &Tensor<D>) -> Self {
        Self {
            requires_gradient: tensor.is_require_grad(),
            is_distributed: tensor.is_distributed(),
            checkpointing: tensor.gradient_checkpointing_strategy(),
        }
    }

    fn restore<const D: usize>(self, inner: Tensor<D>, id: ParamId) -> Tensor<D> {
        let mut tensor = Tensor::from_inner(inner);
        if let Some(strategy) = self.checkpointing {
            tensor = tensor.with_gradient_checkpointing_strategy(strategy);
        }
        if self.requires_gradient {
            tensor = tensor.require_grad();
        }
        if self.is_distributed {
            tensor = tensor.set_distributed(id);
        }
        tensor
    }
}
