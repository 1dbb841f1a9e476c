//! Faults given out to worker processes.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::report::Fate;

/// A case takes less, the reference of the largest included.
const CASE: Duration = Duration::from_secs(40);
/// The time to link all kernels.
const START: Duration = Duration::from_secs(300);

/// What became of each of these faults.
pub fn judge(numbers: Vec<usize>, jobs: usize, plan: &Plan) -> BTreeMap<usize, Fate> {
    let all = numbers.len();
    let queue: Arc<Mutex<VecDeque<usize>>> = Arc::new(Mutex::new(numbers.into()));
    let fates: Arc<Mutex<BTreeMap<usize, Fate>>> = Arc::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, all.max(1)) {
            scope.spawn(|| {
                let mut worker: Option<Worker> = None;
                loop {
                    let Some(number) = queue.lock().unwrap().pop_front() else { break };
                    let fate = ask(&mut worker, number);
                    if fate == Fate::Survived {
                        eprintln!("survived #{number} {}", plan.describe(&plan.faults[number]));
                    }
                    let mut fates = fates.lock().unwrap();
                    fates.insert(number, fate);
                    if fates.len().is_multiple_of(100) {
                        eprintln!("{} of {all} in {:.0} s", fates.len(), start.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    Arc::into_inner(fates).unwrap().into_inner().unwrap()
}

/// Lets a worker judge a fault; starts one where there is none.
fn ask(worker: &mut Option<Worker>, number: usize) -> Fate {
    for _ in 0..2 {
        let at = worker.get_or_insert_with(Worker::start);
        match at.ask(number) {
            Some(fate) => {
                worker.take_if(|worker| worker.is_gone);
                return fate;
            }
            None => *worker = None,
        }
    }
    panic!("a case fails where no fault is planted: run `wgrad check` first");
}

struct Worker {
    child: Child,
    lines: Receiver<String>,
    /// The process ended, or was ended.
    is_gone: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("worker")
            // Faulty shaders are of no use to anybody later.
            .env("MESA_SHADER_CACHE_DISABLE", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).all(|line| send.send(line).is_ok())
        });
        let worker = Worker { child, lines, is_gone: false };
        assert_eq!(worker.lines.recv_timeout(START).as_deref(), Ok("ready"), "a worker does not start");
        worker
    }

    /// `None` where the worker is of no use any more.
    fn ask(&mut self, number: usize) -> Option<Fate> {
        let stdin = self.child.stdin.as_mut()?;
        writeln!(stdin, "{number}").and_then(|()| stdin.flush()).ok()?;
        loop {
            let line = match self.lines.recv_timeout(CASE) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    self.is_gone = true;
                    return Some(Fate::Found("a shader that does not end".into()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.is_gone = true;
                    return Some(Fate::Found("a driver that ends the process".into()));
                }
            };
            let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match what {
                "found" => return Some(Fate::Found(rest.to_string())),
                "survived" => return Some(Fate::Survived),
                "refused" => return Some(Fate::Refused),
                "broken" => eprintln!("{rest}"),
                _ => {}
            }
        }
    }
}
