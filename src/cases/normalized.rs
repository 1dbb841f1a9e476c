//! Cases of what the planner makes of normalizations that are compositions: every kernel in which their formulas are
//! together, forward and backward.

use super::fused::all_of;
use crate::graph::{Graph, Var};
use crate::ops::{Case, Fillings};

/// All fused kernels of a normalization of the first of some inputs, and of its gradients.
fn of(name: &str, shapes: &[&[usize]], record: impl for<'g> Fn(&[Var<'g>]) -> Var<'g>) -> Vec<Case> {
    let cases = all_of(&format!("{name} of {:?}", shapes[0]), |g: &Graph| {
        let x: Vec<Var<'_>> = shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), *s)).collect();
        let y = record(&x);
        g.output("y", y);
        let dy = g.input("dy", y.shape());
        for (i, gradient) in g.gradients((y * dy).sum_all(), &x).into_iter().enumerate() {
            g.output(&format!("d{i}"), gradient);
        }
    });
    // Means of squares and roots are among the inputs.
    let positive = |mut case: Case| {
        case.inputs.iter_mut().for_each(|(_, filling)| *filling = Fillings::Uniform(0.1, 3.0));
        case
    };
    cases.into_iter().map(positive).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for x in [&[2, 6, 4, 4][..], &[3, 4, 3, 5], &[5, 8]] {
        let c = &x[1..2];
        cases.extend(of("group_norm", &[x, c, c], |v| v[0].group_norm(2, Some(v[1]), Some(v[2]), 1e-3)));
        cases.extend(of("local_response_norm", &[x], |v| v[0].local_response_norm(3, 0.5, 0.75, 2.0)));
    }
    for x in [&[7, 16][..], &[2, 3, 5], &[3, 2050]] {
        let width = &x[x.len() - 1..];
        cases.extend(of("rms_norm", &[x, width], |v| v[0].rms_norm(Some(v[1]), 1e-3)));
    }
    for v in [&[6, 8][..], &[5, 2, 3, 3]] {
        let mut lengths = vec![1; v.len()];
        lengths[0] = v[0];
        cases.extend(of("weight_norm", &[v, &lengths], |x| x[0].weight_norm(x[1])));
        let columns = v[1..].iter().product();
        cases.extend(of("spectral_norm", &[v, &v[..1], &[columns]], |x| x[0].spectral_norm(x[1], x[2])));
        cases.extend(of("power_iteration", &[v, &v[..1]], |x| x[0].power_iteration(x[1], 1e-12)[0]));
    }
    cases
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_normalization_has_fused_kernels() {
        let names: Vec<String> = super::cases().into_iter().map(|c| c.name).collect();
        for name in
            ["group", "local_response", "rms", "weight", "spectral"].map(|name| format!("{name}_norm"))
        {
            assert!(names.iter().filter(|n| n.starts_with(&name)).count() >= 2, "{name}: {names:#?}");
        }
        assert!(names.len() > 20, "{names:#?}");
    }
}
