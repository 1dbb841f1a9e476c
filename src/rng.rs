//! Counter-based random numbers: the same integers on every executor.
//!
//! Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011, section 4.3. A number depends on (key, counter) alone, so a kernel needs no state and two
//! executors agree bit for bit. `shaders/common/philox.wgsl` is its twin.

/// Rounds of Philox4x32-10.
pub(crate) const PHILOX_ROUNDS: usize = 10;

/// Ten rounds of Philox4x32.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..PHILOX_ROUNDS {
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// A hash of 64 bits that is the same everywhere and in every version: FNV-1a, of Fowler, Noll and Vo. It tells
/// accidental changes, not forgeries.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of a name, to give each parameter and layer a stream of its own.
pub(crate) fn stream_of(name: &str) -> u64 {
    fnv1a(name.as_bytes())
}

/// Random numbers for the host: initial weights, shuffles, test data.
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    stream: [u32; 2],
    index: u64,
    block: [u32; 4],
}

impl Rng {
    /// Numbers for `seed`, on the stream called `name`: streams of different names are independent.
    pub fn new(seed: u64, name: &str) -> Self {
        let stream = stream_of(name);
        Rng {
            key: [seed as u32, (seed >> 32) as u32],
            stream: [stream as u32, (stream >> 32) as u32],
            index: 0,
            block: [0; 4],
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let lane = (self.index % 4) as usize;
        if lane == 0 {
            let block = self.index / 4;
            let counter = [block as u32, (block >> 32) as u32, self.stream[0], self.stream[1]];
            self.block = philox(counter, self.key);
        }
        self.index += 1;
        self.block[lane]
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24, so exact in `f32`.
    pub fn uniform(&mut self) -> f64 {
        f64::from(self.next_u32() >> 8) / f64::from(1u32 << 24)
    }

    /// Uniform in `0..n`, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    /// Zero for `n` = 0.
    pub fn below(&mut self, n: u32) -> u32 {
        let threshold = if n == 0 { 0 } else { n.wrapping_neg() % n };
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Standard normal (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Shuffles in place (Fisher and Yates, in Durstenfeld's form).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer tests that come with Random123, the authors' library.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn moments_are_right() {
        let mut rng = Rng::new(7, "moments");
        let n = 20_000;
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let x = rng.normal();
            sum += x;
            square += x * x;
        }
        assert!((sum / n as f64).abs() < 0.03);
        assert!((square / n as f64 - 1.0).abs() < 0.05);
    }

    #[test]
    fn shuffles_are_permutations_and_depend_on_seed_and_stream() {
        let shuffled = |seed, name| {
            let mut items: Vec<u32> = (0..100).collect();
            Rng::new(seed, name).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(1, "a");
        assert_ne!(sorted, shuffled(2, "a"));
        assert_ne!(sorted, shuffled(1, "b"));
        assert_eq!(sorted, shuffled(1, "a"));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}
