//! How large a tile is, and how it loads and stores.

use super::super::correlation::Correlation;

/// How outputs lie in memory, so that several are stored at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// One by one.
    Single,
    /// This many neighbours of a row.
    Row(usize),
    /// This many neighbours of a plane: the tile has whole rows.
    Plane(usize),
}

impl Store {
    pub(super) fn vector(self) -> usize {
        match self {
            Store::Single => 1,
            Store::Row(n) | Store::Plane(n) => n,
        }
    }
}

/// How the columns of a row that a tile needs are loaded: vectors of `unit` columns, `step` columns apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputStrip {
    /// The first vector.
    pub(super) first: usize,
    pub(super) unit: usize,
    pub(super) step: usize,
    /// Loads of a row.
    pub(super) loads: usize,
}

impl InputStrip {
    /// Which load of its row has a column, and where in it.
    pub(super) fn locate(self, column: usize) -> (usize, usize) {
        (column / self.step / self.unit - self.first, column / self.step % self.unit)
    }
}

/// Channels in a vector and vectors of an invocation, for `m` channels.
pub(super) fn channels(m: usize, broadcast: bool) -> (usize, usize) {
    if !broadcast {
        return match m {
            1 => (1, 1),
            2 => (2, 1),
            3 | 4 => (4, 1),
            _ => (4, 2),
        };
    }
    // Time per channel with 4, 2 and 1 in each lane: fewer share a load.
    let cost = |lanes: usize, each: usize| m.next_multiple_of(8 * lanes) * each;
    let all = [(4, cost(4, 16)), (2, cost(2, 20)), (1, cost(1, 30))];
    (all.into_iter().min_by_key(|(_, cost)| *cost).map_or(4, |(lanes, _)| lanes), 1)
}

/// Rows and columns of a tile of at most `most` outputs: whole rows of the image where they fit.
pub(super) fn rectangle(c: &Correlation, most: usize, broadcast: bool) -> (usize, usize) {
    let input_dilation = c.input_dilation[1];
    let columns = if c.ow <= most {
        c.ow.next_multiple_of(input_dilation)
    } else {
        // Stored four or two at a time where rows allow.
        let unit = if c.ow.is_multiple_of(4) { 4 } else { 1 };
        let unit = if input_dilation > 1 { input_dilation } else { unit.min(most) };
        let across = c.ow.div_ceil(most);
        let columns = c.ow.div_ceil(across).next_multiple_of(unit);
        if columns <= most { columns } else { most / unit * unit }
    };
    if !broadcast && c.input_dilation[0] == 1 && c.ow >= 8 {
        return (1, columns);
    }
    let possible = (most / columns).clamp(1, c.oh.div_ceil(c.input_dilation[0]));
    let down = c.oh.div_ceil(possible * c.input_dilation[0]);
    (c.oh.div_ceil(down * c.input_dilation[0]), columns)
}

/// How a tile's results are stored.
pub(super) fn store(c: &Correlation, [rows, columns]: [usize; 2]) -> Store {
    let whole_rows = columns == c.ow && c.input_dilation[0] == 1;
    for n in [4, 2] {
        if whole_rows && (rows * columns).is_multiple_of(n) && (c.oh * c.ow).is_multiple_of(n) {
            return Store::Plane(n);
        }
        if columns.is_multiple_of(n) && c.ow.is_multiple_of(n) {
            return Store::Row(n);
        }
    }
    Store::Single
}
