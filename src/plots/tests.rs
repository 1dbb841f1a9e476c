//! What the pictures say, and what they refuse.

use super::*;
use crate::train::{EpochRecord, Scores};

fn scores(loss: f64, accuracy: f64) -> Scores {
    Scores { loss, metrics: vec![("accuracy".into(), accuracy)] }
}

/// Epochs whose losses fall.
fn run(epochs: usize) -> Vec<EpochRecord> {
    let record = |epoch: usize| {
        let left = (-(epoch as f64) / 8.0).exp();
        EpochRecord {
            watched: None,
            epoch,
            epochs,
            train: scores(0.02 + 1.4 * left, 0.998 - 0.4 * left),
            validation: Some(scores(0.06 + 0.5 * left, 0.985 - 0.2 * left)),
            is_best: true,
            samples_per_second: 1e4,
            seconds: 0.1,
        }
    };
    (1..=epochs).map(record).collect()
}

fn attribute<'t>(element: &'t str, name: &str) -> &'t str {
    let start = element.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
    element[start..].split('"').next().unwrap()
}

/// Every element of an SVG lies within it, as far as its coordinates say; texts too, by a generous width.
fn assert_inside(svg: &str) {
    let root = &svg[..svg.find('>').unwrap()];
    let size = |name| attribute(root, name).parse::<f64>().unwrap();
    let (width, height) = (size("width"), size("height"));
    for part in svg.split('<').filter(|p| p.starts_with("rect ") || p.starts_with("text ")) {
        let number = |name| attribute(part, name).parse::<f64>().unwrap();
        let (x, y) = (number("x"), number("y"));
        assert!((0.0..=width).contains(&x) && (0.0..=height).contains(&y), "{part}");
        if part.starts_with("rect ") {
            assert!(x + number("width") <= width && y + number("height") <= height, "{part}");
            continue;
        }
        let long = 0.6 * number("font-size") * part.split_once('>').unwrap().1.trim().chars().count() as f64;
        let room = match attribute(part, "text-anchor") {
            "start" => width - x,
            "end" => x,
            _ => 2.0 * x.min(width - x),
        };
        assert!(part.contains("rotate") || long <= room, "{long} > {room}: {part}");
    }
}

/// How often a text occurs as a whole text element.
fn texts(svg: &str, wanted: &str) -> usize {
    svg.split('<').filter(|p| p.starts_with("text ") && p.split_once('>').unwrap().1.trim() == wanted).count()
}

#[test]
fn curves_show_both_lines_and_the_epoch_kept() {
    let svg = curves(&run(30), Some(30), "cross-entropy", "accuracy").unwrap();
    assert_inside(&svg);
    for words in ["cross-entropy loss", "accuracy, %", "kept: epoch 30"] {
        assert!(svg.contains(words), "{words}");
    }
    assert_eq!((texts(&svg, "training"), texts(&svg, "validation"), texts(&svg, "epoch")), (2, 2, 2));
    assert!(curves(&[], None, "mse", "r2").unwrap_err().to_string().contains("no epoch"));
}

/// One epoch, no validation rows, a loss that stays, an epoch kept that is not there: none is a reason to fail.
#[test]
fn curves_of_little() {
    let mut one = run(1);
    one[0].validation = None;
    for records in [one.clone(), vec![one[0].clone(), EpochRecord { epoch: 2, ..one[0].clone() }]] {
        let svg = curves(&records, Some(7), "mse", "accuracy").unwrap();
        assert_inside(&svg);
        assert_eq!((texts(&svg, "training"), texts(&svg, "validation")), (2, 0));
        assert!(!svg.contains("kept"));
    }
    let mut broken = run(3);
    broken[1].train.loss = f64::NAN;
    broken[2].train.loss = f64::INFINITY;
    assert_inside(&curves(&broken, None, "mse", "accuracy").unwrap());
    // A metric that nothing has, and one that is below 0.
    let svg = curves(&run(3), None, "mse", "r2").unwrap();
    assert_eq!((texts(&svg, "training"), svg.contains("r2")), (1, false));
    let mut negative = run(3);
    negative[0].train.metrics = vec![("r2".into(), -3.0)];
    assert!(curves(&negative, None, "mse", "r2").unwrap().contains("r2"));
}

#[test]
fn confusion_counts_what_is_right() {
    let names: Vec<String> = ["cat", "dog", "a rather long name"].map(String::from).into();
    let svg = confusion(&[vec![7, 1, 0], vec![0, 9, 1], vec![2, 0, 0]], &names).unwrap();
    assert_inside(&svg);
    assert!(svg.contains("16 of 20 right (80.0 %)"), "{svg}");
    assert_eq!((texts(&svg, "87.5 %"), texts(&svg, "90.0 %"), texts(&svg, "0.0 %")), (1, 1, 1));
    assert_eq!((texts(&svg, "cat"), texts(&svg, "a rather long…")), (2, 2));
    // Zeros are left empty: they would hide the mistakes.
    assert_eq!((texts(&svg, "7"), texts(&svg, "1"), texts(&svg, "0")), (1, 2, 0));
    for k in [1, 2, 10, 41, 100] {
        let counts: Vec<Vec<u32>> =
            (0..k).map(|i| (0..k).map(|j| u32::from(i == j) * 1000).collect()).collect();
        assert_inside(&confusion(&counts, &[]).unwrap());
    }
    for bad in [vec![], vec![vec![1, 2]], vec![vec![1], vec![2]]] {
        assert!(confusion(&bad, &[]).unwrap_err().to_string().contains("as many rows as columns"));
    }
}

fn mistake(row: usize, values: Vec<f32>) -> Mistake {
    Mistake { row, values, class: 3, probability: 0.015, taken_for: 8, taken_for_probability: 0.971 }
}

#[test]
fn mistakes_say_what_was_said_and_what_is() {
    let image = |row: usize| mistake(row, (0..64).map(|i| (i % 17) as f32).collect());
    for n in [1, 5, 6, 7, 24, 80] {
        let list: Vec<Mistake> = (0..n).map(image).collect();
        let svg = mistakes(&[1, 8, 8], &list, &[]).unwrap();
        assert_inside(&svg);
        assert_eq!((texts(&svg, "said 8 (97.1 %)"), texts(&svg, "is 3 (1.5 %)")), (n.min(64), n.min(64)));
    }
    assert_eq!(texts(&mistakes(&[1, 8, 8], &[], &[]).unwrap(), "no mistakes"), 1);
    let red = mistake(0, [vec![1.0; 16], vec![0.0; 32]].concat());
    let svg = mistakes(&[3, 4, 4], &[red], &[]).unwrap();
    assert!(svg.to_uppercase().contains("#FF0000"), "{svg}");
    assert!(
        mistakes(&[1, 8, 8], &[mistake(7, vec![0.0; 63])], &[]).unwrap_err().to_string().contains("row 7")
    );
    for shape in [&[][..], &[64], &[0, 8, 8], &[1, 1, 8, 8]] {
        assert!(mistakes(shape, &[], &[]).unwrap_err().to_string().contains("no shape of an image"));
    }
    // Images of one value have no scale, and values that are none are drawn as the lowest.
    mistakes(&[2, 2], &[mistake(0, vec![0.5; 4]), mistake(1, vec![f32::NAN; 4])], &[]).unwrap();
}

#[test]
fn filters_are_tiles_on_one_scale() {
    for (shape, tiles) in [
        ([16, 1, 3, 3], "first layer: 16 filters, 3 × 3"),
        ([64, 3, 7, 7], "first layer: the first 64 of 192 filters, 7 × 7"),
        ([1, 1, 1, 1], "first layer: 1 filters, 1 × 1"),
        ([128, 1, 28, 28], "first layer: the first 64 of 128 filters, 28 × 28"),
        ([4, 2, 1, 5], "first layer: 8 filters, 1 × 5"),
    ] {
        let n = shape.iter().product::<usize>();
        let weights: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * 0.25).collect();
        let svg = filters(&weights, shape).unwrap();
        assert_inside(&svg);
        assert_eq!(texts(&svg, tiles), 1, "{shape:?}");
    }
    let svg = filters(&[0.5, -0.25, 0.0, f32::NAN], [1, 1, 2, 2]).unwrap();
    assert_eq!((texts(&svg, "+0.500"), texts(&svg, "-0.500")), (1, 1));
    filters(&[0.0; 4], [1, 1, 2, 2]).unwrap();
    assert!(filters(&[0.0; 3], [1, 1, 2, 2]).unwrap_err().to_string().contains("3 weights"));
    assert!(filters(&[], [0, 1, 2, 2]).is_err());
}

/// The colours of the pixels, in the order that they are drawn in.
fn fills(svg: &str) -> Vec<&str> {
    let rects = svg.split('<').filter(|p| p.starts_with("rect ") && !p.contains("fill=\"none\""));
    rects.map(|part| attribute(part, "fill")).collect()
}

#[test]
fn images_stand_in_rows_on_one_scale() {
    let row = |label: &str, images: &[&[f32]]| ImageRow {
        label: label.into(),
        images: images.iter().map(|image| image.to_vec()).collect(),
    };
    let ramp: &[f32] = &[0.0, 1.0, 0.5, 0.25];
    let columns = ["a", "b", "c"].map(String::from);
    let rows = [row("original", &[ramp, ramp]), row("epoch 5", &[&[1.0, 0.0, 0.0, 1.0]])];
    let svg = images("what it makes", &[1, 2, 2], &columns, &rows).unwrap();
    assert_inside(&svg);
    let shown = ["what it makes", "original", "epoch 5", "a", "b", "c"].map(|words| texts(&svg, words));
    // No third image is there for a third column.
    assert_eq!(shown, [1, 1, 1, 1, 1, 0]);
    // Behind all the white ground; high values are dark, by the scale of all images.
    let (white, ink) = ("#FFFFFF", "#222222");
    let grey = fills(&svg)[3];
    assert!(![white, ink].contains(&grey), "{grey}");
    let first = [white, ink, grey, fills(&svg)[4]];
    assert_eq!(fills(&svg), [&[white][..], &first, &first, &[ink, white, white, ink]].concat());

    let red = [vec![1.0; 4], vec![0.0; 8]].concat();
    let svg = images("red", &[3, 2, 2], &[], &[row("", &[&red])]).unwrap();
    assert!(fills(&svg).contains(&"#FF0000"), "{svg}");
    // Many, large, single and broken ones.
    let many = vec![row("a label that is far too long for its place", &[&[0.5; 784][..]; 32]); 32];
    let names: Vec<String> = (0..32).map(|i| format!("column {i}")).collect();
    assert_inside(&images("many", &[28, 28], &names, &many).unwrap());
    assert_inside(&images("one", &[1, 1], &[], &[row("", &[&[f32::NAN]])]).unwrap());

    let refused = |shape: &[usize], rows: &[ImageRow]| images("", shape, &[], rows).unwrap_err().to_string();
    assert!(refused(&[2, 2], &[row("x", &[ramp, &ramp[1..]])]).contains("image 1 of row `x` has 3 values"));
    assert!(refused(&[4], &[row("x", &[ramp])]).contains("no shape of an image"));
    assert!(refused(&[2, 2], &[]).contains("a picture takes 1 to 1024"));
    assert!(refused(&[2, 2], &vec![row("x", &[ramp; 33]); 32]).contains("32 rows of up to 33 images"));
}

fn panel(title: &str, points: &[(usize, f64)]) -> SizeCurves {
    let line = |label: &str, factor: f64| SizeLine {
        label: label.into(),
        points: points.iter().map(|&(size, seconds)| (size, seconds * factor)).collect(),
    };
    let lines = vec![line("CPU", 1.0), line("GPU", 1.7)];
    SizeCurves { title: title.into(), unit: "n".into(), quantity: Quantity::Seconds, lines }
}

#[test]
fn sizes_have_a_panel_for_each_op() {
    let points = [(16, 2e-6), (64, 4e-5), (256, 1e-3), (1024, 0.08)];
    for n in [1, 2, 5] {
        let panels: Vec<SizeCurves> = (0..n).map(|i| panel(&format!("op {i}"), &points)).collect();
        let svg = sizes(&panels).unwrap();
        assert_inside(&svg);
        assert_eq!((texts(&svg, "op 0"), texts(&svg, "CPU"), texts(&svg, "n")), (1, 1, n));
    }
    assert_inside(&sizes(&[panel("one size", &[(5, 1e-3)])]).unwrap());
    let memory = [(1, 2e3), (2, 5e6), (4, 1e9)];
    let svg = sizes(&[SizeCurves { quantity: Quantity::Bytes, ..panel("memory", &memory) }]).unwrap();
    assert_inside(&svg);
    assert!(svg.contains("MB") && !svg.contains(" ms"), "{svg}");
    assert!(sizes(&[]).is_err());
    for bad in [&[][..], &[(0, 1.0)], &[(1, 0.0)], &[(1, f64::NAN)]] {
        assert!(sizes(&[panel("bad", bad)]).unwrap_err().to_string().contains("`bad` needs sizes"));
    }
}

#[test]
fn what_names_hold_is_escaped() {
    let svg = confusion(&[vec![1]], &["<a&b>".into()]).unwrap();
    assert!(svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&b>"), "{svg}");
}

#[test]
fn files_are_replaced_and_folders_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/picture.svg");
    save(&path, "old").unwrap();
    save(&path, "new").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    assert!(save(path.join("below"), "x").unwrap_err().to_string().contains("picture.svg"));
}

#[test]
fn numbers_are_drawn_against_what_they_are() {
    let pairs: Vec<(f64, f64)> = (0..5000).map(|i| (f64::from(i), 0.9 * f64::from(i) + 3.0)).collect();
    for svg in [predicted(&pairs, "price").unwrap(), residuals(&pairs, "price").unwrap()] {
        assert_inside(&svg);
        let points = svg.matches("<circle").count();
        assert!((1000..=2000).contains(&points) && svg.contains("predicted price"), "{points}");
    }
    // One row, numbers that are all one, and some that are none.
    for pairs in
        [vec![(1.0, 1.0)], vec![(7.0, 7.0); 3], vec![(1e30, f64::NAN), (0.0, 0.0)], vec![(1e-30, 2e30)]]
    {
        assert_inside(&predicted(&pairs, "y").unwrap());
        assert_inside(&residuals(&pairs, "y").unwrap());
    }
    assert!(predicted(&[(f64::NAN, 0.0)], "y").unwrap_err().to_string().contains("no predictions"));
}

#[test]
fn paths_lie_on_a_map_of_their_function() {
    let bowl = |x: f64, y: f64| x * x + y * y;
    let path = vec![[1.0, 1.0], [0.5, 0.25], [f64::NAN, 0.0], [30.0, 0.0]];
    let svg = paths("bowl", bowl, [-1.0, 1.0], [-2.0, 2.0], &[("downhill".into(), path)]).unwrap();
    assert!(svg.contains(">\nbowl\n<") && svg.contains("downhill"), "{}", &svg[..600]);
    // The path, its end, at the edge of the map, and its start: no point that is no number.
    assert!(svg.contains("polyline") && svg.matches("<circle").count() == 2);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    // Upwards and to the right is more of both.
    let line = svg.split("<polyline").find(|line| line.matches(',').count() >= 3).unwrap();
    let points = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let points: Vec<Vec<i32>> = points
        .split_whitespace()
        .map(|point| point.split(',').map(|n| n.parse().unwrap()).collect())
        .collect();
    assert!(points[0][0] > points[1][0] && points[0][1] < points[1][1], "{points:?}");
    assert!(paths("flat", bowl, [0.0, 0.0], [0.0, 1.0], &[]).is_err());
    assert!(paths("none", |_, _| f64::NAN, [0.0, 1.0], [0.0, 1.0], &[]).is_err());
}

#[test]
fn a_range_test_is_drawn_over_its_rates() {
    let all: Vec<f32> = (0..20).map(|i| 10f32.powf(-5.0 + f32::from(i as u8) / 4.0)).collect();
    let losses: Vec<f64> = (0..20).map(|i| 2.0 - f64::from(i) / 20.0).collect();
    let svg = rates(&all, &losses, &losses, Some(1e-3)).unwrap();
    assert!(svg.contains("learning rate") && svg.contains("1.0e-3"));
    assert_eq!(svg.matches("<circle").count(), 20);
    assert!(!rates(&all, &losses, &losses, None).unwrap().contains("1.0e-3"));
    // One loss is out of the picture, none is no number in it.
    let mut wild = losses.clone();
    (wild[3], wild[5]) = (1e9, f64::NAN);
    assert_eq!(rates(&all, &wild, &losses, None).unwrap().matches("<circle").count(), 18);
    assert!(rates(&all[..1], &losses[..1], &losses[..1], None).is_err());
    assert!(rates(&all, &losses[1..], &losses, None).is_err());
    assert!(rates(&all, &losses, &[f64::NAN; 20], None).is_err());
}

#[test]
fn functions_are_lines_within_the_range() {
    let x: Vec<f32> = (0..41).map(|i| i as f32 / 10.0 - 2.0).collect();
    let square: Vec<f32> = x.iter().map(|x| x * x).collect();
    let slope: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
    let lines = [("function", &square[..]), ("derivative", &slope[..])];
    let svg = functions("the square", "x", &x, &lines, [-4.0, 4.0]).unwrap();
    assert_inside(&svg);
    for words in ["the square", "function", "derivative"] {
        assert!(svg.contains(words), "{words}");
    }
    // What is out of range is left out: the longest line is that of the function between ±1.
    let longest = |svg: &str| {
        let points =
            svg.split("points=\"").skip(1).map(|part| part.split('"').next().unwrap().matches(',').count());
        points.max().unwrap()
    };
    assert_eq!(longest(&svg), 41);
    let cut = functions("the square", "x", &x, &lines[..1], [0.0, 1.0]).unwrap();
    assert_eq!(longest(&cut), 21);
    // All names are in the picture, rows of them above the curves.
    let names: Vec<String> = (0..6).map(|i| format!("a line whose name is as long as {i}")).collect();
    let many: Vec<(&str, &[f32])> = names.iter().map(|name| (&**name, &square[..])).collect();
    let svg = functions("many", "x", &x, &many, [0.0, 4.0]).unwrap();
    assert_inside(&svg);
    assert!(names.iter().all(|name| texts(&svg, name) == 1), "{svg}");
    let back: Vec<f32> = x.iter().map(|&x| if x == 1.0 { -1.0 } else { x }).collect();
    for (x, lines, range) in [
        (&back[..], &lines[..], [0.0, 1.0]),
        (&x[..0], &lines[..0], [0.0, 1.0]),
        (&x[..1], &lines[..0], [0.0, 1.0]),
        (&x[..9], &lines[..], [0.0, 1.0]),
        (&x[..], &lines[..], [1.0, 1.0]),
        (&x[..], &lines[..], [0.0, f32::NAN]),
    ] {
        assert!(functions("", "x", x, lines, range).is_err());
    }
}
