//! Time and turns of the event loop.
//!
//! It must not know what happens in between.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use futures::channel::oneshot;
use gloo_timers::future::TimeoutFuture;
use potluck_volunteer::{Pace, Share};
use wasm_bindgen::{JsCast, JsValue, prelude::Closure};
use web_sys::{MessageChannel, MessagePort, Performance};

/// A property of the worker's global scope.
pub(crate) fn global<T: JsCast>(name: &str) -> Result<T, String> {
    let value = js_sys::Reflect::get(&js_sys::global(), &name.into()).unwrap_or(JsValue::UNDEFINED);
    value.dyn_into().map_err(|_| format!("this browser has no {name} here"))
}

/// What an error of JavaScript says.
pub(crate) fn text_from_js(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => format!("{}: {}", error.name(), error.message()),
        None => error.as_string().unwrap_or_else(|| "an unnamed error".to_owned()),
    }
}

/// `performance.now()`, and turns of the event loop.
#[derive(Clone)]
pub(crate) struct Clock {
    performance: Performance,
    turns: Rc<Turns>,
}

/// Turns by messages to ourselves: `setTimeout` rests for 4 ms when it is nested, longer than many
/// a step on the processor takes.
struct Turns {
    port: MessagePort,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    /// Keeps the listener and its port alive.
    _listener: (Closure<dyn FnMut()>, MessagePort),
}

impl Clock {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self { performance: global("performance")?, turns: Rc::new(Turns::new()?) })
    }

    pub(crate) fn millis(&self) -> f64 {
        self.performance.now()
    }
}

impl Turns {
    fn new() -> Result<Self, String> {
        let channel = MessageChannel::new().map_err(|e| text_from_js(&e))?;
        let waiting = Rc::new(RefCell::new(VecDeque::<oneshot::Sender<()>>::new()));
        let woken = Rc::clone(&waiting);
        let listener = Closure::<dyn FnMut()>::new(move || {
            if let Some(turn) = woken.borrow_mut().pop_front() {
                // Whoever waited may have gone.
                let _ = turn.send(());
            }
        });
        let heard = channel.port1();
        heard.set_onmessage(Some(listener.as_ref().unchecked_ref()));
        Ok(Self { port: channel.port2(), waiting, _listener: (listener, heard) })
    }

    async fn next(&self) {
        let (turn, came) = oneshot::channel();
        self.waiting.borrow_mut().push_back(turn);
        if self.port.post_message(&JsValue::UNDEFINED).is_ok() {
            // The sender is dropped only together with everything else.
            let _ = came.await;
        }
    }
}

/// Less than a frame of 60 a second, so that a page that draws loses one at most.
const SLICE: Duration = Duration::from_millis(12);

/// The pace of one volunteer.
pub(crate) struct BrowserPace {
    pub(crate) clock: Clock,
    pub(crate) share: Share,
}

impl Pace for BrowserPace {
    fn now(&self) -> Duration {
        Duration::from_secs_f64(self.clock.millis().max(0.0) / 1000.0)
    }

    async fn rest(&self, span: Duration) {
        match span.as_millis() {
            0 => self.clock.turns.next().await,
            millis => TimeoutFuture::new(millis.min(i32::MAX as u128) as u32).await,
        }
    }

    fn share(&self) -> Share {
        self.share.clone()
    }

    fn slice(&self) -> Option<Duration> {
        Some(SLICE)
    }
}
