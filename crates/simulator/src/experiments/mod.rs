//! The simulations by name: which arms, and what their numbers are held against.

mod band;
mod churn;
mod codec;
mod crowds;
mod diloco;
mod field;
mod hetero;
mod reach;
mod resume;
mod sweep;

use anyhow::{Result, bail, ensure};

use crate::{Arguments, Report};

/// Simulations that there are.
pub(crate) const NAMES: [&str; 7] = ["diloco", "hetero", "churn", "codec", "waste", "scale", "band"];

/// Runs the simulation that was asked for; says on standard error how far it is.
///
/// # Errors
/// No such simulation, a text that cannot be used, or an engine that fails.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let report = match arguments.name.as_str() {
        "diloco" => diloco::run(arguments),
        "hetero" => hetero::run(arguments),
        "churn" => churn::run(arguments),
        "codec" => codec::run(arguments),
        "waste" => crowds::waste(arguments),
        "scale" => crowds::scale(arguments),
        "band" => band::run(arguments),
        other => bail!("`{other}` is no simulation; these are: {}", NAMES.join(", ")),
    }?;
    ensure!(!report.is_empty(), "no row's name holds the word of --only");
    Ok(report)
}
