//! Fused WGSL compute kernels, dispatched by a small scheduler, for training and sparsifying neural networks by
//! splitting methods (ADMM) on any GPU that wgpu reaches.
//!
//! To train, open a [`Gpu`](engine::Gpu), load a [`DataSource`](data::DataSource) or make a
//! [`Dataset`](data::Dataset) of your own, and give both to a [solver](solvers); the README has a program of fifteen
//! lines. The rest of this page is a tour for those who read or change the source.
//!
//! # Rooms
//!
//! Arrows point down: a module uses those below it, never one above.
//!
//! ```text
//! main, cli              commands, progress, reports; no maths
//!    |
//! verify, parity, bench  the device compared: with the float64 twins, with recorded runs, with its own ceilings
//!    |
//! solvers, checkpoint    an algorithm = plans built from kernels, and the host's few decisions; its state in a file
//! prune                  checkpoints brought to a pattern of sparsity, file to file
//!    |
//! models                 networks as functions: loss and gradients, recorded into a solver's plan
//!    |
//! kernels                one typed function per WGSL file: shapes checked, work counted, one dispatch added to a plan
//!    |
//! engine                 device, tensors, plans, read-back, profile; knows nothing of ADMM
//!
//! reference              the float64 twin of every kernel; nothing that computes a result for a user calls it
//! golden, data           recorded runs, samples: what is read here has been checked whole
//! files                  files that are written whole or not at all
//! shaders/               the WGSL itself, one folder per family, plus shared/
//! ```
//!
//! # One iteration
//!
//! A solver records its iteration once: it calls kernel functions on a [`PlanBuilder`](engine::PlanBuilder), which
//! checks shapes, aliasing and limits there and then. [`PlanBuilder::finish`](engine::PlanBuilder::finish) lays out the
//! memory of temporaries by lifetime and resolves pipelines, bind groups and one buffer of parameters. Afterwards an
//! iteration is a replay of that [`Plan`](engine::Plan) in a [`Batch`](engine::Batch): nothing is allocated or
//! uploaded, and nothing waits. What an algorithm decides on the way, such as step sizes, penalties and whether a value
//! was still finite, it decides on the device, in buffers that the next kernel reads. The host learns of it later,
//! from copies of a ring of records.
//!
//! # In an app with a device of its own
//!
//! [`Gpu::requirements`](engine::Gpu::requirements) says what to ask of the device,
//! [`Gpu::from_wgpu`](engine::Gpu::from_wgpu) works on it, [`Gpu::wrap`](engine::Gpu::wrap) makes tensors of the app's
//! memory, and [`Plan::record`](engine::Plan::record) replays a plan in the app's own pass. An app that sub-allocates has
//! inputs and outputs of a kernel in one buffer, which wgpu refuses as `read` and `read_write` together; the plan then binds
//! those inputs `read_write`, by a [form](engine::Variant::sharing) of the kernel that the loader writes, and neither kernels
//! nor solvers know. `examples/embed_wgpu.rs` is such an app, `tests/embed.rs` what one is promised.
//!
//! # One kernel, from WGSL to test
//!
//! A kernel has one name everywhere. `dladmm/hidden_z`, the hidden layer's z step, is
//!
//! 1. `shaders/dladmm/hidden_z.wgsl`: the formula in its head, then the code. `#import` brings in a shared file, or
//!    another in its place where a variant says so, as here for each kind of activation; a line that ends in `// @spec`
//!    may be given another right-hand side. There are no other directives.
//! 2. `HIDDEN_Z` in `src/kernels/dladmm.rs`: the [`Kernel`](engine::Kernel) as the host sees it, its bindings by name and
//!    its parameters by layout; listed in [`kernels::ALL`].
//! 3. [`kernels::dladmm::hidden_z`]: checks that four shapes agree, counts the operations, adds the dispatch.
//! 4. [`reference::dladmm::hidden_z`]: the same in float64, with the size of the terms that went into each value, from
//!    which the tolerance of the comparison follows.
//! 5. `dladmm/hidden_z` in [`verify`]: runs it against its twin, between canaries, over many sizes. `dualstep verify` and
//!    `tests/kernels.rs` do that on a device. `tests/shaders.rs` needs none: it reflects the WGSL against the host's
//!    declaration and translates every variant for every backend.
//! 6. `dladmm/hidden_z` in `benches/kernels.rs`: its throughput beside a plain copy. What solvers spend their time on is in
//!    [`mod@bench`], too, at sizes beyond caches.
//!
//! To add a kernel is to add these. [`kernels::ALL`] is the registry that the others are held against.
//!
//! A product of matrices is put together from parts: a file for the storage of each operand (`linalg/left_*`,
//! `linalg/right_*`), one for what a workgroup owns (`linalg/tile_*`, chosen by adapter), and the kernel's own
//! epilogue. A [`Variant`](engine::Variant) names the parts.
//!
//! # What is awkward
//!
//! - Papers write samples as columns; tensors store one sample per row, because that keeps a sample's features together
//!   and lets samples be cut into blocks. So P = W a is recorded as a Wᵀ.
//! - Rows are padded with zeros to whole `vec4`s, and every kernel must leave the padding zero. No type says so;
//!   [`verify`] does.
//! - WGSL and host agree on bindings and parameters by a test that reflects the shader, not by construction: a field
//!   added on one side alone compiles, and fails there.
//! - Kernels that add over samples write partial sums which a second dispatch adds in a fixed order. That is one
//!   dispatch more than atomics would need, and the reason why equal inputs give equal bits.
//! - A device that cannot do something is refused, or served by another variant, but never emulated on the host.

mod archive;
pub mod bench;
pub mod checkpoint;
pub mod data;
pub mod engine;
mod error;
pub mod files;
pub mod golden;
pub mod kernels;
pub mod models;
pub mod parity;
pub mod prune;
pub mod reference;
pub mod solvers;
pub mod verify;

pub use error::Error;
/// The version that devices and buffers handed over must be of.
pub use wgpu;

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
