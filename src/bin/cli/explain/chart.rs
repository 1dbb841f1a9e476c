//! A curve in characters: Braille patterns, each of which is two dots wide and four high.

use super::curve::Curve;

/// Characters of the area.
const WIDTH: usize = 64;
const HEIGHT: usize = 13;

/// The bit of the dot in a column and a row of a pattern.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Of the columns of dots, every so many has one of the second line, so that it is told from the first.
const SPARSE: usize = 3;

/// The lines of the picture: the first line of the curve is drawn whole, the second in dots.
pub(super) fn chart(curve: &Curve) -> Vec<String> {
    let [low, high] = curve.range().map(f64::from);
    let (columns, rows) = (2 * WIDTH, 4 * HEIGHT);
    let row = |y: f64| {
        let share = (high - y) / (high - low);
        (0.0..=1.0).contains(&share).then(|| (share * (rows - 1) as f64).round() as usize)
    };
    let mut cells = vec![[0u32; WIDTH]; HEIGHT];
    for (line, (_, values)) in curve.lines.iter().enumerate() {
        let at = |column: usize| value_at(values, column as f64 / (columns - 1) as f64);
        let step = if line == 0 { 1 } else { SPARSE };
        for column in (0..columns).step_by(step) {
            let Some(here) = at(column).and_then(row) else { continue };
            // Steep parts are joined to the column before.
            let before = column.checked_sub(1).and_then(at).and_then(row).filter(|_| line == 0);
            let from = before.map_or(here, |before| if before < here { before + 1 } else { here });
            let to = before.map_or(here, |before| if before > here { before - 1 } else { here });
            for dot in from.min(here)..=to.max(here) {
                cells[dot / 4][column / 2] |= DOTS[column % 2][dot % 4];
            }
        }
    }
    let zero_row = row(0.0).map(|row| row / 4);
    let x = |i: usize| curve.x.get(i).copied().unwrap_or_default();
    let (first, last) = (x(0), x(curve.x.len().saturating_sub(1)));
    let zero_column = (first < 0.0 && last > 0.0)
        .then(|| (f64::from(-first / (last - first)) * (WIDTH - 1) as f64).round() as usize);
    let label = |i: usize| match i {
        0 => short(high),
        i if i == HEIGHT - 1 => short(low),
        i if Some(i) == zero_row => "0".into(),
        _ => String::new(),
    };
    let mut lines: Vec<String> = cells
        .iter()
        .enumerate()
        .map(|(i, cells)| {
            let mark = |k: usize| match (Some(i) == zero_row, Some(k) == zero_column) {
                (true, true) => '┼',
                (true, false) => '─',
                (false, true) => '│',
                (false, false) => ' ',
            };
            let drawn = |(k, dots): (usize, &u32)| match dots {
                0 => mark(k),
                dots => char::from_u32(0x2800 + dots).unwrap_or(' '),
            };
            let area: String = cells.iter().enumerate().map(drawn).collect();
            format!("{:>8} {}", label(i), area.trim_end())
        })
        .collect();
    let ends = [short(first.into()), short(last.into())];
    let middle = WIDTH.saturating_sub(ends[0].chars().count() + ends[1].chars().count());
    lines.push(format!("{:>8} {}{:middle$}{}", "", ends[0], "", ends[1]));
    let marks = ["⠒⠒⠒⠒", "⠂⠐⠂⠐"];
    let legend: Vec<String> =
        curve.lines.iter().zip(marks).map(|((name, _), mark)| format!("{mark} {name}")).collect();
    lines.push(format!("{:>8} {}", "", legend.join("   ")));
    lines.push(format!("{:>8} over {}", "", curve.axis));
    lines
}

/// The value at a part of the way, between the two nearest.
fn value_at(values: &[f32], share: f64) -> Option<f64> {
    let at = share * values.len().checked_sub(1)? as f64;
    let [a, b] = [at.floor(), at.ceil()].map(|i| values.get(i as usize).map(|&y| f64::from(y)));
    let (a, b) = (a?, b?);
    let y = a + (b - a) * at.fract();
    y.is_finite().then_some(y)
}

/// Three digits.
fn short(x: f64) -> String {
    let digits = if x == 0.0 { 0 } else { (2 - x.abs().log10().floor() as i32).clamp(0, 4) };
    let text = format!("{x:.*}", digits as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(lines: Vec<Vec<f32>>) -> Curve {
        let x = (0..11).map(|i| i as f32 - 5.0).collect();
        let lines = lines.into_iter().map(|y| ("line".to_string(), y)).collect();
        Curve { title: "t".into(), axis: "x".into(), x, lines, shown: None }
    }

    #[test]
    fn a_line_goes_from_corner_to_corner() {
        let text = chart(&curve(vec![(0..11).map(|i| i as f32).collect()]));
        assert_eq!(text.len(), HEIGHT + 3);
        let dot = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(text[0].starts_with("      10 ") && text[0].ends_with(dot), "{text:#?}");
        assert!(
            text[HEIGHT - 1].starts_with("       0 ") && text[HEIGHT - 1].chars().nth(9).is_some_and(dot)
        );
        let filled =
            text[..HEIGHT].iter().map(|line| line.chars().filter(|&c| dot(c)).count()).sum::<usize>();
        assert!(filled >= WIDTH, "{filled}");
        assert!(text[HEIGHT].contains("-5") && text[HEIGHT].ends_with('5'), "{text:#?}");
    }

    /// What is out of range, or no number, is left out and no panic.
    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let mut odd = vec![f32::NAN; 11];
        odd[3] = f32::INFINITY;
        for lines in [vec![], vec![odd], vec![vec![2.0; 11]], vec![vec![]]] {
            assert_eq!(chart(&curve(lines)).len(), HEIGHT + 3);
        }
        let none = Curve { x: vec![], ..curve(vec![]) };
        assert_eq!(chart(&none).len(), HEIGHT + 3);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, -2.5, 0.12345, 300.0, 1234.0].map(short);
        assert_eq!(shown, ["0", "1", "-2.5", "0.123", "300", "1234"]);
    }
}
