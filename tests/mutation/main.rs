//! Mutation testing of wgrad's own kernels: single faults are planted in the text of every shader and generator, and the cases
//! of the ops that use it must fail. Nothing is built again for a fault.
//!
//! `scripts/mutate` plants them all, or a sample. `cargo test` plants a few, to see that faults are found and that what
//! changes nothing is not.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod faults;
mod plan;
mod pool;
mod report;
mod tokens;
mod worker;

use std::collections::BTreeMap;
use std::process::ExitCode;

use plan::Plan;
use report::{Fate, equivalents};
use wgrad::gpu::Gpu;

const USAGE: &str =
    "usage: scripts/mutate [--file F] [--sample N] [--seed S] [--jobs N] [--list] [--verbose] [--equivalent] [--last]
  --file F       faults whose file or function contains F
  --sample N     N of them, drawn at random, instead of all
  --seed S       other ones
  --jobs N       processes; 2 without it
  --list         only count them
  --verbose      print which case found what
  --equivalent   plant those that are listed as changing no result: none may be found
  --last         those that survived the last run, but for what is listed since";

#[derive(Debug, Default)]
struct Args {
    file: String,
    sample: Option<usize>,
    seed: u64,
    jobs: Option<usize>,
    list: bool,
    verbose: bool,
    equivalent: bool,
    last: bool,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text} is not a number"));
        match word.as_str() {
            "--file" => args.file = value()?,
            "--sample" => args.sample = Some(number(value()?)?),
            "--seed" => args.seed = number(value()?)? as u64,
            "--jobs" => args.jobs = Some(number(value()?)?),
            "--list" => args.list = true,
            "--verbose" => args.verbose = true,
            "--equivalent" => args.equivalent = true,
            "--last" => args.last = true,
            _ => return Err(format!("there is no {word}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let gpu = match Gpu::open(None) {
        Ok(gpu) => gpu,
        Err(error) if std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{error}"),
        Err(error) => {
            println!("SKIPPED: {error}");
            return ExitCode::SUCCESS;
        }
    };
    match words.first().map(String::as_str) {
        Some("worker") => {
            worker::serve(&gpu);
            ExitCode::SUCCESS
        }
        Some("plant") => {
            words.remove(0);
            match parse(words.into_iter()) {
                Ok(args) => plant(&gpu, &args),
                Err(message) => {
                    eprintln!("{message}\n{USAGE}");
                    ExitCode::from(2)
                }
            }
        }
        // What `cargo test` passes on are filters of tests.
        _ => {
            self_test(&gpu);
            ExitCode::SUCCESS
        }
    }
}

/// Plants what is asked for, and reports.
fn plant(gpu: &Gpu, args: &Args) -> ExitCode {
    let plan = Plan::new(gpu);
    let listed = equivalents();
    let is_listed = |number: usize| listed.iter().any(|e| e.fits(&plan, &plan.faults[number]));
    let fits = |number: &usize| {
        let location = plan.location(&plan.faults[*number]);
        location.file.contains(&args.file) || location.item.contains(&args.file)
    };
    let all: Vec<usize> = (0..plan.faults.len()).filter(fits).collect();
    let (known, mut numbers): (Vec<usize>, Vec<usize>) = all.iter().partition(|n| is_listed(**n));
    println!("{} runs of {} cases, {} texts of kernels", plan.runs.len(), plan.cases.len(), plan.texts.len());
    println!("{} faults, and {} that are known to change no result", numbers.len(), known.len());
    let stale = stale(&plan);
    stale.iter().for_each(|entry| println!("listed in equivalent.txt, but there is no such fault: {entry}"));
    if args.equivalent {
        numbers = known;
    }
    if args.last {
        let last = report::last_survivors();
        numbers.retain(|n| last.contains(&report::entry(&plan, &plan.faults[*n])));
        println!("{} of {} that survived are still to be found", numbers.len(), last.len());
    }
    wgrad::Rng::new(args.seed, "faults").shuffle(&mut numbers);
    numbers.truncate(args.sample.unwrap_or(usize::MAX));
    // Neighbours are found by the same cases.
    numbers.sort_unstable();
    if args.list {
        let fates: BTreeMap<usize, Fate> = numbers.iter().map(|n| (*n, Fate::Found(String::new()))).collect();
        report::print(&plan, &fates, args.verbose);
        return ExitCode::SUCCESS;
    }
    let fates = pool::judge(numbers, args.jobs.unwrap_or(2), &plan);
    report::keep_survivors(&plan, &fates);
    let (found, of) = report::print(&plan, &fates, args.verbose);
    let is_good = if args.equivalent { found == 0 } else { found * 100 >= of * 98 };
    if is_good && stale.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Entries of the list that no fault fits.
fn stale(plan: &Plan) -> Vec<String> {
    let fits = |e: &report::Equivalent| plan.faults.iter().any(|fault| e.fits(plan, fault));
    equivalents().iter().filter(|e| !fits(e)).map(report::Equivalent::describe).collect()
}

/// Two faults that a case must find, and one that changes nothing.
fn self_test(gpu: &Gpu) {
    let plan = Plan::new(gpu);
    let number = |file: &str, item: &str, before: &str, after: &str| {
        let is_it = |f: &plan::Fault| {
            let location = plan.location(f);
            (location.file.as_str(), location.item.as_str(), f.before.as_str(), f.after.as_str())
                == (file, item, before, after)
        };
        plan.faults.iter().position(is_it).unwrap_or_else(|| panic!("{file} {item}: no `{after}`"))
    };
    let tie = number(
        "argmax.wgsl",
        "argmax_workgroup",
        "let is_tie = !beats(a.value, b.value) && b.index < a.index;",
        "let is_tie = !beats(a.value, b.value) && b.index >= a.index;",
    );
    // Of two equal elements either is the maximum.
    let same = number(
        "common/numeric.wgsl",
        "larger4",
        "return select(a, b, ((b > a) & !is_nan4(a)) | is_nan4(b));",
        "return select(a, b, ((b >= a) & !is_nan4(a)) | is_nan4(b));",
    );
    let start = number(
        "argmax.wgsl",
        "largest_from",
        "for (var k = first + step; k < end; k += step) {",
        "for (var k = first - step; k < end; k += step) {",
    );
    let fates = pool::judge(vec![tie, same, start], 1, &plan);
    assert!(matches!(&fates[&tie], Fate::Found(by) if by.contains("ArgMax")), "{:?}", fates[&tie]);
    assert_eq!(fates[&same], Fate::Survived);
    assert!(matches!(fates[&start], Fate::Found(_)), "{:?}", fates[&start]);
    assert!(equivalents().iter().any(|e| e.fits(&plan, &plan.faults[same])), "it is listed");
    assert!(equivalents().iter().all(|e| e.reason.len() > 10), "each has its reason");
    assert_eq!(stale(&plan), Vec::<String>::new());
    // A rule for a name that no text has any more plants nothing.
    let has = |name: &str| plan.texts.iter().any(|text| text.text.contains(name));
    let unused: Vec<&str> = faults::NAMES.iter().map(|n| n.1).filter(|name| !has(name)).collect();
    assert!(unused.is_empty(), "no text has {unused:?}");
    println!("{} faults are known; 3 planted, 2 found", plan.faults.len());
}
