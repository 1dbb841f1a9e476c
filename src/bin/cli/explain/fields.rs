//! What is said of entries, by what it is about.

use super::documents::{Row, Section, measured};
use super::entries::{Entry, Kind};

/// What is said, in the order in which it is asked.
pub(super) fn fields(
    section: Option<&Section>,
    entries: &[Entry],
    bounds: &[String],
) -> Vec<(String, String)> {
    const ORDER: [&str; 16] = [
        "formula",
        "derivative",
        "in rust",
        "parameters",
        "defaults",
        "takes",
        "options",
        "states",
        "notes",
        "names",
        "in short",
        "when",
        "measured",
        "beware",
        "slip",
        "source",
    ];
    // An op that is named beside what it is a part of: that has another formula, derivative and name.
    let is_op = entries.iter().all(|entry| entry.kind == Kind::Op);
    let is_beside = is_op && section.is_some_and(|section| section.kind != Kind::Op);
    let is_of_all = |about: &str| !["Formula", "Derivative", "Names"].contains(&about);
    let said = section.iter().flat_map(|section| &section.fields);
    let said: Vec<&(String, String)> = said.filter(|(about, _)| !is_beside || is_of_all(about)).collect();
    let says = |about: &str| said.iter().any(|(label, _)| label == about);
    // What the section says of both is shorter; that of the ops is said with them.
    let gives_way = |row: &Row, about: &str| match about {
        "formula" => says("Formula"),
        "derivative" => row.kind() == Some(Kind::Op) && says("Derivative"),
        _ => false,
    };
    let mut all: Vec<(String, String)> = Vec::new();
    for row in entries.iter().flat_map(|entry| &entry.rows) {
        let fields = row.fields().into_iter().filter(|(about, _)| !gives_way(row, about));
        all.extend(fields.map(|(about, text)| (about.to_string(), text)));
    }
    all.extend(said.iter().map(|field| (*field).clone()));
    let usual = entries.iter().filter_map(|entry| Some(("defaults".to_string(), defaults(entry)?)));
    all.extend(usual);
    let measured = entries.iter().filter_map(|e| measured(e.kind, &e.name));
    all.extend(measured.map(|text| ("measured".to_string(), text)));
    all.extend(bounds.iter().map(|bound| {
        let text = format!("{bound}, where u = 2⁻²⁴ and y is the result; see docs/NUMERICS.md");
        ("error bound".to_string(), text)
    }));
    let place =
        |about: &str| ORDER.iter().position(|one| one.eq_ignore_ascii_case(about)).unwrap_or(ORDER.len());
    all.sort_by_key(|(about, _)| place(about));
    let mut kept: Vec<(String, String)> = Vec::new();
    for (about, text) in all {
        let about = if about == "in Rust" { about } else { about.to_lowercase() };
        // Formulas are no sentences.
        let is_formula = ["formula", "derivative"].contains(&&*about);
        let text = if is_formula { text.trim_end_matches('.').to_string() } else { text };
        if !kept.iter().any(|(_, known)| *known == text) {
            kept.push((about, text));
        }
    }
    kept
}

/// The numbers that a name stands for.
fn defaults(entry: &Entry) -> Option<String> {
    use wgrad::losses::NAMES;
    use wgrad::nn::Nonlinearity;
    use wgrad::optim::Schedule;
    let of = |names: &[(&str, &str)]| {
        let found = names.iter().find(|(name, takes)| *name == entry.name && !takes.is_empty());
        found.map(|(name, takes)| format!("{name}={takes}"))
    };
    match entry.kind {
        Kind::Activation => {
            let usual = entry.name.parse::<Nonlinearity>().ok()?.to_string();
            usual.contains('=').then_some(usual)
        }
        Kind::Loss => of(&NAMES),
        Kind::Initializer => of(&wgrad::Init::NAMES),
        Kind::Schedule => {
            let takes = of(&Schedule::NAMES)?;
            match entry.name.parse::<Schedule>() {
                Ok(usual) => Some(format!("{takes}; without numbers {usual:?}")),
                Err(_) => Some(takes),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::{CASES, all, section_of};
    use super::super::groups;
    use super::*;

    fn of(entry: &Entry) -> Vec<(String, String)> {
        fields(section_of(entry), std::slice::from_ref(entry), &[])
    }

    fn formulas(kind: Kind, name: &str) -> Vec<String> {
        let entry = all().iter().find(|entry| entry.kind == kind && entry.name == name).unwrap();
        let said = of(entry).into_iter().filter(|(about, _)| about == "formula");
        said.map(|(_, text)| text).collect()
    }

    /// A formula that says where else to look, or is that of an op of several uses, gives way to the section's; what a section says
    /// of an activation or an optimizer is not said of the ops that are named beside it.
    #[test]
    fn formulas_stand_alone() {
        assert_eq!(formulas(Kind::Layer, "Dropout"), ["x / (1 − p) with probability 1 − p, else 0"]);
        assert_eq!(formulas(Kind::Activation, "elu"), ["x above 0, α (eˣ − 1) below"]);
        let elu = all().iter().find(|entry| entry.name == "elu").map(of).unwrap_or_default();
        let derivatives = elu.iter().filter(|(about, _)| about == "derivative");
        assert_eq!(derivatives.count(), 1, "{elu:?}");
        assert_eq!(formulas(Kind::Op, "elu_grad"), ["dy γ above 0, dy βρ e^(ρx) below"]);
        let lamb = formulas(Kind::Optimizer, "lamb");
        assert!(lamb.len() == 1 && lamb[0].contains("‖w‖ / ‖d‖"), "{lamb:?}");
        assert!(formulas(Kind::Op, "lamb_direction")[0].ends_with("w stays"));
        let op = |name: &str| CASES.iter().any(|case| case.op.name() == name);
        for group in groups(all().to_vec()) {
            for (about, text) in fields(group.0, &group.1, &[]) {
                assert!(about != "formula" || !text.split(", ").all(op), "{text} is the name of an op");
            }
        }
    }

    /// A row is read by itself: it does not speak of the one above it.
    #[test]
    fn nothing_is_the_same_as_another_row() {
        for entry in all() {
            let line = ("line".to_string(), entry.line());
            assert!(!line.1.starts_with("as "), "{}: {}", entry.name, line.1);
            for (about, text) in of(entry).into_iter().chain([line]) {
                let text = text.to_lowercase();
                let refers = text.starts_with("the same")
                    || ["pytorch the same", "keras the same", "as above"]
                        .iter()
                        .any(|words| text.contains(words));
                assert!(!refers, "{} {}: {about} {text}", entry.kind.name(), entry.name);
            }
        }
    }
}
