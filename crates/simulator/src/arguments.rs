//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use crate::experiments::NAMES;

/// What `--help` prints.
pub const HELP: &str = "\
potluck-simulator NAME [options]

  diloco    volunteers who train apart and merge, against one machine that sees the same samples
  codec     what the encoding of updates and versions costs in loss, and what it saves in bytes
  waste     a crowd that comes and goes: what becomes of what it computes
  scale     a growing crowd: how much of its power reaches the model, and what the scheduler costs

  --full        every row of the committed table, instead of those that end within 12 minutes
  --seeds N     repetitions of every row (3)
  --seed S      the first of them (0); a run repeats from it
  --only WORD   diloco, codec: only rows whose name holds the word
  --threads N   rows that are trained at once (all cores)
  --text FILE   diloco, codec: the text that is learnt; UTF-8, at least a million characters
  --out FILE    write rows and limits as JSON
";

/// What was asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// The help.
    Help,
    /// A simulation.
    Run(Arguments),
}

/// One simulation and its size.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Which.
    pub name: String,
    /// Every row of the committed table.
    pub full: bool,
    /// Repetitions.
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
    /// Rows whose name holds this.
    pub only: Option<String>,
    /// Rows at once.
    pub threads: usize,
    /// The text.
    pub text: Option<PathBuf>,
    /// Where the report goes.
    pub out: Option<PathBuf>,
}

impl Request {
    /// Reads the command line.
    ///
    /// # Errors
    /// An unknown option or simulation, a number that is none.
    pub fn parse(mut parser: lexopt::Parser) -> Result<Self> {
        let mut arguments = Arguments {
            name: String::new(),
            full: false,
            seeds: 3,
            seed: 0,
            only: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            text: None,
            out: None,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(Self::Help),
                Long("full") => arguments.full = true,
                Long("seeds") => arguments.seeds = parser.value()?.parse()?,
                Long("seed") => arguments.seed = parser.value()?.parse()?,
                Long("only") => arguments.only = Some(parser.value()?.string()?),
                Long("threads") => arguments.threads = parser.value()?.parse()?,
                Long("text") => arguments.text = Some(parser.value()?.into()),
                Long("out") => arguments.out = Some(parser.value()?.into()),
                Value(name) if arguments.name.is_empty() => arguments.name = name.string()?,
                other => return Err(other.unexpected().into()),
            }
        }
        if arguments.name.is_empty() {
            return Ok(Self::Help);
        }
        if !NAMES.contains(&arguments.name.as_str()) {
            bail!("`{}` is no simulation; these are: {}", arguments.name, NAMES.join(", "));
        }
        if arguments.seeds == 0 || arguments.threads == 0 {
            bail!("--seeds and --threads are at least 1");
        }
        Ok(Self::Run(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request> {
        Request::parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn a_name_and_its_options() {
        let Ok(Request::Run(arguments)) = parse(&["diloco", "--seeds", "5", "--full"]) else { panic!("a request") };
        assert_eq!((arguments.name.as_str(), arguments.seeds, arguments.full), ("diloco", 5, true));
    }

    #[test]
    fn mistakes_are_told() {
        let told = |words: &[&str]| parse(words).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(told(&["dilco"]), Err(format!("`dilco` is no simulation; these are: {}", NAMES.join(", "))));
        assert!(told(&["diloco", "--seeds", "many"]).is_err());
        assert!(told(&["diloco", "--seeds", "0"]).is_err());
        assert!(told(&["diloco", "codec"]).is_err());
    }
}
