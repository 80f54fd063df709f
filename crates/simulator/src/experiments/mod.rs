//! The simulations by name: which arms, and what their numbers are held against.

mod codec;
mod crowds;
mod diloco;
mod sweep;

use anyhow::{Result, bail};

use crate::{Arguments, Report};

/// Simulations that there are.
pub(crate) const NAMES: [&str; 4] = ["diloco", "codec", "waste", "scale"];

/// Runs the simulation that was asked for; says on standard error how far it is.
///
/// # Errors
/// No such simulation, a text that cannot be used, or an engine that fails.
pub fn run(arguments: &Arguments) -> Result<Report> {
    match arguments.name.as_str() {
        "diloco" => diloco::run(arguments),
        "codec" => codec::run(arguments),
        "waste" => crowds::waste(arguments),
        "scale" => crowds::scale(arguments),
        other => bail!("`{other}` is no simulation; these are: {}", NAMES.join(", ")),
    }
}
