//! The wasm shell of a volunteer, for a dedicated Worker of the widget's iframe and nowhere else.
//!
//! JavaScript sees one class, `VolunteerHandle`, and plain objects: `README.md` beside this crate
//! is that interface. The shell owns the socket, the fetches, the timers, the signing and the turns
//! of the event loop; every decision is made by `potluck_volunteer::Session`, every number by
//! `potluck_volunteer::Compute`. It must not know the page: no DOM, no storage, no consent.

pub mod options;

#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(target_arch = "wasm32")]
mod crash;
#[cfg(target_arch = "wasm32")]
mod handle;
#[cfg(target_arch = "wasm32")]
mod http;
#[cfg(target_arch = "wasm32")]
mod kept;
#[cfg(target_arch = "wasm32")]
mod key;
#[cfg(target_arch = "wasm32")]
mod shell;
#[cfg(target_arch = "wasm32")]
mod socket;
#[cfg(target_arch = "wasm32")]
mod work;

#[cfg(target_arch = "wasm32")]
pub use handle::VolunteerHandle;
