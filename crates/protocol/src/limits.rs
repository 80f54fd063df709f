//! Every limit of the wire, the job file and the size envelope, each with its arithmetic. The
//! coordinator, the volunteer and `potluck check` enforce the same numbers.

/// Longest job name: it is a path segment, a file name and a DOM attribute.
pub const JOB_NAME_BYTES_MAX: usize = 64;

/// Longest job file: ten times the longest example.
pub const JOB_FILE_BYTES_MAX: usize = 256 << 10;

/// Longest text field of a job file (title, owner, ...); what fits a widget card in two lines.
pub const TEXT_FIELD_BYTES_MAX: usize = 400;

/// Longest JSON message on the WebSocket. The largest is a lease: 64 block ids of 67 bytes are
/// 4.3 KB and the rest below 2 KB; 64 KiB leaves room to grow.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Longest signed statement: about 500 bytes in practice.
pub const STATEMENT_BYTES_MAX: usize = 4 << 10;

/// Parameters of a job's program: a version of 32 Mi x 4 B is 128 MiB, more than a visitor may have to
/// download; updates and blobs have their limits from it.
pub const PARAMETERS_MAX: u64 = 32 << 20;

/// Parameters of any program: weights, gradients, two moments and a copy of 4 B each, in the memory
/// that training may take in a tab. Arenas beyond one binding are cut.
pub const PROGRAM_PARAMETERS_MAX: u64 = TAB_MEMORY_BYTES_MAX / 20;

/// Serialised program: 4,096 nodes of about 250 bytes.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Nodes of a program: GPT-2 small has about 300.
pub const PROGRAM_NODES_MAX: usize = 4096;

/// WGSL of a custom operation, forward or backward: twice the longest shader of ours.
pub const CUSTOM_WGSL_BYTES_MAX: usize = 16 << 10;

/// Values of one tensor: WebGPU's default 128 MiB binding in f32.
pub const TENSOR_VALUES_MAX: u64 = 32 << 20;

/// Largest update: int8 of the largest program, one scale a chunk, and the header.
pub const UPDATE_BYTES_MAX: usize = (PARAMETERS_MAX + PARAMETERS_MAX / 4096 * 4) as usize + 64;

/// Largest blob that a volunteer may fetch: f32 parameters of the largest program.
pub const BLOB_BYTES_MAX: usize = (PARAMETERS_MAX * 4) as usize;

/// What a visitor may have to download before the first task, on a desktop.
pub const FIRST_DOWNLOAD_BYTES_MAX: u64 = 100 << 20;

/// Memory that training may take in a tab: a quarter of a small laptop's 4 GiB.
pub const TAB_MEMORY_BYTES_MAX: u64 = 1 << 30;

/// Shortest task that is worth its round trip.
pub const TASK_STEPS_MIN: u32 = 4;

/// Longest task: above it the loss per sample suffers (in our own calibration
/// with Muon and eight volunteers, the loss at H = 16 is 2 % above that at H = 8).
pub const TASK_STEPS_MAX: u32 = 16;

/// Largest batch of one step.
pub const BATCH_MAX: u32 = 4096;

/// Samples in one block at most; a block is the unit of leasing.
pub const BLOCK_SAMPLES_MAX: u32 = 4096;

/// Bytes of one block at most: what a 5 Mbit/s line fetches in under a second is 512 KiB.
pub const BLOCK_BYTES_MAX: usize = 512 << 10;

/// Blocks in one task: its ids must fit a message.
pub const TASK_BLOCKS_MAX: usize = 64;

/// Blocks of one job: 64 Ki x 512 KiB = 32 GiB, more than one owner's disk is asked to hold.
pub const JOB_BLOCKS_MAX: usize = 64 << 10;

/// Volunteers connected to one job. A socket costs about 40 KiB with our buffers: 400 MB.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Leases one volunteer may hold: one computed, one prefetched.
pub const LEASES_PER_VOLUNTEER_MAX: usize = 2;

/// Accepted updates that wait for a commit. 256 x 4 MiB = 1 GiB, half the smallest host that we
/// support; past it a tab is told to ask again later.
pub const PENDING_UPDATES_MAX: usize = 256;

/// Messages queued for one slow socket; past it the socket is closed.
pub const SOCKET_QUEUE_MAX: usize = 32;

/// Malformed messages that one connection may send before it is closed.
pub const BAD_MESSAGES_MAX: u32 = 8;

/// A socket that sends no `hello` for this long is closed.
pub const HELLO_WAIT_MILLIS: u64 = 10_000;

/// Lease deadline while a volunteer's speed is unknown.
pub const LEASE_MILLIS_DEFAULT: u64 = 45_000;

/// Floor under a lease deadline: below it a garbage collection pause looks like a death.
pub const LEASE_MILLIS_MIN: u64 = 5_000;

/// Asks that those who wait send in a second, all together: beyond a hundred of them each asks less
/// often. An ask of one looks at all: 0.1 ms with 256 who wait, 4 ms with 10,000, and so at most half
/// of a core. Work that comes up is pushed without an ask.
pub const WAITING_ASKS_PER_SECOND_MAX: u64 = 100;

/// Ceiling over a lease deadline: how long blocks may be lost to a closed laptop.
pub const LEASE_MILLIS_MAX: u64 = 300_000;

/// Peer-controlled text in a hello (adapter, browser): enough for any user agent.
pub const DEVICE_TEXT_BYTES_MAX: usize = 300;

/// Columns of a CSV file besides the label: a sample of f32 must fit a block even alone,
/// 512 KiB / 4 B less the label and the block's header.
pub const FEATURES_MAX: usize = BLOCK_BYTES_MAX / 4 - 64;

/// Classes of a classification job: as wide as the widest layer of a preset.
pub const CLASSES_MAX: u32 = 65_536;

/// Values that one ingest holds in memory. 128 Mi x 4 B = 512 MiB as a table, once more as
/// blocks: 1 GiB, half the smallest host that we support.
pub const INGEST_VALUES_MAX: usize = 128 << 20;

/// Bytes of a CSV file: [`INGEST_VALUES_MAX`] values of 16 characters.
pub const CSV_BYTES_MAX: u64 = 16 * INGEST_VALUES_MAX as u64;

/// Bytes of a text: as many tokens as an ingest may hold.
pub const TEXT_BYTES_MAX: u64 = INGEST_VALUES_MAX as u64;

/// Blobs that a volunteer keeps in memory: two versions of the largest program that a tab accepts
/// (2 x 100 MiB) and the blocks of two tasks (2 x 64 x 512 KiB = 64 MiB).
pub const BLOB_CACHE_BYTES_MAX: usize = (2 * FIRST_DOWNLOAD_BYTES_MAX as usize) + 2 * TASK_BLOCKS_MAX * BLOCK_BYTES_MAX;

/// Bytes of a version that a volunteer keeps for its next visit. One comes every few seconds, and is
/// written whole: 16 MiB every ten seconds are 1.6 MiB/s, what a tab may do to a visitor's disk.
pub const KEPT_VERSION_BYTES_MAX: usize = 16 << 20;

/// Fetches that one volunteer has under way: browsers open six connections to a host, one is left
/// for an upload and one for the page.
pub const FETCHES_MAX: usize = 4;

/// A ping goes to a silent socket this often: well below the 60 s after which proxies give up.
pub const PING_MILLIS: u64 = 20_000;

/// A socket from which nothing came for this long, three pings, is closed.
pub const SILENCE_MILLIS_MAX: u64 = 3 * PING_MILLIS;

/// A message that a socket does not take for this long closes it: a lease of 10 KB needs 4 kbit/s.
pub const SEND_MILLIS_MAX: u64 = 20_000;

/// Messages that one socket may send in a second, with twice as many at once; past it they are read
/// later. A volunteer with tasks of half a second sends four.
pub const SOCKET_MESSAGES_PER_SECOND_MAX: u32 = 20;

/// Backends that a join challenge may report: [`crate::Backend`] has four.
pub const CHALLENGES_MAX: usize = 4;

/// Inputs that wait for a job's actor. A socket sends its next message after the one before was
/// taken, so waiting costs the sender, not memory: 1,024 x 4 KiB = 4 MiB.
pub const MAILBOX_MAX: usize = 1024;

/// Inputs whose facts share one sync of the log: at 64 an embedded log takes 36,000 facts a second
/// against 666 one by one.
pub const GROUP_COMMIT_MAX: usize = 64;

/// Facts of all jobs that share one sync of the log: 1,024 x 1 KB = 1 MB, what a disk writes in the
/// time that its sync takes anyway.
pub const LOG_GROUP_FACTS_MAX: usize = 1024;

/// Facts read from the log at once when a job starts: 1,024 x 1 KB = 1 MB.
pub const LOG_PAGE_FACTS: usize = 1024;

/// Facts from one snapshot of a job's folded state to the next. A start folds them in half a second at
/// 100,000 a second; a snapshot of 15 MB at most is half of what they take in the log themselves.
pub const SNAPSHOT_FACTS: u64 = 50_000;

/// Bytes of data blocks that are read and hashed at every start: at 500 MB/s in half a second. What is
/// beyond is checked when it is read.
pub const START_CHECK_BYTES_MAX: u64 = 256 << 20;

/// Update bytes that are being received at once, each with its decoded values (8 x for four bits):
/// 8 of the largest, 256 MiB, and 2 GiB decoded only two at a time.
pub const UPLOADING_BYTES_MAX: usize = 256 << 20;

/// A pack of updates that has reached this size is appended to no more. One update that is still
/// needed keeps its whole pack: [`PENDING_UPDATES_MAX`] of them 256 x 32 MiB = 8 GiB at the worst, a
/// few packs in practice, for what is accepted together is merged together.
pub const PACK_BYTES_MAX: u64 = 32 << 20;

/// Update bytes that share one sync of a pack, a last update on top: 16 MiB take a slow disk of
/// 100 MB/s 160 ms, against some milliseconds for the sync.
pub const PACK_GROUP_BYTES_MAX: usize = 16 << 20;

/// Updates that are being decoded at once: 2 x 128 MiB of values.
pub const DECODING_MAX: usize = 2;

/// Different updates kept for one task until its result comes. One is honest; the others leave room
/// for somebody who guesses task numbers, whose bytes drop out first.
pub const UPLOADS_PER_TASK_MAX: usize = 4;

/// An upload of which nothing came for this long is given up.
pub const UPLOAD_STALL_MILLIS_MAX: u64 = 15_000;

/// Versions that are made of a stored one and deltas at once, for volunteers that fetch one whole:
/// each takes the parameters twice and a delta, 300 MiB for the largest program.
pub const MAKING_MAX: usize = 1;

/// Public blobs that a coordinator keeps in memory, the least recently served dropped first: two
/// versions of the largest program.
pub const SERVED_BLOBS_BYTES_MAX: usize = 2 * BLOB_BYTES_MAX;

/// Pages that follow one coordinator's events at once; each costs a task and a socket, about 30 KiB.
pub const EVENT_STREAMS_MAX: usize = 1_000;

/// Job events that one page gets in a second are at most 1,000 / this.
pub const EVENT_MILLIS_MIN: u64 = 250;

/// Rows of one page of a list: 500 x 300 B = 150 KB.
pub const PAGE_ROWS_MAX: usize = 500;

/// Body of a control request: a word in JSON, or a recipe of 20 fields of 30 bytes.
pub const CONTROL_BYTES_MAX: usize = 2 << 10;

/// Changes of one job's recipe: one every half an hour for a month. 1,500 x 200 B = 300 KB that stay
/// in memory.
pub const RECIPE_CHANGES_MAX: usize = 1_500;

/// Changes of the recipe that a job's page lists: the newest.
pub const CHANGE_ROWS_MAX: usize = 20;

/// Connections of one coordinator, upgraded or not: the sockets of one full job, its pages and
/// fetches.
pub const HTTP_CONNECTIONS_MAX: usize = CONNECTIONS_MAX + 4_000;

/// A request whose head has not come for this long is given up.
pub const REQUEST_HEAD_MILLIS_MAX: u64 = 15_000;

/// A request that is not an upload, a download or a stream is answered within this.
pub const REQUEST_MILLIS_MAX: u64 = 30_000;

/// Volunteers that are asked to connect again in one second after a graceful stop. Each sends a
/// hello and perhaps an upload: 200 x (1 ms + a share of a group commit) is a quarter of one core.
pub const RECONNECTS_PER_SECOND: u64 = 200;

/// The first of them come after this: a coordinator that is restarted is back within two seconds.
pub const RECONNECT_MILLIS_MIN: u64 = 2_000;

/// A graceful stop waits this long for the verdicts on results that were sent before.
pub const LAST_VERDICTS_MILLIS_MAX: u64 = 2_000;

/// A graceful stop waits this long for answers under way.
pub const STOP_MILLIS_MAX: u64 = 5_000;

/// Path of a built file below `/assets/`: three folders of short names and a hash.
pub const ASSET_PATH_BYTES_MAX: usize = 200;

/// Volunteers that a job's page lists one by one; the number of the others is shown.
pub const CONNECTED_ROWS_MAX: usize = 200;

/// Versions that may lie between the base of an update and the version it is merged into. The weight
/// (1 + staleness)^(-1/2) has fallen to a third there; older updates are credited, not merged.
pub const STALENESS_MAX: u64 = 8;

/// How long a volunteer whose connection dropped keeps its leases: a reload takes one or two
/// seconds, a first reconnect with back-off as much again.
pub const ORPHAN_MILLIS: u64 = 5_000;

/// Least wait of a round for the others once the first result is in: below it the jitter of a home
/// network decides who is merged.
pub const ROUND_GRACE_MILLIS_MIN: u64 = 1_000;

/// Longest wait of a round for the others: a visitor should see progress every minute.
pub const ROUND_GRACE_MILLIS_MAX: u64 = 60_000;

/// Longest wait of a buffer that is full for those who are about to hand in: a tenth of the longest task
/// that is still a good one.
pub const BUFFER_GRACE_MILLIS_MAX: u64 = 5_000;

/// Longest wait of a buffer of two volunteers until it is full: a visitor should see progress every
/// minute.
pub const BUFFER_MILLIS_MAX: u64 = 60_000;

/// Versions that wait for an evaluation before old ones are passed over. 16 x 128 MiB = 2 GiB of
/// parameters are kept for them at the largest program.
pub const EVALUATIONS_WAITING_MAX: usize = 16;

/// Handed-in tasks that are remembered, so that the same result again gets the same answer.
/// 64 Ki x 120 B = 8 MB; at 100 tasks a second that is the 10 minutes of the longest expiry.
pub const CLOSED_TASKS_MAX: usize = 64 << 10;

/// Refusals that are remembered for the same reason. 1,024 x 300 B = 300 KB.
pub const REFUSALS_KEPT_MAX: usize = 1024;

/// A version whose number is a multiple of this is stored whole, with momentum and feedback: 12 bytes
/// a parameter once in 16 commits are less than the byte a parameter of each delta. At a start at most
/// 15 merges are done again, and no version is more than 15 deltas away from a stored one.
pub const CHECKPOINT_VERSIONS: u64 = 16;

/// Steps of a chain of deltas: three take 3.003 bytes a parameter, the whole version takes 4, and a
/// fourth would make it more.
pub const DELTAS_MAX: usize = 3;

/// Bytes that the newest versions of one job may take on the disk before the older ones go, but for
/// each sixteenth: 32 versions of the largest program if they were stored whole, and four times as
/// many as deltas.
pub const BASES_BYTES_MAX: u64 = 32 * BLOB_BYTES_MAX as u64;

/// What an honest update's norm is at most, in units of steps x learning rate x sqrt(parameters),
/// that is, how far the mean value may move in a step, in learning rates. AdamW from a fresh state
/// moves a value by about one learning rate a step and, where one large gradient follows small ones,
/// by at most sqrt(16) = 4 in the longest task; Muon by an RMS of 0.2 to 0.25; weight decay of at
/// most 1 adds one for values around 1. That is 5; twice that leaves room for a learning rate that
/// falls within the task and for the rounding of the encoding.
pub const NORM_LEARNING_RATES_MAX: f64 = 10.0;

/// What an honest update's norm is at least, as a share of the most. AdamW and Muon are at 1 % to
/// 10 % of it even where most values have no gradient; a zero update is not training.
pub const NORM_SHARE_MIN: f64 = 1e-6;

/// Norm of any update. The most by the learning rate is 16 steps x 10 x 10 x sqrt(32 Mi) = 9e6; SGD
/// with gradients that are not clipped is bound by this alone. Far below the largest f32, 3e38, so
/// that no merge overflows.
pub const UPDATE_NORM_MAX: f64 = 1e9;

/// Floating-point operations a second that no volunteer's device reaches in training: the largest
/// consumer cards peak at about 100 TFLOP/s in f32 and a training step gets at most half of that.
pub const DEVICE_FLOPS_MAX: u64 = 80_000_000_000_000;

/// Floating-point operations of one evaluation task of several blocks: 2e11 are 20 s on a processor
/// of 10 GFLOP/s, well below its deadline of 300 s and its expiry of 600 s.
pub const EVALUATE_FLOPS_MAX: u64 = 200_000_000_000;
