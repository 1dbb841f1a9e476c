//! Tests of data sets.

use super::*;

pub(in crate::data) fn four() -> Dataset {
    let values = Values::bytes((0..8).collect(), 0.5);
    Dataset::new("four/train", [1, 1, 2], values, vec![0, 1, 2, 1], 3).unwrap()
}

fn floats() -> Dataset {
    Dataset::new("floats", [2], vec![0.5, -1.0, 2.0, 3.0, 4.0, 5.0], vec![1, 0, 1], 2).unwrap()
}

pub(in crate::data) fn message(result: Result<impl fmt::Debug>) -> String {
    match result {
        Err(Error::Invalid(message)) => message,
        other => panic!("not Invalid: {other:?}"),
    }
}

#[test]
fn rows_are_found_and_the_end_is_none() {
    let data = four();
    assert_eq!((data.len(), data.is_empty(), data.example_len()), (4, false, 2));
    assert_eq!(data.row(3), Some(vec![3.0, 3.5]));
    assert_eq!((data.row(4), data.row(usize::MAX)), (None, None));
    assert_eq!(floats().row(1), Some(vec![2.0, 3.0]));
    assert_eq!(floats().row(3), None);
}

#[test]
fn rows_are_gathered_as_they_are_stored() {
    assert_eq!(four().gather(&[2, 0]).unwrap(), (Data::U8(vec![4, 5, 0, 1]), vec![2, 0]));
    assert_eq!(floats().gather(&[2]).unwrap(), (Data::F32(vec![4.0, 5.0]), vec![1]));
    assert!(message(floats().gather(&[1, 3])).contains("row 3 was asked for"));
    let picked = four().select("picked", &[3, 3]).unwrap();
    assert_eq!((picked.name.as_str(), picked.labels().to_vec()), ("picked", vec![1, 1]));
    assert_eq!(*picked.values(), Values::bytes(vec![6, 7, 6, 7], 0.5));
}

#[test]
fn parts_that_disagree_are_refused() {
    let new = |shape: &[usize], values: usize, labels: &[u32], classes, scale| {
        message(Dataset::new("d", shape, Values::bytes(vec![0; values], scale), labels.to_vec(), classes))
    };
    assert!(new(&[2], 0, &[], 1, 1.0).contains("no rows"));
    assert!(new(&[2, 0], 0, &[0], 1, 1.0).contains("no values"));
    assert!(new(&[2], 5, &[0, 0], 1, 1.0).contains("5 values"));
    assert!(new(&[usize::MAX, 2], 5, &[0, 0], 1, 1.0).contains("5 values"));
    assert!(new(&[1], 2, &[0, 3], 3, 1.0).contains("row 1 has label 3, but there are 3 classes"));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(new(&[1], 1, &[0], 1, scale).contains("scale"));
        assert!(message(four().with_scale(scale)).contains("scale"));
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let floats = Dataset::new("d", [2], vec![0.0, 0.0, 0.0, value], vec![0, 0], 1);
        assert!(message(floats).contains("row 1 holds"));
    }
    assert!(message(floats().with_scale(0.5)).contains("holds floats"));
    assert!(message(floats().with_class_names(vec!["a".into()])).contains("1 names for 2 classes"));
}

#[test]
fn classes_have_names_or_numbers() {
    let named = floats().with_class_names(vec!["no".into(), "yes".into()]).unwrap();
    assert_eq!((named.class_name(1), floats().class_name(1)), ("yes".to_string(), "1".to_string()));
}

#[test]
fn scale_is_all_that_with_scale_changes() {
    assert_eq!(four().with_scale(0.5).unwrap(), four());
    assert_eq!(four().with_scale(0.25).unwrap().scale(), 0.25);
}

#[test]
fn validation_rows_come_from_the_end() {
    let (train, validation) = four().split_validation(1).unwrap();
    assert_eq!(
        (train.values().as_bytes(), train.labels().to_vec()),
        (Some(&[0, 1, 2, 3, 4, 5][..]), vec![0, 1, 2])
    );
    assert_eq!((validation.values().as_bytes(), validation.labels()), (Some(&[6, 7][..]), &[1][..]));
    assert_eq!((train.name.as_str(), validation.name.as_str()), ("four/train", "four/validation"));
    assert_eq!(validation.scale(), 0.5);
    assert_eq!((validation.shape(), validation.classes()), (&[1, 1, 2][..], 3));
    let (train, validation) = floats().split_validation(1).unwrap();
    assert_eq!((train.values().len(), validation.values()), (4, &Values::Floats(vec![4.0, 5.0])));
}

#[test]
fn no_validation_is_allowed_and_no_training_is_not() {
    let (train, validation) = four().split_validation(0).unwrap();
    assert_eq!(train, four());
    assert!(validation.is_empty() && validation.values().is_empty());
    for n in [4, 5, usize::MAX] {
        assert!(message(four().split_validation(n)).contains("keep at most 3"));
    }
}

#[test]
fn fields_set_by_hand_are_checked_before_a_split() {
    let mut data = four();
    data.inputs[0].values = Values::bytes(vec![0; 7], 0.5);
    assert_eq!(data.row(3), None);
    assert!(message(data.gather(&[3])).contains("4 rows and values for 3"));
    assert!(message(data.split_validation(1)).contains("7 values"));
}

#[test]
fn debug_prints_no_values() {
    let text = format!("{:?}", four());
    assert!(text.contains("rows: 4") && text.contains("8 bytes times 0.5"), "{text}");
}

/// Two inputs and a pair of quantities.
fn pair() -> Dataset {
    let inputs = vec![
        Input::new("words", [2], Values::Indices(vec![0, 1, 2, 3, 4, 5])),
        Input::new("length", [], vec![2.0, 1.0, 2.0]),
    ];
    let targets = Targets::Values { shape: vec![2], values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0].into() };
    Dataset::from_parts("pair/train", inputs, targets).unwrap()
}

#[test]
fn inputs_and_targets_go_together() {
    let data = pair();
    assert_eq!((data.len(), data.shape(), data.classes(), data.labels()), (3, &[2][..], 0, &[][..]));
    assert_eq!((data.row(1), data.target(1)), (Some(vec![2.0, 3.0]), Some(vec![2.0, 3.0])));
    let batch = data.batch(&[2, 0]).unwrap();
    assert_eq!(batch.inputs, [Data::U32(vec![4, 5, 0, 1]), Data::F32(vec![2.0, 2.0])]);
    assert_eq!(batch.targets, Some(Data::F32(vec![4.0, 5.0, 0.0, 1.0])));
    let picked = data.select("picked", &[1]).unwrap();
    assert_eq!((picked.batch(&[0]).unwrap(), picked.len()), (data.batch(&[1]).unwrap(), 1));
    let (train, validation) = data.clone().split_validation(1).unwrap();
    assert_eq!((train.len(), validation.len()), (2, 1));
    assert_eq!(validation.batch(&[0]).unwrap(), data.batch(&[2]).unwrap());
    let same = four().to_reconstruct();
    assert_eq!((same.target(3), same.batch(&[0]).unwrap().targets), (Some(vec![3.0, 3.5]), None));
    assert_eq!(same.split_validation(1).unwrap().1.len(), 1);
}

#[test]
fn inputs_and_targets_that_disagree_are_refused() {
    let with = |change: &dyn Fn(&mut Dataset)| {
        let mut data = pair();
        change(&mut data);
        message(data.select("d", &[0]).and_then(|_| data.check()))
    };
    assert!(with(&|d| d.inputs[1].values = vec![0.0; 4].into()).contains("an input `length` of shape []"));
    assert!(with(&|d| d.inputs[1].name = "words".into()).contains("two inputs are called `words`"));
    let nan = Targets::Values { shape: vec![2], values: vec![0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0].into() };
    assert!(with(&|d| d.targets = nan.clone()).contains("of the targets, row 1 holds NaN"));
    let indices = Targets::Values { shape: vec![2], values: Values::Indices(vec![0; 6]) };
    assert!(with(&|d| d.targets = indices.clone()).contains("targets are indices"));
    assert!(message(Dataset::from_parts("d", vec![], pair().targets)).contains("no input"));
    assert!(message(pair().with_class_names(vec![])).contains("no classes"));
    assert!(pair().difference(&pair().to_reconstruct()).unwrap().contains("targets [2] of floats"));
}
