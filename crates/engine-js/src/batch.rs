//! A batch by its columns' names into the program's order. The values themselves are fetched by the
//! caller, so that these rules are tested without a browser.

use potluck_graph::{Column, DType, InputSpec, Op, Program};

use crate::error::JsFault;

/// What a caller found under a name.
pub enum Given {
    /// Nothing.
    Nothing,
    /// A typed array.
    Column(Column),
    /// Something else.
    Other,
}

/// Columns of a training step: every input of the program, `samples` samples each.
///
/// # Errors
/// A column too many, too few, of another type or of another length.
pub fn for_step(
    program: &Program,
    samples: u32,
    names: &[String],
    fetch: impl Fn(&str) -> Given,
) -> Result<Vec<Column>, JsFault> {
    refuse_unknown(program, names)?;
    program.inputs().iter().map(|input| column(program, input, samples, fetch(&input.name))).collect()
}

/// Columns of a forward pass: as many samples as the first column has, at most `batch`. What the
/// loss compares with may be left out.
///
/// # Errors
/// As [`for_step`].
pub fn for_forward(
    program: &Program,
    batch: u32,
    names: &[String],
    fetch: impl Fn(&str) -> Given,
) -> Result<Vec<Column>, JsFault> {
    refuse_unknown(program, names)?;
    let mut given: Vec<Given> = program.inputs().iter().map(|input| fetch(&input.name)).collect();
    let lengths = program.inputs().iter().zip(&given).filter_map(|(input, given)| match given {
        Given::Column(column) => Some(column.len() as u64 / each(input)),
        _ => None,
    });
    let samples = lengths.into_iter().next().unwrap_or(1).clamp(1, batch.into()) as u32;
    if let Some(target) = target(program)
        && matches!(given[target], Given::Nothing)
    {
        given[target] = Given::Column(zeros(&program.inputs()[target], samples));
    }
    program.inputs().iter().zip(given).map(|(input, given)| column(program, input, samples, given)).collect()
}

fn refuse_unknown(program: &Program, names: &[String]) -> Result<(), JsFault> {
    match names.iter().find(|name| program.inputs().iter().all(|input| input.name != **name)) {
        Some(name) => Err(JsFault::ColumnUnknown { name: name.clone(), expected: all_names(program) }),
        None => Ok(()),
    }
}

fn column(program: &Program, input: &InputSpec, samples: u32, given: Given) -> Result<Column, JsFault> {
    let name = || input.name.clone();
    match (given, input.dtype) {
        (Given::Nothing, _) => Err(JsFault::ColumnMissing { name: name(), expected: all_names(program) }),
        (Given::Column(column @ Column::F32(_)), DType::F32) | (Given::Column(column @ Column::U32(_)), DType::U32) => {
            let (each, got) = (each(input), column.len());
            if got as u64 != each * u64::from(samples) {
                return Err(JsFault::ColumnLength { name: name(), samples, each, got });
            }
            Ok(column)
        }
        (Given::Column(_) | Given::Other, expected) => Err(JsFault::ColumnType { name: name(), expected }),
    }
}

/// The input that the loss compares with.
fn target(program: &Program) -> Option<usize> {
    let (_, target) = program.loss().operands();
    match program.nodes()[target.index()] {
        Op::Input { input } => Some(input as usize),
        _ => None,
    }
}

fn zeros(input: &InputSpec, samples: u32) -> Column {
    let len = (each(input) * u64::from(samples)) as usize;
    match input.dtype {
        DType::F32 => Column::F32(vec![0.0; len]),
        DType::U32 => Column::U32(vec![0; len]),
    }
}

fn each(input: &InputSpec) -> u64 {
    input.shape.iter().map(|&d| u64::from(d)).product::<u64>().max(1)
}

fn all_names(program: &Program) -> String {
    let names: Vec<&str> = program.inputs().iter().map(|input| input.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use potluck_graph::preset;

    use super::*;

    fn program() -> Program {
        preset::mlp(4, &[3], 2).expect("a good program")
    }

    fn given(columns: &[(&str, Column)]) -> (Vec<String>, impl Fn(&str) -> Given + use<>) {
        let columns: Vec<(String, Column)> = columns.iter().map(|(n, c)| ((*n).to_owned(), c.clone())).collect();
        let names = columns.iter().map(|(name, _)| name.clone()).collect();
        (names, move |name: &str| {
            let found = columns.iter().find(|(each, _)| each == name);
            found.map_or(Given::Nothing, |(_, column)| Given::Column(column.clone()))
        })
    }

    #[track_caller]
    fn check(columns: &[(&str, Column)], expected: &str) {
        let (names, fetch) = given(columns);
        let fault = for_step(&program(), 2, &names, fetch).expect_err("a fault");
        assert_eq!(fault.to_string(), expected);
    }

    #[test]
    fn columns_come_in_the_programs_order() {
        let (x, y) = (Column::F32(vec![1.0; 8]), Column::U32(vec![1; 2]));
        let (names, fetch) = given(&[("y", y.clone()), ("x", x.clone())]);
        assert_eq!(for_step(&program(), 2, &names, fetch), Ok(vec![x, y]));
    }

    #[test]
    fn a_wrong_batch_is_told_by_name() {
        let (x, y) = (Column::F32(vec![1.0; 8]), Column::U32(vec![1; 2]));
        check(&[("x", x.clone())], r#"the batch has no column "y", expected x, y"#);
        check(&[("x", x.clone()), ("label", y.clone())], r#"the program has no column "label", expected x, y"#);
        check(&[("x", y.clone()), ("y", y.clone())], r#"column "x" must be a Float32Array"#);
        let short = Column::F32(vec![1.0; 7]);
        check(&[("x", short), ("y", y)], r#"column "x" has 7 values, expected 2 samples of 4 = 8"#);
    }

    #[test]
    fn a_forward_pass_needs_no_labels_and_takes_fewer_samples() {
        let x = Column::F32(vec![1.0; 4]);
        let (names, fetch) = given(&[("x", x.clone())]);
        assert_eq!(for_forward(&program(), 2, &names, fetch), Ok(vec![x, Column::U32(vec![0])]));
        let (names, fetch) = given(&[("x", Column::F32(vec![1.0; 12]))]);
        let fault = for_forward(&program(), 2, &names, fetch).expect_err("a fault");
        assert_eq!(fault.to_string(), r#"column "x" has 12 values, expected 2 samples of 4 = 8"#);
        let (names, fetch) = given(&[]);
        let fault = for_forward(&program(), 2, &names, fetch).expect_err("a fault");
        assert_eq!(fault.to_string(), r#"the batch has no column "x", expected x, y"#);
    }
}
