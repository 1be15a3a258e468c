//! A service behind one type, together with its sessions.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use slab::Slab;

use super::{Answer, CloseReason, Context, Farewell, Input, Message, Service, SocketId};

/// A service of any type, ready to be hosted.
pub struct AnyService(pub(crate) Box<dyn Hosted>);

impl AnyService {
    /// Puts a service behind the one type.
    pub fn new<S: Service + 'static>(service: S) -> AnyService {
        AnyService(Box::new(Host { service, sessions: Slab::new() }))
    }
}

impl fmt::Debug for AnyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyService")
    }
}

/// A session's place in the slab of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey(u32);

/// One call into a service. Sessions go by their key in the service's slab.
pub(crate) enum Call<'a, 'b> {
    Start,
    Connecting(SessionKey),
    Open(SessionKey),
    Receive(SessionKey, &'a mut Input<'b>),
    EndOfInput(SessionKey, &'a mut Input<'b>),
    RoomToSend(SessionKey),
    Timeout(SessionKey, &'a mut Input<'b>),
    Closed(SessionKey, &'a CloseReason),
    Datagram { on: SocketId, from: SocketAddr, datagram: &'a [u8] },
    Tick,
    Socket { tag: u64, opened: io::Result<SocketId> },
    Finished(Option<SessionKey>, Answer),
    Message(Message),
    Keyboard(Option<&'a [u8]>),
}

impl Call<'_, '_> {
    /// How many bytes of input the call can refer to.
    pub fn input_length(&self) -> usize {
        match self {
            Call::Receive(_, input) | Call::EndOfInput(_, input) | Call::Timeout(_, input) => {
                input.unread().len()
            }
            _ => 0,
        }
    }
}

/// What the reactor asks of a service, whatever its type.
pub(crate) trait Hosted {
    fn new_session(&mut self) -> SessionKey;
    fn drop_session(&mut self, session: SessionKey);
    fn call(&mut self, call: Call<'_, '_>, cx: &mut Context<'_>);
    /// The words for a client that has this session, or none yet.
    fn farewell(&self, session: Option<SessionKey>, why: Farewell) -> String;
    fn footprint(&self, session: SessionKey) -> usize;
    fn tables(&self) -> usize;
    /// The service itself, for a stage that knows its type.
    #[cfg(feature = "simulated")]
    fn as_any(&mut self) -> &mut dyn std::any::Any;
    /// How many sessions it has.
    #[cfg(feature = "simulated")]
    fn sessions(&self) -> usize;
}

struct Host<S: Service> {
    service: S,
    sessions: Slab<S::Session>,
}

impl<S: Service> Drop for Host<S> {
    /// Drops each session by itself: while one panic unwinds, a second one would abort
    /// the process.
    fn drop(&mut self) {
        for session in self.sessions.drain() {
            drop_guarded(session);
        }
    }
}

/// Drops something of a service's own type, which may panic. The panic hook has told
/// of it then.
pub(crate) fn drop_guarded<T>(of_a_service: T) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(of_a_service)));
}

impl<S: Service + 'static> Hosted for Host<S> {
    fn new_session(&mut self) -> SessionKey {
        SessionKey(self.sessions.insert(S::Session::default()) as u32)
    }

    fn drop_session(&mut self, SessionKey(session): SessionKey) {
        self.sessions.try_remove(session as usize);
    }

    fn call(&mut self, call: Call<'_, '_>, cx: &mut Context<'_>) {
        let Host { service, sessions } = self;
        match call {
            Call::Start => service.start(cx),
            Call::Connecting(key) => service.connecting(&mut sessions[key.0 as usize], cx),
            Call::Open(key) => service.open(&mut sessions[key.0 as usize], cx),
            Call::Receive(key, input) => service.receive(&mut sessions[key.0 as usize], input, cx),
            Call::EndOfInput(key, input) => service.end_of_input(&mut sessions[key.0 as usize], input, cx),
            Call::RoomToSend(key) => service.room_to_send(&mut sessions[key.0 as usize], cx),
            Call::Timeout(key, input) => service.timeout(&mut sessions[key.0 as usize], input, cx),
            Call::Closed(key, why) => service.closed(sessions.remove(key.0 as usize), why, cx),
            Call::Datagram { on, from, datagram } => service.datagram(on, from, datagram, cx),
            Call::Tick => service.tick(cx),
            Call::Socket { tag, opened } => service.socket(tag, opened, cx),
            Call::Finished(key, answer) => {
                let session = key.and_then(|SessionKey(key)| sessions.get_mut(key as usize));
                service.finished(session, answer, cx);
            }
            Call::Message(message) => service.message(message, cx),
            Call::Keyboard(typed) => service.keyboard(typed, cx),
        }
    }

    fn farewell(&self, session: Option<SessionKey>, why: Farewell) -> String {
        match session.and_then(|SessionKey(session)| self.sessions.get(session as usize)) {
            Some(session) => self.service.farewell_in(session, why),
            None => self.service.farewell(why),
        }
    }

    fn footprint(&self, SessionKey(session): SessionKey) -> usize {
        self.sessions.get(session as usize).map_or(0, |session| self.service.footprint(session))
    }

    fn tables(&self) -> usize {
        self.service.tables()
    }

    #[cfg(feature = "simulated")]
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        &mut self.service
    }

    #[cfg(feature = "simulated")]
    fn sessions(&self) -> usize {
        self.sessions.len()
    }
}
