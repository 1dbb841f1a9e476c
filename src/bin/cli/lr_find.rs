//! `wgrad lr-find`.

use std::path::PathBuf;

use serde_json::{Value, json};
use wgrad::optim::OptimizerKind;
use wgrad::train::RateTest;

use super::settings::{self, Settings};
use super::with_trainer::with_trainer;
use super::{Failure, Outcome, open, say, say_device};

/// Finds a learning rate: trains with one that grows from step to step until the loss does, and says where it fell fastest.
///
/// The model, the data and the optimizer are those that `wgrad train` would take with the same options; nothing of it is saved
/// but a picture, lr-find.svg.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wgrad lr-find                        for the digits\n  \
    wgrad lr-find --optimizer sgd --data iris\n  \
    wgrad lr-find --from 1e-5 --to 1 --steps 200")]
pub(super) struct Args {
    /// The rate of the first step
    #[arg(long, value_name = "F", default_value_t = 1e-6)]
    from: f32,
    /// The rate of the last step, unless the loss grows to four times its lowest before
    #[arg(long, value_name = "F", default_value_t = 10.0)]
    to: f32,
    /// Steps of the test
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    steps: u32,
    /// `auto` (a GPU if there is one, else the CPU), `gpu`, `cpu`, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    device: String,
    /// Leave out the picture
    #[arg(long)]
    no_pictures: bool,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: settings::Args,
}

pub(super) fn run(args: &Args) -> Outcome {
    if args.settings.lr.is_some() || args.settings.schedule.is_some() || args.settings.warmup.is_some() {
        return Err(Failure::usage(
            "--lr, --schedule and --warmup have no say here: give the range by --from and --to",
        ));
    }
    if args.settings.step_every.is_some() || args.settings.step_factor.is_some() {
        return Err(Failure::usage(
            "--step-every and --step-factor are of a schedule, which has no say here",
        ));
    }
    let settings = Settings::new(&args.settings, &Value::Null)?;
    if settings.optimizer == OptimizerKind::Rprop {
        return Err(Failure::usage(
            "rprop has steps of its own, which no rate changes; choose its first by --lr",
        ));
    }
    let (optimizer, out) =
        (settings.optimizer, args.settings.out.clone().unwrap_or_else(|| PathBuf::from(".")));
    let (device, no_gpu) = open(&args.device)?;
    if !args.json {
        say_device(&device.info(), no_gpu.as_deref());
    }
    let (what, test) = with_trainer(settings, &args.settings, &device, |trainer, what| {
        Ok((what.to_string(), trainer.find_rate(args.from, args.to, args.steps as usize)?))
    })?;
    let picture = match args.no_pictures {
        true => None,
        false => draw(&test, &out)?,
    };
    if args.json {
        say(json!({
            "rates": test.rates, "losses": test.losses, "smoothed": test.smoothed, "suggested": test.suggested,
            "diverged": test.diverged, "optimizer": optimizer.name(),
            "picture": picture.as_ref().map(|path| path.display().to_string()),
        }));
        return Ok(());
    }
    say(format!("test        {what}, {optimizer}: {} steps\n", test.rates.len()));
    // About a dozen rows, the last one among them.
    let every = test.rates.len().div_ceil(12).max(1);
    say("        rate    loss of the batch    running mean");
    let rows = (0..test.rates.len()).filter(|i| i % every == every - 1 || i + 1 == test.rates.len());
    for i in rows {
        say(format!("{:>12.2e} {:>20.4} {:>15.4}", test.rates[i], test.losses[i], test.smoothed[i]));
    }
    say("");
    match test.suggested {
        Some(rate) => say(format!("suggested   --lr {}: there the loss falls fastest", short(rate))),
        None => say("suggested   none: the loss never falls; try lower rates with --from"),
    }
    if !test.diverged {
        say("the loss never grew to four times its lowest: higher rates, by --to, may do as well");
    }
    if let Some(path) = picture {
        say(format!("drew  {}", path.display()));
    }
    Ok(())
}

/// Two digits, as they are typed.
fn short(rate: f32) -> String {
    let text = format!("{rate:.1e}");
    text.parse::<f32>().map_or(text, |rate| rate.to_string())
}

#[cfg(feature = "plots")]
fn draw(test: &RateTest, out: &std::path::Path) -> Outcome<Option<PathBuf>> {
    if test.rates.len() < 2 {
        return Ok(None);
    }
    let svg = wgrad::plots::rates(&test.rates, &test.losses, &test.smoothed, test.suggested)?;
    std::fs::create_dir_all(out).map_err(|e| Failure::new(format!("{}: {e}", out.display())))?;
    let path = out.join("lr-find.svg");
    wgrad::plots::save(&path, &svg)?;
    Ok(Some(path))
}

#[cfg(not(feature = "plots"))]
fn draw(_: &RateTest, _: &std::path::Path) -> Outcome<Option<PathBuf>> {
    Ok(None)
}
