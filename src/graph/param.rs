//! Parameters and other states: named values that outlive graphs and live on a device.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::Init;
use crate::rng::Rng;
use crate::shape::{DType, IntoShape, Shape, TensorType};
use crate::sync::lock;
use crate::tensor::Data;

struct ParamInfo {
    id: u64,
    name: String,
    ty: TensorType,
    init: Init,
    /// A row that starts as zeros, whatever `init` says.
    zero_row: OnceLock<u32>,
    seed: u64,
    /// Whether it was made by [`Params::state`] or [`Params::counter`]: never trained, unlike what is frozen.
    is_state: bool,
    trainable: AtomicBool,
    /// Why it cannot be used: an impossible shape, values that do not fit, a name that is taken.
    problem: Option<String>,
}

/// A named state: a weight, an optimizer's moment, a counter. Cheap to clone; clones are the same state.
#[derive(Clone)]
pub struct Param(Arc<ParamInfo>);

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Param({} {})", self.name(), self.0.ty)
    }
}

impl Param {
    /// Unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Full name, as in PyTorch: `mlp.fc1.weight`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Type and shape.
    pub fn tensor_type(&self) -> TensorType {
        self.0.ty
    }

    /// Extents.
    pub fn shape(&self) -> Shape {
        self.0.ty.shape
    }

    /// Why graphs must refuse it, if they must.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.0.problem.as_deref()
    }

    /// Whether optimizers update it. Optimizer states and counters never are.
    pub fn is_trainable(&self) -> bool {
        self.0.trainable.load(Ordering::Relaxed)
    }

    /// Freezes (`false`) or thaws a parameter for graphs recorded from now on.
    pub fn set_trainable(&self, trainable: bool) {
        self.0.trainable.store(trainable, Ordering::Relaxed);
    }

    /// Has this row start as zeros, for a layer that was just made; the first call counts.
    pub(crate) fn zero_row(&self, row: u32) {
        let _ = self.0.zero_row.set(row);
    }

    /// Its first value.
    pub fn initial(&self) -> Data {
        if self.0.problem.is_some() {
            return match self.0.ty.dtype {
                DType::F32 | DType::F16 => Data::F32(vec![0.0; self.0.ty.shape.elements()]),
                DType::U32 => Data::U32(vec![0; self.0.ty.shape.elements()]),
                DType::U8 => Data::U8(vec![0; self.0.ty.shape.elements()]),
            };
        }
        match self.0.ty.dtype {
            DType::U32 => match &self.0.init {
                Init::Values(t) => t.data().clone(),
                Init::Constant(c) => Data::U32(vec![*c as u32; self.0.ty.shape.elements()]),
                _ => Data::U32(vec![0; self.0.ty.shape.elements()]),
            },
            DType::U8 => Data::U8(vec![0; self.0.ty.shape.elements()]),
            DType::F32 | DType::F16 => {
                let mut rng = Rng::new(self.0.seed, &self.0.name);
                let mut values = self.0.init.values(&self.0.ty.shape, &mut rng);
                if let Some(&row) = self.0.zero_row.get() {
                    let len = values.len() / self.shape().dim(0);
                    values.chunks_mut(len).nth(row as usize).into_iter().flatten().for_each(|x| *x = 0.0);
                }
                Data::F32(values)
            }
        }
    }

    pub(crate) fn downgrade(&self) -> WeakParam {
        WeakParam(Arc::downgrade(&self.0))
    }
}

/// Tells a device whether a state is still in use.
#[derive(Debug, Clone)]
pub(crate) struct WeakParam(std::sync::Weak<ParamInfo>);

impl fmt::Debug for ParamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl WeakParam {
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[derive(Default)]
struct Store {
    seed: u64,
    params: Vec<Param>,
    by_name: HashMap<String, usize>,
}

/// The parameters of a model, by name; a handle with a current path, which layers ask for parameters when they are made.
///
/// A parameter belongs to the layer that made it. A second layer at the same path is a mistake that the first graph
/// reports which uses it, unless it asks by [`Params::shared`]; one layer may be recorded as often as needed. States
/// ([`Params::state`], [`Params::counter`]) are found again by name, as an optimizer does in each graph.
///
/// ```
/// use wgrad::nn::{Layer, Linear};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let first = Linear::new(&params.at("a"), 4, 4);
/// let tied = Linear::new(&params.at("a").shared(), 4, 4);
/// let g = Graph::new();
/// tied.forward(first.forward(g.input("x", [2, 4])));
/// assert!(g.error().is_none() && params.trainable().len() == 2);
/// first.forward(Linear::new(&params.at("a"), 4, 4).forward(g.input("z", [2, 4])));
/// assert!(g.error().unwrap().to_string().contains("another layer"));
/// ```
#[derive(Clone)]
pub struct Params {
    store: Arc<Mutex<Store>>,
    path: String,
    is_shared: bool,
    /// What a parameter right under the path is called instead.
    renaming: Option<[&'static str; 2]>,
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl Params {
    /// An empty store whose random initial values come from `seed`.
    pub fn seeded(seed: u64) -> Self {
        let store = Store { seed, ..Store::default() };
        Params { store: Arc::new(Mutex::new(store)), path: String::new(), is_shared: false, renaming: None }
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.lock().seed
    }

    /// The same store, one level further down: `params.at("fc1")` names parameters `fc1.*`.
    #[must_use]
    pub fn at(&self, name: &str) -> Params {
        Params { path: self.full(name), renaming: None, ..self.clone() }
    }

    /// The same path, for a layer that shares the parameters of another one there: [`Params::param`] gives those
    /// that exist, which must have the shape and the initial values that are asked for, and makes others.
    #[must_use]
    pub fn shared(&self) -> Params {
        Params { is_shared: true, ..self.clone() }
    }

    /// The same path, where parameters and states called `from` are called `to` instead: for layers around a layer, one of
    /// whose parameters plays another part.
    pub(crate) fn renaming(&self, from: &'static str, to: &'static str) -> Params {
        Params { renaming: Some([from, to]), ..self.clone() }
    }

    /// The current path; empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The store from the top, whatever the current path.
    pub(crate) fn root(&self) -> Params {
        Params { store: self.store.clone(), path: String::new(), is_shared: false, renaming: None }
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) }
    }

    /// A trainable float parameter `name` under the current path, which must not exist yet: a layer makes its
    /// parameters once, and keeps them. Graphs refuse what a second layer got for the name, unless that asked by
    /// [`Params::shared`].
    pub fn param(&self, name: &str, shape: impl IntoShape, init: Init) -> Param {
        self.state_of(name, DType::F32, &shape.into_dims(), init, true)
    }

    /// A float state that optimizers leave alone: moments, running statistics. Asking again for its name gives the same
    /// one.
    pub fn state(&self, name: &str, shape: impl IntoShape, init: Init) -> Param {
        self.state_of(name, DType::F32, &shape.into_dims(), init, false)
    }

    /// A counter: one `u32`, starting at zero. Asking again for its name gives the same one.
    pub fn counter(&self, name: &str) -> Param {
        self.state_of(name, DType::U32, &[1], Init::Constant(0.0), false)
    }

    fn state_of(&self, name: &str, dtype: DType, dims: &[usize], init: Init, trainable: bool) -> Param {
        let name = match self.renaming {
            Some([from, to]) if from == name => self.full(to),
            _ => self.full(name),
        };
        let mut store = self.lock();
        let old = store.by_name.get(&name).map(|&at| store.params[at].clone());
        let mut problem = None;
        if let Some(old) = old {
            let is_alike = old.shape().dims() == dims && old.tensor_type().dtype == dtype;
            let is_open = !trainable || self.is_shared;
            // What is frozen is still a parameter of its layer.
            problem = match is_alike {
                true if old.0.is_state == trainable => Some(match trainable {
                    true => "is a state already; give the parameter another name".into(),
                    false => "is the parameter of a layer already; give the state another name".into(),
                }),
                true if is_open && (!trainable || old.0.init == init) => return old,
                true if is_open => Some(format!(
                    "is shared, and starts with {init:?} here and {:?} where it was made first",
                    old.0.init
                )),
                true => Some(
                    "is the parameter of another layer already; give each layer a path of its own with \
                     `params.at`, or make one that shares it with `params.shared()`; a layer asks once, when it \
                     is made, and not where it is recorded"
                        .into(),
                ),
                false => {
                    Some(format!("is {dtype}{dims:?} here and {} where it was made first", old.tensor_type()))
                }
            };
        }
        let valid = Shape::new(dims).filter(|s| s.elements() > 0);
        if valid.is_none() {
            problem = Some(format!("has shape {dims:?}: {}, and at least one", super::shape_rule()));
        }
        // Graphs refuse a parameter with a problem; until then it is a single number.
        let shape = valid.unwrap_or_else(Shape::scalar);
        if let Init::Values(t) = &init
            && (t.shape() != shape || t.tensor_type().dtype != dtype)
        {
            problem = Some(format!("is {dtype}{dims:?}, its initial values are {}", t.tensor_type()));
        }
        let clashes = problem.is_some() && store.by_name.contains_key(&name);
        let info = ParamInfo {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.clone(),
            ty: TensorType { dtype, shape },
            init,
            zero_row: OnceLock::new(),
            seed: store.seed,
            is_state: !trainable,
            trainable: AtomicBool::new(trainable),
            problem,
        };
        let param = Param(Arc::new(info));
        if !clashes {
            let at = store.params.len();
            store.params.push(param.clone());
            store.by_name.insert(name, at);
        }
        param
    }

    fn filtered(&self, keep: impl Fn(&Param) -> bool) -> Vec<Param> {
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        let store = self.lock();
        store.params.iter().filter(|p| p.name().starts_with(&prefix) && keep(p)).cloned().collect()
    }

    /// All states under the current path, in the order they were made.
    pub fn all(&self) -> Vec<Param> {
        self.filtered(|_| true)
    }

    /// The parameters that optimizers update.
    pub fn trainable(&self) -> Vec<Param> {
        self.filtered(Param::is_trainable)
    }

    /// Freezes all parameters under the current path for graphs recorded from now on.
    pub fn freeze(&self) {
        self.trainable().iter().for_each(|p| p.set_trainable(false));
    }

    /// The parameter of this full name.
    pub fn get(&self, name: &str) -> Option<Param> {
        let store = self.lock();
        store.by_name.get(name).map(|&at| store.params[at].clone())
    }
}

#[cfg(test)]
#[path = "param_tests.rs"]
mod tests;
