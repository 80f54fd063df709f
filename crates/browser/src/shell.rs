//! Carries the session's actions out and brings events in.
//!
//! It must not decide anything: that is the session's.

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use futures::{
    StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use gloo_timers::future::TimeoutFuture;
use js_sys::Function;
use potluck_protocol::{Millis, limits};
use potluck_volunteer::{Action, Address, Config, Event, LinkId, Session, Share, VolunteerEvent};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use crate::{
    clock::{BrowserPace, Clock},
    crash, http, kept,
    key::Key,
    options::StartOptions,
    socket,
    work::Work,
};

/// How long the last words of a closing socket are waited for, in looks of 10 ms.
const GOODBYE_LOOKS_MAX: u32 = 120;

/// Runs one volunteer to its end.
pub(crate) async fn run(
    options: StartOptions,
    address: Address,
    key_pair: JsValue,
    share: Share,
    events: UnboundedSender<Event>,
    inbox: UnboundedReceiver<Event>,
    listener: Function,
) {
    let (clock, key) = match equipment(key_pair).await {
        Ok(equipment) => equipment,
        Err(reason) => return tell(&listener, &VolunteerEvent::Unsupported { reason }),
    };
    let StartOptions { url: _, job: _, backend, share: _, agent, build } = options;
    let config = Config {
        job: address.name().clone(),
        volunteer: key.volunteer(),
        build,
        // Only the jitter of retries hangs on it.
        seed: (js_sys::Math::random() * (1u64 << 53) as f64) as u64,
        cache_bytes_max: limits::BLOB_CACHE_BYTES_MAX,
        kept: kept::find(&address).await,
        haste: 1,
    };
    let pace = BrowserPace { clock: clock.clone(), share };
    let shell = Shell {
        session: Session::new(config),
        work: Work::start(backend.into(), agent, pace, events.clone()),
        address: Rc::new(address),
        key,
        clock,
        events,
        outboxes: BTreeMap::new(),
        open_sockets: Rc::default(),
        listener,
    };
    shell.run(inbox).await;
}

async fn equipment(key_pair: JsValue) -> Result<(Clock, Key), String> {
    Ok((Clock::new()?, Key::load(key_pair).await?))
}

struct Shell {
    session: Session,
    work: Work,
    address: Rc<Address>,
    key: Key,
    clock: Clock,
    events: UnboundedSender<Event>,
    outboxes: BTreeMap<LinkId, UnboundedSender<String>>,
    open_sockets: Rc<Cell<u32>>,
    listener: Function,
}

impl Shell {
    async fn run(mut self, mut inbox: UnboundedReceiver<Event>) {
        let mut event = Event::Start;
        loop {
            let now = self.clock.millis() as Millis;
            for action in self.session.handle(now, event) {
                self.perform(action);
            }
            if self.session.has_ended() {
                break;
            }
            // This shell holds a sender, so there is always a next one.
            let Some(next) = inbox.next().await else { break };
            event = next;
        }
        self.outboxes.clear();
        for _ in 0..GOODBYE_LOOKS_MAX {
            if self.open_sockets.get() == 0 {
                break;
            }
            TimeoutFuture::new(10).await;
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect { link } => self.connect(link),
            Action::Send { link, text } => {
                if let Some(outbox) = self.outboxes.get(&link) {
                    // A socket that broke has said so by `Closed`.
                    let _ = outbox.unbounded_send(text);
                }
            }
            Action::Close { link } => {
                self.outboxes.remove(&link);
            }
            Action::Fetch { id, bytes_max, have } => {
                let (address, clock, events) = (Rc::clone(&self.address), self.clock.clone(), self.events.clone());
                self.answer(async move { http::fetch(&address, id, bytes_max, have, &clock, &events).await });
            }
            Action::Upload { task, bytes } => {
                let (address, volunteer) = (Rc::clone(&self.address), self.key.volunteer());
                self.answer(async move { http::upload(&address, volunteer, task, &bytes).await });
            }
            Action::Sign { task, message } => {
                let key = self.key.clone();
                self.answer(async move {
                    match key.sign(&message).await {
                        Ok(signature) => Event::Signed { task, signature },
                        Err(detail) => Event::SignFailed { task, detail },
                    }
                });
            }
            Action::Sleep { timer, millis } => self.answer(async move {
                TimeoutFuture::new(millis.min(i32::MAX as Millis) as u32).await;
                Event::Woke { timer }
            }),
            Action::Challenge(challenge) => self.work.challenge(challenge),
            Action::Run(run) => self.work.run(run),
            Action::Halt => self.work.halt(),
            Action::Keep { version } => {
                let address = Rc::clone(&self.address);
                spawn_local(async move { kept::keep(&address, &version).await });
            }
            Action::Report(event) => tell(&self.listener, &event),
            // An action that is newer than this shell has nobody to carry it out.
            other => crash::tell(&format!("unknown action {other:?}")),
        }
    }

    /// Answers an action when its future is done.
    fn answer(&self, future: impl Future<Output = Event> + 'static) {
        let events = self.events.clone();
        spawn_local(async move {
            let event = future.await;
            // The session may have ended.
            let _ = events.unbounded_send(event);
        });
    }

    fn connect(&mut self, link: LinkId) {
        let (outbox, outgoing) = unbounded();
        self.outboxes.insert(link, outbox);
        let (address, events) = (Rc::clone(&self.address), self.events.clone());
        let open = Rc::clone(&self.open_sockets);
        open.set(open.get() + 1);
        spawn_local(async move {
            socket::converse(&address, link, outgoing, &events).await;
            open.set(open.get() - 1);
        });
    }
}

/// Hands an event to JavaScript as a plain object.
fn tell(listener: &Function, event: &VolunteerEvent) {
    match event.serialize(&serde_wasm_bindgen::Serializer::json_compatible()) {
        // A listener that throws has told its own console.
        Ok(event) => drop(listener.call1(&JsValue::UNDEFINED, &event)),
        Err(error) => crash::tell(&format!("an event does not serialise: {error}")),
    }
}
