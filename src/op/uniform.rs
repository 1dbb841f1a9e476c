//! Parameters of a launch by the names that its shader gives them.

/// What members of a uniform are made of: words of 32 bits.
pub(crate) trait Words {
    /// Appends them to `uniform`, as the member `name`.
    fn append(self, name: &'static str, uniform: &mut Uniform);
}

/// The members of a shader's struct, in its order. Tests compare names and offsets with the shader's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Uniform {
    words: Vec<u32>,
    /// Names, and the bytes where they begin.
    pub(crate) members: Vec<(&'static str, usize)>,
}

impl Uniform {
    /// With one more member.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Words) -> Self {
        value.append(name, &mut self);
        self
    }

    /// With the members of `others` after its own.
    #[must_use]
    pub(crate) fn and(mut self, others: Uniform) -> Self {
        let before = 4 * self.words.len();
        self.members.extend(others.members.iter().map(|(name, at)| (*name, before + at)));
        self.words.extend(others.words);
        self
    }

    fn push(&mut self, name: &'static str, words: &[u32], alignment: usize) {
        self.words.resize(self.words.len().next_multiple_of(alignment), 0);
        self.members.push((name, 4 * self.words.len()));
        self.words.extend(words);
    }

    /// As the device gets it: whole vectors of 16 bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut words = self.words.clone();
        words.resize(words.len().next_multiple_of(4), 0);
        bytemuck::cast_slice(&words).to_vec()
    }
}

/// A [`Uniform`] of members `name: value`, or `name` where a variable has that name. Extents fit in 32 bits, as tensors do.
macro_rules! uniform {
    (@value $name:ident) => { $name };
    (@value $name:ident $value:expr) => { $value };
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        $crate::op::Uniform::default()$(.with(stringify!($name), uniform!(@value $name $($value)?)))*
    };
}
pub(crate) use uniform;

macro_rules! words {
    ($($type:ty: $value:ident => $word:expr),*) => {$(
        impl Words for $type {
            fn append(self, name: &'static str, uniform: &mut Uniform) {
                let $value = self;
                uniform.push(name, &[$word], 1);
            }
        }
    )*};
}

words! {
    usize: n => n as u32,
    u32: n => n,
    bool: is => u32::from(is),
    i64: n => n as i32 as u32,
    f32: x => x.to_bits()
}

/// A vector, or an array of vectors of four: those begin at multiples of 16 bytes, two numbers at multiples of 8.
impl<const N: usize> Words for [u32; N] {
    fn append(self, name: &'static str, uniform: &mut Uniform) {
        uniform.push(name, &self, N.next_power_of_two().min(4));
    }
}

impl<const N: usize> Words for [f32; N] {
    fn append(self, name: &'static str, uniform: &mut Uniform) {
        self.map(f32::to_bits).append(name, uniform);
    }
}

/// An array of vectors of four, or of such that have two pairs each.
impl<const M: usize, const N: usize> Words for [[u32; M]; N] {
    fn append(self, name: &'static str, uniform: &mut Uniform) {
        uniform.push(name, self.as_flattened(), 4);
    }
}

impl<const M: usize, const N: usize> Words for [[f32; M]; N] {
    fn append(self, name: &'static str, uniform: &mut Uniform) {
        self.map(|row| row.map(f32::to_bits)).append(name, uniform);
    }
}
