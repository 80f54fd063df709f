//! `VolunteerHandle`, the one class that JavaScript sees.
//!
//! It must stay thin: parse, hand on, convert the error.

use futures::channel::mpsc::{UnboundedSender, unbounded};
use js_sys::{Function, Promise, Reflect};
use potluck_protocol::JobName;
use potluck_volunteer::{Address, Event, Share};
use wasm_bindgen::{JsError, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::future_to_promise;

use crate::{crash, options::StartOptions, shell};

/// One volunteer at work. One a worker: end the worker to be rid of everything.
#[wasm_bindgen]
pub struct VolunteerHandle {
    events: UnboundedSender<Event>,
    share: Share,
    ended: Promise,
}

#[wasm_bindgen]
impl VolunteerHandle {
    /// Starts helping; see the crate's README for `StartOptions` and `VolunteerEvent`.
    ///
    /// # Errors
    /// Options of another shape. Everything later is an event.
    pub fn start(options: JsValue, on_event: Function) -> Result<VolunteerHandle, JsError> {
        let plain: StartOptions = serde_wasm_bindgen::from_value(options.clone())?;
        let job: JobName = plain.job.parse()?;
        let address = Address::new(&plain.url, job)?;
        let key_pair = Reflect::get(&options, &"keyPair".into()).unwrap_or(JsValue::UNDEFINED);
        crash::report_to(&on_event);
        let share = Share::new(plain.share);
        let (events, inbox) = unbounded();
        let running = shell::run(plain, address, key_pair, share.clone(), events.clone(), inbox, on_event);
        let ended = future_to_promise(async {
            running.await;
            Ok(JsValue::UNDEFINED)
        });
        Ok(Self { events, share, ended })
    }

    /// Ends computing within a step and hands in what is worth it; stays connected.
    pub fn pause(&self) {
        self.event(Event::Pause);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.event(Event::Resume);
    }

    /// Ends computing within a step, hands in what is worth it, closes, and resolves.
    pub fn stop(&self) -> Promise {
        self.event(Event::Stop);
        self.ended.clone()
    }

    /// The share of the time, 0 to 1, that may be spent computing.
    #[wasm_bindgen(js_name = setShare)]
    pub fn set_share(&self, share: f32) {
        self.share.set(share);
    }

    fn event(&self, event: Event) {
        // After the end nobody listens, as the README says.
        let _ = self.events.unbounded_send(event);
    }
}

impl Drop for VolunteerHandle {
    fn drop(&mut self) {
        self.event(Event::Stop);
    }
}
