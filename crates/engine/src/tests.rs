//! Plans and trainers on the processor; the kernels themselves have their cases in `conformance`.

use expect_test::{Expect, expect};
use potluck_graph::{Block, Column, Program, batches, preset, random::SplitMix64};
use potluck_protocol::{Optimizer, OuterStep, Recipe, Schedule, UpdateEncoding};

use crate::{Choice, Engine, EngineError, Place, Plan, Trainer};

pub(crate) fn recipe(batch: u32) -> Recipe {
    Recipe {
        optimizer: Optimizer::default(),
        lr: 1e-2,
        schedule: Schedule::Constant,
        ramp_steps: 0,
        clip_norm: 1.0,
        steps: 8,
        batch,
        budget_samples: 1000,
        target_accuracy: None,
        outer: OuterStep::default(),
        update: UpdateEncoding::E3m0,
    }
}

fn program() -> Program {
    preset::mlp(6, &[9, 5], 3).expect("a good program")
}

/// Three blobs around three corners: learnable, not trivial.
fn blobs(samples: u32) -> Block {
    let mut random = SplitMix64::new(5);
    let labels: Vec<u32> = (0..samples).map(|sample| sample % 3).collect();
    let x = labels.iter().flat_map(|&label| (0..6).map(move |f| if f % 3 == label { 1.0 } else { 0.0 }));
    let x = x.map(|corner: f32| corner + random.unit() - 0.5).collect();
    Block { samples, columns: vec![Column::F32(x), Column::U32(labels)] }
}

fn trainer(batch: u32) -> Trainer {
    let engine = pollster::block_on(Engine::open(Choice::Cpu)).expect("always there");
    let program = program();
    pollster::block_on(engine.trainer(&program, &recipe(batch), &program.initial(1))).expect("it fits")
}

#[track_caller]
fn check_plan(program: &Program, expected: Expect) {
    let plan = Plan::new(program, &recipe(4)).expect("it fits");
    let line = |d: &crate::Dispatch| format!("{:?} <- {:?}: {:?}\n", d.writes, d.reads, d.kernel);
    expected.assert_eq(&plan.dispatches.iter().map(line).collect::<String>());
}

#[test]
fn bias_relu_and_its_gradient_are_fused() {
    check_plan(
        &preset::mlp(6, &[9], 3).expect("a good program"),
        expect![[r#"
            [Slot(2)] <- [Slot(0), Parameter { offset: 0, len: 54 }, Parameter { offset: 128, len: 9 }]: MatMul { form: Nt, m: 4, n: 9, k: 6, bias: true, then: Unary { f: Relu, keep: false }, row_sums: false, batch: 1 }
            [Slot(3)] <- [Slot(2), Parameter { offset: 64, len: 27 }, Parameter { offset: 192, len: 3 }]: MatMul { form: Nt, m: 4, n: 3, k: 9, bias: true, then: Store, row_sums: false, batch: 1 }
            [Slot(4), Slot(5)] <- [Slot(3), Slot(1)]: CrossEntropy { rows: 4, classes: 3 }
            [Gradient { offset: 64, len: 27 }, Gradient { offset: 192, len: 3 }] <- [Slot(5), Slot(2)]: MatMul { form: Tn, m: 3, n: 9, k: 4, bias: false, then: Store, row_sums: true, batch: 1 }
            [Slot(6)] <- [Slot(5), Parameter { offset: 64, len: 27 }, Slot(2)]: MatMul { form: Nn, m: 4, n: 9, k: 3, bias: false, then: UnaryGrad { f: Relu }, row_sums: false, batch: 1 }
            [Gradient { offset: 0, len: 54 }, Gradient { offset: 128, len: 9 }] <- [Slot(6), Slot(0)]: MatMul { form: Tn, m: 9, n: 6, k: 4, bias: false, then: Store, row_sums: true, batch: 1 }
            [Slot(7)] <- [Gradient { offset: 0, len: 256 }]: NormPartials { len: 256, start: 0 }
            [Slot(8)] <- [Slot(7)]: ClipScale { clip_bits: 1065353216 }
            [Parameter { offset: 0, len: 256 }] <- [Gradient { offset: 0, len: 256 }, Slot(8)]: AdamW { len: 256, decay_len: 128, constants: [1063675494, 1064514355, 841731191, 1036831949], skip_start: 128, skip_end: 128 }
        "#]],
    );
}

#[test]
fn no_dispatch_writes_what_it_reads() {
    let plan = Plan::new(&program(), &recipe(4)).expect("it fits");
    for dispatch in &plan.dispatches {
        assert!(dispatch.writes.iter().all(|write| !dispatch.reads.contains(write)), "{dispatch:?}");
    }
}

#[test]
fn slots_are_shared() {
    let deep = preset::mlp(64, &[64; 12], 10).expect("a good program");
    let plan = Plan::new(&deep, &recipe(8)).expect("it fits");
    let intermediates = plan.dispatches.iter().filter(|d| matches!(d.writes[0], Place::Slot(_))).count();
    assert!(plan.slots.len() < intermediates, "{} slots for {intermediates} tensors", plan.slots.len());
}

#[test]
fn the_plan_id_covers_batch_and_recipe() {
    let id = |recipe: &Recipe| Plan::new(&program(), recipe).expect("it fits").id();
    let clipped = Recipe { clip_norm: 2.0, ..recipe(4) };
    assert_eq!(id(&recipe(4)), id(&recipe(4)));
    assert_ne!(id(&recipe(4)), id(&recipe(5)));
    assert_ne!(id(&recipe(4)), id(&clipped));
}

#[test]
fn what_does_not_fit_is_declined() {
    let wide = preset::mlp(60_000, &[400], 10).expect("within the limits");
    let error = Plan::new(&wide, &recipe(4096)).expect_err("60,000 x 4,096 values are too many");
    assert!(matches!(error, EngineError::TooLarge { .. }), "{error}");
}

#[test]
fn training_learns_and_evaluation_agrees_with_it() {
    let mut trainer = trainer(30);
    let data = [blobs(300)];
    let evaluate = |trainer: &mut Trainer| {
        let rows: Vec<u32> = (0..30).collect();
        pollster::block_on(trainer.evaluate(&Block::gather(&data, &rows))).expect("evaluates")
    };
    let before = evaluate(&mut trainer);
    for rows in batches(3, 300, 100, 30) {
        pollster::block_on(trainer.step(&Block::gather(&data, &rows), 1e-2)).expect("trains");
    }
    let after = evaluate(&mut trainer);
    assert!(after.loss_sum < 0.2 * before.loss_sum, "{before:?} {after:?}");
    assert!(after.correct >= 29, "{after:?}");
    let loss = pollster::block_on(trainer.loss()).expect("reads");
    assert_eq!(loss, (after.loss_sum / 30.0) as f32, "the same rows give the same loss");
}

#[test]
fn a_short_batch_evaluates_like_its_rows() {
    let mut trainer = trainer(8);
    let data = [blobs(20)];
    let mut sum = |rows: &[u32]| pollster::block_on(trainer.evaluate(&Block::gather(&data, rows))).expect("evaluates");
    let (all, first, rest) = (sum(&[0, 1, 2, 3, 4]), sum(&[0, 1]), sum(&[2, 3, 4]));
    assert_eq!(all.samples, 5);
    assert_eq!(all.correct, first.correct + rest.correct);
    assert!((all.loss_sum - first.loss_sum - rest.loss_sum).abs() < 1e-5);
}

#[test]
fn what_is_carried_on_is_as_if_nothing_had_been() {
    let data = [blobs(64)];
    let go_on = |trainer: &mut Trainer| {
        for rows in batches(1, 64, 3, 12) {
            pollster::block_on(trainer.step(&Block::gather(&data, &rows), 1e-2)).expect("trains");
        }
    };
    let weights = |trainer: &Trainer| pollster::block_on(trainer.weights()).expect("weights");
    let (mut through, mut carried) = (trainer(12), trainer(12));
    go_on(&mut through);
    go_on(&mut carried);
    carried.carry_on(&weights(&through)).expect("as many");
    go_on(&mut through);
    go_on(&mut carried);
    assert_eq!(weights(&through), weights(&carried));
    pollster::block_on(carried.restart(&program().initial(1))).expect("restarts");
    carried.carry_on(&weights(&through)).expect("as many");
    go_on(&mut through);
    go_on(&mut carried);
    assert_ne!(weights(&through), weights(&carried), "without its state");
}

#[test]
fn restart_forgets_everything() {
    let data = [blobs(64)];
    let run = |trainer: &mut Trainer| {
        for rows in batches(1, 64, 5, 16) {
            pollster::block_on(trainer.step(&Block::gather(&data, &rows), 1e-2)).expect("trains");
        }
        pollster::block_on(trainer.weights()).expect("reads")
    };
    let mut trainer = trainer(16);
    let first = run(&mut trainer);
    pollster::block_on(trainer.restart(&program().initial(1))).expect("restarts");
    assert_eq!(first, run(&mut trainer));
}

#[track_caller]
fn check_refusal(batch: &[Column], expected: Expect) {
    let error = pollster::block_on(trainer(2).step(batch, 1e-2)).expect_err("an error");
    expected.assert_eq(&error.to_string());
}

#[test]
fn a_wrong_batch_is_refused() {
    check_refusal(&[], expect!["column 0 of the batch has 0 values, expected 12"]);
    let x = Column::F32(vec![0.0; 12]);
    check_refusal(&[x.clone(), Column::U32(vec![0])], expect!["column 1 of the batch has 1 values, expected 2"]);
    check_refusal(&[x, Column::U32(vec![0, 3])], expect!["value 3 at row 1 of column 1, expected below 3"]);
}

#[test]
fn wrong_weights_are_refused() {
    let mut trainer = trainer(2);
    let before = pollster::block_on(trainer.weights()).expect("reads");
    let short = pollster::block_on(trainer.restart(&before[1..])).expect_err("too few");
    assert_eq!(short, EngineError::WeightCount { expected: before.len(), got: before.len() - 1 });
    let mut bad = before.clone();
    bad[7] = f32::NAN;
    let nan = pollster::block_on(trainer.restart(&bad)).expect_err("not finite");
    assert_eq!(nan.to_string(), "weight 7 is NaN");
    assert_eq!(pollster::block_on(trainer.weights()).expect("reads"), before);
}

/// What a stranger, an owner or a broken disk may hand in: each is refused in words that name the node and
/// the shapes, before anything runs.
#[test]
fn bad_input_is_refused_by_name() {
    let good = program().to_json();
    let parsed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        Program::parse(good.replacen(from, to, 1).as_bytes()).expect_err("an error").to_string()
    };
    let layer = good.find(r#"{"op":"linear""#).expect("a layer");
    let layer = &good[layer..layer + good[layer..].find('}').expect("its end") + 1];
    let mut errors = vec![
        parsed(layer, &layer.replace(r#""weight":2"#, r#""weight":3"#)),
        parsed(r#""op":"linear""#, r#""op":"lineal""#).chars().take(60).collect(),
        parsed(layer, &layer.replace(r#""x":0"#, r#""x":4"#)),
        parsed(r#""op":"unary","f":"relu""#, r#""op":"broadcast","axis":0,"count":4000000000"#),
    ];
    let nan = pollster::block_on(async {
        let engine = Engine::open(Choice::Cpu).await?;
        engine.trainer(&program(), &recipe(2), &vec![f32::NAN; program().parameter_count()]).await
    });
    errors.push(nan.err().expect("an error").to_string());
    let wide = Column::F32(vec![0.0; 20]);
    let block = pollster::block_on(trainer(2).step(&[wide, Column::U32(vec![0, 1])], 1e-2));
    errors.push(block.expect_err("an error").to_string());
    expect![[r#"
        node 4 (linear) cannot take shapes [batch, 6] and [9] and [9]: x [batch, .., k], weight [n, k], bias [n]
        program does not parse: unknown variant `lineal`, expected o
        node 4 (linear) refers to node 4, which is not before it
        node 5 (broadcast) has shape [batch, 4000000000, 9]: expected 1 to 33554432 values
        weight 0 is NaN
        column 0 of the batch has 20 values, expected 12"#]]
    .assert_eq(&errors.join("\n"));
}

#[test]
fn rotations_share_one_table() {
    use potluck_graph::preset::{FeedForward, GptConfig, Norm, Positions, gpt};
    let config = GptConfig {
        positions: Positions::Rotary { base: 1e4 },
        feed_forward: FeedForward::SwiGlu,
        norm: Norm::Rms,
        ..GptConfig::gpt2(11, 5, 2, 8, 2)
    };
    let plan = Plan::new(&gpt(&config).expect("a good program"), &recipe(2)).expect("it fits");
    let [(_, table)] = plan.tables.as_slice() else { panic!("{} tables", plan.tables.len()) };
    assert_eq!(table.len(), 5 * 4);
    assert_eq!(table[..4], [1.0, 0.0, 1.0, 0.0]);
    let (sin, cos) = 1f64.sin_cos();
    assert_eq!(table[4..6], [cos as f32, sin as f32]);
}

#[test]
fn a_gpt_step_takes_few_dispatches() {
    use potluck_graph::preset::{GptConfig, gpt};
    let program = gpt(&GptConfig::gpt2(65, 64, 2, 64, 4)).expect("a good program");
    let count = |optimizer| {
        let recipe = Recipe { optimizer, ..recipe(8) };
        Plan::new(&program, &recipe).expect("it fits").dispatches.len()
    };
    let (adamw, muon) = (count(Optimizer::default()), count(Optimizer::muon()));
    assert!(adamw <= 60, "{adamw} dispatches with AdamW");
    assert!(muon <= adamw + 45, "{muon} dispatches with Muon, {adamw} without");
    expect!["55 with AdamW, 72 with Muon"].assert_eq(&format!("{adamw} with AdamW, {muon} with Muon"));
}

#[test]
fn rotations_of_one_tensor_keep_their_own_tables() {
    use potluck_graph::{DType, Dim, Graph, Loss};
    let mut g = Graph::new();
    let x = g.input("x", &[Dim::Batch, Dim::Of(3), Dim::Of(4)], DType::F32).expect("an input");
    let y = g.input("y", &[Dim::Batch, Dim::Of(3)], DType::U32).expect("an input");
    let h = g.linear("a", x, 4).expect("a layer");
    let turned = [1e4, 5e5].map(|base| g.rope(h, 1, 4, base).expect("a rotation"));
    let sum = g.add(turned[0], turned[1]).expect("a sum");
    let logits = g.linear("head", sum, 3).expect("a layer");
    let program = g.finish(Loss::cross_entropy(logits, y)).expect("a good program");
    let plan = Plan::new(&program, &recipe(2)).expect("it fits");
    let rotations: Vec<_> = plan.dispatches.iter().filter(|d| matches!(d.kernel, crate::Kernel::Rope { .. })).collect();
    let tables: std::collections::BTreeSet<_> = rotations.iter().map(|d| format!("{:?}", d.reads[1])).collect();
    assert_eq!((rotations.len(), tables.len(), plan.tables.len()), (4, 2, 2));
}

#[test]
fn what_the_processor_needs_beside_its_operands_counts() {
    use potluck_graph::{DType, Dim, Graph, Heads, Loss};
    let mut g = Graph::new();
    let x = g.input("x", &[Dim::Batch, Dim::Of(16_384), Dim::Of(3)], DType::F32).expect("an input");
    let y = g.input("y", &[Dim::Batch, Dim::Of(16_384)], DType::U32).expect("an input");
    let qkv = g.linear("qkv", x, 3).expect("a layer");
    let h = g.attention(qkv, Heads { count: 1, kv_count: 1, causal: true }).expect("attention");
    let logits = g.linear("head", h, 2).expect("a layer");
    let program = g.finish(Loss::cross_entropy(logits, y)).expect("a good program");
    let error = Plan::new(&program, &recipe(1)).expect_err("two matrices of a gigabyte each");
    assert!(matches!(&error, EngineError::TooLarge { what, .. } if what == "training"), "{error}");
}

#[test]
fn a_batch_that_is_too_large_is_refused_by_its_tensor() {
    let error = Plan::new(&preset::mlp(1 << 16, &[4], 3).expect("a good program"), &recipe(1 << 10));
    expect!["node 0 (input) for a batch of 1024 needs 268435456 bytes, at most 134217728"]
        .assert_eq(&error.expect_err("an error").to_string());
}

#[test]
fn muon_takes_a_large_input_layer() {
    let wide = preset::mlp(20_000, &[512, 512, 512, 512], 10).expect("within the limits");
    let plan = Plan::new(&wide, &Recipe { optimizer: Optimizer::muon(), ..recipe(8) }).expect("it fits");
    assert!(plan.slots.iter().all(|&len| len as u64 <= potluck_protocol::limits::TENSOR_VALUES_MAX));
}

#[test]
fn muon_trains_the_prediction_unless_it_chooses_from_a_large_vocabulary() {
    for (classes, expected) in [(3, 2), (64, 2), (65, 1)] {
        let program = preset::mlp(6, &[8], classes).expect("a good program");
        let plan = Plan::new(&program, &Recipe { optimizer: Optimizer::muon(), ..recipe(2) }).expect("it fits");
        let stacked = plan.dispatches.iter().filter_map(|d| match d.kernel {
            crate::Kernel::MuonGather(stack) => Some(stack.count),
            _ => None,
        });
        assert_eq!(stacked.sum::<u32>(), expected, "{classes} classes");
    }
}

/// A GPT of more parameters than one binding holds.
fn large() -> Program {
    use potluck_graph::preset::{GptConfig, gpt};
    gpt(&GptConfig::gpt2(30_000, 64, 4, 512, 8)).expect("a good program")
}

#[test]
fn an_arena_beyond_a_binding_is_cut_between_parameters() {
    let max = potluck_protocol::limits::TENSOR_VALUES_MAX as usize;
    for optimizer in [Optimizer::default(), Optimizer::muon(), Optimizer::sgd()] {
        let plan = Plan::new(&large(), &Recipe { optimizer, ..recipe(1) }).expect("it fits");
        assert!(plan.arena_len > max, "{} values", plan.arena_len);
        let ends = plan.segments.iter().map(|&(start, len)| start + len);
        let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
        assert!(plan.segments.iter().map(|&(start, _)| start).eq(starts[..starts.len() - 1].iter().copied()));
        assert_eq!(starts.last(), Some(&plan.arena_len));
        assert!(plan.segments.iter().all(|&(_, len)| len <= max), "{:?}", plan.segments);
        let sums = plan.dispatches.iter().filter_map(|d| match d.kernel {
            crate::Kernel::NormPartials { len, start } => Some((start as usize, len as usize)),
            _ => None,
        });
        let summed = sums.fold(0, |at, (start, len)| if start == at && len <= 4 << 20 { at + len } else { 0 });
        assert_eq!(summed, plan.arena_len, "every value is in one sum, in order, a few Mi a dispatch");
        for place in plan.dispatches.iter().flat_map(|d| d.reads.iter().chain(&d.writes)) {
            let (Place::Parameter { offset, len } | Place::Gradient { offset, len }) = *place else { continue };
            let inside = |&(start, all): &(usize, usize)| start <= offset && offset + len <= start + all;
            assert!(plan.segments.iter().any(inside), "{place:?} is in no segment of {:?}", plan.segments);
        }
    }
}

/// Everything that goes over an arena goes over each segment, and a stack of Muon is gathered from two.
#[test]
fn each_segment_has_its_share_of_the_optimizer() {
    let program = preset::mlp(8, &[8; 4], 3).expect("a good program");
    let recipe = Recipe { optimizer: Optimizer::muon(), ..recipe(2) };
    let plan = Plan::in_segments(&program, &recipe, 192).expect("it fits");
    let over = |place: &&Place| !matches!(place, Place::Slot(_));
    let line = |d: &crate::Dispatch| {
        let arenas: Vec<&Place> = d.reads.iter().chain(&d.writes).filter(over).collect();
        format!("{arenas:?}: {:?}\n", d.kernel)
    };
    let optimizers = ["norm_partials", "muon_gather", "muon_apply", "adamw"];
    let shown = plan.dispatches.iter().filter(|d| optimizers.contains(&d.kernel.name())).map(line);
    expect![[r#"
        [Gradient { offset: 0, len: 192 }]: NormPartials { len: 192, start: 0 }
        [Gradient { offset: 192, len: 192 }]: NormPartials { len: 192, start: 192 }
        [Gradient { offset: 384, len: 192 }]: NormPartials { len: 192, start: 384 }
        [Gradient { offset: 576, len: 64 }]: NormPartials { len: 64, start: 576 }
        [Gradient { offset: 192, len: 192 }]: MuonGather(Stack { count: 1, n: 3, m: 8, momentum_bits: 1063675494 })
        [Gradient { offset: 0, len: 192 }]: MuonGather(Stack { count: 3, n: 8, m: 8, momentum_bits: 1063675494 })
        [Gradient { offset: 192, len: 192 }]: MuonGather(Stack { count: 1, n: 8, m: 8, momentum_bits: 1063675494 })
        [Parameter { offset: 192, len: 192 }]: MuonApply { stack: Stack { count: 1, n: 3, m: 8, momentum_bits: 1063675494 }, decay_bits: 1036831949 }
        [Parameter { offset: 0, len: 192 }]: MuonApply { stack: Stack { count: 3, n: 8, m: 8, momentum_bits: 1063675494 }, decay_bits: 1036831949 }
        [Parameter { offset: 192, len: 192 }]: MuonApply { stack: Stack { count: 1, n: 8, m: 8, momentum_bits: 1063675494 }, decay_bits: 1036831949 }
        [Gradient { offset: 0, len: 192 }, Parameter { offset: 0, len: 192 }]: AdamW { len: 192, decay_len: 192, constants: [1063675494, 1064514355, 841731191, 1036831949], skip_start: 0, skip_end: 192 }
        [Gradient { offset: 192, len: 192 }, Parameter { offset: 192, len: 192 }]: AdamW { len: 192, decay_len: 128, constants: [1063675494, 1064514355, 841731191, 1036831949], skip_start: 0, skip_end: 128 }
        [Gradient { offset: 384, len: 192 }, Parameter { offset: 384, len: 192 }]: AdamW { len: 192, decay_len: 0, constants: [1063675494, 1064514355, 841731191, 1036831949], skip_start: 0, skip_end: 0 }
        [Gradient { offset: 576, len: 64 }, Parameter { offset: 576, len: 64 }]: AdamW { len: 64, decay_len: 0, constants: [1063675494, 1064514355, 841731191, 1036831949], skip_start: 0, skip_end: 0 }
    "#]].assert_eq(&shown.collect::<String>());
}

/// The processor's memory has no bindings, but its kernels go segment by segment too.
#[test]
fn a_parameter_beyond_a_segment_is_alone() {
    let plan = Plan::in_segments(&program(), &recipe(2), 1).expect("it fits");
    let each: Vec<(usize, usize)> = plan.segments.iter().map(|&(start, len)| (start, len / 64)).collect();
    assert_eq!(each, [0, 64, 128, 192, 256, 320].map(|start| (start, 1)));
}
