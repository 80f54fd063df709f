//! What every [`EventLog`] has to do, as tests that run against each of them.

use potluck_protocol::JobName;

use super::{EventLog, Head, LogError, Record, RecordHash, Snapshot};

pub(super) fn job() -> JobName {
    "digits".parse().expect("a name")
}

/// The first `count` records of a log, chained.
pub(super) fn records(count: u64) -> Vec<Record> {
    chain(&job(), count)
}

fn chain(job: &JobName, count: u64) -> Vec<Record> {
    let mut head = Head::genesis(job);
    let mut records = Vec::new();
    for n in 1..=count {
        let record = head.next(1, 1, format!("{{\"n\":{n},\"text\":\"ü\\n\"}}"));
        head = head.follow(job, &record).expect("it follows");
        records.push(record);
    }
    records
}

/// Runs the suite; `open` gives an empty log after each `clear`.
pub(super) fn check_all<L: EventLog>(open: impl Fn() -> L, clear: impl Fn()) {
    for case in [
        reads_back_in_pages::<L>,
        refuses_gaps_and_forks::<L>,
        is_all_or_nothing::<L>,
        keeps_jobs_apart::<L>,
        knows_its_head::<L>,
        keeps_the_newest_snapshot::<L>,
        takes_appends_of_many_jobs_at_once::<L>,
        lets_one_of_many_continue_a_job::<L>,
    ] {
        case(open());
        clear();
    }
}

fn reads_back_in_pages<L: EventLog>(log: L) {
    let (job, records) = (job(), records(5));
    log.append(&job, &Head::genesis(&job), &records[..2]).expect("appended");
    log.append(&job, &Head::from(&records[1]), &records[2..]).expect("appended");
    assert_eq!(log.read(&job, 0, 100).expect("all"), records);
    assert_eq!(log.read(&job, 1, 2).expect("a page"), records[1..3]);
    assert_eq!(log.read(&job, 5, 2).expect("the end"), []);
    assert_eq!(log.read(&job, u64::MAX, 2).expect("past the end"), []);
    assert_eq!(log.read(&job, 0, 0).expect("none"), []);
    let end = log.read(&job, 0, 100).expect("all").iter().try_fold(Head::genesis(&job), |h, r| h.follow(&job, r));
    assert_eq!(end.expect("a whole chain"), Head::from(&records[4]));
}

fn refuses_gaps_and_forks<L: EventLog>(log: L) {
    let (job, records) = (job(), records(4));
    let genesis = Head::genesis(&job);
    let conflict = |r: Result<(), LogError>| assert!(matches!(r, Err(LogError::Conflict { .. })), "{r:?}");
    log.append(&job, &genesis, &records[..2]).expect("appended");
    conflict(log.append(&job, &genesis, &records[..2]));
    conflict(log.append(&job, &Head::from(&records[0]), &records[1..2]));
    conflict(log.append(&job, &Head::from(&records[2]), &records[3..]));
    let fork = Head { hash: RecordHash([7; 32]), ..Head::from(&records[1]) };
    conflict(log.append(&job, &fork, &[fork.next(1, 1, "{}".to_owned())]));
    assert_eq!(log.read(&job, 0, 100).expect("all"), records[..2]);
}

fn is_all_or_nothing<L: EventLog>(log: L) {
    let (job, mut records) = (job(), records(4));
    records[2].fact.push(' ');
    let error = log.append(&job, &Head::genesis(&job), &records).expect_err("the third is broken");
    assert!(matches!(error, LogError::Broken { seq: 3, .. }), "{error}");
    assert_eq!(log.read(&job, 0, 100).expect("all"), []);
    log.append(&job, &Head::genesis(&job), &[]).expect("nothing is fine");
    assert_eq!(log.jobs().expect("jobs"), []);
}

fn keeps_jobs_apart<L: EventLog>(log: L) {
    let other: JobName = "another".parse().expect("a name");
    log.append(&job(), &Head::genesis(&job()), &records(2)).expect("appended");
    log.append(&other, &Head::genesis(&other), &chain(&other, 1)).expect("appended");
    assert_eq!(log.jobs().expect("jobs"), [other.clone(), job()]);
    assert_eq!(log.read(&other, 0, 100).expect("all"), chain(&other, 1));
    // Records of one job never continue another.
    let head = Head::from(&chain(&other, 1)[0]);
    assert!(log.append(&other, &head, &records(2)[1..]).is_err());
}

fn knows_its_head<L: EventLog>(log: L) {
    let (job, records) = (job(), records(3));
    assert_eq!(log.head(&job).expect("a head"), Head::genesis(&job));
    log.append(&job, &Head::genesis(&job), &records[..2]).expect("appended");
    assert_eq!(log.head(&job).expect("a head"), Head::from(&records[1]));
    log.append(&job, &Head::genesis(&job), &records).expect_err("a fork");
    assert_eq!(log.head(&job).expect("a head"), Head::from(&records[1]));
    log.append(&job, &Head::from(&records[1]), &records[2..]).expect("appended");
    assert_eq!(log.head(&job).expect("a head"), Head::from(&records[2]));
}

fn keeps_the_newest_snapshot<L: EventLog>(log: L) {
    let (job, records) = (job(), records(2));
    let other: JobName = "another".parse().expect("a name");
    assert_eq!(log.snapshot(&job).expect("readable"), None);
    for record in &records {
        let snapshot = Snapshot::new(&job, Head::from(record), 7, format!("{{\"ü\":{}}}", record.seq));
        log.put_snapshot(&job, &snapshot).expect("kept");
        let found = log.snapshot(&job).expect("readable").expect("there");
        assert!(found == snapshot && found.is_whole(&job));
    }
    assert_eq!(log.snapshot(&other).expect("readable"), None);
    assert_eq!((log.head(&job).expect("a head"), log.jobs().expect("jobs")), (Head::genesis(&job), vec![]));
}

fn takes_appends_of_many_jobs_at_once<L: EventLog>(log: L) {
    let names: Vec<JobName> = (0..8).map(|n| format!("job-{n}").parse().expect("a name")).collect();
    std::thread::scope(|threads| {
        for job in &names {
            let log = &log;
            threads.spawn(move || {
                for pair in chain(job, 24).chunks(2) {
                    let before = log.head(job).expect("a head");
                    log.append(job, &before, pair).expect("appended");
                }
            });
        }
    });
    for job in &names {
        assert_eq!(log.read(job, 0, 100).expect("records"), chain(job, 24));
    }
}

fn lets_one_of_many_continue_a_job<L: EventLog>(log: L) {
    let job = job();
    let wins = std::thread::scope(|threads| {
        let appends: Vec<_> = (1..=8)
            .map(|epoch| {
                let (log, job) = (&log, &job);
                threads.spawn(move || {
                    let genesis = Head::genesis(job);
                    log.append(job, &genesis, &[genesis.next(epoch, 1, "{}".to_owned())])
                })
            })
            .collect();
        let outcomes = appends.into_iter().map(|append| append.join().expect("it ends"));
        outcomes
            .filter(|outcome| match outcome {
                Ok(()) => true,
                Err(LogError::Conflict { .. }) => false,
                Err(other) => panic!("{other}"),
            })
            .count()
    });
    assert_eq!((wins, log.head(&job).expect("a head").seq), (1, 1));
}

#[test]
fn memory_conforms() {
    check_all(super::MemoryLog::default, || ());
}

#[test]
fn a_faulty_log_without_a_fault_conforms() {
    check_all(|| super::FaultyLog::new(super::MemoryLog::default()), || ());
}
