//! Kernels as text, and what an op sees when it chooses them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{AdapterClass, Arg, Caps, Chain, Dispatch, Uniform};
use crate::error::{Error, Result};
use crate::shape::TensorType;
use crate::sync::lock;
use crate::wgsl;

/// What an op sees when it chooses its kernels.
#[derive(Debug)]
pub struct KernelContext<'a> {
    /// The adapter.
    pub caps: &'a Caps,
    /// Types of the inputs, states included.
    pub inputs: &'a [TensorType],
    /// Types of the outputs, states included.
    pub outputs: &'a [TensorType],
    /// What else the kernels are to compute; nothing, unless the op said that they can
    /// ([`Op::can_fuse`](super::Op::can_fuse)).
    pub fusion: Fusion<'a>,
}

/// What is computed by the kernels of an op besides it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fusion<'a> {
    /// Formulas that make this input where it is read, so that it needs no memory. Their inputs are bound as inputs after
    /// the op's own.
    pub prologue: Option<(usize, &'a Chain)>,
    /// Formulas that are applied to the first output before it is stored. Their inputs are bound after those of the
    /// prologue.
    pub epilogue: Option<&'a Chain>,
}

impl<'a> Fusion<'a> {
    /// The epilogue, if there is one and nothing else.
    pub(crate) fn epilogue_alone(&self) -> Option<&'a Chain> {
        self.epilogue.filter(|_| self.prologue.is_none())
    }
}

impl<'a> KernelContext<'a> {
    /// The op alone.
    pub fn new(caps: &'a Caps, inputs: &'a [TensorType], outputs: &'a [TensorType]) -> Self {
        KernelContext { caps, inputs, outputs, fusion: Fusion::default() }
    }

    /// With this as well.
    #[must_use]
    pub fn fusing(self, fusion: Fusion<'a>) -> Self {
        KernelContext { fusion, ..self }
    }

    /// The inputs of the epilogue as arguments: after those of the op, and of the prologue.
    pub(crate) fn epilogue_args(&self) -> Vec<Arg> {
        let first = self.inputs.len() + self.fusion.prologue.map_or(0, |(_, chain)| chain.inputs.len());
        let count = self.fusion.epilogue.map_or(0, |chain| chain.inputs.len());
        (first..first + count).map(Arg::Input).collect()
    }

    /// A launch with parameters by name, of so many workgroups.
    pub(crate) fn launch(
        &self,
        kernel: Kernel,
        args: impl Into<Vec<Arg>>,
        params: &Uniform,
        workgroups: usize,
    ) -> Result<Dispatch> {
        Ok(Dispatch::by_name(kernel, args.into(), params, self.caps.grid(workgroups)?))
    }

    /// A launch of the library's kernel `entry`, whose workgroups have 64 invocations, of which there are to be so many.
    pub(crate) fn launch_over(
        &self,
        entry: &str,
        args: impl Into<Vec<Arg>>,
        params: &Uniform,
        invocations: usize,
    ) -> Result<Dispatch> {
        self.launch(Kernel::library(entry)?, args, params, invocations.div_ceil(64))
    }
}

/// A shader with one entry point. Kernels of equal key have equal text.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Identifies text and variant.
    pub key: String,
    /// Entry point.
    pub entry: String,
    /// Complete WGSL.
    pub text: Arc<str>,
    /// Whether it is wgrad's own: its loops end, and it writes workgroup memory before it reads it.
    pub(crate) trusted: bool,
}

impl Kernel {
    /// The entry point `entry` of the files under `shaders/`, with what it uses and nothing else.
    ///
    /// # Errors
    /// If there is no such entry point: a mistake of ours, found by the first case that runs it.
    pub fn library(entry: &str) -> Result<Self> {
        let text = wgsl::link_entry(entry)
            .ok_or_else(|| Error::Invalid(format!("wgrad has no shader `{entry}`; please report it")))?;
        Ok(Kernel { key: entry.to_string(), entry: entry.to_string(), text, trusted: true })
    }

    /// The same with the functions `replaced` written otherwise.
    ///
    /// # Errors
    /// As [`Kernel::library`].
    pub(crate) fn library_with(entry: &str, key: String, replaced: &[&str], text: &str) -> Result<Self> {
        let text = wgsl::link_entry_with(entry, replaced, text).ok_or_else(|| {
            let hooks = replaced.join("`, `");
            Error::Invalid(format!("wgrad has no shader `{entry}` that calls `{hooks}`; please report it"))
        })?;
        Ok(Kernel { key, entry: entry.to_string(), text, trusted: true })
    }

    /// Generated text, completed with the shared functions it uses.
    pub fn generated(key: String, entry: &str, body: &str) -> Self {
        Kernel { key, entry: entry.to_string(), text: wgsl::link_text(body).into(), trusted: true }
    }

    /// The template `file` under `shaders/` with the numbers of `variant`, `before` in front of it, and what both use of
    /// other files. A key is rendered once, which takes up to a millisecond: a memory budget has a graph lowered many times.
    ///
    /// # Errors
    /// As [`Kernel::library`]; in debug builds also for a key that stood for another text before.
    pub(crate) fn rendered(
        file: &str,
        key: String,
        entry: &str,
        before: &str,
        variant: minijinja::Value,
    ) -> Result<Self> {
        static TEXTS: Mutex<BTreeMap<String, Arc<str>>> = Mutex::new(BTreeMap::new());
        let texts = || lock(&TEXTS);
        let wrong = |what: String| {
            Error::Invalid(format!("the shader `{file}` of kernel `{key}`: {what}; please report it"))
        };
        let known = texts().get(&key).cloned();
        let text = match &known {
            Some(text) if !cfg!(debug_assertions) => text.clone(),
            _ => {
                let body = wgsl::rendered(file, variant).map_err(|e| wrong(e.to_string()))?;
                let text: Arc<str> = wgsl::link_text(&(before.to_string() + &body)).into();
                if known.is_some_and(|known| known != text) {
                    return Err(wrong("its key stands for another text, too".into()));
                }
                texts().entry(key.clone()).or_insert(text).clone()
            }
        };
        Ok(Kernel { key, entry: entry.to_string(), text, trusted: true })
    }

    /// As adapters of a class get it; `words64`: whether they know 64-bit integers.
    #[doc(hidden)]
    #[must_use]
    pub fn tuned(mut self, class: AdapterClass, words64: bool) -> Self {
        if class == AdapterClass::Gpu || !self.trusted {
            return self;
        }
        if let Some(text) = wgsl::words::hoisted(&self.text) {
            self.text = text.into();
        }
        if words64
            && class == AdapterClass::SoftwareLanes8
            && let Some(text) = wgsl::words::widened(&self.text)
        {
            self.text = text.into();
        }
        self
    }

    /// Stores some bindings in 16 bits, in the order of their numbers. `None`, with the kernel as it was, where that is
    /// not possible.
    pub(super) fn store_f16(&mut self, in_f16: &[bool]) -> Option<()> {
        if !in_f16.contains(&true) {
            return Some(());
        }
        if !self.trusted {
            return None;
        }
        self.text = wgsl::store_f16(&self.text, in_f16)?.into();
        let letter = |is_f16: &bool| if *is_f16 { 'h' } else { 'f' };
        self.key = format!("{}.{}", self.key, in_f16.iter().map(letter).collect::<String>());
        Some(())
    }

    /// Text from outside the crate, complete, with one entry point. wgpu adds its guards against loops
    /// without end and zeros workgroup memory, which wgrad's own kernels do without.
    pub fn custom(key: impl Into<String>, entry: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Kernel {
            key: format!("custom.{}", key.into()),
            entry: entry.into(),
            text: text.into(),
            trusted: false,
        }
    }
}
