//! A table of losses as a picture: a dot for each row's mean, a bar as long as the distance between its
//! best and its worst seed. Knows a report's rows, and nothing of what was simulated.

use std::fmt::Write;

use serde_json::Value;

/// Pixels of a row, of the names on the left, of the losses, and around all of it.
const ROW: f64 = 22.0;
const NAMES: f64 = 430.0;
const LOSSES: f64 = 330.0;
const MARGIN: f64 = 16.0;

/// Rows above this many times the best are named at the edge: one that diverged would flatten the rest.
const FAR: f64 = 1.12;

/// A row that has a loss.
struct Row {
    name: String,
    mean: f64,
    spread: f64,
}

/// The picture of a report as JSON, as SVG: of the model that most rows are of, since losses of two
/// models share no scale. `None` where fewer than two rows have a loss.
pub(crate) fn svg(report: &Value) -> Option<String> {
    let all = report["rows"].as_array()?;
    let of_model = |model: &Value| all.iter().filter(|row| row["parameters"] == *model).count();
    let model = all.iter().map(|row| &row["parameters"]).max_by_key(|model| of_model(model))?;
    let rows: Vec<Row> = all.iter().filter(|row| row["parameters"] == *model).filter_map(row).collect();
    let best = rows.iter().map(|row| row.mean).fold(f64::INFINITY, f64::min);
    let near = || rows.iter().filter(|row| row.mean <= FAR * best);
    let low = near().map(|row| row.mean - row.spread / 2.0).fold(f64::INFINITY, f64::min);
    let high = near().map(|row| row.mean + row.spread / 2.0).fold(f64::NEG_INFINITY, f64::max);
    if rows.len() < 2 || high <= low {
        return None;
    }
    let at = |loss: f64| MARGIN + NAMES + LOSSES * (loss - low) / (high - low);
    let (width, height) = (2.0 * MARGIN + NAMES + LOSSES + 60.0, 2.0 * MARGIN + ROW * (rows.len() + 1) as f64);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let bottom = MARGIN + ROW * rows.len() as f64;
    for tick in ticks(low, high) {
        let x = at(tick);
        let _ = writeln!(text, "<path d=\"M{x:.1} {MARGIN}V{bottom}\" stroke=\"#ddd\"/>");
        let y = bottom + 15.0;
        let _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#555\">{tick:.2}</text>");
    }
    for (index, Row { name, mean, spread }) in rows.iter().enumerate() {
        let y = MARGIN + ROW * (index as f64 + 0.5);
        let base = y + 4.5;
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(text, "<text x=\"{MARGIN}\" y=\"{base}\">{name}</text>");
        if *mean > FAR * best {
            let x = MARGIN + NAMES + LOSSES;
            let _ = writeln!(text, "<text x=\"{x}\" y=\"{base}\" fill=\"#a33\">{mean:.2} &#8594;</text>");
            continue;
        }
        let (from, to, x) = (at(mean - spread / 2.0), at(mean + spread / 2.0), at(*mean));
        let _ = writeln!(text, "<path d=\"M{from:.1} {y}H{to:.1}\" stroke=\"#7aa6c2\" stroke-width=\"5\"/>");
        let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"4\" fill=\"#1b4965\"/>");
    }
    text.push_str("</svg>\n");
    Some(text)
}

fn row(row: &Value) -> Option<Row> {
    let number = |name: &str| row[name].as_f64();
    Some(Row { name: row["arm"].as_str()?.to_owned(), mean: number("loss")?, spread: number("spread")? })
}

/// Round numbers inside a range, three to seven of them.
fn ticks(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let rough = (high - low) / 4.0;
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * unit).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step).ceil();
    (0..8).map(move |index| (first + f64::from(index)) * step).take_while(move |tick| *tick <= high)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(losses: &[(&str, Option<f64>)]) -> Value {
        let row = |(name, loss): &(&str, Option<f64>)| json!({"arm": name, "loss": loss, "spread": 0.02});
        json!({"rows": losses.iter().map(row).collect::<Vec<_>>()})
    }

    #[test]
    fn each_row_is_named_and_what_diverged_is_at_the_edge() {
        let rows = [("a < b", Some(2.1)), ("c", Some(2.2)), ("far", Some(5.15)), ("diverged", None)];
        let text = svg(&report(&rows)).expect("a picture");
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(text.contains("a &lt; b") && text.contains(">5.15 &#8594;<") && !text.contains("diverged"), "{text}");
    }

    #[test]
    fn one_row_is_no_picture() {
        assert_eq!(svg(&report(&[("alone", Some(2.1))])), None);
        assert_eq!(svg(&json!({"rows": []})), None);
    }

    #[test]
    fn ticks_are_round() {
        let rounded: Vec<String> = ticks(2.084, 2.263).map(|tick| format!("{tick:.2}")).collect();
        assert_eq!(rounded, ["2.10", "2.15", "2.20", "2.25"]);
    }
}
