//! Threads of the CPU device.
//!
//! A job is a closure that takes parts of the work from a queue until none is left. The thread that has the job
//! runs it at once, and those that come in time help: where other processes have the cores, nobody waits for a
//! thread that has not begun. Waiting threads sleep.
//!
//! How work is cut never enters a result: parts of elementwise work and of products are independent, and sums are
//! cut by their extents alone.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::sync::lock;

/// The most threads that can be asked for.
pub(crate) const MOST: usize = crate::env::MOST_THREADS;

/// Elements of cheap work that a thread should find at least in a part: some microseconds.
const PART: usize = 1 << 14;

type Work<'a> = dyn Fn() + Sync + 'a;
type Panic = Box<dyn Any + Send>;

/// A job that is under way.
struct Job {
    /// Really as long-lived as the call of [`Threads::run`] that lent it.
    work: &'static Work<'static>,
    /// How many more threads may begin.
    wanted: usize,
    /// How many have begun and not ended.
    inside: usize,
    panic: Option<Panic>,
}

#[derive(Default)]
struct Desk {
    job: Option<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    desk: Mutex<Desk>,
    /// There is a job, or the end.
    begin: Condvar,
    /// The last helper has ended.
    end: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }

    fn help(&self) {
        let mut desk = self.lock();
        while !desk.closed {
            let Some(job) = desk.job.as_mut().filter(|job| job.wanted > 0) else {
                desk = self.begin.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            job.wanted -= 1;
            job.inside += 1;
            let work = job.work;
            drop(desk);
            let result = catch_unwind(AssertUnwindSafe(work));
            desk = self.lock();
            if let Some(job) = &mut desk.job {
                job.inside -= 1;
                if let Err(panic) = result {
                    job.panic.get_or_insert(panic);
                }
                if job.inside == 0 {
                    self.end.notify_one();
                }
            }
        }
    }
}

/// Threads that help the one which runs a step.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads({})", self.count())
    }
}

impl Threads {
    /// `count` threads, of which the one that runs a step is the first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that makes no sense; [`Error::Device`] if the system refuses them.
    pub(crate) fn new(count: usize) -> Result<Self> {
        if !(1..=MOST).contains(&count) {
            return Err(Error::Invalid(format!("{count} threads: the CPU device takes 1 to {MOST}")));
        }
        let shared = Arc::<Shared>::default();
        let mut threads = Threads { shared, helpers: Vec::new() };
        for k in 1..count {
            let shared = threads.shared.clone();
            let helper = std::thread::Builder::new().name(format!("wgrad-{k}")).spawn(move || shared.help());
            threads.helpers.push(helper.map_err(|e| Error::Device {
                adapter: "cpu".into(),
                message: format!("thread {k} of {count} did not start: {e}"),
            })?);
        }
        Ok(threads)
    }

    /// `WGRAD_THREADS`, or as many as the process may run at once.
    ///
    /// # Errors
    /// [`Error::Environment`] if the variable is not a number of threads.
    pub(crate) fn wanted() -> Result<usize> {
        let possible = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
        Ok(crate::env::threads()?.unwrap_or_else(possible))
    }

    /// Threads, the caller's included.
    pub(crate) fn count(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs `work` here and on up to `most - 1` helpers at the same time. A panic of any of them goes on here when
    /// all have ended.
    fn run(&self, most: usize, work: &Work<'_>) {
        let wanted = self.helpers.len().min(most.saturating_sub(1));
        if wanted == 0 {
            return work();
        }
        // SAFETY: the reference is not used beyond this call: helpers have it from the desk alone, where it lies
        // until `take`, which waits until no helper is inside; before that nothing here returns or unwinds.
        let work_for_helpers = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let mut desk = self.shared.lock();
        if desk.job.is_some() {
            // Another step has the helpers.
            drop(desk);
            return work();
        }
        desk.job = Some(Job { work: work_for_helpers, wanted, inside: 0, panic: None });
        drop(desk);
        if wanted == 1 {
            self.shared.begin.notify_one();
        } else {
            self.shared.begin.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(work));
        let panic = self.take();
        if let Some(panic) = own.err().or(panic) {
            resume_unwind(panic);
        }
    }

    /// Ends the job: nobody begins any more, and all that began have ended.
    fn take(&self) -> Option<Panic> {
        let mut desk = self.shared.lock();
        if let Some(job) = &mut desk.job {
            job.wanted = 0;
        }
        while desk.job.as_ref().is_some_and(|job| job.inside > 0) {
            desk = self.shared.end.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
        desk.job.take().and_then(|job| job.panic)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.begin.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper's panics were caught.
            let _ = helper.join();
        }
    }
}

thread_local! {
    /// The threads of the device whose step this thread runs.
    static CURRENT: RefCell<Option<Arc<Threads>>> = const { RefCell::new(None) };
}

/// Sets the current threads back, however the scope is left.
struct Restore(Option<Arc<Threads>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Runs `work` with `threads` to help it.
pub(crate) fn with<R>(threads: &Arc<Threads>, work: impl FnOnce() -> R) -> R {
    let _restore = Restore(CURRENT.replace(Some(threads.clone())));
    work()
}

/// Threads that would help here and now, this one included.
pub(crate) fn available() -> usize {
    CURRENT.with_borrow(|threads| threads.as_ref().map_or(1, |t| t.count()))
}

/// Hands out `parts`, which must not depend on each other: `work` is run once by each thread that helps, at most
/// `most`, and takes one part after the other.
pub(crate) fn share<P: Send>(
    most: usize,
    parts: impl Iterator<Item = P> + Send,
    work: impl Fn(&mut dyn Iterator<Item = P>) + Sync,
) {
    if most <= 1 || available() == 1 {
        return work(&mut { parts });
    }
    // Taken away while it works: what runs within a part runs on one thread.
    let restore = Restore(CURRENT.take());
    if let Some(threads) = &restore.0 {
        let parts = Mutex::new(parts.fuse());
        let next = || lock(&parts).next();
        threads.run(most, &|| work(&mut std::iter::from_fn(next)));
    }
}

/// Elements of a part of cheap work on `elements`, a multiple of `unit`; all of them where threads are not worth it.
pub(crate) fn part(elements: usize, unit: usize) -> usize {
    let threads = available();
    if threads == 1 || elements < 2 * PART {
        return elements.max(1);
    }
    // Two parts to a thread, so that one that comes late finds something.
    let parts = (elements / PART).min(2 * threads);
    elements.div_ceil(parts).next_multiple_of(unit.max(1))
}

/// Calls `work(first element, elements)` on runs of `values` that are a multiple of `unit` long, which cost about as
/// much as `weight` elements of cheap work each.
pub(crate) fn runs<T: Send>(
    values: &mut [T],
    unit: usize,
    weight: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let each = part(values.len().saturating_mul(weight.max(1)), unit.saturating_mul(weight.max(1)));
    let each = (each / weight.max(1)).max(1).next_multiple_of(unit.max(1));
    if each >= values.len() {
        return work(0, values);
    }
    let parts = values.chunks_mut(each).enumerate();
    share(parts.len(), parts, |parts| parts.for_each(|(i, part)| work(i * each, part)));
}

/// As [`runs`], for work that can fail: of several errors the first run's.
///
/// # Errors
/// Those of `work`.
pub(crate) fn try_runs<T: Send>(
    values: &mut [T],
    unit: usize,
    weight: usize,
    work: impl Fn(usize, &mut [T]) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let failed: Mutex<Option<(usize, String)>> = Mutex::default();
    runs(values, unit, weight, |first, part| {
        if let Err(message) = work(first, part) {
            let mut failed = lock(&failed);
            if failed.as_ref().is_none_or(|(other, _)| first < *other) {
                *failed = Some((first, message));
            }
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), |(_, message)| Err(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_part_is_done_once_by_any_number_of_threads() {
        for count in [1, 2, 3, 5] {
            let threads = Arc::new(Threads::new(count).unwrap());
            for round in 0..200 {
                let mut values = vec![0u32; 7 * PART + round];
                with(&threads, || {
                    assert_eq!(available(), count);
                    runs(&mut values, 4, 1, |first, part| {
                        assert!(first % 4 == 0);
                        part.iter_mut().enumerate().for_each(|(i, v)| *v += (first + i) as u32);
                    });
                });
                assert!(values.iter().enumerate().all(|(i, &v)| v == i as u32));
            }
            assert_eq!(available(), 1);
        }
    }

    #[test]
    fn what_runs_within_a_part_runs_on_one_thread() {
        let threads = Arc::new(Threads::new(3).unwrap());
        let sum = AtomicUsize::new(0);
        with(&threads, || {
            share(3, 0..100usize, |parts| {
                for part in parts {
                    share(3, 0..10usize, |inner| {
                        assert_eq!(available(), 1);
                        sum.fetch_add(inner.map(|i| i + part).sum(), Ordering::Relaxed);
                    });
                }
            });
        });
        assert_eq!(sum.into_inner(), 10 * 4950 + 100 * 45);
    }

    #[test]
    fn a_panic_in_any_thread_arrives_and_the_threads_go_on() {
        let threads = Arc::new(Threads::new(3).unwrap());
        for _ in 0..50 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                with(&threads, || share(3, 0..64, |parts| parts.for_each(|i| assert!(i != 40, "part 40"))));
            }));
            let panic = result.unwrap_err();
            assert!(
                panic.downcast_ref::<&str>().is_some_and(|m| m.contains("part 40")) || panic.is::<String>()
            );
            assert_eq!(available(), 1);
        }
        let done = AtomicUsize::new(0);
        with(&threads, || {
            share(3, 0..9, |parts| {
                done.fetch_add(parts.count(), Ordering::Relaxed);
            })
        });
        assert_eq!(done.into_inner(), 9);
    }

    #[test]
    fn of_several_errors_the_first_is_kept() {
        let threads = Arc::new(Threads::new(3).unwrap());
        let fail = |first: usize, _: &mut [u8]| if first == 0 { Ok(()) } else { Err(format!("{first}")) };
        let first = with(&threads, || {
            let each = part(9 * PART, 1);
            (try_runs(&mut vec![0u8; 9 * PART], 1, 1, fail), each)
        });
        assert_eq!(first.0, Err(first.1.to_string()));
        assert_eq!(try_runs(&mut vec![0u8; 9 * PART], 1, 1, fail), Ok(()));
    }

    #[test]
    fn numbers_of_threads_that_make_no_sense_are_refused() {
        for count in [0, MOST + 1] {
            assert!(Threads::new(count).unwrap_err().to_string().contains("1 to 256"));
        }
    }
}
