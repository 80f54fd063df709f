//! Whole jobs with real processes: one coordinator, several volunteers, and what is left when one
//! of them is killed at the worst moment.

use std::collections::BTreeSet;

use potluck_tests::{Deadline, Facts, Job, Server, Volunteer};

/// Five times through the training images; enough for 0.9, done in seconds.
const SMALL_BUDGET: (&str, &str) = ("budget_samples", "budget_samples = 15360");

#[test]
fn three_volunteers_train_digits() {
    let deadline = Deadline::start();
    let job = Job::digits(&[SMALL_BUDGET]);
    let server = Server::start(&job, deadline);
    let volunteers: Vec<Volunteer> = (0..3).map(|_| Volunteer::start(&server.url)).collect();
    let accuracy = server.test_accuracy(deadline);
    let credited: Vec<u64> = volunteers.into_iter().flat_map(|volunteer| volunteer.end(deadline)).collect();
    eprintln!("test accuracy {accuracy:.4} after {} credited tasks", credited.len());
    assert!(accuracy >= 0.9, "{accuracy}");

    let facts = Facts::read(&job);
    facts.check_versions();
    facts.check_merged_once();
    facts.check_acknowledged(&credited);
    let keys: BTreeSet<_> = facts.tasks().values().filter_map(|task| task.volunteer).collect();
    assert!(keys.len() >= 3, "some volunteer had no task: {keys:?}");
}

#[test]
fn a_job_of_few_tasks_ends_without_a_refusal() {
    // The learning rate falls to a tenth within these twenty tasks, and their norms with it.
    let deadline = Deadline::start();
    let job = Job::digits(&[("budget_samples", "budget_samples = 5120")]);
    let server = Server::start(&job, deadline);
    let volunteer = Volunteer::start(&server.url);
    let accuracy = server.test_accuracy(deadline);
    let credited = volunteer.end(deadline);
    eprintln!("test accuracy {accuracy:.4}");
    assert_eq!(credited.len(), 20, "5,120 samples are 20 tasks of 256");
    let leased = Facts::read(&job).tasks();
    assert_eq!(leased.len(), 20, "a result was refused or a lease lapsed");
}

/// The moment of the kill comes from a seed, so that another seed is another moment and the same
/// seed the same. `POTLUCK_SEED` chooses one.
fn seeds() -> Vec<u64> {
    match std::env::var("POTLUCK_SEED") {
        Ok(seed) => vec![seed.parse().expect("POTLUCK_SEED is a whole number")],
        Err(_) => vec![1, 2],
    }
}

/// The acknowledgement upon which the coordinator is killed: of about thirty that one of two
/// volunteers gets for 15,360 samples.
fn kill_at(seed: u64) -> usize {
    1 + potluck_graph::random::SplitMix64::new(seed).below(20) as usize
}

#[test]
fn a_killed_coordinator_loses_nothing_that_it_acknowledged() {
    for seed in seeds() {
        eprintln!("POTLUCK_SEED={seed}");
        let deadline = Deadline::start();
        let job = Job::digits(&[SMALL_BUDGET]);
        let mut server = Server::start(&job, deadline);
        let port = server.port();
        let mut one = Volunteer::start(&server.url);
        let two = Volunteer::start(&server.url);
        // The word that it counts is just out: now nothing may be lost any more.
        let acknowledged = one.acknowledgements(kill_at(seed), deadline);
        server.process.kill();
        let before = Facts::read(&job);
        before.check_acknowledged(&acknowledged);

        let server = Server::start_at(&job, port, deadline);
        let accuracy = server.test_accuracy(deadline);
        let credited = [acknowledged, one.end(deadline), two.end(deadline)].concat();
        let after = Facts::read(&job);
        eprintln!("killed at {} of {} facts; test accuracy {accuracy:.4}", before.0.len(), after.0.len());
        assert!(accuracy >= 0.9, "{accuracy}");
        assert_eq!(after.0[..before.0.len()], before.0[..], "facts were changed");
        after.check_versions();
        after.check_merged_once();
        after.check_acknowledged(&credited);
    }
}

/// Tasks of 1,024 samples that take most of a second rather than milliseconds.
fn job_of_long_tasks(budget: &str) -> Job {
    Job::digits(&[("hidden", "hidden = [1024, 1024]"), ("batch", "batch = 128"), ("budget_samples", budget)])
}

#[test]
fn blocks_of_a_killed_volunteer_are_trained_by_another() {
    let deadline = Deadline::start();
    // The kill falls into the middle of a task, and there are more of them than will be done, so that
    // the job does not end before the others.
    let job = job_of_long_tasks("budget_samples = 10_000_000");
    let server = Server::start(&job, deadline);
    let victim = Volunteer::start(&server.url);
    let under_way = || Facts::read(&job).tasks().into_iter().rev().find(|(_, story)| story.accepted == 0);
    server.watch(deadline, "a task under way", |_| under_way());
    victim.kill(deadline);
    // The first may have been handed in before the kill; the last is the one that was not.
    let (lost, _) = under_way().expect("a volunteer at work holds a task");
    let other = Volunteer::start(&server.url);
    server.watch(deadline, "the lost blocks to be merged", |_| {
        let facts = Facts::read(&job);
        let blocks = &facts.tasks()[&lost].blocks;
        blocks.iter().all(|block| facts.merged_from(*block).is_some()).then_some(())
    });
    server.stop_job(&job, deadline);
    server.test_accuracy(deadline);
    other.end(deadline);

    let facts = Facts::read(&job);
    facts.check_merged_once();
    let tasks = facts.tasks();
    let story = &tasks[&lost];
    assert_eq!((story.accepted, story.accepted_late, story.lapsed), (0, 0, true), "task {lost} was not lost");
    for block in &story.blocks {
        let by = facts.merged_from(*block).and_then(|task| tasks[&task].volunteer);
        assert!(by.is_some() && by != story.volunteer, "{block:?} of task {lost} was trained by {by:?}");
    }
}

#[test]
fn a_fifth_helper_waits_for_a_seat_and_steps_in() {
    // 90 tasks are three volunteers' work, and four seats are the least.
    let deadline = Deadline::start();
    let job = job_of_long_tasks("budget_samples = 92_160");
    let server = Server::start(&job, deadline);
    let mut seated: Vec<Volunteer> = (0..4).map(|_| Volunteer::start(&server.url)).collect();
    seated.iter_mut().for_each(|volunteer| {
        volunteer.acknowledgements(2, deadline);
    });
    let mut fifth = Volunteer::start(&server.url);
    fifth
        .process
        .find(deadline, "that there are enough", |line| line.text().starts_with("enough helpers").then_some(()));
    seated.remove(0).kill(deadline);
    let credited = fifth.acknowledgements(1, deadline);
    server.stop_job(&job, deadline);
    server.test_accuracy(deadline);
    fifth.end(deadline);
    seated.into_iter().for_each(|volunteer| {
        volunteer.end(deadline);
    });
    let facts = Facts::read(&job);
    facts.check_merged_once();
    facts.check_acknowledged(&credited);
}
