//! The loss by learning rate.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{BLUE, GREY, PLAIN, Text, VERMILLION, failed, picture, ruled, text};
use crate::error::{Error, Result};

/// Losses of a range test ([`crate::train::Trainer::find_rate`]) over the learning rate, which has a logarithmic axis: points, their
/// running means as a line, and a mark at the rate that is suggested.
///
/// # Errors
/// [`Error::Invalid`] where there are not as many of each, or fewer than two.
pub fn rates(rates: &[f32], losses: &[f64], smoothed: &[f64], suggested: Option<f32>) -> Result<String> {
    let ends = (rates.first(), rates.last());
    let (Some(&from), Some(&to), true) =
        (ends.0, ends.1, rates.len() > 1 && rates.len() == losses.len() && rates.len() == smoothed.len())
    else {
        return Err(Error::Invalid("a range test of two steps or more has a picture".into()));
    };
    let finite = |x: &&f64| x.is_finite();
    // Single losses can be far off: the axis is that of the means.
    let low = smoothed.iter().filter(finite).copied().fold(f64::INFINITY, f64::min);
    let high = smoothed.iter().filter(finite).copied().fold(f64::NEG_INFINITY, f64::max);
    let room = (0.08 * (high - low)).max(1e-9 * high.abs()).max(1e-12);
    let (low, high) = (low - room, high + room);
    if !(low.is_finite() && high.is_finite() && from > 0.0 && from < to) {
        return Err(Error::Invalid("a range test of finite losses at growing rates has a picture".into()));
    }
    picture((720, 420), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((f64::from(from)..f64::from(to)).log_scale(), low..high)
            .map_err(failed)?;
        ruled(&mut chart.configure_mesh(), 13)
            .x_desc("learning rate")
            .y_desc("loss of a batch")
            .x_label_formatter(&|x| format!("{x:e}"))
            .draw()
            .map_err(failed)?;
        let at = |values: &[f64]| -> Vec<(f64, f64)> {
            let pairs = rates.iter().map(|&r| f64::from(r)).zip(values.iter().copied());
            pairs.filter(|p| p.1.is_finite() && p.1 >= low && p.1 <= high).collect()
        };
        let points = at(losses).into_iter().map(|p| Circle::new(p, 2, GREY.filled()));
        chart.draw_series(points).map_err(failed)?;
        chart.draw_series(LineSeries::new(at(smoothed), BLUE.stroke_width(2))).map_err(failed)?;
        if let Some(rate) = suggested {
            let x = f64::from(rate);
            let line = vec![(x, low), (x, high)];
            chart.draw_series([PathElement::new(line, VERMILLION.stroke_width(2))]).map_err(failed)?;
            let (x, y) = chart.backend_coord(&(x, high));
            text(
                area,
                &format!(" {rate:.1e}"),
                (x, y + 10),
                Text { color: VERMILLION, h: HPos::Left, ..PLAIN },
            )?;
        }
        Ok(())
    })
}
