//! The version that a tab computed on last, in the browser's cache for the next visit: whoever comes back
//! soon fetches deltas and not the whole.
//!
//! It must not know whether the version is still of use. Where storage is forbidden or full nothing is
//! kept, and nobody has to be told: the next visit fetches more.

use js_sys::{Reflect, Uint8Array, global};
use potluck_protocol::limits;
use potluck_volunteer::{Address, Blob};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, CacheStorage, Response};

/// The cache's name; in it, one version a job.
const NAME: &str = "potluck";

/// The version of the last visit.
pub(crate) async fn find(address: &Address) -> Option<Vec<u8>> {
    read(address).await.ok().filter(|bytes| bytes.len() <= limits::KEPT_VERSION_BYTES_MAX)
}

/// Keeps a version in the place of the one before.
pub(crate) async fn keep(address: &Address, version: &Blob) {
    // See above: a version that is not kept is no fault.
    let _ = write(address, version).await;
}

async fn read(address: &Address) -> Result<Vec<u8>, JsValue> {
    let found = JsFuture::from(open().await?.match_with_str(&address.kept_version())).await?;
    // Undefined where nothing is kept.
    let response: Response = found.dyn_into()?;
    let bytes = JsFuture::from(response.array_buffer()?).await?;
    Ok(Uint8Array::new(&bytes).to_vec())
}

async fn write(address: &Address, version: &Blob) -> Result<(), JsValue> {
    let response = Response::new_with_opt_js_u8_array(Some(&Uint8Array::from(version.as_slice())))?;
    JsFuture::from(open().await?.put_with_str(&address.kept_version(), &response)).await?;
    Ok(())
}

async fn open() -> Result<Cache, JsValue> {
    // Missing outside of secure contexts, and throws where a browser forbids it.
    let storage: CacheStorage = Reflect::get(&global(), &"caches".into())?.dyn_into()?;
    JsFuture::from(storage.open(NAME)).await?.dyn_into()
}
