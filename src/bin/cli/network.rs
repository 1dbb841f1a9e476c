//! What is between the layers of a model, and how its weights start: `--activation` and `--init`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use wgrad::nn::{ModelOptions, Nonlinearity};
use wgrad::{Error, Init};

use super::model::Kind;
use super::{Failure, Outcome};

/// Initial values of weights by name, which is kept as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InitName {
    text: String,
    init: Init,
}

impl FromStr for InitName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(InitName { init: text.parse()?, text: text.trim().to_string() })
    }
}

impl fmt::Display for InitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a model is made of besides its kind and widths, if that is not what is usual.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Network {
    pub(super) activation: Nonlinearity,
    pub(super) init: Option<InitName>,
}

const ACTIVATION: &str = "activation";
const INIT: &str = "init";

impl Network {
    /// That of an earlier run, from its settings, or with null of a model of which nothing is known.
    pub(super) fn earlier(settings: &Value) -> Outcome<Self> {
        Ok(Network {
            activation: named(settings, ACTIVATION)?.unwrap_or_default(),
            init: named(settings, INIT)?,
        })
    }

    /// As was said now, or by the run that is resumed, of which another would not have the weights.
    pub(super) fn new(
        activation: Option<Nonlinearity>,
        init: Option<&InitName>,
        earlier: &Value,
    ) -> Outcome<Self> {
        let before = Self::earlier(earlier)?;
        let is_resumed = !earlier.is_null();
        let wrong = [
            (activation.is_some_and(|a| a != before.activation), ACTIVATION, before.activation.to_string()),
            (
                init.is_some_and(|i| Some(&i.init) != before.init.as_ref().map(|i| &i.init)),
                INIT,
                before.init.as_ref().map_or("what is usual".into(), ToString::to_string),
            ),
        ];
        if let (true, Some((_, option, was))) = (is_resumed, wrong.iter().find(|(is, ..)| *is)) {
            return Err(Failure::usage(format!(
                "the run that is resumed began with another --{option}: {was}; leave it out to go on, or start another run"
            )));
        }
        Ok(Network {
            activation: activation.unwrap_or(before.activation),
            init: init.cloned().or(before.init),
        })
    }

    /// Refuses what takes rows as a whole in a model of images.
    pub(super) fn refuse_rows(&self, kind: Kind) -> Outcome {
        if matches!(kind, Kind::Mlp | Kind::CharTransformer) || self.activation.is_elementwise() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--activation {} takes rows of numbers and is for an mlp; a cnn and a resnet take one that is of each number alone",
            self.activation
        )))
    }

    /// What the layers are made with.
    pub(super) fn options(&self) -> ModelOptions {
        let options = ModelOptions::default().activation(self.activation);
        match &self.init {
            Some(name) => options.init(name.init.clone()),
            None => options,
        }
    }

    /// Adds what is not usual to the settings of a run.
    pub(super) fn put(&self, all: &mut Value) {
        if self.activation != Nonlinearity::default() {
            all[ACTIVATION] = json!(self.activation.to_string());
        }
        if let Some(init) = &self.init {
            all[INIT] = json!(init.to_string());
        }
    }

    /// What is not usual, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        if self.activation != Nonlinearity::default() {
            text.push_str(&format!(", activation {}", self.activation));
        }
        if let Some(init) = &self.init {
            text.push_str(&format!(", weights by {init}"));
        }
        text
    }
}

/// What a setting names, or nothing where it is missing.
fn named<T: FromStr>(settings: &Value, key: &str) -> Outcome<Option<T>> {
    match &settings[key] {
        Value::Null => Ok(None),
        name => match name.as_str().and_then(|name| name.parse().ok()) {
            Some(named) => Ok(Some(named)),
            None => Err(Failure::new(format!("the settings of the run have `{key}` {name}, which is none"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(activation: &str, init: Option<&str>) -> Network {
        Network { activation: activation.parse().unwrap(), init: init.map(|init| init.parse().unwrap()) }
    }

    #[test]
    fn settings_come_back_and_what_is_none_of_them_is_refused() {
        for (activation, init) in [
            ("relu", None),
            ("leaky-relu=0.1", Some("he-uniform")),
            ("rrelu=0.1,0.3", Some("orthogonal=1.5")),
            ("maxout=3", Some("normal=0.02")),
            ("hard-tanh=-2,2", None),
            ("prelu", None),
            ("swish-learned", None),
        ] {
            let network = network(activation, init);
            let mut all = json!({});
            network.put(&mut all);
            assert_eq!(Network::earlier(&all).ok(), Some(network), "{all}");
        }
        assert_eq!(Network::earlier(&Value::Null).ok(), Some(Network::default()));
        for (key, value) in [("activation", json!("reluu")), ("activation", json!(3)), ("init", json!("he"))]
        {
            let refused = Network::earlier(&json!({ key: value })).err().map(|f| f.to_string());
            assert!(refused.is_some_and(|text| text.contains(key)), "{key}");
        }
    }

    #[test]
    fn a_resumed_run_keeps_its_activation_and_weights() {
        let before = json!({ "activation": "mish", "init": "he-normal" });
        let all = network("mish", Some("he-normal"));
        assert_eq!(Network::new(None, None, &before).ok(), Some(all.clone()));
        assert_eq!(Network::new(Some(all.activation), all.init.as_ref(), &before).ok(), Some(all));
        let other = network("relu", Some("he-uniform"));
        let refused = |network: Outcome<Network>| network.err().map(|f| f.to_string()).unwrap_or_default();
        let text = refused(Network::new(Some(other.activation), None, &before));
        assert!(text.contains("--activation: mish"), "{text}");
        let text = refused(Network::new(None, other.init.as_ref(), &before));
        assert!(text.contains("--init: he-normal"), "{text}");
        assert!(Network::new(Some(other.activation), other.init.as_ref(), &Value::Null).is_ok());
    }

    #[test]
    fn misspelt_names_are_answered_by_the_nearest() {
        let said = |text: &str| text.parse::<Nonlinearity>().unwrap_err().to_string();
        assert!(said("prelou").contains("did you mean `prelu`?"));
        assert!(said("leaky-rellu").contains("did you mean `leaky-relu`?"));
        assert!(said("relu=1").contains("takes 0 numbers"));
        assert!(said("elu=a").contains("`a` is no number"));
        assert!(said("elu=inf").contains("not finite"));
        assert!(said("maxout=2.5").contains("whole number"));
        assert!(said("hard-tanh=2,1").contains("comes first"));
        let said = |text: &str| text.parse::<Init>().unwrap_err().to_string();
        assert!(said("he-norml").contains("did you mean `he-normal`?"));
        assert!(said("he-normal=2").contains("takes 0 numbers"));
    }
}
