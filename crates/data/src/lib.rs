//! What an owner brings and takes away: reads data files into splits and blocks, and writes models
//! in a format of other tools.
//!
//! It must not know of networks, jobs in progress or devices: a job file and a folder go in,
//! a program and blocks come out.

mod error;
mod ingest;
mod safetensors_file;
mod split;
mod table;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use error::DataError;
pub use ingest::{EncodedBlock, Ingested, ingest, ingest_csv};
pub use safetensors_file::{SafetensorsError, safetensors_from};
