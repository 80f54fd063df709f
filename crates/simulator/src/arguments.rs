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
  hetero    four levels of speed: how work follows it, and what becomes of late updates
  churn     updates that are lost, and volunteers who grow more and fewer
  waste     a crowd that comes and goes: what becomes of what it computes
  scale     a growing crowd: how long it takes to a loss, how much of its power reaches the model, and
            what the scheduler costs
  band      a job file under four visitors who come and go: the losses that it may end with

  --full        every row of the committed table, instead of those that end within 12 minutes
  --seeds N     repetitions of every row (3; of the small model in diloco, hetero and churn 6; band 100)
  --seed S      the first of them (0); a run repeats from it
  --only WORD   where a text is learnt: only rows whose name holds the word
  --threads N   rows that are trained at once (all cores)
  --text FILE   the text that is learnt by all but waste and band; UTF-8, at least a million characters
  --resume FILE where a text is learnt: runs that ended are kept in the file and not run again
  --job FILE    band: the job
  --out FILE    write rows and limits as JSON
  --plot FILE   where rows have losses: draw them as SVG
";

/// What was asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// The help.
    Help,
    /// A simulation.
    Run(Box<Arguments>),
}

/// One simulation and its size.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// Which.
    pub name: String,
    /// Every row of the committed table.
    pub full: bool,
    /// Repetitions, where it is not the simulation's own number.
    pub seeds: Option<u64>,
    /// The first seed.
    pub seed: u64,
    /// Rows whose name holds this.
    pub only: Option<String>,
    /// Rows at once.
    pub threads: usize,
    /// The text.
    pub text: Option<PathBuf>,
    /// The job file.
    pub job: Option<PathBuf>,
    /// Where runs that ended are kept.
    pub resume: Option<PathBuf>,
    /// Where the report goes.
    pub out: Option<PathBuf>,
    /// Where its picture goes.
    pub plot: Option<PathBuf>,
}

impl Arguments {
    /// The seeds of a simulation that repeats each row so often unless told otherwise.
    pub(crate) fn seeds_or(&self, usual: u64) -> Vec<u64> {
        (self.seed..).take(self.seeds.unwrap_or(usual) as usize).collect()
    }
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
            seeds: None,
            seed: 0,
            only: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            text: None,
            job: None,
            resume: None,
            out: None,
            plot: None,
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(Self::Help),
                Long("full") => arguments.full = true,
                Long("seeds") => arguments.seeds = Some(parser.value()?.parse()?),
                Long("seed") => arguments.seed = parser.value()?.parse()?,
                Long("only") => arguments.only = Some(parser.value()?.string()?),
                Long("threads") => arguments.threads = parser.value()?.parse()?,
                Long("text") => arguments.text = Some(parser.value()?.into()),
                Long("job") => arguments.job = Some(parser.value()?.into()),
                Long("resume") => arguments.resume = Some(parser.value()?.into()),
                Long("plot") => arguments.plot = Some(parser.value()?.into()),
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
        if arguments.seeds == Some(0) || arguments.threads == 0 {
            bail!("--seeds and --threads are at least 1");
        }
        Ok(Self::Run(Box::new(arguments)))
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
        assert_eq!((arguments.name.as_str(), arguments.seeds, arguments.full), ("diloco", Some(5), true));
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
