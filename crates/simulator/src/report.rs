//! What a simulation found: rows of named values, limits, and how both look on a terminal and in
//! JSON. Knows nothing of what they mean.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};

use crate::plot;

/// A limit and what was seen against it; holds where the value is at most the limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// What is limited, with its unit.
    pub what: String,
    /// The most it may be.
    pub limit: f64,
    /// What it was. NaN holds no limit.
    pub value: f64,
}

impl Limit {
    /// True where the limit holds.
    pub fn holds(&self) -> bool {
        self.value <= self.limit
    }
}

/// One cell: its column and what stands in it.
pub(crate) type Cell = (&'static str, Value);

/// A table with its limits.
#[derive(Debug, Clone, Default)]
pub struct Report {
    title: String,
    rows: Vec<Vec<Cell>>,
    limits: Vec<Limit>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a row; all rows of a report have the same columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn limit(&mut self, what: impl Into<String>, limit: f64, value: f64) {
        self.limits.push(Limit { what: what.into(), limit, value });
    }

    /// `{"rows": [...], "limits": [...]}`, as the project's measurements have them.
    pub fn to_json(&self) -> Value {
        let limit = |limit: &Limit| json!({"what": limit.what, "limit": limit.limit, "value": limit.value, "holds": limit.holds()});
        let row = |row: &Vec<Cell>| -> Map<String, Value> {
            row.iter().map(|(column, value)| ((*column).to_owned(), value.clone())).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        json!({"rows": rows, "limits": self.limits.iter().map(limit).collect::<Vec<_>>()})
    }

    /// The rows' losses as a picture; `None` where fewer than two have one.
    pub fn to_svg(&self) -> Option<String> {
        plot::svg(&self.to_json())
    }
}

/// A number with so many digits after the point that reading it tells something.
pub(crate) fn rounded(value: f64, digits: i32) -> Value {
    let unit = 10f64.powi(digits);
    json!((value * unit).round() / unit)
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // JSON has no NaN: a number that is missing is one that diverged or has no meaning here.
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let Some(first) = self.rows.first() else { return Ok(()) };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(first.iter().map(|(column, _)| *column));
        for row in &self.rows {
            table.add_row(row.iter().map(|(_, value)| cell(value)));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        for limit in &self.limits {
            let word = if limit.holds() { "holds" } else { "DOES NOT HOLD" };
            writeln!(f, "\n{}: {:.3}, limit {}: {word}", limit.what, limit.value, limit.limit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_number_holds_no_limit() {
        let mut report = Report::new("losses");
        report.row([("arm", json!("diverged")), ("loss", rounded(f64::NAN, 4))]);
        report.limit("loss", 2.0, f64::NAN);
        assert_eq!(report.to_json()["limits"][0]["holds"], json!(false));
        assert!(report.to_string().contains("DOES NOT HOLD"));
    }

    #[test]
    fn columns_keep_their_order() {
        let mut report = Report::new("title");
        report.row([("volunteers", json!(8)), ("arm", json!("muon")), ("loss", rounded(1.84149, 4))]);
        let text = report.to_string();
        let at = |word: &str| text.find(word).unwrap();
        assert!(at("volunteers") < at("arm") && at("arm") < at("loss") && text.contains("1.8415"), "{text}");
    }
}
