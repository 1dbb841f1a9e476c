//! Models of images and their blocks: what they are made of, and `tests/golden/residual.csv`, by PyTorch.

use super::*;
use crate::golden_tests::{Worst, devices, of_layers};
use crate::graph::{Graph, Params};

const GOLDEN: &str = include_str!("../../tests/golden/residual.csv");

/// The layer of this name.
fn layer(params: &Params, name: &str) -> Box<dyn Layer> {
    let block = |inputs, outputs, stride| ResidualBlock::new(params, inputs, outputs, stride);
    let bottleneck = |inputs, stride| ResidualBlock::bottleneck(params, inputs, 2, stride);
    match name {
        "basic/same" => Box::new(block(4, 4, 1)),
        "basic/stride" => Box::new(block(3, 5, 2)),
        "basic/squeeze" => Box::new(block(4, 4, 1).squeeze_excite(2)),
        "bottleneck/same" => Box::new(bottleneck(8, 1)),
        "bottleneck/stride" => Box::new(bottleneck(6, 2)),
        "bottleneck/squeeze" => Box::new(bottleneck(6, 2).squeeze_excite(4)),
        "squeeze" => Box::new(SqueezeExcite::new(params, 6, 3)),
        "separable/same" => Box::new(DepthwiseSeparable::new(params, 4, 6, 1)),
        "separable/stride" => Box::new(DepthwiseSeparable::new(params, 4, 5, 2)),
        "resnet" => Box::new(ResNet::new(params, 2, &[3, 4], 2, 3)),
        other => panic!("{other}"),
    }
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    for device in devices() {
        let Worst { off, what, compared } =
            of_layers(&device, GOLDEN, |params, name, inputs| layer(params, name).forward(inputs["x"]));
        println!("off by {off:e} at most, of {compared}: {what}");
        assert!(off < 1e-5 && compared > 7000, "{device:?}: {off:e} of {compared}: {what}");
    }
}

fn shape(model: &dyn Layer, dims: [usize; 4]) -> Vec<usize> {
    let g = Graph::new();
    let y = model.forward(g.input("x", dims));
    assert!(g.error().is_none(), "{:?}", g.error());
    y.shape().dims().to_vec()
}

#[test]
fn images_are_halved_as_long_as_they_are_large() {
    let features = |image: [usize; 3]| {
        let params = Params::seeded(1);
        let cnn = Cnn::new(&params, image, &[4, 6], 3).dropout(0.5);
        assert_eq!(cnn.convs().count(), 2);
        let [c, h, w] = image;
        assert_eq!(shape(&cnn, [2, c, h, w]), [2, 3]);
        params.get("fc.weight").unwrap().shape().dim(1)
    };
    assert_eq!(features([1, 8, 8]), 6 * 4 * 4);
    assert_eq!(features([1, 28, 28]), 6 * 7 * 7);
    assert_eq!(features([3, 17, 40]), 6 * 4 * 10);
    assert_eq!(features([2, 1, 9]), 6 * 9);
}

#[test]
fn a_residual_network_takes_images_of_any_size() {
    let params = Params::seeded(1);
    let net = ResNet::new(&params, 3, &[4, 8], 2, 5);
    for size in [1, 7, 8] {
        assert_eq!(shape(&net, [2, 3, size, size + 1]), [2, 5]);
    }
    assert!(params.get("layer2.0.downsample.0.weight").is_some());
    assert!(params.get("layer2.1.downsample.0.weight").is_none());
    assert!(params.get("layer1.0.downsample.0.weight").is_none());
}

/// Counted in PyTorch, of torchvision's layers after this beginning.
#[test]
fn known_networks_have_their_sizes() {
    type Make = fn(&Params, usize, usize) -> ResNet;
    let nets: [(Make, usize); 3] =
        [(ResNet::resnet18, 11_173_962), (ResNet::resnet34, 21_282_122), (ResNet::resnet50, 23_520_842)];
    for (make, expected) in nets {
        let params = Params::seeded(1);
        let net = make(&params, 3, 10);
        assert_eq!(shape(&net, [1, 3, 16, 16]), [1, 10]);
        let count: usize = params.trainable().iter().map(|p| p.shape().elements()).sum();
        assert_eq!(count, expected);
    }
}
