//! The loops of a kernel, as text.

/// Whether a text has a loop.
pub(crate) fn has_loops(text: &str) -> bool {
    super::identifiers_in_order(text).any(|word| matches!(word, "for" | "while" | "loop"))
}

/// The text with every loop left once an invocation has begun `most` iterations of all of them, as llvmpipe leaves them after
/// 65,535: a kernel that takes more iterations than were said then gives a wrong result.
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub(crate) fn ended_after(text: &str, most: usize) -> String {
    let mut out = String::from("var<private> iterations_: u32 = 0u;\n\n");
    let mut rest = text;
    while let Some(at) = rest.find("for (") {
        let mut depth = 0usize;
        let head = rest[at..].char_indices().find_map(|(i, c)| {
            depth += usize::from(c == '(');
            depth -= usize::from(c == ')' && depth > 0);
            (c == '{' && depth == 0).then_some(at + i + 1)
        });
        let Some(end) = head else { break };
        out += &rest[..end];
        out += &format!(" iterations_ += 1u; if (iterations_ > {most}u) {{ break; }}");
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_counts() {
        let text = "@group(0) @binding(0) var<storage, read_write> y: array<u32>;\n\
                    @compute @workgroup_size(1)\nfn f() {\n    // for (all)\n    \
                    for (var i = max(0u, 0u); i < min(3u, 4u); i += 1u) {\n        \
                    for (var j = 0u; j < 2u; j += 1u) { y[i] += j; }\n    }\n}";
        assert!(has_loops(text) && !has_loops("fn f() { let form = 1u; } // a loop"));
        let ended = ended_after(text, 7);
        assert_eq!(ended.matches("iterations_ > 7u").count(), 2, "{ended}");
        naga::front::wgsl::parse_str(&ended).unwrap();
    }
}
