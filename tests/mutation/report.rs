//! What became of the faults, and which of them change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::plan::{Fault, Plan, Which};

/// What became of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A case failed, or the shader did not end.
    Found(String),
    Survived,
    /// It is no WGSL.
    Refused,
}

/// A fault that is known to change no result, and why.
#[derive(Debug)]
pub struct Equivalent {
    pub reason: String,
    file: String,
    item: String,
    before: String,
    after: String,
    /// Of the fault in one location alone, and not in all lines of the shape.
    alone: bool,
}

const LIST: &str = include_str!("equivalent.txt");

/// The list of `equivalent.txt`.
pub fn equivalents() -> Vec<Equivalent> {
    let mut list: Vec<Equivalent> = Vec::new();
    let (mut reason, mut location, mut before) =
        (String::new(), (String::new(), String::new()), String::new());
    let mut after_entry = true;
    for line in LIST.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            if after_entry {
                reason.clear();
            }
            after_entry = false;
            reason = format!("{reason} {text}").trim().to_string();
        } else if let Some(text) = line.strip_prefix("@ ") {
            let (file, item) = text.rsplit_once(' ').unwrap_or((text, ""));
            location = (file.to_string(), item.to_string());
        } else if let Some(text) = line.strip_prefix("- ") {
            before = text.to_string();
        } else if let Some(text) = line.strip_prefix(['+', '=']) {
            after_entry = true;
            let ((file, item), after) = (location.clone(), text.trim().to_string());
            let (reason, before, alone) = (reason.clone(), before.clone(), line.starts_with('='));
            list.push(Equivalent { reason, file, item, before, after, alone });
        }
    }
    list
}

impl Equivalent {
    pub fn fits(&self, plan: &Plan, fault: &Fault) -> bool {
        let location = plan.location(fault);
        matches(&self.file, &location.file)
            && matches(&self.item, &location.item)
            && (!self.alone || fault.which == Which::One)
            && captured(&self.before, &fault.before).iter().any(|before| match self.after.as_str() {
                "" => fault.after.is_empty(),
                // What is left open is the same before and after, so that the fault is the one that is written down.
                after => captured(after, &fault.after).contains(before),
            })
    }

    pub fn describe(&self) -> String {
        let sign = if self.alone { '=' } else { '+' };
        format!("{} {}\n    - {}\n    {sign} {}", self.file, self.item, self.before, self.after)
    }
}

/// Whether a text is the pattern, in which `…` stands for anything and `#` for a number: after the `-` and the `+` for the
/// same. After the `+`, `♯` is one more than the number that `#` is after the `-`, and `≈` is anything at all.
fn matches(pattern: &str, text: &str) -> bool {
    !captured(pattern, text).is_empty()
}

const OPEN: [char; 4] = ['…', '#', '♯', '≈'];

/// What the open places of a pattern can stand for in a text: all ways that there are. For `♯` it is one less than what is there.
fn captured(pattern: &str, text: &str) -> Vec<Vec<String>> {
    let Some(at) = pattern.find(OPEN) else {
        return if pattern == text { vec![Vec::new()] } else { Vec::new() };
    };
    let (Some(rest), Some(open)) = (text.strip_prefix(&pattern[..at]), pattern[at..].chars().next()) else {
        return Vec::new();
    };
    let after = &pattern[at + open.len_utf8()..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let next = after.split(OPEN).next().unwrap_or_default();
    let ends: Vec<usize> = match open {
        '#' | '♯' => Vec::from_iter((digits > 0).then_some(digits)),
        // Where what follows is no literal, any end will do.
        _ if next.is_empty() => rest.char_indices().map(|(i, _)| i).chain([rest.len()]).collect(),
        _ => rest.match_indices(next).map(|(i, _)| i).collect(),
    };
    let with = |end: usize| {
        let (own, rest) = rest.split_at(end);
        let own = match (open, own.parse::<u64>()) {
            ('≈', _) => None,
            ('♯', Ok(number)) => Some(number.wrapping_sub(1).to_string()),
            _ => Some(own.to_string()),
        };
        captured(after, rest).into_iter().map(move |others| own.iter().cloned().chain(others).collect())
    };
    ends.into_iter().flat_map(with).collect()
}

/// A fault as `equivalent.txt` has it, whatever line of its file it is in.
pub fn entry(plan: &Plan, fault: &Fault) -> String {
    let location = plan.location(fault);
    let sign = if fault.which == Which::One { '=' } else { '+' };
    let text = format!("@ {} {}\n- {}\n{sign} {}", location.file, location.item, fault.before, fault.after);
    text.trim_end().to_string()
}

/// Where the last run's survivors are.
fn survivors() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutation-survivors.txt")
}

/// Keeps what survived for `--last`.
pub fn keep_survivors(plan: &Plan, fates: &BTreeMap<usize, Fate>) {
    let survived = fates.iter().filter(|(_, fate)| **fate == Fate::Survived);
    let entries: Vec<String> = survived.map(|(number, _)| entry(plan, &plan.faults[*number])).collect();
    std::fs::write(survivors(), entries.join("\n\n")).unwrap();
}

/// What survived the last run.
pub fn last_survivors() -> BTreeSet<String> {
    let text = std::fs::read_to_string(survivors()).unwrap_or_default();
    text.split("\n\n").filter(|e| !e.is_empty()).map(|e| e.trim_end().to_string()).collect()
}

/// Prints the share found by file, and what survived; gives the numbers of all.
pub fn print(plan: &Plan, fates: &BTreeMap<usize, Fate>, verbose: bool) -> (usize, usize) {
    let mut files: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (number, fate) in fates {
        let file = &plan.location(&plan.faults[*number]).file;
        let counts = files.entry(file).or_default();
        match fate {
            Fate::Found(_) => counts[0] += 1,
            Fate::Survived => counts[1] += 1,
            Fate::Refused => counts[2] += 1,
        }
    }
    for (number, fate) in fates {
        match fate {
            Fate::Survived => {
                let fault = &plan.faults[*number];
                println!("survived #{number} {}\n    {}", plan.describe(fault), plan.runs_of(fault));
            }
            Fate::Found(by) if verbose => {
                println!("found #{number} {}\n    by {by}", plan.describe(&plan.faults[*number]))
            }
            _ => {}
        }
    }
    println!("{:40} {:>7} {:>7} {:>8} {:>8}", "", "found", "of", "share", "no WGSL");
    let mut all = [0; 3];
    for (file, counts) in &files {
        row(file, *counts);
        (0..3).for_each(|k| all[k] += counts[k]);
    }
    row("all", all);
    (all[0], all[0] + all[1])
}

fn row(name: &str, [found, survived, refused]: [usize; 3]) {
    let of = found + survived;
    let share = if of > 0 { 100.0 * found as f64 / of as f64 } else { 100.0 };
    println!("{name:40} {found:>7} {of:>7} {share:>7.1}% {refused:>8}");
}
