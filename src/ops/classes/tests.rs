//! Hand-computed values, ranges, and bytes.

use super::rows::gather;
use super::*;
use crate::graph::Graph;
use crate::ops::testing::{Value, eval};
use crate::ops::{AdapterClass, Caps, KernelContext, Op};
use crate::rng::Rng;

fn ints<'a>(shape: &'a [usize], data: &[u32]) -> (&'a [usize], Value) {
    (shape, Value::U32(data.to_vec()))
}

#[test]
fn rows_are_made_and_found() {
    let made = |op: &dyn Op, inputs: &[(&[usize], Value)]| eval(op, true, inputs).unwrap()[0].f().to_vec();
    let table = Value::F((1..10).map(f64::from).collect());
    let first = Value::F((1..7).map(f64::from).collect());
    assert_eq!(made(&OneHot { classes: 3 }, &[ints(&[2], &[2, 0])]), [0., 0., 1., 1., 0., 0.]);
    assert_eq!(
        made(&TakeRows { padding: None }, &[(&[3, 3], table), ints(&[2], &[2, 1])]),
        [7., 8., 9., 4., 5., 6.]
    );
    assert_eq!(made(&Pick, &[(&[2, 3], first), ints(&[2], &[2, 1])]), [3., 5.]);
}

#[test]
fn numbers_out_of_range_are_named() {
    let table = |rows: usize| Value::F(vec![0.0; 3 * rows]);
    let error = eval(&OneHot { classes: 3 }, true, &[ints(&[2], &[2, 3])]).unwrap_err();
    assert_eq!(error, "row 1 holds class 3, outside 0..3");
    let error = eval(&Pick, true, &[(&[2, 3], table(2)), ints(&[2], &[3, 0])]).unwrap_err();
    assert_eq!(error, "row 0 holds class 3, outside 0..3");
    let error =
        eval(&TakeRows { padding: None }, true, &[(&[3, 3], table(3)), ints(&[2], &[1, 9])]).unwrap_err();
    assert_eq!(error, "row 1 holds row number 9, outside 0..3");
}

/// The kernels' index arithmetic, read off the uniform, on words packed as a GPU has them.
#[test]
fn rows_of_bytes_are_packed_as_the_kernels_read_them() {
    let caps = Caps::default_of(AdapterClass::Gpu);
    let mut rng = Rng::new(3, "bytes");
    let words = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(16), 0xee);
        bytes.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<u32>>()
    };
    for (row, expected) in
        [(16, "take_rows_vec4"), (12, "take_rows"), (1, "take_rows_bytes"), (7, "take_rows_bytes")]
    {
        let (rows, index) = (5usize, [3u32, 0, 4, 4, 1]);
        let table: Vec<u8> = (0..rows * row).map(|_| rng.next_u32() as u8).collect();
        let dims = |n| Shape::new(&[n, row]).unwrap();
        let inputs = [
            TensorType { dtype: DType::U8, shape: dims(rows) },
            TensorType::u32(Shape::new(&[index.len()]).unwrap()),
        ];
        let outputs = TakeRows { padding: None }.infer(&inputs).unwrap();
        let ctx = KernelContext::new(&caps, &inputs, &outputs);
        let launch = TakeRows { padding: None }.dispatch(&ctx).unwrap().dispatches.remove(0);
        assert_eq!(launch.kernel.entry, expected);
        let [elements, unit, ..]: [u32; 4] = bytemuck::pod_read_unaligned(&launch.uniform);
        let (from, wide) = (words(&table), if expected == "take_rows_vec4" { 4 } else { 1 });
        let find = |i: u32| (index[(i / unit) as usize] * unit + i % unit) as usize;
        let byte = |i: u32| match i < elements {
            true => (from[find(i) / 4] >> (8 * (find(i) % 4))) & 0xff,
            false => 0,
        };
        let taken: Vec<u32> = match expected {
            "take_rows_bytes" => (0..elements.div_ceil(4))
                .map(|i| (0..4).fold(0, |word, b| word | (byte(4 * i + b) << (8 * b))))
                .collect(),
            _ => (0..elements).flat_map(|i| from[wide * find(i)..][..wide].to_vec()).collect(),
        };
        let mut y = vec![0u8; index.len() * row];
        gather(&table, &index, &mut y);
        let bytes: Vec<u8> = taken.iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(bytes[..y.len()], y, "rows of {row} bytes");
    }
}

#[test]
fn the_range_of_row_numbers_reaches_the_input_they_come_from() {
    let g = Graph::new();
    let (order, labels) = (g.classes("order", [20]), g.classes("labels", [20]));
    let counter = g.classes("counter", [1]);
    let rows = order.batch_rows(counter, 8);
    let y = labels.take_rows(rows).one_hot(10);
    g.bytes("images", [20, 49]).take_rows(rows);
    assert_eq!(y.shape().dims(), [8, 10]);
    let bound = |name| g.inner.borrow().inputs.iter().find(|i| i.name == name).unwrap().bound;
    assert_eq!((bound("order"), bound("labels"), bound("counter")), (Some(20), Some(10), None));
    assert!(g.error().is_none());
}

#[test]
fn gradients_are_one_hot_rows_and_sums_of_rows() {
    let g = Graph::new();
    let (x, index) = (g.input("x", [1, 3]), g.classes("index", [1]));
    let dx = g.gradients(x.pick(index), &[x])[0];
    assert_eq!(dx.shape().dims(), [1, 3]);
    let table = g.input("table", [4, 1]);
    let d = g.gradients(table.take_rows(index), &[table])[0];
    assert_eq!(d.shape().dims(), [4, 1]);
    assert!(g.error().is_none(), "{g}");
    let text = g.to_string();
    assert!(text.contains("grad OneHot") && text.contains("grad ScatterRows { rows: 4,"), "{text}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    type Record = for<'g> fn(&'g Graph) -> Var<'g>;
    let cases: [(Record, &str); 8] = [
        (|g| g.input("x", [3]).one_hot(4), "must be u32"),
        (|g| g.classes("x", [3]).one_hot(0), "at least one class"),
        (|g| g.classes("x", [1; 6]).one_hot(2), "at most 6 axes"),
        (|g| g.input("x", [3, 4]).pick(g.classes("i", [4])), "one class per row"),
        (|g| g.input("x", []).take_rows(g.classes("i", [4])), "has no rows"),
        (|g| g.input("x", [4]).take_rows(g.input("i", [4])), "must be u32"),
        (|g| g.classes("x", [4]).batch_rows(g.classes("i", [2]), 3), "a counter [1]"),
        (|g| g.classes("x", [4]).batch_rows(g.classes("i", [1]), 0), "a batch of 0"),
    ];
    for (record, message) in cases {
        let g = Graph::new();
        record(&g);
        let error = g.error().unwrap().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn counters_go_round() {
    let run = |modulus, counter, steps: u32| {
        let next = |counter, _| eval(&Advance { modulus }, true, &[(&[1], counter)]).unwrap().remove(0);
        (0..steps).fold(Value::U32(vec![counter]), next)
    };
    let are = |counters: &[u32]| counters.iter().map(|&n| Value::U32(vec![n])).collect::<Vec<_>>();
    assert_eq!([run(3, 0, 1), run(3, 0, 2), run(3, 0, 3), run(1, 0, 5)], *are(&[1, 2, 0, 0]));
    assert_eq!([run(0, 7, 1), run(0, u32::MAX, 1)], *are(&[8, 0]));
}
