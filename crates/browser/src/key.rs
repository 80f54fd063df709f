//! The volunteer's key, which stays in the browser: only its public half and signatures come here.
//!
//! It must not know what is signed.

use js_sys::{Array, ArrayBuffer, Reflect, Uint8Array};
use potluck_protocol::VolunteerKey;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, CryptoKey, SubtleCrypto};

use crate::clock::{global, text_from_js};

/// The name in WebCrypto, for making and using keys alike.
const ALGORITHM: &str = "Ed25519";

/// An Ed25519 key of WebCrypto.
#[derive(Clone)]
pub(crate) struct Key {
    subtle: SubtleCrypto,
    private: CryptoKey,
    public: VolunteerKey,
}

impl Key {
    /// The given `CryptoKeyPair`, or a new one that ends with this worker where there is none.
    pub(crate) async fn load(pair: JsValue) -> Result<Self, String> {
        let crypto: Crypto = global("crypto")?;
        // Absent outside secure contexts, whatever its type says.
        let subtle = crypto.subtle();
        if subtle.is_undefined() {
            return Err("this page is not in a secure context, so there is no key to sign with".to_owned());
        }
        let pair = if pair.is_undefined() || pair.is_null() { generate(&subtle).await? } else { pair };
        let private = half(&pair, "privateKey")?;
        let public = half(&pair, "publicKey")?;
        let raw = await_promise(subtle.export_key("raw", &public)).await?;
        let raw: [u8; 32] = bytes_from_js(raw).try_into().map_err(|_| "the key is not Ed25519".to_owned())?;
        Ok(Self { subtle, private, public: VolunteerKey(raw) })
    }

    pub(crate) fn volunteer(&self) -> VolunteerKey {
        self.public
    }

    /// Ed25519 signature (RFC 8032).
    pub(crate) async fn sign(&self, message: &[u8]) -> Result<[u8; 64], String> {
        let message = Uint8Array::from(message);
        let promise = self.subtle.sign_with_str_and_js_u8_array(ALGORITHM, &self.private, &message);
        let signature = bytes_from_js(await_promise(promise).await?);
        signature.try_into().map_err(|_| "the signature is not 64 bytes".to_owned())
    }
}

async fn generate(subtle: &SubtleCrypto) -> Result<JsValue, String> {
    let usages = Array::of1(&"sign".into());
    await_promise(subtle.generate_key_with_str(ALGORITHM, false, &usages)).await
}

fn half(pair: &JsValue, name: &str) -> Result<CryptoKey, String> {
    let value = Reflect::get(pair, &name.into()).unwrap_or(JsValue::UNDEFINED);
    value.dyn_into().map_err(|_| format!("keyPair.{name} is not a CryptoKey"))
}

async fn await_promise(promise: Result<js_sys::Promise, JsValue>) -> Result<JsValue, String> {
    let promise = promise.map_err(|e| text_from_js(&e))?;
    JsFuture::from(promise).await.map_err(|e| text_from_js(&e))
}

fn bytes_from_js(value: JsValue) -> Vec<u8> {
    value.dyn_into::<ArrayBuffer>().map(|buffer| Uint8Array::new(&buffer).to_vec()).unwrap_or_default()
}
