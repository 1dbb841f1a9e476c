//! Parameters and other states: named values that outlive graphs and live on a device.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::rng::Rng;
use crate::shape::{DType, IntoShape, Shape, TensorType};
use crate::sync::lock;
use crate::tensor::{Data, Tensor};

/// How a state gets its first value. Random ones depend on the seed and the name only, not on the
/// order in which layers are made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform(f32),
    /// Normal with this standard deviation.
    Normal(f32),
    /// Uniform with bound √(6 / (fan_in + fan_out)): Glorot and Bengio, AISTATS 2010, equation 16.
    XavierUniform,
    /// Normal with variance 2 / (fan_in + fan_out): the normal form of the same.
    XavierNormal,
    /// Uniform with bound √(6 / fan_in): He et al., ICCV 2015, equation 10, for ReLU networks.
    HeUniform,
    /// Normal with variance 2 / fan_in: He et al., ICCV 2015, equation 10.
    HeNormal,
    /// Uniform with bound 1 / √fan_in: what PyTorch's `Linear` uses for weight and bias.
    FanIn(usize),
    /// These values.
    Values(Arc<Tensor>),
}

impl Init {
    /// The first values of a float tensor. `[out, in, ...]`: fan_in is `in` times the receptive field,
    /// fan_out is `out` times it.
    fn values(&self, shape: &Shape, rng: &mut Rng) -> Vec<f32> {
        let field: usize = shape.dims().iter().skip(2).product();
        let fan_in = (shape.dim(1) * field).max(1) as f64;
        let fan_out = (shape.dim(0) * field).max(1) as f64;
        let n = shape.elements();
        let mut uniform =
            |bound: f64| (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect::<Vec<f32>>();
        match self {
            Init::Constant(c) => vec![*c; n],
            Init::Uniform(bound) => uniform(f64::from(*bound)),
            Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt()),
            Init::HeUniform => uniform((6.0 / fan_in).sqrt()),
            Init::FanIn(fan) => uniform(1.0 / (*fan.max(&1) as f64).sqrt()),
            Init::Normal(std) => normal(n, f64::from(*std), rng),
            Init::XavierNormal => normal(n, (2.0 / (fan_in + fan_out)).sqrt(), rng),
            Init::HeNormal => normal(n, (2.0 / fan_in).sqrt(), rng),
            Init::Values(tensor) => tensor.as_f32().to_vec(),
        }
    }
}

fn normal(n: usize, std: f64, rng: &mut Rng) -> Vec<f32> {
    (0..n).map(|_| (rng.normal() * std) as f32).collect()
}

struct ParamInfo {
    id: u64,
    name: String,
    ty: TensorType,
    init: Init,
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
                Data::F32(self.0.init.values(&self.0.ty.shape, &mut rng))
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
        Params { store: Arc::new(Mutex::new(store)), path: String::new(), is_shared: false }
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
        Params { path: self.full(name), ..self.clone() }
    }

    /// The same path, for a layer that shares the parameters of another one there: [`Params::param`] gives those
    /// that exist, which must have the shape and the initial values that are asked for, and makes others.
    #[must_use]
    pub fn shared(&self) -> Params {
        Params { is_shared: true, ..self.clone() }
    }

    /// The current path; empty at the top.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The store from the top, whatever the current path.
    pub(crate) fn root(&self) -> Params {
        Params { store: self.store.clone(), path: String::new(), is_shared: false }
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
        let name = self.full(name);
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
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_and_asking_twice_gives_the_same() {
        let params = Params::seeded(1);
        let a = params.at("mlp").at("fc1").param("weight", [2, 3], Init::HeUniform);
        assert_eq!(a.name(), "mlp.fc1.weight");
        assert_eq!(params.at("mlp.fc1").shared().param("weight", [2, 3], Init::HeUniform).id(), a.id());
        assert_eq!(params.all().len(), 1);
        assert_eq!(params.at("ml").all().len(), 0);
    }

    #[test]
    fn a_parameter_that_cannot_be_is_refused_where_it_is_used() {
        let refused = |make: &dyn Fn(&Params) -> Param| {
            let g = crate::Graph::new();
            let _ = g.param(&make(&Params::seeded(1)));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        let clash = refused(&|p| {
            p.param("w", [2, 3], Init::HeUniform);
            p.param("w", [3, 1], Init::HeUniform)
        });
        assert!(clash.contains("`w` is f32[3, 1] here and f32[2, 3] where it was made first"), "{clash}");
        let twice = refused(&|p| {
            p.param("w", [2], Init::HeUniform);
            p.param("w", [2], Init::HeUniform)
        });
        assert!(twice.contains("`w` is the parameter of another layer already"), "{twice}");
        let other = refused(&|p| {
            p.param("w", [2], Init::Constant(1.0));
            p.shared().param("w", [2], Init::Constant(2.0))
        });
        assert!(other.contains("starts with Constant(2.0) here and Constant(1.0)"), "{other}");
        let state = refused(&|p| {
            p.state("w", [2], Init::Constant(1.0));
            p.param("w", [2], Init::Constant(1.0))
        });
        assert!(state.contains("`w` is a state already"), "{state}");
        let shared = refused(&|p| {
            p.state("w", [2], Init::Constant(1.0));
            p.shared().param("w", [2], Init::Constant(1.0))
        });
        assert!(shared.contains("`w` is a state already"), "{shared}");
        for freeze in [false, true] {
            let weight = refused(&|p| {
                p.param("w", [2], Init::Constant(1.0)).set_trainable(!freeze);
                p.state("w", [2], Init::Constant(1.0))
            });
            assert!(weight.contains("`w` is the parameter of a layer already"), "{weight}");
        }
        let again = refused(&|p| {
            p.state("w", [2], Init::Constant(1.0));
            p.state("w", [2], Init::Constant(1.0))
        });
        assert!(again.is_empty(), "{again}");
        let kind = refused(&|p| {
            p.param("w", [1], Init::HeUniform);
            p.counter("w")
        });
        assert!(kind.contains("u32"), "{kind}");
        assert!(refused(&|p| p.param("b", [2, 1, 1, 1, 1, 1, 1], Init::Constant(0.0))).contains("6 axes"));
        assert!(refused(&|p| p.param("b", [0], Init::Constant(0.0))).contains("at least one"));
        let values = Init::Values(Arc::new(Tensor::new([3], vec![1f32, 2.0, 3.0]).unwrap()));
        assert!(refused(&|p| p.param("b", [4], values.clone())).contains("initial values are f32[3]"));
    }

    #[test]
    fn initial_values_depend_on_seed_and_name_not_on_order() {
        let value = |seed, names: &[&str]| {
            let params = Params::seeded(seed);
            names.iter().for_each(|n| drop(params.param(n, [3, 4], Init::Normal(1.0))));
            params.get("w").map(|p| p.initial())
        };
        assert_eq!(value(1, &["w", "v"]), value(1, &["v", "w"]));
        assert_ne!(value(1, &["w"]), value(2, &["w"]));
    }

    #[test]
    fn initial_spreads_follow_the_papers() {
        let spread = |init: Init| {
            let Data::F32(v) = Params::seeded(3).param("w", [200, 100], init).initial() else { panic!() };
            let max = v.iter().fold(0f32, |m, x| m.max(x.abs()));
            let variance = v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
            (max, variance)
        };
        let (max, variance) = spread(Init::XavierUniform);
        assert!(max <= (6f32 / 300.0).sqrt() && (variance * 150.0 - 1.0).abs() < 0.05);
        let (max, variance) = spread(Init::HeUniform);
        assert!(max <= (6f32 / 100.0).sqrt() && (variance * 50.0 - 1.0).abs() < 0.05);
        assert!((spread(Init::HeNormal).1 * 50.0 - 1.0).abs() < 0.05);
        assert!((spread(Init::XavierNormal).1 * 150.0 - 1.0).abs() < 0.05);
        assert!(spread(Init::FanIn(100)).0 <= 0.1);
    }

    #[test]
    fn freezing_takes_a_subtree_out_of_the_trainable() {
        let params = Params::seeded(1);
        params.at("a").param("w", [1], Init::Constant(0.0));
        params.at("b").param("w", [1], Init::Constant(0.0));
        params.at("a").freeze();
        assert_eq!(params.trainable().iter().map(|p| p.name().to_string()).collect::<Vec<_>>(), ["b.w"]);
    }
}
