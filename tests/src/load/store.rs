//! Facts that become durable in a second, beside what the storage engine does with the same rows and
//! nothing else: no chain, no heads, no fence, no thread. The two take turns, on the same disk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use potluck_coordinator::{EventLog, Head, Record, SqliteLog};
use potluck_protocol::{JobName, limits};
use potluck_scheduler::Fact;
use rusqlite::{Connection, params};
use serde_json::json;

use super::{Measured, Plan, crowd::Crowd, limit, rounded};
use crate::{Deadline, Job, Server};

/// Turns of each, and how long one takes.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(1);

/// Facts in one append: alone, what one job commits together, what all jobs do.
const GROUPS: [usize; 3] = [1, limits::GROUP_COMMIT_MAX, limits::LOG_GROUP_FACTS_MAX];

/// Measures.
///
/// # Panics
/// Where the disk does not take it.
pub fn measure(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Measured {
    let records = records(plan);
    let folder = tempfile::tempdir().expect("a folder");
    let (mut rows, mut held) = (Vec::new(), Vec::new());
    for group in GROUPS {
        let mut ours = Log::new(&folder.path().join(format!("log-{group}.sqlite")), &records);
        let mut engine = Engine::new(&folder.path().join(format!("engine-{group}.sqlite")), &records);
        let (mut log_rates, mut engine_rates) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            engine_rates.push(rate(group, |n| engine.insert(n)));
            log_rates.push(rate(group, |n| ours.append(n)));
        }
        let (log, engine) = (median(log_rates), median(engine_rates));
        let bytes = records.iter().map(|record| record.fact.len()).sum::<usize>() / records.len();
        tell(&format!("{group} facts a sync: {log:.0}/s, the engine {engine:.0}/s"));
        rows.push(json!({
            "part": "store",
            "facts_a_sync": group,
            "fact_bytes_mean": bytes,
            "facts_per_second": rounded(log),
            "engine_rows_per_second": rounded(engine),
            "share": rounded(log / engine),
        }));
        if group == limits::GROUP_COMMIT_MAX {
            let what = format!("engine's rows per second over durable facts per second, {group} a sync, in hundredths");
            // At least half of what the engine does is at most twice its time.
            held.push(limit(&what, 200, (100.0 * engine / log).round() as u64));
        }
    }
    (rows, held)
}

/// Facts of a real job, as they are stored.
fn records(plan: &Plan) -> Vec<Record> {
    let job = Job::digits(&[("budget_samples", "budget_samples = 1_000_000_000_000")]);
    let name: JobName = Job::NAME.parse().expect("a name");
    drop(Server::start(&job, Deadline::start()));
    Crowd::new(&job.folder(), &name, plan.seed).grow(4_096);
    let log = SqliteLog::open(&job.folder().join("potluck.sqlite")).expect("the log");
    // Without the first, which is as long as the job's list of blocks.
    log.read(&name, 1, 4_096).expect("records")
}

/// Facts a second over one turn of appends of `group` each.
fn rate(group: usize, mut append: impl FnMut(usize)) -> f64 {
    let began = Instant::now();
    let mut facts = 0;
    while began.elapsed() < TURN {
        append(group);
        facts += group;
    }
    facts as f64 / began.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A job's log, written as its coordinator does: each fact to text, read back, chained, appended.
struct Log {
    log: SqliteLog,
    job: JobName,
    head: Head,
    schema: u32,
    facts: Vec<Fact>,
    next: usize,
}

impl Log {
    fn new(file: &Path, records: &[Record]) -> Self {
        let job: JobName = Job::NAME.parse().expect("a name");
        let facts = records.iter().map(|record| serde_json::from_str(&record.fact).expect("a fact")).collect();
        let log = SqliteLog::open(file).expect("a log");
        Self { log, head: Head::genesis(&job), job, schema: records[0].schema, facts, next: 0 }
    }

    fn append(&mut self, count: usize) {
        let before = self.head;
        let mut records = Vec::with_capacity(count);
        for _ in 0..count {
            let fact = &self.facts[self.next % self.facts.len()];
            self.next += 1;
            let text = serde_json::to_string(fact).expect("text");
            assert!(serde_json::from_str::<Fact>(&text).expect("a fact") == *fact);
            let record = self.head.next(1, self.schema, text);
            self.head = Head::from(&record);
            records.push(record);
        }
        self.log.append(&self.job, &before, &records).expect("appended");
    }
}

/// The same rows in the same engine with the same guarantees.
struct Engine {
    connection: Connection,
    rows: Vec<Record>,
    next: usize,
}

impl Engine {
    fn new(file: &Path, records: &[Record]) -> Self {
        let connection = Connection::open(file).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("set");
        connection.pragma_update(None, "synchronous", "FULL").expect("set");
        let table = "CREATE TABLE facts (job TEXT NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, \
                     schema INTEGER NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL, fact TEXT NOT NULL, \
                     PRIMARY KEY (job, seq)) STRICT";
        connection.execute(table, []).expect("a table");
        Self { connection, rows: records.to_vec(), next: 0 }
    }

    fn insert(&mut self, count: usize) {
        let transaction = self.connection.transaction().expect("begun");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO facts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                .expect("a statement");
            for _ in 0..count {
                let Record { epoch, previous, schema, fact, hash, .. } = &self.rows[self.next % self.rows.len()];
                self.next += 1;
                let (previous, hash) = (previous.to_string(), hash.to_string());
                let row = params![Job::NAME, self.next as i64, epoch.cast_signed(), schema, previous, hash, fact];
                insert.execute(row).expect("inserted");
            }
        }
        transaction.commit().expect("durable");
    }
}
