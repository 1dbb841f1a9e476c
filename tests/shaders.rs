//! Every shader that is dispatched, through naga's translators and, by `scripts/check-shaders`, through other
//! checkers. No device is needed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use wgrad::cases::registry;
use wgrad::ops::{AdapterClass, Caps, Kernel, KernelContext};

const CLASSES: [AdapterClass; 3] = [AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

/// Storage buffers of a kernel: WebGPU's default, SwiftShader's, llvmpipe's through GL and Vulkan, a GPU's.
const STORAGE_BUFFERS: [u32; 5] = [8, 10, 16, 32, 1 << 20];

/// What kernels are chosen by.
fn variants() -> impl Iterator<Item = (AdapterClass, u32)> {
    CLASSES.into_iter().flat_map(|class| STORAGE_BUFFERS.map(|n| (class, n)))
}

/// The same for cases, and short loops, which are cut in pieces.
fn case_variants() -> impl Iterator<Item = Caps> {
    let limits =
        variants().map(|(class, storage_buffers)| Caps { storage_buffers, ..Caps::default_of(class) });
    limits.chain(CLASSES.map(|class| Caps { max_loop_iterations: 256, ..Caps::default_of(class) }))
}

/// A text with one entry point, and who dispatches it.
#[derive(Debug)]
struct Shader {
    entry: String,
    text: Arc<str>,
    keys: BTreeSet<String>,
    classes: BTreeSet<String>,
}

/// What all cases and the steps of some models dispatch in all classes of kernels, each text once.
fn shaders() -> &'static [Shader] {
    static SHADERS: OnceLock<Vec<Shader>> = OnceLock::new();
    SHADERS.get_or_init(collect)
}

fn collect() -> Vec<Shader> {
    let mut found: BTreeMap<Arc<str>, Shader> = BTreeMap::new();
    let mut insert = |kernel: Kernel, class: AdapterClass| {
        let shader = found.entry(kernel.text.clone()).or_insert_with(|| Shader {
            entry: kernel.entry.clone(),
            text: kernel.text,
            keys: BTreeSet::new(),
            classes: BTreeSet::new(),
        });
        assert_eq!(shader.entry, kernel.entry, "{}: two entry points of one text", kernel.key);
        shader.keys.insert(kernel.key);
        shader.classes.insert(format!("{class:?}"));
    };
    // As it is written, and as adapters of its class get it.
    let mut take = |kernel: Kernel, class: AdapterClass| {
        insert(kernel.clone().tuned(class, true), class);
        insert(kernel, class);
    };
    for case in registry() {
        let inputs: Vec<_> = case.inputs.iter().map(|(ty, _)| *ty).collect();
        let outputs = case.op.infer(&inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for caps in case_variants() {
            let class = caps.class;
            let context = KernelContext::new(&caps, &inputs, &outputs);
            let program = case.op.dispatch(&context).unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let f16 = program.clone().in_f16(&*case.op, &inputs, &outputs);
            let f16 = f16.unwrap_or_else(|| panic!("{}: cannot be stored in 16 bits", case.name));
            f16.dispatches.into_iter().for_each(|d| take(d.kernel, class));
            program.dispatches.into_iter().for_each(|d| take(d.kernel, class));
        }
    }
    #[cfg(feature = "gpu")]
    for (class, storage_buffers) in variants() {
        models::kernels(class, storage_buffers).into_iter().for_each(|kernel| take(kernel, class));
    }
    found.into_values().collect()
}

#[cfg(feature = "gpu")]
mod models {
    use super::*;
    use wgrad::bench::{Sweep, Workload};
    use wgrad::gpu::Gpu;
    use wgrad::nn::{Cnn, Layer, Mlp, ResNet};
    use wgrad::optim::{Adam, LossScale, Optimizer};
    use wgrad::{CompileOptions, Device, Graph, Params, Precision, Var};

    fn mixed() -> CompileOptions {
        CompileOptions::new().precision(Precision::Mixed)
    }

    /// The kernels of training steps, evaluations and benches, compiled on wgpu's noop backend.
    pub(super) fn kernels(class: AdapterClass, storage_buffers: u32) -> Vec<Kernel> {
        let descriptor = wgpu::DeviceDescriptor {
            required_features: wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16,
            required_limits: wgpu::Limits {
                max_storage_buffers_per_shader_stage: storage_buffers,
                ..Default::default()
            },
            ..Default::default()
        };
        let (device, queue) = wgpu::Device::noop(&descriptor);
        let gpu = Gpu::from_wgpu(device, queue).with_class(class);
        let params = Params::seeded(1);
        let mlp = Mlp::new(&params.at("mlp"), &[64, 128, 10]).dropout(0.4);
        let cnn = Cnn::new(&params.at("cnn"), [1, 8, 8], &[16, 32], 10).dropout(0.5);
        let resnet = ResNet::new(&params.at("resnet"), 1, &[16, 32], 1, 10);
        for batch in [1, 13, 32, 64] {
            steps(&gpu, &params, &[batch, 64], |x| mlp.forward(x));
            steps(&gpu, &params, &[batch, 1, 8, 8], |x| cnn.forward(x));
            steps(&gpu, &params, &[batch, 1, 8, 8], |x| resnet.forward(x));
        }
        let named =
            ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "conv64", "conv64-plain", "conv-forms", "matmul-512-plain"];
        let mut workloads: Vec<Workload> = named.iter().flat_map(|n| Workload::named(n).unwrap()).collect();
        workloads.extend(Sweep::ALL.iter().flat_map(|s| s.sizes[..4].iter().map(|&n| s.at(n))));
        for workload in workloads {
            workload.compile(&gpu.clone().into()).unwrap();
            if workload.is_training() {
                workload.compile_with(&gpu.clone().into(), mixed()).unwrap();
            }
        }
        gpu.kernels()
    }

    fn steps(gpu: &Gpu, params: &Params, shape: &[usize], net: impl for<'g> Fn(Var<'g>) -> Var<'g>) {
        for g in [Graph::new(), Graph::inference()] {
            let (x, y) = (g.input("x", shape), g.classes("y", [shape[0]]));
            let loss = net(x).softmax_cross_entropy(y);
            if g.is_training() {
                LossScale::new(params, Adam::new(params, 1e-3)).minimize(loss, &params.trainable());
            }
            g.output("loss", loss);
            Device::from(gpu.clone()).compile(&g).unwrap();
            Device::from(gpu.clone()).compile_with(&g, mixed()).unwrap();
        }
    }
}

impl Shader {
    /// The first of its kernels' keys.
    fn name(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// Whether it moves words of 64 bits, which WebGPU does not know.
    fn has_words64(&self) -> bool {
        self.text.contains("u64")
    }

    /// The module that wgpu gets, validated as wgpu does it.
    fn module(&self) -> (naga::Module, ModuleInfo) {
        let (name, text) = (self.name(), &*self.text);
        let module = naga::front::wgsl::parse_str(text)
            .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)));
        assert_eq!(module.entry_points.len(), 1, "{name}");
        assert_eq!(module.entry_points[0].name, self.entry, "{name}");
        let words64 = if self.has_words64() { Capabilities::SHADER_INT64 } else { Capabilities::empty() };
        let info = Validator::new(
            ValidationFlags::all(),
            Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | words64,
        )
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)));
        // Pipelines are made without constants, so that overrides have their default values.
        let stage = Some((naga::ShaderStage::Compute, self.entry.as_str()));
        let constants = naga::back::PipelineConstants::default();
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&module, &info, stage, &constants)
                .unwrap_or_else(|e| panic!("{name}: overrides: {e}"));
        (module.into_owned(), info.into_owned())
    }
}

/// With the driver's own bounds checks, and with those that naga adds.
const BOUNDS: [(&str, BoundsCheckPolicy); 2] =
    [("unchecked", BoundsCheckPolicy::Unchecked), ("restrict", BoundsCheckPolicy::Restrict)];

fn policies(policy: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies { index: policy, buffer: policy, ..Default::default() }
}

fn spirv(name: &str, module: &naga::Module, info: &ModuleInfo, policy: BoundsCheckPolicy) -> Vec<u32> {
    let options = naga::back::spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: policies(policy),
        // As in the pipelines of wgrad: kernels write workgroup memory before they read it, and loops end.
        zero_initialize_workgroup_memory: naga::back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    naga::back::spv::write_vec(module, info, &options, None).unwrap_or_else(|e| panic!("{name}: SPIR-V: {e}"))
}

fn msl(name: &str, module: &naga::Module, info: &ModuleInfo) -> String {
    let options = naga::back::msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        bounds_check_policies: policies(BoundsCheckPolicy::Restrict),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = naga::back::msl::PipelineOptions::default();
    let written = naga::back::msl::write_string(module, info, &options, &pipeline);
    written.unwrap_or_else(|e| panic!("{name}: MSL: {e}")).0
}

/// Whether a type is made of 16-bit floats, which HLSL has from shader model 6.2 on.
fn is_half(ty: &naga::TypeInner) -> bool {
    ty.scalar().is_some_and(|s| s.kind == naga::ScalarKind::Float && s.width == 2)
}

fn hlsl(name: &str, module: &naga::Module, info: &ModuleInfo) -> String {
    let options = naga::back::hlsl::Options {
        shader_model: match module.types.iter().any(|(_, t)| is_half(&t.inner)) {
            true => naga::back::hlsl::ShaderModel::V6_2,
            false => naga::back::hlsl::ShaderModel::V6_0,
        },
        fake_missing_bindings: true,
        restrict_indexing: true,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let mut text = String::new();
    let pipeline = naga::back::hlsl::PipelineOptions::default();
    naga::back::hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name}: HLSL: {e}"));
    text
}

#[test]
fn every_shader_translates_to_spirv_msl_and_hlsl() {
    let shaders = shaders();
    let kernels: usize = shaders.iter().map(|s| s.keys.len()).sum();
    for shader in shaders {
        let name = shader.name();
        let (module, info) = shader.module();
        for (_, policy) in BOUNDS {
            assert!(spirv(name, &module, &info, policy).len() > 5, "{name}");
        }
        assert!(msl(name, &module, &info).contains("kernel"), "{name}");
        assert!(hlsl(name, &module, &info).contains("numthreads"), "{name}");
    }
    let f16 = shaders.iter().filter(|s| s.text.starts_with("enable f16;")).count();
    assert!(f16 > 200, "{f16}");
    // What lavapipe gets: words of 64 bits, the uniform read once.
    let words = shaders.iter().filter(|s| s.has_words64()).count();
    let hoisted = shaders.iter().filter(|s| s.text.contains("let p = p;")).count();
    assert!(words > 200 && hoisted > 200, "{words}, {hoisted}");
    assert!(shaders.len() > 400, "{}", shaders.len());
    println!("{} shaders of {kernels} kernels translated, {f16} with values in 16 bits", shaders.len());
}

/// The most conditions that follow each other in one loop.
fn conditions(block: &naga::Block, in_loop: bool) -> usize {
    use naga::Statement as S;
    let (mut here, mut most) = (0, 0);
    for statement in block.iter() {
        match statement {
            S::Block(inner) => here += conditions(inner, in_loop),
            S::If { accept, reject, .. } => {
                here += usize::from(in_loop) + conditions(accept, in_loop) + conditions(reject, in_loop);
            }
            S::Loop { body, continuing, .. } => {
                most = most.max(conditions(body, true) + conditions(continuing, true));
            }
            _ => {}
        }
    }
    here.max(most)
}

/// SwiftShader walks every way through a loop: n conditions, one after the other, are 2^n ways. `&&` is one
/// too, in a loop of generated text it is better `&`.
#[test]
fn loops_have_few_ways_through_them() {
    for shader in shaders() {
        let (module, _) = shader.module();
        let bodies = module.entry_points.iter().map(|e| &e.function);
        for function in bodies.chain(module.functions.iter().map(|(_, f)| f)) {
            let n = conditions(&function.body, false);
            assert!(n <= 12, "{}: {n} conditions in one loop", shader.name());
        }
    }
}

/// Writes the shaders with a manifest where `WGRAD_SHADERS` says, which is how `scripts/check-shaders` gets them.
#[test]
fn every_shader_is_written_for_other_checkers() {
    let scratch = tempfile::tempdir().unwrap();
    let wanted = std::env::var("WGRAD_SHADERS").unwrap_or_default();
    let folder = if wanted.is_empty() { scratch.path() } else { Path::new(&wanted) };
    let shaders = shaders();
    let mut manifest = Vec::new();
    for (i, shader) in shaders.iter().enumerate() {
        let (module, info) = shader.module();
        let file = format!("{i:04}-{}", shader.entry);
        let is_storage = |v: &naga::GlobalVariable| matches!(v.space, naga::AddressSpace::Storage { .. });
        let storage_buffers = module.global_variables.iter().filter(|(_, v)| is_storage(v)).count();
        std::fs::write(folder.join(format!("{file}.wgsl")), &*shader.text).unwrap();
        let mut binaries = Vec::new();
        for (label, policy) in BOUNDS {
            let words = spirv(shader.name(), &module, &info, policy);
            let binary = format!("{file}.{label}.spv");
            std::fs::write(folder.join(&binary), bytemuck::cast_slice::<u32, u8>(&words)).unwrap();
            binaries.push(binary);
        }
        manifest.push(serde_json::json!({
            "wgsl": format!("{file}.wgsl"),
            "spirv": binaries,
            "entry": shader.entry,
            "constants": {},
            "words64": shader.has_words64(),
            "storage_buffers": storage_buffers,
            "keys": shader.keys,
            "classes": shader.classes,
        }));
    }
    std::fs::write(folder.join("manifest.json"), serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
    // The header, two SPIR-V files and a text each: none replaced another.
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1 + 3 * shaders.len());
}
