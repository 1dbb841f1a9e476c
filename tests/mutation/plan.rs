//! What is run, and which faults there are: kernels of all cases, taken apart into lines.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wgrad::cases::registry;
use wgrad::gpu::Gpu;
use wgrad::mutation;
use wgrad::ops::Case;

use super::faults::{Context, Fields, LineFault, faults};

/// How cases are run.
#[derive(Debug)]
pub struct Way {
    pub name: String,
    pub gpu: Gpu,
    pub as_f16: bool,
}

/// A case run in one way.
#[derive(Debug)]
pub struct Run {
    pub case: usize,
    pub way: usize,
    /// Its kernels, as indices in [`Plan::texts`].
    pub texts: Vec<usize>,
    /// Roughly how long it takes, beside the compilation of its kernels.
    pub cost: usize,
}

/// A kernel's text.
#[derive(Debug)]
pub struct Text {
    pub text: Arc<str>,
    /// The runs that it is in.
    pub runs: Vec<usize>,
    /// Where its lines begin.
    lines: Vec<usize>,
    context: Context,
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// A file under `shaders/`, or what generates the text.
    pub file: String,
    /// The function, or constant.
    pub item: String,
    /// Its number in the file; 0 for generated ones.
    pub line: usize,
    /// The line; of generated ones, its shape: numbers and components are left open.
    pub shape: String,
}

/// One position in a line: which text, which of its lines, and where code begins in it.
type At = (usize, usize, usize);

/// Which lines of one shape get the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    All,
    /// The last in the text that most cases run.
    One,
}

/// A fault to be planted.
#[derive(Debug)]
pub struct Fault {
    /// In [`Plan::lines`].
    pub line: usize,
    /// Which of the line's faults.
    pub id: (usize, usize),
    pub which: Which,
    pub kind: &'static str,
    pub before: String,
    pub after: String,
}

#[derive(Debug)]
pub struct Plan {
    pub cases: Vec<Case>,
    pub ways: Vec<Way>,
    pub runs: Vec<Run>,
    pub texts: Vec<Text>,
    pub lines: Vec<(Line, Vec<At>)>,
    pub faults: Vec<Fault>,
}

/// The ways that the tests of kernels run cases in; the cheapest and most telling first.
fn ways(gpu: &Gpu) -> Vec<Way> {
    let way = |name: String, gpu: Gpu, as_f16| Way { name, gpu, as_f16 };
    let classes: Vec<Gpu> = mutation::classes(gpu).into_iter().map(|c| gpu.with_class(c)).rev().collect();
    let class = |gpu: &Gpu| format!("{:?}", gpu.caps().class);
    let mut ways: Vec<Way> = classes.iter().map(|gpu| way(class(gpu), gpu.clone(), false)).collect();
    for most in [3, 11] {
        let folded =
            |gpu: &Gpu| way(format!("{} folded at {most}", class(gpu)), gpu.with_max_workgroups(most), false);
        ways.extend(classes.iter().map(folded));
    }
    // Loops of few iterations, which are cut in pieces otherwise; their grids folded as well.
    for most in [65_535, 3] {
        let short = |gpu: &Gpu| {
            let name = format!("{} with short loops and {most} workgroups", class(gpu));
            way(name, gpu.with_max_loop_iterations(256).with_max_workgroups(most), false)
        };
        ways.extend(classes.iter().map(short));
    }
    if gpu.has_f16() {
        ways.extend(classes.iter().map(|gpu| way(format!("{} in 16 bits", class(gpu)), gpu.clone(), true)));
    }
    ways
}

impl Plan {
    pub fn new(gpu: &Gpu) -> Self {
        let mut plan = Plan {
            cases: registry(),
            ways: ways(gpu),
            runs: Vec::new(),
            texts: Vec::new(),
            lines: Vec::new(),
            faults: Vec::new(),
        };
        let entries = plan.collect_runs();
        plan.collect_lines(&entries);
        plan.collect_faults();
        plan
    }

    /// Fills runs and texts; gives the entry point of each text.
    fn collect_runs(&mut self) -> Vec<String> {
        let mut known: HashMap<Arc<str>, usize> = HashMap::new();
        let mut entries = Vec::new();
        for (c, case) in self.cases.iter().enumerate() {
            let mut seen: Vec<(bool, String)> = Vec::new();
            for (w, way) in self.ways.iter().enumerate() {
                let Ok(program) = mutation::program(&way.gpu, case) else { continue };
                // What another class does alike need not be done again.
                let what = (
                    way.as_f16,
                    format!(
                        "{:?}",
                        program
                            .dispatches
                            .iter()
                            .map(|d| (&d.kernel.key, d.grid, &d.uniform))
                            .collect::<Vec<_>>()
                    ),
                );
                if seen.contains(&what) {
                    continue;
                }
                seen.push(what);
                let run = self.runs.len();
                let mut texts = Vec::new();
                for dispatch in &program.dispatches {
                    let text = dispatch.kernel.text.clone();
                    let at = *known.entry(text.clone()).or_insert_with(|| {
                        entries.push(dispatch.kernel.entry.clone());
                        let context = Context { uniforms: uniforms(&text) };
                        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
                        let lines = std::iter::once(0).chain(ends).collect();
                        self.texts.push(Text { text, runs: Vec::new(), lines, context });
                        self.texts.len() - 1
                    });
                    if !texts.contains(&at) {
                        texts.push(at);
                        self.texts[at].runs.push(run);
                    }
                }
                let elements: usize = case.inputs.iter().map(|(ty, _)| ty.shape.elements()).sum();
                let types: Vec<_> = case.inputs.iter().map(|(ty, _)| *ty).collect();
                let outputs = case.op.infer(&types).unwrap_or_default();
                let flops = case.op.flops(&types, &outputs) as usize;
                // What is smallest shows little.
                let cost = elements.max(if elements < 32 { 1 << 13 } else { 0 })
                    + flops / 16
                    + if way.as_f16 { 1 << 16 } else { 0 };
                self.runs.push(Run { case: c, way: w, texts, cost });
            }
        }
        entries
    }

    fn collect_lines(&mut self, entries: &[String]) {
        let library = library();
        let mut lines: BTreeMap<Line, Vec<At>> = BTreeMap::new();
        for (t, (text, entry)) in self.texts.iter().zip(entries).enumerate() {
            let text = &*text.text;
            let is_library = library.values().any(|(_, _, name)| name == entry);
            for (name, item) in mutation::declarations(text) {
                let start = item.as_ptr() as usize - text.as_ptr() as usize;
                let first = text[..start].matches('\n').count();
                let Some(mut code) = code_of(item) else { continue };
                let known = library.get(item);
                for (k, line) in item.split('\n').enumerate() {
                    let from = code.min(line.len());
                    code = code.saturating_sub(line.len() + 1);
                    if from >= line.trim_end().len() {
                        continue;
                    }
                    // Lines of an item that begins in the middle of one are counted from there.
                    let lead =
                        if k == 0 { start - text[..start].rfind('\n').map_or(0, |at| at + 1) } else { 0 };
                    let location = match known {
                        Some((file, line_of_item, _)) => Line {
                            file: format!("{file}.wgsl"),
                            item: name.into(),
                            line: line_of_item + k,
                            shape: line.trim().into(),
                        },
                        None => Line {
                            file: family(entry, is_library),
                            item: shape(name),
                            line: 0,
                            shape: shape(line.trim()),
                        },
                    };
                    lines.entry(location).or_default().push((t, first + k, lead + from));
                }
            }
        }
        self.lines = lines.into_iter().collect();
    }

    fn collect_faults(&mut self) {
        let mut faults = Vec::new();
        for (at, (location, places)) in self.lines.iter().enumerate() {
            // Lines of one shape differ in numbers, and some of them make a fault none.
            let mut found: BTreeMap<(usize, usize), (LineFault, String, bool)> = BTreeMap::new();
            let mut seen: BTreeMap<((usize, usize), usize), (usize, &str, LineFault)> = BTreeMap::new();
            let mut known: HashMap<&str, Vec<LineFault>> = HashMap::new();
            for &one in places {
                let line = self.line_at(one);
                let own = known.entry(line).or_insert_with(|| self.faults_at(one));
                for fault in own.iter().filter(|f| f.after.trim() != line.trim()) {
                    let times = seen.get(&(fault.id, one.0)).map_or(0, |known| known.0) + 1;
                    seen.insert((fault.id, one.0), (times, line, fault.clone()));
                    let entry = found
                        .entry(fault.id)
                        .or_insert_with(|| (fault.clone(), line.trim().to_string(), false));
                    entry.2 |= times > 1;
                }
            }
            for (id, (fault, before, repeats)) in found {
                let put = |which, before: &str, fault: &LineFault| Fault {
                    line: at,
                    id,
                    which,
                    kind: fault.kind,
                    before: before.trim().into(),
                    after: fault.after.trim().into(),
                };
                faults.push(put(Which::All, &before, &fault));
                // In one location alone, where a text has several of them: the last.
                if repeats && location.line == 0 {
                    let several = seen.range((id, 0)..=(id, usize::MAX)).filter(|(_, own)| own.0 > 1);
                    let most = several.max_by_key(|((_, t), _)| self.texts[*t].runs.len());
                    faults.extend(most.map(|(_, (_, line, fault))| put(Which::One, line, fault)));
                }
            }
        }
        self.faults = faults;
    }

    fn line_at(&self, (t, line, _): At) -> &str {
        let text = &self.texts[t];
        let from = text.lines.get(line).copied().unwrap_or(text.text.len());
        text.text[from..].split('\n').next().unwrap_or_default()
    }

    fn faults_at(&self, at: At) -> Vec<LineFault> {
        faults(self.line_at(at), at.2, &self.texts[at.0].context)
    }

    /// The texts that a fault changes, with the fault in them.
    pub fn planted(&self, fault: &Fault) -> BTreeMap<usize, String> {
        let places = &self.lines[fault.line].1;
        let mut changes: BTreeMap<usize, Vec<(usize, String)>> = BTreeMap::new();
        for &at in places {
            let of = self.faults_at(at);
            if let Some(changed) = of.iter().find(|f| f.id == fault.id && f.kind == fault.kind) {
                changes.entry(at.0).or_default().push((at.1, changed.after.clone()));
            }
        }
        if fault.which != Which::All {
            let several = changes.iter().filter(|(_, lines)| lines.len() > 1);
            let most = several.max_by_key(|(t, _)| self.texts[**t].runs.len()).map(|(t, _)| *t);
            changes.retain(|t, _| Some(*t) == most);
            changes.values_mut().for_each(|lines| lines.drain(..lines.len() - 1).for_each(drop));
        }
        let with = |(t, changed): (usize, Vec<(usize, String)>)| {
            let mut lines: Vec<&str> = self.texts[t].text.split('\n').collect();
            changed.iter().for_each(|(at, line)| lines[*at] = line);
            (t, lines.join("\n"))
        };
        changes.into_iter().map(with).collect()
    }

    pub fn location(&self, fault: &Fault) -> &Line {
        &self.lines[fault.line].0
    }

    /// How many runs see a fault, and the names of some.
    pub fn runs_of(&self, fault: &Fault) -> String {
        let texts = self.planted(fault);
        let mut runs: Vec<usize> = texts.keys().flat_map(|t| self.texts[*t].runs.iter().copied()).collect();
        runs.sort_by_key(|r| self.runs[*r].cost);
        runs.dedup();
        let name = |r: &usize| {
            format!("[{}] {}", self.ways[self.runs[*r].way].name, self.cases[self.runs[*r].case].name)
        };
        let some: Vec<String> = runs.iter().take(4).map(name).collect();
        format!("{} texts, {} runs: {}", texts.len(), runs.len(), some.join("; "))
    }

    /// Where a fault is and what it is, in one line.
    pub fn describe(&self, fault: &Fault) -> String {
        let location = self.location(fault);
        let line = if location.line > 0 { format!(":{}", location.line) } else { String::new() };
        let which = match fault.which {
            Which::All => "",
            Which::One => " (one location alone)",
        };
        format!(
            "{}{line} {}{which}\n    - {}\n    + {}",
            location.file, location.item, fault.before, fault.after
        )
    }
}

/// Items of the files under `shaders/`: file, line, name.
fn library() -> HashMap<&'static str, (&'static str, usize, &'static str)> {
    let mut found = HashMap::new();
    for (file, text) in mutation::shaders() {
        for (name, item) in mutation::declarations(text) {
            let start = item.as_ptr() as usize - text.as_ptr() as usize;
            found.entry(item).or_insert((*file, text[..start].matches('\n').count() + 1, name));
        }
    }
    found
}

/// Where the code of a function, or the value of a constant, begins in its text; nothing else has faults.
fn code_of(item: &str) -> Option<usize> {
    if item.starts_with("const ") {
        return item.find('=').map(|at| at + 1);
    }
    (item.starts_with("fn ") || item.contains("@compute")).then(|| item.find('{').map(|at| at + 1))?
}

/// What generates a text with this entry point.
fn family(entry: &str, is_library: bool) -> String {
    match entry.strip_suffix("_kernel") {
        _ if is_library => "formulas around shaders".into(),
        Some(_) => "generated elementwise".into(),
        None => format!("generated {}", entry.trim_end_matches(|c: char| c.is_ascii_digit())),
    }
}

/// A line with numbers, components and names of formulas left open.
fn shape(line: &str) -> String {
    let mut out = String::new();
    let code = line.split("//").next().unwrap_or("").trim_end();
    let tokens = super::tokens::tokens(code);
    let mut end = 0;
    for (i, token) in tokens.iter().enumerate() {
        out += &code[end..token.at];
        end = token.end();
        let is_component =
            token.text.len() == 1 && "xyzw".contains(token.text) && i > 0 && tokens[i - 1].is(".");
        match token.text {
            _ if is_component => out.push('*'),
            text if text.ends_with("_fn") || text.ends_with("_kernel") => out += "NAME",
            text => {
                let mut was_digit = false;
                for c in text.chars() {
                    if !c.is_ascii_digit() {
                        out.push(c);
                    } else if !was_digit {
                        out.push('#');
                    }
                    was_digit = c.is_ascii_digit();
                }
            }
        }
    }
    out
}

/// The uniforms of a text with their fields.
fn uniforms(text: &str) -> Vec<(String, Fields)> {
    let items = mutation::declarations(text);
    let fields = |of: &str| -> Fields {
        let body = items.iter().find(|(name, item)| *name == of && item.starts_with("struct"));
        let body = body.and_then(|(_, item)| item.split_once('{')).map_or("", |(_, body)| body);
        let lines: Vec<&str> = body.lines().map(|l| l.split("//").next().unwrap_or("")).collect();
        let field = |part: &str| {
            let (name, ty) = part.rsplit(')').next()?.trim_end_matches('}').split_once(':')?;
            Some((name.trim().to_string(), ty.trim().to_string()))
        };
        lines.join(" ").split(',').filter_map(field).collect()
    };
    let uniform = |(name, item): &(&str, &str)| {
        let ty = item.rsplit(':').next()?.trim().trim_end_matches(';').trim();
        item.contains("var<uniform>").then(|| (name.to_string(), fields(ty)))
    };
    items.iter().filter_map(uniform).collect()
}
