//! The examples do what they say, on the CPU and on a GPU. Each fails if it did not learn.
#![allow(missing_docs, clippy::unwrap_used)]
// Each example brings what it shares with others.
#![allow(clippy::duplicate_mod)]

#[allow(dead_code)]
#[path = "../examples/16_adding_problem.rs"]
mod adding_problem;
#[allow(dead_code)]
#[path = "../examples/12_autoencoder.rs"]
mod autoencoder;
#[allow(dead_code)]
#[path = "../examples/10_batches.rs"]
mod batches;
#[allow(dead_code)]
#[path = "../examples/17_char_lstm.rs"]
mod char_lstm;
#[allow(dead_code)]
#[path = "../examples/11_choices.rs"]
mod choices;
#[allow(dead_code)]
#[path = "../examples/04_cnn_digits.rs"]
mod cnn_digits;
#[cfg(feature = "gpu")]
mod common;
#[allow(dead_code)]
#[path = "../examples/07_cpu_vs_gpu.rs"]
mod cpu_vs_gpu;
#[allow(dead_code)]
#[path = "../examples/03_custom_loop.rs"]
mod custom_loop;
#[allow(dead_code)]
#[path = "../examples/14_gan_digits.rs"]
mod gan_digits;
#[allow(dead_code)]
#[path = "../examples/06_iris.rs"]
mod iris;
#[allow(dead_code)]
#[path = "../examples/02_mlp_digits.rs"]
mod mlp_digits;
#[allow(dead_code)]
#[path = "../examples/09_optimizers.rs"]
mod optimizers;
#[allow(dead_code)]
#[path = "../examples/01_perceptron.rs"]
mod perceptron;
#[allow(dead_code)]
#[path = "../examples/05_resnet_digits.rs"]
mod resnet_digits;
#[allow(dead_code)]
#[path = "../examples/08_rmsprop.rs"]
mod rmsprop;
#[allow(dead_code)]
#[path = "../examples/19_time_series.rs"]
mod time_series;
#[allow(dead_code)]
#[path = "../examples/15_transformer_arithmetic.rs"]
mod transformer_arithmetic;
#[allow(dead_code)]
#[path = "../examples/13_vae_digits.rs"]
mod vae_digits;
#[allow(dead_code)]
#[path = "../examples/18_word_vectors.rs"]
mod word_vectors;

use wgrad::Device;
use wgrad::nn::RecurrentKind;

fn devices() -> Vec<Device> {
    #[cfg(feature = "gpu")]
    let gpu = common::gpu().map(Device::from);
    #[cfg(not(feature = "gpu"))]
    let gpu = None;
    [Device::cpu()].into_iter().chain(gpu).collect()
}

#[test]
fn perceptron_learns_what_it_can() {
    devices().iter().for_each(|device| perceptron::run(device).unwrap());
}

#[test]
fn mlp_learns_digits() {
    devices().iter().for_each(|device| mlp_digits::run(device).unwrap());
}

#[test]
fn custom_loop_learns_digits() {
    devices().iter().for_each(|device| custom_loop::run(device).unwrap());
}

#[test]
fn cnn_learns_digits() {
    devices().iter().for_each(|device| cnn_digits::run(device).unwrap());
}

#[test]
fn resnet_learns_digits() {
    devices().iter().for_each(|device| resnet_digits::run(device).unwrap());
}

#[test]
fn an_mlp_learns_iris() {
    devices().iter().for_each(|device| iris::run(device).unwrap());
}

#[test]
fn an_optimizer_of_ones_own_learns_digits() {
    devices().iter().for_each(|device| rmsprop::run(device).unwrap());
}

#[test]
fn cpu_and_gpu_learn_the_same() {
    devices().iter().for_each(|device| cpu_vs_gpu::run(device).unwrap());
}

#[test]
fn batches_of_a_few_rows_learn_digits() {
    // Single rows are many launches: on the CPU alone.
    batches::run(&Device::cpu()).unwrap();
}

#[test]
fn optimizers_find_their_way_down() {
    optimizers::run(&Device::cpu(), false).unwrap();
}

#[test]
fn a_character_lstm_learns_a_novel() {
    devices().iter().for_each(|device| char_lstm::quick(device).unwrap());
}

#[test]
fn choices_are_measured() {
    let activations = ["relu", "swish", "maxout"].map(|name| name.parse().unwrap());
    let optimizers = ["adam", "momentum"].map(|name| name.parse().unwrap());
    let accuracies = choices::run(&activations, &["he-normal"], &optimizers).unwrap();
    assert_eq!(accuracies.len(), 5);
    assert!(accuracies.iter().all(|accuracy| *accuracy > 0.88), "{accuracies:?}");
}

#[test]
fn a_gru_remembers_what_a_plain_network_does_not() {
    let error = |kind| adding_problem::train(&Device::cpu(), kind, 40, 600, 1).unwrap();
    let (plain, gru) = (error(RecurrentKind::Tanh), error(RecurrentKind::Gru));
    assert!(plain > 0.1 && gru < 0.03, "{plain} {gru}");
}

#[test]
fn a_transformer_adds_numbers_it_has_not_seen() {
    // A third after these steps, nearly none by chance; all after as many as the example takes.
    let share = transformer_arithmetic::run(&Device::cpu(), 2, 700).unwrap();
    assert!(share > 0.2, "{share}");
}

#[test]
fn words_that_stand_alike_have_vectors_alike() {
    devices().iter().for_each(|device| assert!(word_vectors::run(device).unwrap() > 0.9));
}

#[test]
fn a_gru_forecasts_sunspots_as_well_as_a_linear_function() {
    time_series::run(&Device::cpu()).unwrap();
}

#[test]
fn autoencoders_are_better_than_a_linear_map() {
    for (device, epochs) in devices().iter().zip([autoencoder::EPOCHS, 15]) {
        autoencoder::run(device, 1, epochs, None).unwrap();
    }
}

#[test]
fn a_variational_autoencoder_draws_digits() {
    for device in devices() {
        vae_digits::run(&device, 1, vae_digits::EPOCHS, 0.85, None).unwrap();
    }
}

/// In fewer epochs on a GPU, which software adapters take long for.
#[test]
fn a_generator_and_a_discriminator_draw_digits() {
    for (device, (epochs, aim)) in devices().iter().zip([(gan_digits::EPOCHS, 0.85), (12, 0.5)]) {
        gan_digits::run(device, 1, epochs, aim, None).unwrap();
    }
}
