//! Faults planted on purpose, to test that they are found.

use crate::ops::{Dispatch, Kernel};

/// A fault planted on purpose.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedFault {
    /// Replaces text in every shader whose key contains the name.
    Shader {
        /// Part of the kernel's key.
        key: &'static str,
        /// Text to replace.
        from: &'static str,
        /// What replaces it.
        to: &'static str,
    },
    /// Lets one slot be overwritten while its value is needed.
    Memory,
    /// Leaves NaN in workgroup memory, where a driver may leave anything: no fault of a kernel that writes
    /// before it reads.
    Garbage,
    /// Ends all loops of an invocation after as many iterations as [`crate::ops::Dispatch::loop_iterations`] said: no fault where that
    /// is true.
    EndedLoops,
}

impl PlantedFault {
    /// The dispatch's kernel with the fault, where that depends on the launch.
    pub(super) fn plant_in(self, dispatch: &mut Dispatch) {
        if let (PlantedFault::EndedLoops, Some(most)) = (self, dispatch.most_loop_iterations()) {
            dispatch.kernel.text = crate::wgsl::ended_after(&dispatch.kernel.text, most).into();
            dispatch.kernel.key += &format!(".ended{most}");
        }
    }

    /// The kernel's text with the fault.
    pub(super) fn plant(self, kernel: &Kernel) -> String {
        match self {
            PlantedFault::Shader { key, from, to } if kernel.key.contains(key) => {
                kernel.text.replacen(from, to, 1)
            }
            PlantedFault::Garbage => with_garbage(&kernel.text),
            _ => kernel.text.to_string(),
        }
    }
}

/// Text whose entry point first fills all workgroup memory, which wgrad's shaders declare as arrays.
fn with_garbage(text: &str) -> String {
    let between = |text: &str, from: &str, to: &str| -> Option<String> {
        Some(text.split_once(from)?.1.split_once(to)?.0.trim().to_string())
    };
    let mut fill = String::new();
    for declaration in text.split("var<workgroup>").skip(1) {
        let parts = declaration.split_once(':').zip(between(declaration, "array<", ">;"));
        let Some(((name, _), array)) = parts else { return text.to_string() };
        let (name, (element, length)) = (name.trim(), array.split_once(',').unwrap_or((&array, "")));
        let value = match element {
            "f32" => "garbage".to_string(),
            "u32" => "0xfeedf00du".to_string(),
            vector if vector.ends_with("<f32>") => format!("{vector}(garbage)"),
            other => format!("{other}(garbage, 0xfeedf00du)"),
        };
        fill += &format!("for (var i_ = lane_; i_ < {length}; i_ += size_) {{ {name}[i_] = {value}; }}\n");
    }
    let entry = text.split_once("@compute");
    let body = entry.and_then(|(before, rest)| Some((before, rest.split_once('{')?)));
    let Some((before, (head, body))) = body.filter(|_| !fill.is_empty()) else { return text.to_string() };
    let size = between(head, "@workgroup_size(", ")").unwrap_or_default().replace(',', "u * ");
    let lane = between(head, "@builtin(local_invocation_index)", ":").unwrap_or_default();
    format!(
        "{before}@compute{head}{{\nlet lane_ = {lane};\nlet size_ = {size}u;\n\
         let garbage = bitcast<f32>(0x7fc0deadu + min(lane_, 0u));\n{fill}workgroupBarrier();\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_fills_all_workgroup_memory() {
        let mut filled = 0;
        for (_, entry) in crate::wgsl::entry_points() {
            let kernel = Kernel::library(entry).unwrap();
            let text = PlantedFault::Garbage.plant(&kernel);
            let variables = kernel.text.matches("var<workgroup>").count();
            assert_eq!(text.matches("for (var i_ = lane_;").count(), variables, "{entry}");
            let parsed = naga::front::wgsl::parse_str(&text);
            parsed.unwrap_or_else(|e| panic!("{entry}: {}", e.emit_to_string(&text)));
            filled += variables;
        }
        assert!(filled > 8, "{filled}");
    }
}
