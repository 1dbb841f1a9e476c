//! Known answers, sizes, and refusals.

use crate::ops::{Conv2dOptions, Padding};
use crate::{Device, Graph};

fn shape(options: Conv2dOptions, x: [usize; 4], weight: [usize; 4]) -> Result<Vec<usize>, String> {
    let g = Graph::new();
    let y = g.input("x", x).conv2d(g.input("w", weight), None, &options);
    match g.error() {
        Some(error) => Err(error.to_string()),
        None => Ok(y.shape().dims().to_vec()),
    }
}

#[test]
fn a_small_convolution_by_hand() {
    let g = Graph::new();
    let (x, w, b) = (g.input("x", [1, 1, 3, 3]), g.input("w", [1, 1, 2, 2]), g.input("b", [1]));
    let valid = Conv2dOptions { padding: Padding::Valid, ..Conv2dOptions::default() };
    let upper = Conv2dOptions { padding: Padding::SameUpper, ..valid };
    let lower = Conv2dOptions { padding: Padding::SameLower, ..valid };
    g.output("valid", x.conv2d(w, Some(b), &valid));
    g.output("upper", x.conv2d(w, None, &upper));
    g.output("lower", x.conv2d(w, None, &lower));
    let mut step = Device::cpu().compile(&g).unwrap();
    let image: Vec<f32> = (1..=9).map(|i| i as f32).collect();
    step.feed("x", &image).unwrap();
    step.feed("w", &[1.0f32, 10.0, 100.0, 1000.0]).unwrap();
    step.feed("b", &[0.5f32]).unwrap();
    step.run().unwrap();
    assert_eq!(step.values("valid").unwrap(), [5421.5, 6532.5, 8754.5, 9865.5]);
    // Of the one row and column that an even kernel needs, SAME_UPPER puts it after, SAME_LOWER before.
    let upper = step.values("upper").unwrap();
    assert_eq!(upper, [5421.0, 6532.0, 603.0, 8754.0, 9865.0, 906.0, 87.0, 98.0, 9.0]);
    let lower = step.values("lower").unwrap();
    assert_eq!(lower, [1000.0, 2100.0, 3200.0, 4010.0, 5421.0, 6532.0, 7040.0, 8754.0, 9865.0]);
}

#[test]
fn sizes_follow_the_padding() {
    let options =
        |padding, stride| Conv2dOptions { padding, stride: [stride; 2], ..Conv2dOptions::default() };
    assert_eq!(shape(options(Padding::SameUpper, 2), [2, 3, 7, 8], [4, 3, 3, 3]), Ok(vec![2, 4, 4, 4]));
    assert_eq!(shape(options(Padding::Valid, 2), [2, 3, 7, 8], [4, 3, 3, 3]), Ok(vec![2, 4, 3, 3]));
    let depthwise = Conv2dOptions { groups: 3, ..options(Padding::SameLower, 1) };
    assert_eq!(shape(depthwise, [1, 3, 5, 5], [6, 1, 4, 4]), Ok(vec![1, 6, 5, 5]));
}

#[test]
fn what_cannot_be_is_refused() {
    let options = Conv2dOptions { padding: Padding::Valid, ..Conv2dOptions::default() };
    assert!(shape(options, [1, 3, 2, 2], [4, 3, 3, 3]).is_err());
    assert!(shape(options, [1, 3, 5, 5], [4, 2, 3, 3]).is_err());
    assert!(shape(Conv2dOptions { stride: [0, 1], ..options }, [1, 3, 5, 5], [4, 3, 3, 3]).is_err());
    assert!(shape(Conv2dOptions { groups: 2, ..options }, [1, 3, 5, 5], [4, 3, 3, 3]).is_err());
}
