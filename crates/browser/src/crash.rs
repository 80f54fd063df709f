//! A panic is told before the wasm stops for good: a silent tab would look like a patient one.
//!
//! It must not rely on anything that may have panicked, so it builds its event by hand.

use std::cell::RefCell;

use js_sys::{Function, Object, Reflect};
use wasm_bindgen::JsValue;

thread_local! {
    static LISTENER: RefCell<Option<Function>> = const { RefCell::new(None) };
}

/// From here on panics are reported to this listener as `crashed`.
pub(crate) fn report_to(listener: &Function) {
    LISTENER.with(|slot| *slot.borrow_mut() = Some(listener.clone()));
    std::panic::set_hook(Box::new(|panic| tell(&panic.to_string())));
}

/// The last event there is.
pub(crate) fn tell(detail: &str) {
    let listener = LISTENER.with(|slot| slot.try_borrow_mut().ok().and_then(|mut slot| slot.take()));
    let Some(listener) = listener else { return };
    let event = Object::new();
    // Setting a field of a plain object and calling a listener fail only by the listener's own
    // fault, and there is nobody left to tell.
    let _ = Reflect::set(&event, &"type".into(), &"crashed".into());
    let _ = Reflect::set(&event, &"detail".into(), &detail.into());
    let _ = listener.call1(&JsValue::UNDEFINED, &event);
}
