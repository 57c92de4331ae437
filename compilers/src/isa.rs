//! What a real GPU's compiler makes of every kernel: registers, spills, occupancy and the instructions of its hot loop,
//! from Mesa's RADV on null hardware. `cargo xtask isa` sets the environment that takes.
//!
//! What always holds: a kernel in which registers spill to memory fails the run. Variants for software drivers are left
//! out, because no GPU is ever given them.

mod assembly;
mod radv;

use anyhow::{Context, Result, anyhow};
use dualstep::engine::{Kernel, Variant, flatten};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::variants;
use assembly::{Mix, Program};
use radv::{Compiled, Compiler};

/// Compile every kernel for the GPU that the environment names.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only kernels whose name holds this.
    #[arg(default_value = "")]
    name: String,
    /// Print the machine code of each, too.
    #[arg(long)]
    assembly: bool,
    /// Print the table in Markdown, a row for each kernel: its worst variant.
    #[arg(long)]
    markdown: bool,
}

/// What became of a kernel in one variant.
struct Row {
    kernel: &'static str,
    variant: Variant,
    registers: u64,
    spilled: u64,
    shared_bytes: u64,
    waves: u64,
    throughput: u64,
    mix: Mix,
    hot: Option<Mix>,
}

/// Returns whether nothing spilled.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let compiler = Compiler::open()?;
    let (gpu, driver) = compiler.names();
    let mut rows = Vec::new();
    for (kernel, variant) in variants(&arguments.name).filter(|(_, variant)| !variant.software) {
        let what = format!("{} {variant}", kernel.name);
        let compiled = compile(&compiler, kernel, &variant).with_context(|| what.clone())?;
        if arguments.assembly {
            println!("{what}\n{}", compiled.assembly);
        }
        rows.push(Row::new(kernel.name, variant, &compiled)?);
    }
    match arguments.markdown {
        true => print_markdown(&rows, (gpu, driver)),
        false => print_table(&rows, (gpu, driver)),
    }
    let spilled: Vec<_> = rows.iter().filter(|row| row.spilled > 0).collect();
    for row in &spilled {
        eprintln!("error: {} {} spills {} registers", row.kernel, row.variant, row.spilled);
    }
    Ok(spilled.is_empty())
}

/// As wgpu hands it to the driver in a release: unchecked, and without zeroing workgroup memory first.
fn compile(compiler: &Compiler, kernel: &Kernel, variant: &Variant) -> Result<Compiled> {
    let source = flatten(kernel.name, variant)?;
    let module =
        naga::front::wgsl::parse_str(&source).map_err(|error| anyhow!(error.emit_to_string(&source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| anyhow!(error.emit_to_string(&source)))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 3),
        fake_missing_bindings: true,
        force_loop_bounding: false,
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..Default::default()
    };
    let words = spv::write_vec(&module, &info, &options, None)?;
    compiler.compile(&words, kernel.bindings.len(), !kernel.params.members.is_empty())
}

impl Row {
    fn new(kernel: &'static str, variant: Variant, compiled: &Compiled) -> Result<Self> {
        let figure = |name: &str| {
            compiled
                .figure(name)
                .with_context(|| format!("the driver tells no {name:?}; it must be Mesa's RADV"))
        };
        let program = Program::parse(&compiled.assembly);
        Ok(Self {
            kernel,
            variant,
            registers: figure("VGPRs")?,
            spilled: figure("Spilled VGPRs")? + figure("Spilled SGPRs")?,
            shared_bytes: figure("LDS size")?,
            waves: figure("Subgroups per SIMD")?,
            throughput: figure("Inverse Throughput")?,
            mix: program.mix(),
            hot: program.hot_loop().filter(|mix| mix.fma > 0),
        })
    }

    fn cells(&self, name: String) -> [String; 11] {
        let Mix { fma, vector, scalar, memory, wide, shared } = self.mix;
        let hot = self.hot.map_or("–".into(), |mix| format!("{:.0} %", 100.0 * mix.fma_share()));
        [
            name,
            self.registers.to_string(),
            self.spilled.to_string(),
            self.shared_bytes.to_string(),
            self.waves.to_string(),
            fma.to_string(),
            vector.to_string(),
            scalar.to_string(),
            format!("{wide} of {memory}; {shared}"),
            self.throughput.to_string(),
            hot,
        ]
    }
}

const HEADING: [&str; 11] = [
    "kernel",
    "VGPRs",
    "spilled",
    "LDS bytes",
    "waves / SIMD",
    "FMA",
    "other VALU",
    "scalar",
    "16-byte of all accesses; LDS",
    "inverse throughput",
    "FMA in the hot loop",
];

fn print_table(rows: &[Row], (gpu, driver): (&str, &str)) {
    println!("{gpu}, {driver}");
    println!("{:<52} {}", HEADING[0], HEADING[1..].join(" | "));
    for row in rows {
        let cells = row.cells(format!("{} {}", row.kernel, row.variant));
        println!("{:<52} {}", cells[0], cells[1..].join(" | "));
    }
}

/// Of each kernel the variant with the most registers.
fn print_markdown(rows: &[Row], (gpu, driver): (&str, &str)) {
    println!(
        "## A GPU's compiler\n\n{gpu}, {driver}: every kernel as wgpu hands it over in a release, unchecked."
    );
    println!("Of several variants the one with the most registers stands for all; none spills.\n");
    println!("| {} |\n|{}", HEADING.join(" | "), "---|".repeat(HEADING.len()));
    for group in rows.chunk_by(|a, b| a.kernel == b.kernel) {
        let worst = group.iter().max_by_key(|row| row.registers).unwrap_or(&group[0]);
        let name = match group.len() {
            1 => worst.kernel.to_owned(),
            count => format!("{} ({count} variants; {})", worst.kernel, worst.variant),
        };
        println!("| {} |", worst.cells(name).join(" | "));
    }
}
