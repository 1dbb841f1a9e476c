//! `--augment`.

use std::fmt::{self, Display};
use std::str::FromStr;

use wgrad::Params;
use wgrad::nn::RandomAffine;

/// How training images are moved at random.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Augment {
    shift: u32,
    rotate: f32,
    scale: f32,
}

impl FromStr for Augment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut augment = Augment::default();
        if text == "none" {
            return Ok(augment);
        }
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                format!(
                    "`{part}` is not of the form shift=PIXELS, rotate=DEGREES or scale=CHANGE, nor `none`"
                )
            })?;
            let number = || value.parse::<f32>().map_err(|_| format!("`{value}` is not a number"));
            match key {
                "shift" => {
                    augment.shift =
                        value.parse().map_err(|_| format!("`{value}` is not a number of pixels"))?;
                }
                "rotate" => augment.rotate = number()?,
                "scale" => augment.scale = number()?,
                _ => return Err(format!("`{key}` is none of shift, rotate and scale")),
            }
        }
        if !(0.0..=180.0).contains(&augment.rotate) {
            return Err(format!("a rotation is from 0 to 180 degrees, not {}", augment.rotate));
        }
        if !(0.0..1.0).contains(&augment.scale) {
            return Err(format!("a change of size is from 0 to below 1, not {}", augment.scale));
        }
        Ok(augment)
    }
}

impl Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Augment::default() {
            return f.write_str("none");
        }
        let mut parts = Vec::new();
        if self.shift > 0 {
            parts.push(format!("shift={}", self.shift));
        }
        if self.rotate > 0.0 {
            parts.push(format!("rotate={}", self.rotate));
        }
        if self.scale > 0.0 {
            parts.push(format!("scale={}", self.scale));
        }
        f.write_str(&parts.join(","))
    }
}

impl Augment {
    /// What the digits are trained with.
    pub(super) const PIXEL: Augment = Augment { shift: 1, rotate: 0.0, scale: 0.0 };

    /// The layer that moves them; `None` where they stay.
    pub(super) fn layer(self, params: &Params) -> Option<RandomAffine> {
        let layer = RandomAffine::new(&params.at("augment"))
            .shift(self.shift as usize)
            .rotate(self.rotate)
            .scale(self.scale);
        Some(layer).filter(|l| !l.is_identity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn augmentation_is_written_as_it_is_read() {
        for text in ["none", "shift=2", "rotate=12.5", "shift=1,rotate=10,scale=0.1"] {
            assert_eq!(text.parse::<Augment>().unwrap().to_string(), text);
        }
        for (text, words) in [
            ("shift", "not of the form"),
            ("shift=1.5", "not a number of pixels"),
            ("rotate=x", "not a number"),
            ("rotate=181", "180 degrees"),
            ("scale=1", "below 1"),
            ("scale=NaN", "below 1"),
            ("blur=1", "none of shift"),
        ] {
            let message = text.parse::<Augment>().unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
