//! A service that does what the daemon's own services do not: it offloads jobs, leaves
//! half of the connections that do unread until their jobs have come back, sends to other
//! connections, answers in steps, sends files, posts messages to itself, keeps a connection open after
//! its peer's half-close, publishes frames to a room that its members never leave, and
//! connects to the echo service, whose answers it checks. Once told so, it never rests
//! again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::disk::File;
use crate::service::{
    Answer, CloseReason, ConnectionId, Context, FileRange, Input, Lane, Membership, Message, OffloadError,
    Overflow, Room, Service,
};

/// Its name. Its connections send one order per line: `job N`, `fail N`, `get N`, `fetch N`,
/// `post N`, `stay N`.
pub(super) const NAME: &str = "courier";
const FRAMES: Room = Room(0);
/// How many bytes of a long answer are sent per step.
const STEP: usize = 8 * 1024;

/// The violations it found, which the stage reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    fn add(&self, what: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

/// What it posts to itself once it never rests.
struct Again;

/// Tells it never to rest again.
#[derive(Debug, Clone, Default)]
pub(super) struct Unrest(Arc<AtomicBool>);

impl Unrest {
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct Courier {
    echo: SocketAddr,
    every: Duration,
    /// Whether only a fault of the loop can cut an errand short.
    is_undisturbed: bool,
    errands: u32,
    frames: u32,
    complaints: Complaints,
    unrest: Unrest,
    /// The connection behind each unfinished job, for as long as it is open.
    jobs: BTreeMap<u32, ConnectionId>,
}

#[derive(Default)]
pub(super) struct CourierSession {
    /// How many bytes of a long answer are still to be sent.
    left: usize,
    /// It is kept after its peer's half-close.
    stays: bool,
    errand: Option<Errand>,
    /// How many of its jobs have not come back.
    waits_for: usize,
    /// Tells its jobs that it has ended.
    has_ended: Arc<AtomicBool>,
}

/// One trip to the echo service.
struct Errand {
    goods: Vec<u8>,
    back: usize,
}

impl Courier {
    pub fn new(
        echo: SocketAddr,
        every: Duration,
        is_undisturbed: bool,
        complaints: Complaints,
        unrest: Unrest,
    ) -> Courier {
        let jobs = BTreeMap::new();
        Courier { echo, every, is_undisturbed, errands: 0, frames: 0, complaints, unrest, jobs }
    }

    fn go_on_for_ever(&self, cx: &mut Context<'_>) {
        cx.post(NAME, Box::new(Again));
        cx.connect(self.echo);
    }

    fn obey(&mut self, line: &str, session: &mut CourierSession, cx: &mut Context<'_>) {
        let Some(id) = cx.connection() else { return };
        let Some((order, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse::<u32>() else { return };
        match order {
            "job" => {
                self.jobs.insert(number, id);
                let (has_ended, complaints) = (Arc::clone(&session.has_ended), self.complaints.clone());
                self.offload(session, cx, move || {
                    if has_ended.load(Ordering::Relaxed) {
                        complaints.add(format!("job {number} began after its connection had ended"));
                    }
                    number
                });
            }
            // Skips the panic hook, which would print a message.
            "fail" => self.offload(session, cx, || resume_unwind(Box::new("a job fails"))),
            "get" => {
                session.left = number as usize;
                self.go_on(session, cx);
            }
            // As long an answer, but from a file of which a part is in the page cache.
            "fetch" => {
                let file = File::in_memory(vec![b'.'; number as usize]);
                let warm = u64::from(number) / 3;
                if file.warm(0..warm).is_ok() {
                    let range = 0..u64::from(number);
                    cx.send_file(FileRange { file: Arc::new(file), range, warm });
                }
            }
            "stay" => session.stays = true,
            _ => cx.post(NAME, Box::new((id, number))),
        }
    }

    /// A connection from an even port is left unread until all its jobs have come back.
    fn offload(
        &self,
        session: &mut CourierSession,
        cx: &mut Context<'_>,
        job: impl FnOnce() -> u32 + Send + 'static,
    ) {
        session.waits_for += 1;
        cx.offload(Lane::ALL[session.waits_for % Lane::ALL.len()], job);
        if cx.peer().is_some_and(|peer| peer.port() % 2 == 0) {
            cx.pause();
        }
    }

    fn go_on(&mut self, session: &mut CourierSession, cx: &mut Context<'_>) {
        let now = session.left.min(STEP);
        session.left -= now;
        cx.send(&vec![b'.'; now]);
        if session.left > 0 {
            cx.more_to_send();
        }
    }
}

impl Service for Courier {
    type Session = CourierSession;

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.set_tick(cx.now() + self.every);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.frames += 1;
        cx.publish_latest(FRAMES, format!("#{}\n", self.frames).into());
        cx.connect(self.echo);
        cx.set_tick(cx.now() + self.every);
    }

    fn connecting(&mut self, session: &mut CourierSession, _: &mut Context<'_>) {
        self.errands += 1;
        let length = (self.errands as usize * 7919) % 60_000 + 1;
        let goods = (0..length).map(|at| (at as u32).wrapping_mul(self.errands) as u8).collect();
        session.errand = Some(Errand { goods, back: 0 });
    }

    fn open(&mut self, session: &mut CourierSession, cx: &mut Context<'_>) {
        match &session.errand {
            Some(errand) => cx.send(&errand.goods),
            None => cx.join(FRAMES, Membership { overflow: Overflow::LatestFrame, lines: false }),
        }
    }

    fn receive(&mut self, session: &mut CourierSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Some(errand) = &mut session.errand {
            let came = input.unread();
            if !errand.goods[errand.back..].starts_with(came) {
                self.complaints.add("an echo brought back something else".to_owned());
            }
            errand.back += came.len();
            input.consume_all();
            if errand.back >= errand.goods.len() {
                cx.close();
            }
            return;
        }
        // A long answer comes first; until it is done, further orders are left unread.
        while session.left == 0 {
            let unread = input.unread();
            let Some(end) = unread.iter().position(|byte| *byte == b'\n') else { return };
            let line = String::from_utf8_lossy(&unread[..end]).into_owned();
            input.consume(end + 1);
            self.obey(&line, session, cx);
        }
        cx.pause_until(cx.now() + Duration::from_secs(3600));
    }

    fn end_of_input(&mut self, session: &mut CourierSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if session.stays {
            self.receive(session, input, cx);
        } else {
            cx.close();
        }
    }

    fn room_to_send(&mut self, session: &mut CourierSession, cx: &mut Context<'_>) {
        self.go_on(session, cx);
        if session.left == 0 {
            // Shows the orders that were left unread.
            cx.resume();
        }
    }

    fn finished(&mut self, session: Option<&mut CourierSession>, answer: Answer, cx: &mut Context<'_>) {
        let is_open = session.is_some();
        if cx.connection() != answer.connection.filter(|_| is_open) {
            self.complaints.add("a job came back to another connection".to_owned());
        }
        if let Some(session) = session {
            session.waits_for -= 1;
            if session.waits_for == 0 {
                cx.resume();
            }
        }
        let number = match answer.result {
            Ok(result) => match result.downcast::<u32>() {
                Ok(number) => *number,
                Err(_) => return self.complaints.add("a job brought back something else".to_owned()),
            },
            // The answer does not say which job it was.
            Err(OffloadError::QueueFull) => return cx.send(b"full\n"),
            Err(OffloadError::Panicked) => return cx.send(b"failed\n"),
        };
        match self.jobs.remove(&number) {
            Some(id) if answer.connection != Some(id) => {
                self.complaints.add(format!("job {number} came back to another connection"));
            }
            None if is_open => self.complaints.add(format!("job {number} was answered twice")),
            _ => cx.send(format!("{number} done\n").as_bytes()),
        }
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        match message.downcast::<(ConnectionId, u32)>() {
            Ok(posted) => cx.tell(posted.0, format!("{} posted\n", posted.1).as_bytes()),
            Err(other) if other.is::<Again>() => self.go_on_for_ever(cx),
            Err(_) => self.complaints.add("a post brought something else".to_owned()),
        }
    }

    fn closed(&mut self, session: CourierSession, why: &CloseReason, cx: &mut Context<'_>) {
        if self.unrest.has_begun() {
            self.go_on_for_ever(cx);
        }
        session.has_ended.store(true, Ordering::Relaxed);
        self.jobs.retain(|_, id| Some(*id) != cx.connection());
        if let Some(errand) = session.errand
            && self.is_undisturbed
            && matches!(why, CloseReason::ByUs | CloseReason::ByPeer)
            && errand.back < errand.goods.len()
        {
            self.complaints.add(format!(
                "an echo ended after {} of {} bytes: {why}",
                errand.back,
                errand.goods.len()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn a_job_that_panics_is_answered_to_its_connection() {
        let complaints = Complaints::default();
        let echo = ([127, 0, 0, 1], 3333).into();
        let courier =
            Courier::new(echo, Duration::from_secs(3600), false, complaints.clone(), Unrest::default());
        let mut stage = Rehearsal::new(courier);
        let client = stage.connect();
        stage.send(client, b"fail 1\njob 2\n");
        stage.pass(Duration::from_secs(1));
        assert_eq!(stage.received(client), b"failed\n2 done\n");
        assert_eq!(complaints.first(), None);
    }
}
