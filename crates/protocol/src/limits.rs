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

/// Parameters of a program. 32 Mi x 4 B = 128 MiB is WebGPU's default storage binding.
pub const PARAMETERS_MAX: u64 = 32 << 20;

/// Serialised program: 4,096 nodes of about 250 bytes.
pub const PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Nodes of a program: GPT-2 small has about 300.
pub const PROGRAM_NODES_MAX: usize = 4096;

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

/// Longest task: above it the loss per sample suffers (`docs/training.md` has the table once the
/// simulator exists; DiLoCo at H = 16 costs 1.3 % more than at H = 8).
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

/// Ceiling over a lease deadline: how long blocks may be lost to a closed laptop.
pub const LEASE_MILLIS_MAX: u64 = 300_000;

/// Peer-controlled text in a hello (adapter, browser): enough for any user agent.
pub const DEVICE_TEXT_BYTES_MAX: usize = 300;
