//! `potluck job set`: what is to be changed, asked of the coordinator, and what came of it.

use potluck_protocol::{OuterChange, RecipeChange};
use serde_json::json;

use crate::{
    cli::{ByHand, ControlTarget, SetOptions},
    error::CliError,
    job_file, print, remote,
};

/// `potluck job set`
pub(crate) fn set(options: SetOptions) -> Result<(), CliError> {
    let SetOptions { target, from, by_hand } = options;
    let change = match from {
        Some(path) => {
            let file = job_file::read(&path)?.file;
            if file.job.name != target.job {
                let (named, asked) = (&file.job.name, &target.job);
                return Err(CliError::Mistake(format!("{} is job {named}, not {asked}", path.display())));
            }
            RecipeChange::to(&file.train)
        }
        None => by_hand.change(),
    };
    if change == RecipeChange::default() {
        let text = "expected something to change, such as --lr 0.002; `potluck job set --help` lists what can be";
        return Err(CliError::Mistake(text.to_owned()));
    }
    let ControlTarget { url, job, .. } = &target;
    let before = remote::job(url, job)?;
    remote::order(&target, &json!({ "control": "set", "train": change }))?;
    let after = remote::job(url, job)?;
    if before["recipe"] == after["recipe"] {
        print::line(&format!("{job}: nothing changed, it is trained like that already"));
        return Ok(());
    }
    let last = after["changes"].as_array().and_then(|changes| changes.last().cloned());
    let rows = remote::change_rows(job, &json!([last]));
    print::table(&["changed", "at version", "samples", "what", "from", "to"], &rows);
    if before["phase"] == "finished" && after["phase"] != "finished" {
        print::line(&format!("{job}: goes on"));
    }
    Ok(())
}

impl ByHand {
    fn change(self) -> RecipeChange {
        let Self {
            lr,
            schedule,
            ramp_steps,
            clip_norm,
            weight_decay,
            steps,
            batch,
            budget_samples,
            target_accuracy,
            outer_lr,
            outer_momentum,
            update,
        } = self;
        let outer = OuterChange { lr: outer_lr, momentum: outer_momentum };
        RecipeChange {
            optimizer: None,
            weight_decay,
            lr,
            schedule,
            ramp_steps,
            clip_norm,
            steps,
            batch,
            budget_samples,
            target_accuracy: target_accuracy.map(|target| target.0),
            outer: (outer != OuterChange::default()).then_some(outer),
            update,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, JobCommand};

    fn parse(arguments: &str) -> Result<SetOptions, String> {
        let fixed = "potluck job set http://127.0.0.1:1 --job digits --token-file nowhere";
        let words = fixed.split(' ').chain(arguments.split(' ').filter(|word| !word.is_empty()));
        match Cli::try_parse_from(words).map_err(|e| e.to_string())?.command {
            Command::Job { command: JobCommand::Set(options) } => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(arguments: &str, expected: serde_json::Value) {
        let change = parse(arguments).expect("good").by_hand.change();
        assert_eq!(serde_json::to_value(change).expect("JSON"), expected);
    }

    #[test]
    fn arguments_are_the_names_of_the_job_file() {
        check("--lr 0.5 --schedule constant --steps 4", json!({ "lr": 0.5, "schedule": "constant", "steps": 4 }));
        check("--budget-samples 9 --update int8", json!({ "budget_samples": 9, "update": "int8" }));
        check("--outer-momentum 0.5", json!({ "outer": { "momentum": 0.5 } }));
        check("--target-accuracy none", json!({ "target_accuracy": null }));
        check("--target-accuracy 0.5 --weight-decay 0", json!({ "target_accuracy": 0.5, "weight_decay": 0.0 }));
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, expected) in [
            ("--lr fast", "'--lr <LR>': expected a number"),
            ("--lr nan", "'--lr <LR>': expected a number"),
            ("--schedule steep", "unknown variant `steep`, expected one of `constant`, `linear`, `cosine`"),
            ("--from job.toml --lr 1", "cannot be used with"),
        ] {
            let error = parse(arguments).expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
        let nothing = set(parse("").expect("good")).expect_err("nothing to change");
        assert!(nothing.to_string().contains("expected something to change") && nothing.exit_code() == 2);
        let nobody = set(parse("--lr 1").expect("good")).expect_err("nobody there").to_string();
        assert!(nobody.contains("is the coordinator running?"), "{nobody}");
    }
}
