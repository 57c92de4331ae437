//! Every kernel × variant as a compiler sees it: validated, reflected against its Rust declaration, translated to the
//! four shading languages. Needs no device.
//!
//! What the declarations promise to the engine is what is checked here; what the kernels compute is checked by
//! `tests/kernels.rs`.

#[path = "support/uniformity.rs"]
mod uniformity;

use std::fs;
use std::path::{Path, PathBuf};

use dualstep::engine::{Access, Kernel, Requirements, Variant, flatten};
use dualstep::kernels;
use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};

/// What every device that wgpu calls compute-capable offers.
const LANES: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
/// One less than the usual 8: Metal needs one for the lengths of the others.
const STORAGE_BUFFERS: usize = 7;

/// A kernel × variant, validated.
struct Shader {
    name: String,
    kernel: &'static Kernel,
    variant: Variant,
    source: String,
    module: Module,
    info: ModuleInfo,
}

/// All of them.
fn shaders() -> Vec<Shader> {
    variants().map(|(kernel, variant)| shader(kernel, variant)).collect()
}

/// All that have inputs, with every input in one buffer with the outputs.
fn sharing_shaders() -> Vec<Shader> {
    let sharing = variants().filter_map(|(kernel, variant)| {
        let inputs = kernel.bindings.iter().filter(|binding| !binding.access.writes());
        let variant = inputs.fold(variant, |variant, input| variant.sharing(input.name));
        (!variant.shared.is_empty()).then(|| shader(kernel, variant))
    });
    sharing.collect()
}

fn variants() -> impl Iterator<Item = (&'static Kernel, Variant)> {
    kernels::ALL.iter().flat_map(|kernel| (kernel.variants)().into_iter().map(move |v| (*kernel, v)))
}

/// One of them, validated; subgroup operations are let through only where a variant says that it uses them.
fn shader(kernel: &'static Kernel, variant: Variant) -> Shader {
    let imports: String = variant.imports.iter().map(|(_, to)| format!(" {to}")).collect();
    let name = format!("{} {variant}{imports}", kernel.name);
    let source = flatten(kernel.name, &variant).unwrap();
    let module = match naga::front::wgsl::parse_str(&source) {
        Ok(module) => module,
        Err(error) => panic!("{}", error.emit_to_string_with_path(&source, &name)),
    };
    let capabilities = if variant.subgroups { Capabilities::SUBGROUP } else { Capabilities::empty() };
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = match validator.validate(&module) {
        Ok(info) => info,
        Err(error) => panic!("{}", error.emit_to_string_with_path(&source, &name)),
    };
    Shader { name, kernel, variant, source, module, info }
}

/// The text of every file under `folder` with the given ending, by its path below the folder.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    collect(&root, &mut found);
    let texts = found.into_iter().filter(|path| path.extension().is_some_and(|e| e == ending)).map(|path| {
        let name = path.strip_prefix(&root).unwrap().with_extension("").display().to_string();
        (name.replace('\\', "/"), fs::read_to_string(path).unwrap())
    });
    texts.collect()
}

#[test]
fn kernels_have_unique_names_and_variants() {
    let mut names: Vec<_> = kernels::ALL.iter().map(|kernel| kernel.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), kernels::ALL.len(), "two kernels share a name");
    for kernel in kernels::ALL {
        let variants = (kernel.variants)();
        assert!(!variants.is_empty(), "{} has no variant", kernel.name);
        for (i, variant) in variants.iter().enumerate() {
            assert!(!variants[..i].contains(variant), "{} has variant {variant} twice", kernel.name);
        }
    }
}

#[test]
fn bindings_are_as_declared() {
    for Shader { name, kernel, module, info, .. } in shaders() {
        let entry = info.get_entry_point(0);
        let mut found = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            let Some(binding) = &variable.binding else {
                let is_own = [AddressSpace::WorkGroup, AddressSpace::Private].contains(&variable.space);
                assert!(is_own, "{name}: {:?}", variable.name);
                continue;
            };
            assert_eq!(binding.group, 0, "{name}: {:?}", variable.name);
            found.push((binding.binding as usize, variable, entry[handle]));
        }
        found.sort_by_key(|(index, ..)| *index);
        let has_params = !kernel.params.members.is_empty();
        assert_eq!(found.len(), kernel.bindings.len() + usize::from(has_params), "{name}: bindings");
        assert!(
            kernel.bindings.len() <= STORAGE_BUFFERS,
            "{name}: {} storage buffers",
            kernel.bindings.len()
        );
        for (place, (index, variable, used)) in found.into_iter().enumerate() {
            assert_eq!(index, place, "{name}: {:?} leaves a gap", variable.name);
            let actual = variable.name.as_deref();
            let Some(declared) = kernel.bindings.get(index) else {
                assert_eq!((actual, variable.space), (Some("params"), AddressSpace::Uniform), "{name}");
                continue;
            };
            assert_eq!(actual, Some(declared.name), "{name}: binding {index}");
            let at = format!("{name}: `{}`", declared.name);
            let (space, least, most) = match declared.access {
                Access::Read => (StorageAccess::LOAD, GlobalUse::READ, GlobalUse::READ),
                Access::Write => {
                    (StorageAccess::LOAD | StorageAccess::STORE, GlobalUse::WRITE, GlobalUse::WRITE)
                }
                Access::Update => {
                    let both = GlobalUse::READ | GlobalUse::WRITE;
                    (StorageAccess::LOAD | StorageAccess::STORE, GlobalUse::WRITE, both)
                }
            };
            assert_eq!(variable.space, AddressSpace::Storage { access: space }, "{at}");
            assert!(
                used.contains(least) && most.contains(used),
                "{at} is {:?} but used as {used:?}",
                declared.access
            );
        }
    }
}

#[test]
fn inputs_in_one_buffer_with_outputs_are_bound_as_outputs_and_still_only_read() {
    for Shader { name, kernel, module, info, .. } in sharing_shaders() {
        let entry = info.get_entry_point(0);
        for (handle, variable) in module.global_variables.iter() {
            let (Some(binding), AddressSpace::Storage { access }) = (&variable.binding, variable.space)
            else {
                continue;
            };
            assert_eq!(access, StorageAccess::LOAD | StorageAccess::STORE, "{name}: {:?}", variable.name);
            let declared = kernel.bindings[binding.binding as usize];
            let stores = entry[handle].contains(GlobalUse::WRITE);
            assert_eq!(stores, declared.access.writes(), "{name}: `{}`", declared.name);
        }
    }
}

#[test]
fn parameter_structs_are_as_declared() {
    for Shader { name, kernel, module, .. } in shaders() {
        let uniform =
            module.global_variables.iter().find(|(_, variable)| variable.space == AddressSpace::Uniform);
        let Some((_, uniform)) = uniform else {
            assert!(kernel.params.members.is_empty(), "{name}: parameters are declared but not bound");
            continue;
        };
        let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
            panic!("{name}: `params` is no struct")
        };
        let found: Vec<_> = members
            .iter()
            .map(|member| {
                let kind = match module.types[member.ty].inner {
                    TypeInner::Scalar(naga::Scalar::U32) => "u32",
                    TypeInner::Scalar(naga::Scalar::F32) => "f32",
                    ref other => panic!("{name}: `{:?}` is {other:?}, not a 4-byte scalar", member.name),
                };
                (member.name.as_deref().unwrap(), kind)
            })
            .collect();
        assert_eq!(found, kernel.params.members, "{name}: names and types of the parameters");
        for (member, offset) in members.iter().zip((0..).step_by(4)) {
            assert_eq!(member.offset, offset, "{name}: offset of `{:?}`", member.name);
        }
        assert_eq!(*span as usize, 4 * members.len(), "{name}: size of the parameters");
    }
}

#[test]
fn a_host_is_asked_for_what_kernels_are_held_to() {
    let least: std::collections::HashMap<_, _> = Requirements::least().collect();
    assert_eq!(least["max_storage_buffers_per_shader_stage"] as usize, STORAGE_BUFFERS);
    // The parameters are one more.
    assert_eq!(least["max_bindings_per_bind_group"] as usize, STORAGE_BUFFERS + 1);
    assert_eq!(least["max_compute_invocations_per_workgroup"], LANES);
    assert_eq!(least["max_compute_workgroup_size_x"], LANES);
    assert_eq!(least["max_compute_workgroup_storage_size"], WORKGROUP_BYTES);
}

#[test]
fn workgroups_fit_every_device() {
    for Shader { name, module, .. } in shaders() {
        let [entry] = module.entry_points.as_slice() else { panic!("{name}: not one entry point") };
        assert_eq!((entry.name.as_str(), entry.stage), ("main", ShaderStage::Compute), "{name}");
        let lanes: u32 = entry.workgroup_size.iter().product();
        assert!((1..=LANES).contains(&lanes), "{name}: {lanes} lanes");
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let variables = module.global_variables.iter().map(|(_, variable)| variable);
        let shared = variables.filter(|variable| variable.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|variable| layouter[variable.ty].size).sum();
        assert!(bytes <= WORKGROUP_BYTES, "{name}: {bytes} bytes of workgroup memory");
    }
}

#[test]
fn barriers_and_subgroup_operations_stand_in_uniform_control_flow() {
    for Shader { name, module, .. } in shaders() {
        if let Err(complaint) = uniformity::check(&module) {
            panic!("{name}: {complaint}");
        }
    }
}

/// What is loaded from an input that shares its buffer with an output passes for different from lane to lane, in this check
/// as in Tint and FXC. Some inputs decide whether a barrier is reached, small tensors of a solver's own all of them.
#[test]
fn inputs_that_an_app_may_put_beside_outputs_decide_about_no_barrier() {
    let own = [
        ("anderson/columns", "ledger"),
        ("proximal/trial", "steps"),
        ("dladmm/fista", "control"),
        ("dladmm/fista_changes", "control"),
    ];
    for (kernel, variant) in variants() {
        let inputs = kernel.bindings.iter().filter(|binding| !binding.access.writes());
        let the_apps = inputs.filter(|input| !own.contains(&(kernel.name, input.name)));
        let shader = shader(kernel, the_apps.fold(variant, |variant, input| variant.sharing(input.name)));
        if let Err(complaint) = uniformity::check(&shader.module) {
            panic!("{}: {complaint}", shader.name);
        }
    }
}

#[test]
fn a_barrier_after_a_lane_has_returned_is_found() {
    let parse = |body: &str| {
        let source = format!(
            "fn meet() {{ workgroupBarrier(); }}
             @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32,
                 @builtin(workgroup_id) group: vec3u) {{ {body} }}"
        );
        uniformity::check(&naga::front::wgsl::parse_str(&source).unwrap())
    };
    assert_eq!(parse("if group.x > 3u { return; } for (var i = 0u; i < group.y; i++) { meet(); }"), Ok(()));
    assert_eq!(parse("if lane > 3u { return; }"), Ok(()));
    assert_eq!(parse("for (var i = lane; i < 9u; i++) { if i == 4u { continue; } } meet();"), Ok(()));
    for body in [
        "if lane > 3u { return; } workgroupBarrier();",
        "if lane > 3u { meet(); }",
        "var i = 0u; if lane > 3u { i = 1u; } if i == 1u { return; } meet();",
        "for (var i = lane; i < 9u; i++) { workgroupBarrier(); }",
        "loop { if lane > 3u { break; } meet(); }",
        "loop { meet(); if lane > 3u { break; } }",
    ] {
        assert!(parse(body).is_err(), "{body}");
    }
}

/// Every variant in the oldest version of each language that has what it uses, and in a newer one. naga writes subgroup
/// operations into older versions too, where they are not valid, so that those say nothing and are left out.
#[test]
fn every_variant_translates() {
    for shader in shaders() {
        expect_translated(&shader, oldest_languages(&shader));
        let newer = [
            ("SPIR-V 1.5", to_spirv(&shader, (1, 5))),
            ("MSL 3.0", to_msl(&shader, (3, 0))),
            ("HLSL 6.6", to_hlsl(&shader, hlsl::ShaderModel::V6_6)),
            ("GLSL 4.30", to_glsl(&shader, glsl::Version::Desktop(430))),
        ];
        expect_translated(&shader, newer);
    }
}

#[test]
fn every_variant_in_one_buffer_translates() {
    for shader in sharing_shaders() {
        expect_translated(&shader, oldest_languages(&shader));
    }
}

type Translation = (&'static str, Result<String, String>);

fn oldest_languages(shader: &Shader) -> [Translation; 4] {
    let (spirv, metal, direct3d) = match shader.variant.subgroups {
        false => ((1, 0), (1, 2), hlsl::ShaderModel::V5_1),
        true => ((1, 3), (2, 1), hlsl::ShaderModel::V6_0),
    };
    [
        ("SPIR-V, least", to_spirv(shader, spirv)),
        ("MSL, least", to_msl(shader, metal)),
        ("HLSL, least", to_hlsl(shader, direct3d)),
        ("GLSL ES 3.10", to_glsl(shader, glsl::Version::new_gles(310))),
    ]
}

fn expect_translated(shader: &Shader, written: [Translation; 4]) {
    for (language, outcome) in written {
        match outcome {
            Ok(text) => {
                assert_eq!(
                    mentions_subgroups(&text),
                    shader.variant.subgroups,
                    "{}: {language}",
                    shader.name
                );
            }
            Err(error) => panic!("{} to {language}: {error}", shader.name),
        }
    }
}

/// Whether a translation needs subgroup operations, by the words each language has for them.
fn mentions_subgroups(text: &str) -> bool {
    ["GroupNonUniform", "simd_broadcast", "WaveReadLaneAt", "GL_KHR_shader_subgroup"]
        .iter()
        .any(|word| text.contains(word))
}

fn to_spirv(shader: &Shader, lang_version: (u8, u8)) -> Result<String, String> {
    let options = spv::Options { lang_version, fake_missing_bindings: true, ..Default::default() };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".into() };
    let words = spv::write_vec(&shader.module, &shader.info, &options, Some(&pipeline));
    let words = words.map_err(|error| error.to_string())?;
    // The capabilities follow the header of five words: OpCapability is 17, two words long, GroupNonUniform is 61.
    let capabilities = words[5..].chunks_exact(2).take_while(|pair| pair[0] == (2 << 16 | 17));
    let subgroups = capabilities.into_iter().any(|pair| pair[1] == 61);
    Ok(if subgroups { "GroupNonUniform".into() } else { format!("{} words", words.len()) })
}

fn to_msl(shader: &Shader, lang_version: (u8, u8)) -> Result<String, String> {
    let options = msl::Options { lang_version, fake_missing_bindings: true, ..Default::default() };
    let entry_point = Some((ShaderStage::Compute, "main".into()));
    let pipeline = msl::PipelineOptions { entry_point, ..Default::default() };
    let text = msl::write_string(&shader.module, &shader.info, &options, &pipeline);
    text.map(|(text, _)| text).map_err(|error| error.to_string())
}

fn to_hlsl(shader: &Shader, shader_model: hlsl::ShaderModel) -> Result<String, String> {
    let options = hlsl::Options { shader_model, fake_missing_bindings: true, ..Default::default() };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&shader.module, &shader.info, None);
    written.map(|_| ()).map_err(|error| error.to_string())?;
    Ok(text)
}

fn to_glsl(shader: &Shader, version: glsl::Version) -> Result<String, String> {
    let options = glsl::Options { version, ..Default::default() };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".into(),
        multiview: None,
    };
    let mut text = String::new();
    let (module, info, policies) = (&shader.module, &shader.info, BoundsCheckPolicies::default());
    let writer = glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies);
    writer.and_then(|mut writer| writer.write()).map(|_| ()).map_err(|error| error.to_string())?;
    Ok(text)
}

#[test]
fn every_shader_file_is_used() {
    let shaders = shaders();
    for (name, text) in files("shaders", "wgsl") {
        // A file's first line says what it is for, so it is like no other's.
        let first = text.lines().next().unwrap();
        let used = shaders.iter().any(|shader| shader.source.lines().any(|line| line == first));
        assert!(used, "no kernel × variant uses shaders/{name}.wgsl");
    }
}

#[test]
fn every_kernel_file_names_itself_and_its_oracle() {
    let shaders = files("shaders", "wgsl");
    let oracles = files("src/reference", "rs");
    for kernel in kernels::ALL {
        let (_, text) = shaders.iter().find(|(name, _)| name == kernel.name).expect(kernel.name);
        let (family, function) = kernel.name.split_once('/').unwrap();
        let head = format!("// {}: ", kernel.name);
        assert!(text.starts_with(&head), "{}: the file must open with `{head}`", kernel.name);
        let oracle = format!("Oracle: reference::{family}::{function}.");
        assert!(text.contains(&oracle), "{}: the header must say `{oracle}`", kernel.name);
        let (_, rust) = oracles.iter().find(|(name, _)| name == family).expect(family);
        let found = rust.contains(&format!("\npub fn {function}("));
        assert!(found, "{}: src/reference/{family}.rs has no function {function}", kernel.name);
    }
}

#[test]
fn shader_files_keep_to_the_two_directives() {
    for (name, text) in files("shaders", "wgsl") {
        for (number, line) in text.lines().enumerate() {
            let at = format!("shaders/{name}.wgsl:{}: {line}", number + 1);
            let is_import = line.starts_with("#import \"") && line.ends_with(".wgsl\"");
            assert!(!line.trim_start().starts_with('#') || is_import, "{at}");
            let is_spec = line.starts_with("const ") || line.starts_with("alias ");
            assert!(!line.contains("@spec") || (is_spec && line.ends_with("; // @spec")), "{at}");
            assert!(!line.contains("atomic<f32>") && !line.starts_with("enable "), "{at}");
        }
    }
}
