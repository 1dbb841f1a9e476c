//! A process that plants faults and runs cases until one fails. It is apart because a fault can make a shader that does not
//! end, or ends the process.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, Write};

use wgrad::gpu::Gpu;
use wgrad::mutation::{self, Prepared};
use wgrad::ops::Kernel;

use super::plan::{Fault, Plan};

/// Keys of kernels with faults begin so.
const PREFIX: &str = "mutant ";

/// Runs of a fault: what nearly all kernels contain would take minutes else. What survives that counts as not found.
const MOST_RUNS: usize = 300;

struct Worker {
    plan: Plan,
    /// By case, and whether it is in 16 bits.
    prepared: HashMap<(usize, bool), Option<Prepared>>,
    /// Whether a run passes without a fault.
    passes: HashMap<usize, bool>,
    /// By file and function, how many faults a run has found there.
    finders: HashMap<(String, String), HashMap<usize, usize>>,
}

/// Answers each number of a fault on the standard input with `found`, `survived` or `refused`; a line `run` says that a case
/// is done and the process alive.
pub fn serve(gpu: &Gpu) {
    let mut worker = Worker {
        plan: Plan::new(gpu),
        prepared: HashMap::new(),
        passes: HashMap::new(),
        finders: HashMap::new(),
    };
    say("ready");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(number) = line.trim().parse::<usize>() else { continue };
        say(&worker.judge(number));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Where the parent is gone there is nobody to tell.
    let _ = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
}

impl Worker {
    fn judge(&mut self, number: usize) -> String {
        let fault = &self.plan.faults[number];
        let texts = self.plan.planted(fault);
        // A line stands in many texts, and is as valid in one as in another.
        if let Some((_, text)) = texts.first_key_value()
            && let Err(reason) = mutation::validate(text)
        {
            return format!("refused {number} {reason}");
        }
        let location = self.plan.location(fault);
        let at = (location.file.clone(), location.item.clone());
        for run in self.order(fault, &texts) {
            say("run");
            let Some(message) = self.fails(run, &texts, number) else { continue };
            if !self.passes_without(run) {
                say(&format!("broken {} fails without a fault too: {message}", self.name(run)));
                continue;
            }
            *self.finders.entry(at).or_default().entry(run).or_default() += 1;
            self.forget();
            return format!("found {number} {}: {message}", self.name(run));
        }
        self.forget();
        format!("survived {number}")
    }

    fn forget(&self) {
        self.plan.ways.iter().for_each(|way| mutation::forget(&way.gpu, PREFIX));
    }

    fn name(&self, run: usize) -> String {
        let run = &self.plan.runs[run];
        format!("[{}] {}", self.plan.ways[run.way].name, self.plan.cases[run.case].name)
    }

    /// The runs with changed texts: those first that found faults nearby, then short ones.
    fn order(&self, fault: &Fault, texts: &BTreeMap<usize, String>) -> Vec<usize> {
        let location = self.plan.location(fault);
        let near = self.finders.get(&(location.file.clone(), location.item.clone()));
        let mut runs: Vec<usize> =
            texts.keys().flat_map(|t| self.plan.texts[*t].runs.iter().copied()).collect();
        runs.sort_unstable();
        runs.dedup();
        runs.sort_by_cached_key(|&r| {
            let found = near.and_then(|n| n.get(&r)).copied().unwrap_or(0);
            let run = &self.plan.runs[r];
            let changed = run.texts.iter().filter_map(|t| texts.get(t));
            // Compiling a text takes as long as some thousand elements.
            let compiled: usize = changed.map(|text| 8 * text.len()).sum();
            (std::cmp::Reverse(found), run.cost + compiled)
        });
        runs.truncate(MOST_RUNS);
        runs
    }

    /// What a run says with some texts changed.
    fn fails(&mut self, run: usize, texts: &BTreeMap<usize, String>, number: usize) -> Option<String> {
        let run = &self.plan.runs[run];
        let (case, way) = (&self.plan.cases[run.case], &self.plan.ways[run.way]);
        let made = self
            .prepared
            .entry((run.case, way.as_f16))
            .or_insert_with(|| Prepared::new(case, way.as_f16).and_then(Result::ok));
        // Cases without numbers in half precision.
        let prepared = made.as_ref()?;
        let changed: HashMap<&str, &String> =
            run.texts.iter().filter_map(|t| Some((&*self.plan.texts[*t].text, texts.get(t)?))).collect();
        let change = |kernel: &mut Kernel| {
            if let Some(text) = changed.get(&*kernel.text) {
                kernel.key = format!("{PREFIX}{number} {}", kernel.key);
                kernel.text = text.as_str().into();
            }
        };
        match prepared.run(&way.gpu, &change) {
            Ok(message) => message,
            // Nothing runs on a lost device: the next process opens another.
            Err(error) if error.to_string().contains("lost") => std::process::exit(1),
            Err(error) => Some(error.to_string()),
        }
    }

    fn passes_without(&mut self, run: usize) -> bool {
        if let Some(passes) = self.passes.get(&run) {
            return *passes;
        }
        let passes = self.fails(run, &BTreeMap::new(), 0).is_none();
        self.passes.insert(run, passes);
        passes
    }
}
