//! Where elements are read that only move: as a function of their place, linear along each of some axes.

use crate::shape::{MAX_RANK, Shape};

/// Element i of a result, its index taken apart by the extents of the axes in row-major order, is element
/// base + Σ index · stride of something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Extent and stride, outermost first. Axes of extent 1 are dropped, and contiguous ones merged.
    pub(crate) axes: Vec<(usize, usize)>,
    pub(crate) base: usize,
}

/// What an op does that only moves elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Movement {
    /// Each element of the result is one of the only input.
    Read(View),
    /// By input, where each axis of it begins in the result. What no input gives is 0.
    Write(Vec<Vec<usize>>),
}

impl View {
    /// With as few axes as do: kernels divide by their extents.
    pub(crate) fn new(axes: impl IntoIterator<Item = (usize, usize)>, base: usize) -> Self {
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (extent, stride) in axes.into_iter().filter(|(extent, _)| *extent != 1) {
            match merged.last_mut() {
                Some(outer) if outer.1 == extent * stride => *outer = (outer.0 * extent, stride),
                _ => merged.push((extent, stride)),
            }
        }
        View { axes: merged, base }
    }

    /// As `shape` is walked with these strides.
    pub(crate) fn strided(shape: &Shape, strides: &[usize], base: usize) -> Self {
        View::new(shape.dims().iter().copied().zip(strides.iter().copied()), base)
    }

    /// `elements` in order.
    pub(crate) fn in_order(elements: usize) -> Self {
        View::new([(elements, 1)], 0)
    }

    pub(crate) fn elements(&self) -> usize {
        self.axes.iter().map(|(extent, _)| extent).product()
    }

    /// The axes, and how far apart neighbours along them are where the elements lie in order.
    fn beside_order(&self) -> Vec<(usize, [usize; 2])> {
        let after = |k: usize| self.axes[k + 1..].iter().map(|(extent, _)| extent).product();
        self.axes.iter().enumerate().map(|(k, &(extent, stride))| (extent, [stride, after(k)])).collect()
    }

    /// Its elements, copied to memory where they lie in order.
    pub(crate) fn gathered(&self) -> StridedCopy {
        StridedCopy { axes: self.beside_order(), bases: [self.base, 0] }
    }

    /// Elements that lie in order, copied to its places.
    pub(crate) fn scattered(&self) -> StridedCopy {
        let axes = self.beside_order().into_iter().map(|(extent, [own, order])| (extent, [order, own]));
        StridedCopy { axes: axes.collect(), bases: [0, self.base] }
    }

    /// Calls `visit(i, place)` for each element.
    pub(crate) fn each(&self, visit: impl FnMut(usize, usize)) {
        self.scattered().each(visit);
    }

    /// What is read where `self` reads what `inner` reads: elements that are moved twice. `None` where that is not linear
    /// along few axes.
    pub(crate) fn through(&self, inner: &View) -> Option<View> {
        if self.elements() == 0 || inner.elements() == 0 {
            return None;
        }
        // How far apart neighbours along each of inner's axes are in its order, and the largest index met there so far.
        let spans: Vec<usize> = inner.beside_order().into_iter().map(|(_, [_, span])| span).collect();
        let met = inner.axes.iter().zip(&spans).map(|((extent, _), span)| self.base / span % extent);
        let mut met: Vec<usize> = met.collect();
        let base = met.iter().zip(&inner.axes).map(|(index, (_, stride))| index * stride).sum::<usize>();
        let mut axes = Vec::new();
        for &(mut extent, mut stride) in self.axes.iter().rev() {
            while extent > 1 && stride > 0 {
                let k = spans.iter().position(|&span| span <= stride)?;
                let (whole, own) = inner.axes[k];
                let step = stride / spans[k];
                if stride % spans[k] != 0 {
                    return None;
                }
                let mut inside = extent;
                if met[k] + (extent - 1) * step >= whole {
                    // It goes on along the axis before, which it must come to without a rest.
                    inside = whole / step;
                    if whole % step != 0 || met[k] >= step || extent % inside != 0 {
                        return None;
                    }
                }
                met[k] += (inside - 1) * step;
                axes.push((inside, step * own));
                (extent, stride) = (extent / inside, stride * inside);
            }
            axes.push((extent, 0));
        }
        let view = View::new(axes.into_iter().rev(), inner.base + base);
        (view.axes.len() <= MAX_RANK).then_some(view)
    }
}

/// Elements that are read by one view and written by another: extents, outermost first, with both strides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StridedCopy {
    pub(crate) axes: Vec<(usize, [usize; 2])>,
    pub(crate) bases: [usize; 2],
}

impl StridedCopy {
    /// `None` where the two have no few axes in common.
    pub(crate) fn new(read: &View, write: &View) -> Option<Self> {
        let bases = [read.base, write.base];
        if read.elements() != write.elements() {
            return None;
        }
        if read.elements() == 0 {
            return Some(StridedCopy { axes: vec![(0, [0, 0])], bases });
        }
        let (mut a, mut b) = (read.axes.clone(), write.axes.clone());
        let mut axes = Vec::new();
        while let (Some(first), Some(second)) = (a.pop(), b.pop()) {
            let extent = first.0.min(second.0);
            if first.0 % extent != 0 || second.0 % extent != 0 {
                return None;
            }
            axes.push((extent, [first.1, second.1]));
            for (rest, (whole, stride)) in [(&mut a, first), (&mut b, second)] {
                if whole > extent {
                    rest.push((whole / extent, stride * extent));
                }
            }
        }
        axes.reverse();
        (axes.len() <= MAX_RANK).then_some(StridedCopy { axes, bases })
    }

    /// Calls `visit(from, to)` for each element.
    pub(crate) fn each(&self, mut visit: impl FnMut(usize, usize)) {
        if self.axes.iter().any(|(extent, _)| *extent == 0) {
            return;
        }
        let mut index = [0; MAX_RANK];
        let [mut from, mut to] = self.bases;
        let one = (1, [0, 0]);
        let ((inner, [read, write]), outer) = self.axes.split_last().map_or((one, &[][..]), |(l, o)| (*l, o));
        loop {
            (0..inner).for_each(|i| visit(from + i * read, to + i * write));
            let mut axes = outer.iter().enumerate().rev();
            let next = axes.find_map(|(k, &(extent, [read, write]))| {
                (from, to) = (from + read, to + write);
                index[k] += 1;
                if index[k] < extent {
                    return Some(());
                }
                (from, to) = (from - extent * read, to - extent * write);
                index[k] = 0;
                None
            });
            if next.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
