//! Random files.

use proptest::prelude::*;

use super::*;

/// Fields of a file that is nearly a table.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-100i32..100).prop_map(|x| format!("{}", f64::from(x) / 8.0)),
        2 => prop::sample::select(vec!["a", "b", "red", "yes", "no"]).prop_map(String::from),
        1 => prop::sample::select(vec!["", "NA", "?", "NaN", "inf", "1e308", "\"", "\"a,b\"", "é", "-0", "1e-300"])
            .prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), delimiter: u8) {
        for delimiter in [delimiter, b','] {
            if let Ok(table) = Table::from_bytes(&bytes, "t", delimiter) {
                let _ = table.split(&TableOptions::default().missing(Missing::Drop), &HALF);
            }
        }
    }

    /// The same of texts that get further: an error, or data sets that are whole.
    #[test]
    fn no_table_makes_it_panic(
        rows in prop::collection::vec(prop::collection::vec(field(), 3), 1..30),
        text in "[ab,;\"\r\n?. 0-9]{0,80}",
        missing in prop::sample::select(vec![Missing::Error, Missing::Drop, Missing::Mean]),
        scaling in prop::sample::select(vec![Scaling::Standard, Scaling::Minmax, Scaling::None]),
    ) {
        let lines: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
        let options = TableOptions::default().missing(missing).scaling(scaling);
        for text in [format!("x,y,class\n{}", lines.join("\n")), format!("a,b\n{text}"), text] {
            let Ok(table) = read(&text) else { continue };
            prop_assert!((0..table.len()).all(|row| table.line(row).unwrap() > 1));
            let Ok((split, fitted)) = table.split(&options, &HALF) else { continue };
            let all = fitted.rows(&table).unwrap();
            // A class may be missing where no feature is.
            prop_assert!(split.train.len() + split.test.len() <= all.rows.len());
            prop_assert_eq!(all.values.len(), all.rows.len() * fitted.width());
            for part in [&split.train, &split.test] {
                prop_assert_eq!(part.values().len(), part.len() * fitted.width());
                prop_assert!(part.values().as_floats().unwrap().iter().all(|x| x.is_finite()));
                prop_assert!(part.labels().iter().all(|&label| (label as usize) < part.classes()));
            }
        }
    }

    /// What is written with quotes comes back.
    #[test]
    fn quoted_fields_come_back(rows in prop::collection::vec(prop::collection::vec("[a-z,\"\r\n;]{0,6}", 2), 1..8)) {
        let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\r\n";
        let table = read(format!("a,b\r\n{}", rows.iter().map(line).collect::<String>())).unwrap();
        let trimmed: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(|field| field.trim()).collect()).collect();
        prop_assert_eq!(rows_of(&table), trimmed);
    }

    /// Scaled values, scaled back, are the numbers of the file, and the file of a preprocessor holds its bits.
    #[test]
    fn scaling_can_be_undone(numbers in prop::collection::vec(-1e6..1e6f64, 8), minmax: bool) {
        let fields: Vec<String> = numbers.iter().map(f64::to_string).collect();
        let fields: [&str; 8] = std::array::from_fn(|i| fields[i].as_str());
        let table = read(with_column(fields)).unwrap();
        let scaling = if minmax { Scaling::Minmax } else { Scaling::Standard };
        let (_, fitted) = table.split(&TableOptions::default().scaling(scaling), &HALF).unwrap();
        let scaled = fitted.rows(&table).unwrap().values;
        // Two rows say what the scaling is: x = a·z + b.
        let (z0, z1) = (f64::from(scaled[1]), f64::from(scaled[3]));
        let a = (numbers[1] - numbers[0]) / (z1 - z0);
        prop_assume!((z1 - z0).abs() > 0.05);
        for (i, &x) in numbers.iter().enumerate() {
            let z = f64::from(scaled[2 * i + 1]);
            prop_assert!((a * (z - z0) + numbers[0] - x).abs() < 1e-4 * 1e6, "{x} {z}");
        }
        let folder = tempfile::tempdir().unwrap();
        fitted.save(folder.path().join("p")).unwrap();
        prop_assert_eq!(TablePreprocessor::load(folder.path().join("p")).unwrap(), fitted);
    }
}
