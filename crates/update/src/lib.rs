//! Updates: how they travel (E3M0 and int8), how many become one (robust merge), how the one moves
//! the global parameters (outer step), and how a version reaches those who hold the one before it
//! (deltas).
//!
//! An update is `base - local`, one f32 a parameter, in the program's parameter order. Everything
//! here is bit-exact: the same bytes in the same order give the same bytes on every machine, in
//! wasm too, because only IEEE additions, multiplications, divisions and square roots are used, each
//! sum in index order and in f64. It must not know programs, tasks or trust, and it does no I/O.

mod codec;
mod delta;
mod distance;
mod e3m0;
mod global;
mod int8;
mod median;
mod merge;
mod outer;

pub use codec::{CHUNK_VALUES, DecodeError, bytes_from_weights, decode, encode, encoded_len, weights_from_bytes};
pub use delta::{DeltaError, Published, advance, apply_delta, delta_len, publish};
pub use distance::distance;
pub use global::{Global, Stepped};
pub use merge::{ROBUST_PARTS_MIN, Scaled, merge, merge_scaled, norm};
pub use outer::outer_step;
