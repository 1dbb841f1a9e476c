//! `--augment`.

use std::fmt::{self, Display};
use std::str::FromStr;

use wgrad::nn::{Cutout, Layer, Mixup, RandomAffine};
use wgrad::{Params, Var};

/// How training images are moved, cut and mixed at random.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Augment {
    shift: u32,
    rotate: f32,
    scale: f32,
    cutout: u32,
    mixup: f32,
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
                    "`{part}` is not of the form shift=PIXELS, rotate=DEGREES, scale=CHANGE, cutout=PIXELS or \
                     mixup=ALPHA, nor `none`"
                )
            })?;
            let number = || value.parse::<f32>().map_err(|_| format!("`{value}` is not a number"));
            let pixels = || value.parse().map_err(|_| format!("`{value}` is not a number of pixels"));
            match key {
                "shift" => augment.shift = pixels()?,
                "cutout" => augment.cutout = pixels()?,
                "mixup" => augment.mixup = number()?,
                "rotate" => augment.rotate = number()?,
                "scale" => augment.scale = number()?,
                _ => return Err(format!("`{key}` is none of shift, rotate, scale, cutout and mixup")),
            }
        }
        if !(0.0..=180.0).contains(&augment.rotate) {
            return Err(format!("a rotation is from 0 to 180 degrees, not {}", augment.rotate));
        }
        if !(0.0..1.0).contains(&augment.scale) {
            return Err(format!("a change of size is from 0 to below 1, not {}", augment.scale));
        }
        if augment.cutout > MOST_CUT {
            return Err(format!(
                "a square that is cut out has up to {MOST_CUT} pixels, not {}",
                augment.cutout
            ));
        }
        if !(0.0..=1000.0).contains(&augment.mixup) {
            return Err(format!(
                "the parameter of mixup is from 0, for none, to 1000, not {}",
                augment.mixup
            ));
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
        if self.cutout > 0 {
            parts.push(format!("cutout={}", self.cutout));
        }
        if self.mixup > 0.0 {
            parts.push(format!("mixup={}", self.mixup));
        }
        f.write_str(&parts.join(","))
    }
}

impl Augment {
    /// What the digits are trained with.
    pub(super) const PIXEL: Augment = Augment { shift: 1, rotate: 0.0, scale: 0.0, cutout: 0, mixup: 0.0 };

    /// The layer that moves them and cuts squares out; `None` where they stay.
    pub(super) fn layer(self, params: &Params) -> Option<Changed> {
        let at = params.at("augment");
        let moved = RandomAffine::new(&at).shift(self.shift as usize).rotate(self.rotate).scale(self.scale);
        let changes = !moved.is_identity() || self.cutout > 0;
        changes.then(|| Changed { moved, cut: Cutout::new(&at.at("cutout"), self.cutout as usize) })
    }

    /// What mixes them; `None` where they stay apart.
    pub(super) fn mixup(self, params: &Params) -> Option<Mixup> {
        (self.mixup > 0.0).then(|| Mixup::new(&params.at("augment.mixup"), self.mixup))
    }
}

/// The largest side of a square that is cut out.
const MOST_CUT: u32 = 1 << 16;

/// Images moved, and then cut.
pub(super) struct Changed {
    moved: RandomAffine,
    cut: Cutout,
}

impl Layer for Changed {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.cut.forward(self.moved.forward(x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn augmentation_is_written_as_it_is_read() {
        for text in
            ["none", "shift=2", "rotate=12.5", "shift=1,rotate=10,scale=0.1", "shift=1,cutout=3,mixup=0.2"]
        {
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
            ("cutout=70000", "up to 65536 pixels"),
            ("mixup=-1", "from 0, for none"),
        ] {
            let message = text.parse::<Augment>().unwrap_err();
            assert!(message.contains(words), "{text}: {message}");
        }
    }
}
