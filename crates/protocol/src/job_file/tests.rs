//! What a job file may say, and what is said of one that is wrong.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{Optimizer, StrategyName};

const GOOD: &str = r#"[job]
name = "digits"
title = "Handwritten digits"
owner = "A school"
contact = "https://example.org"
licence = "MIT"

[data]
csv = "digits.csv"
label = "label"
scale = 16
public = true
licence = "CC BY 4.0"
source = "UCI"

[model]
preset = "mlp"
hidden = [128]

[train]
budget_samples = 60000
"#;

#[track_caller]
fn check(from: &str, to: &str, expected: Expect) {
    assert!(GOOD.contains(from), "{from}");
    let error = JobFile::parse(&GOOD.replacen(from, to, 1)).expect_err("an error");
    expected.assert_eq(&error.to_string());
}

#[test]
fn a_good_file_gets_the_defaults() {
    let file = JobFile::parse(GOOD).expect("a good file");
    assert_eq!(file.train.steps, 8);
    let DataSource::Csv { path, label, scale, shape } = file.data.from else { panic!("another source") };
    assert_eq!((path.as_str(), label.as_str(), scale, shape), ("digits.csv", "label", 16.0, Vec::new()));
    assert_eq!(file.data.block_samples, 64);
    assert_eq!(file.visitors.origins, ["*"]);
}

#[test]
fn a_missing_field_is_named() {
    check("owner = \"A school\"\n", "", expect!["line 1, column 1: job: missing field `owner`"]);
}

#[test]
fn an_unknown_field_is_named_with_the_choices() {
    check(
        "scale = 16",
        "skale = 16",
        expect![
            "line 11, column 1: data.skale: unknown field `skale`, expected one of `csv`, `idx`, `images`, `npy`, `jsonl`, `text`, `label`, `labels`, `values`, `scale`, `shape`, `colour`, `unit`, `public`, `licence`, `source`, `valid`, `test`, `seed`, `block_samples`"
        ],
    );
}

#[test]
fn a_wrong_type_is_named() {
    check(
        "hidden = [128]",
        "hidden = \"128\"",
        expect![[r#"line 18, column 10: model.hidden: expected a list of widths, or one width for preset "gpt""#]],
    );
}

#[test]
fn a_value_out_of_range_is_named() {
    check(
        "budget_samples = 60000",
        "budget_samples = 60000\nsteps = 99",
        expect!["line 22, column 9: train.steps: expected 4 to 16, got 99"],
    );
}

#[test]
fn an_optimizer_is_chosen_by_name() {
    let text =
        GOOD.replace("budget_samples = 60000", "budget_samples = 60000\noptimizer = \"muon\"\nweight_decay = 0.0");
    let file = JobFile::parse(&text).expect("a good file");
    assert_eq!(file.train.optimizer, Optimizer::muon().with_weight_decay(0.0));
    check(
        "budget_samples = 60000",
        "budget_samples = 60000\noptimizer = \"adam\"",
        expect!["line 22, column 13: train.optimizer: unknown variant `adam`, expected one of `adamw`, `muon`, `sgd`"],
    );
}

#[test]
fn a_strategy_is_chosen_by_name() {
    assert_eq!(JobFile::parse(GOOD).expect("a good file").strategy, StrategyName::Auto);
    let text = GOOD.replace("budget_samples = 60000", "budget_samples = 60000\nstrategy = \"buffered\"");
    assert_eq!(JobFile::parse(&text).expect("a good file").strategy, StrategyName::Buffered);
    check(
        "budget_samples = 60000",
        "budget_samples = 60000\nstrategy = \"async\"",
        expect![
            "line 22, column 12: train.strategy: unknown variant `async`, expected one of `auto`, `rounds`, `buffered`"
        ],
    );
}

#[test]
fn private_data_is_refused() {
    check(
        "public = true",
        "public = false",
        expect!["line 12, column 10: data.public: expected true: strangers compute on this data, so it must be public"],
    );
}

#[test]
fn a_bad_contact_is_refused() {
    check(
        "https://example.org",
        "somewhere",
        expect![[
            r#"line 5, column 11: job.contact: expected an e-mail address or an https:// address, got "somewhere""#
        ]],
    );
}

#[test]
fn broken_toml_points_at_its_line() {
    check(
        "label = \"label\"",
        "label = \"label",
        expect![[r#"line 10, column 15: data.label: invalid basic string, expected `"`"#]],
    );
}

/// The good file with another `[data]` and `[model]`.
fn with(data: &str, model: &str) -> String {
    let good = GOOD.replacen("csv = \"digits.csv\"\nlabel = \"label\"\nscale = 16", data, 1);
    good.replacen("preset = \"mlp\"\nhidden = [128]", model, 1)
}

const GPT: &str = "preset = \"gpt\"\ncontext = 64\nlayers = 2\nwidth = 64\nheads = 4";

#[track_caller]
fn check_with(data: &str, model: &str, expected: Expect) {
    expected.assert_eq(&JobFile::parse(&with(data, model)).expect_err("an error").to_string());
}

#[test]
fn every_kind_of_data_is_read() {
    let read = |data: &str, model: &str| JobFile::parse(&with(data, model)).expect("a good file").data.from;
    let cnn = "preset = \"cnn\"\nchannels = [8, 16]";
    assert_eq!(
        read("idx = \"images.gz\"\nlabels = \"labels.gz\"", cnn),
        DataSource::Idx { images: "images.gz".to_owned(), labels: "labels.gz".to_owned(), scale: 255.0 }
    );
    assert_eq!(
        read("images = \"flowers\"\ncolour = \"grey\"", cnn),
        DataSource::Images { folder: "flowers".to_owned(), colour: Colour::Grey }
    );
    assert_eq!(
        read("npy = \"x.npy\"\nlabels = \"y.npy\"\nscale = 255", cnn),
        DataSource::Npy { values: "x.npy".to_owned(), labels: "y.npy".to_owned(), scale: 255.0 }
    );
    assert_eq!(
        read("text = \"plays.txt\"\nunit = \"bytes\"", GPT),
        DataSource::Text { path: "plays.txt".to_owned(), unit: TextUnit::Bytes }
    );
    assert_eq!(
        read("csv = \"d.csv\"\nlabel = \"y\"\nshape = [1, 8, 8]", cnn),
        DataSource::Csv { path: "d.csv".to_owned(), label: "y".to_owned(), scale: 1.0, shape: vec![1, 8, 8] }
    );
}

#[test]
fn every_preset_is_read() {
    let read = |data: &str, model: &str| JobFile::parse(&with(data, model)).expect("a good file").model;
    let idx = "idx = \"images\"\nlabels = \"labels\"";
    assert_eq!(
        read(idx, "preset = \"cnn\"\nchannels = [8]\nresidual = true"),
        ModelSection::Cnn { channels: vec![8], residual: true }
    );
    assert_eq!(
        read(idx, "preset = \"vit\"\npatch = 7\nlayers = 2\nwidth = 32\nheads = 4"),
        ModelSection::Vit { patch: 7, layers: 2, width: 32, heads: 4 }
    );
    let gpt2 = GptSection {
        context: 64,
        layers: 2,
        width: 64,
        heads: 4,
        kv_heads: 4,
        hidden: 256,
        rotary: None,
        swiglu: false,
        rms_norm: false,
        tied_head: false,
        dropout: 0.0,
    };
    assert_eq!(read("text = \"a.txt\"", GPT), ModelSection::Gpt(gpt2.clone()));
    let more = "kv_heads = 2\nhidden = 96\npositions = \"rotary\"\nfeed_forward = \"swiglu\"\nnorm = \"rms\"\ntied_head = true\ndropout = 0.1";
    assert_eq!(
        read("text = \"a.txt\"", &format!("{GPT}\n{more}")),
        ModelSection::Gpt(GptSection {
            kv_heads: 2,
            hidden: 96,
            rotary: Some(10_000.0),
            swiglu: true,
            rms_norm: true,
            tied_head: true,
            dropout: 0.1,
            ..gpt2
        })
    );
}

#[test]
fn transformers_are_trained_with_muon_unless_it_is_said() {
    let recipe = |more: &str| {
        let text =
            with("text = \"a.txt\"", GPT).replace("budget_samples = 60000", &format!("budget_samples = 60000\n{more}"));
        JobFile::parse(&text).expect("a good file").train
    };
    assert_eq!((recipe("").optimizer, recipe("").lr), (Optimizer::muon(), 30e-3));
    let adamw = recipe("optimizer = \"adamw\"");
    assert_eq!((adamw.optimizer, adamw.lr), (Optimizer::default(), 4e-3));
    let mlp = JobFile::parse(GOOD).expect("a good file").train;
    assert_eq!((mlp.optimizer, mlp.lr), (Optimizer::default(), 4e-3));
    assert_eq!([recipe(""), recipe("steps = 4"), recipe("ramp_steps = 1")].map(|r| r.ramp_steps), [8, 4, 1]);
    assert_eq!([adamw, mlp, recipe("optimizer = \"sgd\"")].map(|r| r.ramp_steps), [3, 3, 3]);
}

#[test]
fn a_lead_is_not_the_owners() {
    check(
        "budget_samples = 60000",
        "budget_samples = 60000\nouter = { lr = 0.7, momentum = 0.8, lead = 3 }",
        expect![["line 22, column 9: train.outer: expected lr and momentum alone: the lead is the scheduler's"]],
    );
}

#[test]
fn a_recipe_whose_results_nobody_could_judge_is_refused() {
    let long = "budget_samples = 60000\noptimizer = \"muon\"\nsteps = 16";
    check(
        "budget_samples = 60000",
        long,
        expect![[
            r#"line 23, column 9: train.steps: expected at most 8 with Muon and four-bit updates, or update = "int8": honest results of 16 steps cannot be told from cheats"#
        ]],
    );
    let int8 = GOOD.replace("budget_samples = 60000", &format!("{long}\nupdate = \"int8\""));
    assert_eq!(JobFile::parse(&int8).expect("a good file").train.steps, 16);
}

#[test]
fn data_is_of_one_kind() {
    let mlp = "preset = \"mlp\"\nhidden = [8]";
    check_with(
        "",
        mlp,
        expect!["line 8, column 1: data: expected one of csv, idx, images, npy, jsonl, text with the path of the data"],
    );
    check_with(
        "csv = \"a.csv\"\nlabel = \"y\"\nidx = \"b\"",
        mlp,
        expect![
            "line 11, column 7: data.idx: csv is there already; expected only one of csv, idx, images, npy, jsonl, text"
        ],
    );
    check_with(
        "idx = \"a\"",
        mlp,
        expect!["line 8, column 1: data.labels: idx needs labels, the file beside the images with their classes"],
    );
    check_with(
        "csv = \"a.csv\"\nlabel = \"y\"\nunit = \"bytes\"",
        mlp,
        expect!["line 11, column 8: data.unit: csv has no unit (it belongs to text); remove it"],
    );
    check_with(
        "images = \"a\"\ncolour = \"sepia\"",
        mlp,
        expect![[r#"line 10, column 10: data.colour: expected "grey" or "rgb", got "sepia""#]],
    );
    check_with(
        "csv = \"a.csv\"\nlabel = \"y\"\nshape = [0, 8]",
        mlp,
        expect![
            "line 11, column 9: data.shape: expected one to three extents above 0, such as shape = [1, 8, 8] for channels, rows, columns"
        ],
    );
    check_with(
        "csv = \"a.csv\"\nlabel = \"y\"\nscale = 0",
        mlp,
        expect!["line 11, column 9: data.scale: expected a number above 0, got 0"],
    );
}

#[test]
fn model_and_data_go_together() {
    let csv = "csv = \"a.csv\"\nlabel = \"y\"";
    check_with(
        csv,
        GPT,
        expect![[r#"line 16, column 10: model.preset: preset "gpt" learns from text: name one in data.text"#]],
    );
    check_with(
        "text = \"a.txt\"",
        "preset = \"mlp\"\nhidden = [8]",
        expect![[r#"line 15, column 10: model.preset: preset "mlp" cannot learn from data.text; use "gpt""#]],
    );
    check_with(
        csv,
        "preset = \"cnn\"\nchannels = [8]",
        expect![[
            r#"line 16, column 10: model.preset: preset "cnn" needs images: say how the values of a row are arranged, such as data.shape = [1, 8, 8]"#
        ]],
    );
}

#[test]
fn sizes_of_a_model_are_checked() {
    let text = "text = \"a.txt\"";
    check_with(
        text,
        "preset = \"bert\"",
        expect![[r#"line 15, column 10: model.preset: expected one of "mlp", "cnn", "vit", "gpt", got "bert""#]],
    );
    check_with(
        text,
        "preset = \"gpt\"\nlayers = 2\nwidth = 64\nheads = 4",
        expect![[r#"line 15, column 10: model.context: preset "gpt" needs context, such as context = 64"#]],
    );
    check_with(
        text,
        &format!("{GPT}\npatch = 4"),
        expect![[r#"line 20, column 9: model.patch: preset "gpt" has no patch; remove it"#]],
    );
    check_with(
        text,
        &GPT.replace("heads = 4", "heads = 5"),
        expect!["line 19, column 9: model.heads: expected a divisor of model.width = 64, got 5"],
    );
    check_with(
        text,
        &format!("{GPT}\nkv_heads = 3"),
        expect!["line 20, column 12: model.kv_heads: expected a divisor of model.heads = 4, got 3"],
    );
    check_with(
        text,
        &format!("{GPT}\nrotary_base = 5000.0"),
        expect![[
            r#"line 20, column 15: model.rotary_base: only rotary positions have a base: set positions = "rotary", or remove it"#
        ]],
    );
    check_with(
        text,
        &format!("{GPT}\nnorm = \"batch\""),
        expect![[r#"line 20, column 8: model.norm: expected "layer" or "rms", got "batch""#]],
    );
    check_with(
        text,
        &format!("{GPT}\nhidden = [128]"),
        expect!["line 20, column 10: model.hidden: expected one width, such as 256"],
    );
    check_with(
        text,
        &format!("{GPT}\ndropout = 1.5"),
        expect!["line 20, column 11: model.dropout: expected 0 to 0.9, got 1.5"],
    );
    check(
        "hidden = [128]",
        "hidden = 128",
        expect!["line 18, column 10: model.hidden: expected a list of widths, such as [128]"],
    );
    check(
        "hidden = [128]",
        "",
        expect![[r#"line 17, column 10: model.hidden: preset "mlp" needs hidden, such as hidden = [128]"#]],
    );
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0..GOOD.len(), byte in any::<char>(), cut in 0..40usize) {
        let mut text = GOOD[..at].to_owned();
        text.push(byte);
        text.push_str(&GOOD[(at + cut).min(GOOD.len())..]);
        let _ = JobFile::parse(&text);
    }
}
