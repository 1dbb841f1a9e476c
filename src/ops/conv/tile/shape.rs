//! How large a tile is, and how it loads and stores.

use super::super::correlation::Correlation;
use crate::ops::text::widest;

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
pub(super) struct Strip {
    /// The first vector.
    pub(super) first: usize,
    pub(super) unit: usize,
    pub(super) step: usize,
    /// Loads of a row.
    pub(super) loads: usize,
}

impl Strip {
    /// Which load of its row has a column, and where in it.
    pub(super) fn place(self, column: usize) -> (usize, usize) {
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

/// Rows and columns of a tile of at most `most` outputs: whole rows of the image where they fit. Both are multiples of
/// the window's, as is the image; `None` where the window does not fit.
pub(super) fn rectangle(
    c: &Correlation,
    most: usize,
    broadcast: bool,
    [height, width]: [usize; 2],
) -> Option<(usize, usize)> {
    let gap = c.gap[1];
    // Of each row.
    let most = most / height;
    if most < width {
        return None;
    }
    let columns = if c.ow <= most {
        c.ow.next_multiple_of(gap)
    } else {
        // Stored four or two at a time where rows allow.
        let unit = if c.ow.is_multiple_of(4) { 4 } else { 1 };
        let unit = if gap > 1 { gap } else { unit.min(most) };
        // Of windows one result is stored: columns beyond the image cost more than single stores.
        let unit = if width > 1 { width } else { unit };
        let across = c.ow.div_ceil(most);
        let columns = c.ow.div_ceil(across).next_multiple_of(unit);
        if columns <= most { columns } else { most / unit * unit }
    };
    if !broadcast && c.gap[0] == 1 && c.ow >= 8 {
        return Some((height, columns));
    }
    let oh = c.oh / height;
    let possible = (most / columns).clamp(1, oh.div_ceil(c.gap[0]));
    let down = oh.div_ceil(possible * c.gap[0]);
    Some((height * oh.div_ceil(down * c.gap[0]), columns))
}

/// How a tile's results are stored, which are one of each window.
pub(super) fn store(c: &Correlation, [rows, columns]: [usize; 2], [height, width]: [usize; 2]) -> Store {
    let whole_rows = columns == c.ow && c.gap[0] == 1;
    let (rows, columns, oh, ow) = (rows / height, columns / width, c.oh / height, c.ow / width);
    for n in [4, 2] {
        if whole_rows && (rows * columns).is_multiple_of(n) && (oh * ow).is_multiple_of(n) {
            return Store::Plane(n);
        }
        if columns.is_multiple_of(n) && ow.is_multiple_of(n) {
            return Store::Row(n);
        }
    }
    Store::Single
}

/// Neighbours in the row of a window that are finished together: rows of the image are multiples of them.
pub(super) fn in_a_row(width: usize) -> usize {
    widest(|n| width.is_multiple_of(n))
}
