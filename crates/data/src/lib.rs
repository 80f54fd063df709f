//! What an owner brings and takes away: reads data files into splits and blocks, and writes models
//! in a format of other tools.
//!
//! It must not know of networks, jobs in progress or devices: a job file and a folder go in,
//! a program and blocks come out.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! let job = potluck_protocol::JobFile::parse(
//!     r#"
//!     [job]
//!     name = "signs"
//!     title = "Above or below zero"
//!     owner = "A school"
//!     contact = "https://example.org"
//!     licence = "CC0"
//!     [data]
//!     csv = "signs.csv"
//!     label = "positive"
//!     public = true
//!     licence = "CC0"
//!     source = "made here"
//!     [model]
//!     preset = "mlp"
//!     hidden = [4]
//!     [train]
//!     batch = 8
//!     budget_samples = 1000
//!     "#,
//! )?;
//! let lines: String = (-20..20).map(|n| format!("{n},{}\n", u32::from(n > 0))).collect();
//! let data = potluck_data::ingest_csv(&job, format!("number,positive\n{lines}").as_bytes())?;
//! assert_eq!((data.samples, data.contents.to_string().as_str()), (40, "1 values a sample, 2 classes"));
//!
//! let weights = data.program.initial(1);
//! let file = potluck_data::safetensors_from(&data.program, &weights, &BTreeMap::new())?;
//! # assert!(file.len() > 4 * weights.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alphabet;
mod error;
mod ingest;
mod model;
mod read;
mod safetensors_file;
mod split;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use alphabet::Alphabet;
pub use error::DataError;
pub use ingest::{Contents, EncodedBlock, Ingested, ingest, ingest_csv};
pub use model::ModelFiles;
pub use safetensors_file::{SafetensorsError, safetensors_from};
