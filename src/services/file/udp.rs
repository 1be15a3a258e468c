//! Uploads over UDP: a name, `ok`, the contents in datagrams, and an empty one at the end.
//!
//! Nothing in the protocol shows that a datagram is missing or came late, and nothing slows
//! a sender down. So an upload for which the disk is too slow is given up, rather than
//! stored with a gap.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::FileService;
use crate::files::receiving::{Done, Job, Progress, Receiving};
use crate::files::{FileError, clean};
use crate::service::{Answer, Caps, Context, DatagramPeer, Full, Lane, PeerSessions, SocketId};
use crate::services::transfers::{Transfer, Way};
use crate::wire::files::framed::{self as wire, BUSY};

/// Uploads at once, and of one address unless it is on loopback.
const CAPS: Caps = Caps { sessions: 64, per_address: 8, loopback: false };
/// An upload of which nothing comes for this long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// How often that long is waited for the disk once all of an upload has come.
const DISK_PATIENCE: u32 = 6;
/// The most that waits for the disk, of one upload and of all.
const MOST_WAITING: usize = 4 * 1024 * 1024;
const MOST_WAITING_IN_ALL: usize = 64 * 1024 * 1024;

type Peer = (SocketId, SocketAddr);
type Number = u64;

/// The uploads in flight.
#[derive(Debug)]
pub(super) struct Uploads {
    all: PeerSessions<Number, Upload>,
    /// The upload to which a peer's next datagram belongs. One that has ended belongs to
    /// nobody while the disk finishes it, so that its peer can begin the next.
    current: HashMap<Peer, Number>,
    last: Number,
}

#[derive(Debug)]
struct Upload {
    peer: Peer,
    /// `None` if it was refused: its datagrams are ignored, until they end.
    taken: Option<Box<Taken>>,
}

#[derive(Debug)]
struct Taken {
    /// Where its answers go.
    reach: DatagramPeer,
    transfer: Transfer,
    receiving: Receiving,
    has_begun: bool,
    has_ended: bool,
    /// How often the disk was waited for since then.
    waited: u32,
}

/// What a job brings back.
struct Went {
    number: Number,
    done: Done,
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads { all: PeerSessions::new(CAPS), current: HashMap::new(), last: 0 }
    }
}

impl FileService {
    pub(super) fn receive_datagram(
        &mut self,
        on: SocketId,
        from: SocketAddr,
        datagram: &[u8],
        cx: &mut Context<'_>,
    ) {
        let peer = (on, from);
        let Some(&number) = self.uploads.current.get(&peer) else {
            return self.begin_upload(peer, datagram, cx);
        };
        self.uploads.all.set_deadline(&number, cx.now() + SILENCE);
        let Some(upload) = self.uploads.all.get_mut(&number) else { return };
        match &mut upload.taken {
            None if datagram.is_empty() => self.uploads.remove(number),
            None => {}
            Some(taken) if datagram.is_empty() => {
                taken.has_ended = true;
                taken.receiving.end(None);
                self.uploads.current.remove(&peer);
                self.write_on(number, cx);
            }
            Some(taken) => {
                taken.receiving.take(datagram);
                let is_full = taken.receiving.is_full();
                if is_full && !self.uploads.may_keep(number) {
                    self.give_up(number, cx);
                } else {
                    self.write_on(number, cx);
                }
            }
        }
    }

    fn begin_upload(&mut self, peer: Peer, name: &[u8], cx: &mut Context<'_>) {
        let (Some(reach), false) = (cx.datagram_peer(), name.is_empty()) else { return };
        let transfer = Transfer::begin(name, cx);
        if self.uploads.all.has_room_for(peer.1.ip()) == Err(Full::InAll) {
            self.make_room(cx);
        }
        if let Err(full) = self.uploads.all.has_room_for(peer.1.ip()) {
            transfer.refused(&full.to_string(), cx);
            return tell(reach, BUSY, &full.to_string(), cx);
        }
        match clean(name) {
            Ok(name) => {
                let (receiving, job) = Receiving::begin(&self.root, name, None);
                let taken =
                    Taken { reach, transfer, receiving, has_begun: false, has_ended: false, waited: 0 };
                let number = self.uploads.insert(peer, Some(Box::new(taken)), cx);
                offload(number, job, cx);
            }
            Err(why) => {
                transfer.refused(&why.to_string(), cx);
                tell(reach, FileError::from(why).code(), &why.to_string(), cx);
                self.uploads.insert(peer, None, cx);
            }
        }
        self.uploads.set_tick(cx);
    }

    /// Gives up the oldest upload of which nothing but the name has come, though its peer was
    /// told that all is ready: the name may be forged, and those who go on need not wait for it.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        let is_quiet = |upload: &Upload| match &upload.taken {
            Some(taken) => taken.has_begun && !taken.has_ended && taken.receiving.received() == 0,
            None => true,
        };
        let quiet = self.uploads.all.iter().filter(|(_, upload)| is_quiet(upload));
        let Some(oldest) = quiet.map(|(number, _)| *number).min() else { return };
        if let Some(taken) = self.uploads.refuse(oldest) {
            taken.abandon(&self.name, "nothing but its name came, and others want its place", cx);
        }
        self.uploads.remove(oldest);
    }

    fn write_on(&mut self, number: Number, cx: &mut Context<'_>) {
        if let Some(taken) = self.uploads.taken(number)
            && let Some(job) = taken.receiving.next_job()
        {
            offload(number, job, cx);
        }
    }

    /// A job is done.
    pub(super) fn upload_went_on(&mut self, answer: Answer, cx: &mut Context<'_>) {
        // A job that had no place or panicked does not say whose it was: that upload is
        // given up once it has been silent for too long.
        let Ok(Ok(went)) = answer.result.map(|result| result.downcast::<Went>()) else { return };
        let Went { number, done } = *went;
        let Some(taken) = self.uploads.taken(number) else {
            // It was given up meanwhile.
            return cx.offload(Lane::Write, move || drop(done));
        };
        match taken.receiving.done(done) {
            Ok(Progress::Goes) => {
                if !std::mem::replace(&mut taken.has_begun, true) {
                    cx.send_to_peer(taken.reach, b"ok");
                }
                self.write_on(number, cx);
            }
            Ok(Progress::Stored(stored)) => {
                taken.transfer.stored_as(stored.name.as_str());
                taken.transfer.complete(&self.name, Way::In, stored.size, cx.now());
                self.uploads.remove(number);
            }
            Err(error) => {
                let reach = taken.reach;
                taken.log_end(&self.name, &error.to_string(), cx);
                tell(reach, error.code(), &error.to_string(), cx);
                self.uploads.refuse(number);
            }
        }
    }

    fn give_up(&mut self, number: Number, cx: &mut Context<'_>) {
        let why = "it came faster than the disk took it";
        if let Some(taken) = self.uploads.refuse(number) {
            tell(taken.reach, BUSY, why, cx);
            taken.abandon(&self.name, why, cx);
        }
    }

    /// Gives up what has been silent for too long.
    pub(super) fn expire_uploads(&mut self, cx: &mut Context<'_>) {
        while let Some((number, Upload { peer, taken })) = self.uploads.all.expired(cx.now()) {
            match taken {
                // The disk has all of it, and will say how it went.
                Some(mut taken) if taken.has_ended && taken.waited < DISK_PATIENCE => {
                    taken.waited += 1;
                    let upload = Upload { peer, taken: Some(taken) };
                    // Its place is free again.
                    let _ = self.uploads.all.insert(number, peer.1.ip(), upload, cx.now() + SILENCE);
                    continue;
                }
                // Or the job had no place, or failed inside: nobody will say.
                Some(taken) if taken.has_ended => {
                    taken.abandon(&self.name, "the disk does not answer", cx);
                }
                Some(taken) => taken.abandon(&self.name, "nothing more came for 10 s", cx),
                None => {}
            }
            self.uploads.forget(peer, number);
        }
        self.uploads.set_tick(cx);
    }
}

impl Uploads {
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.current.is_empty()
    }

    /// There is room for it.
    fn insert(&mut self, peer: Peer, taken: Option<Box<Taken>>, cx: &Context<'_>) -> Number {
        self.last += 1;
        let upload = Upload { peer, taken };
        if self.all.insert(self.last, peer.1.ip(), upload, cx.now() + SILENCE).is_ok() {
            self.current.insert(peer, self.last);
        }
        self.last
    }

    fn taken(&mut self, number: Number) -> Option<&mut Taken> {
        self.all.get_mut(&number)?.taken.as_deref_mut()
    }

    /// Ignores what may still come of it.
    fn refuse(&mut self, number: Number) -> Option<Box<Taken>> {
        let taken = self.all.get_mut(&number)?.taken.take()?;
        if taken.has_ended {
            self.remove(number);
        }
        Some(taken)
    }

    fn remove(&mut self, number: Number) {
        if let Some(upload) = self.all.remove(&number) {
            self.forget(upload.peer, number);
        }
    }

    /// The peer's next datagram begins another upload.
    fn forget(&mut self, peer: Peer, number: Number) {
        if self.current.get(&peer) == Some(&number) {
            self.current.remove(&peer);
        }
    }

    /// Whether an upload may keep even more waiting.
    fn may_keep(&self, number: Number) -> bool {
        let held = |upload: &Upload| upload.taken.as_ref().map_or(0, |taken| taken.receiving.memory());
        let in_all: usize = self.all.iter().map(|(_, upload)| held(upload)).sum();
        self.all.get(&number).map_or(0, held) <= MOST_WAITING && in_all <= MOST_WAITING_IN_ALL
    }

    fn set_tick(&self, cx: &mut Context<'_>) {
        match self.all.next_deadline() {
            Some(at) => cx.set_tick(at),
            None => cx.clear_tick(),
        }
    }
}

impl Taken {
    fn log_end(&self, service: &str, why: &str, cx: &mut Context<'_>) {
        match self.has_begun {
            true => {
                let done = (self.receiving.received(), None);
                self.transfer.broken(service, Way::In, done, why, cx.now());
            }
            false => self.transfer.refused(why, cx),
        }
    }

    fn abandon(self, service: &str, why: &str, cx: &mut Context<'_>) {
        self.log_end(service, why, cx);
        if let Some(incoming) = self.receiving.abandon() {
            cx.offload(Lane::Write, move || drop(incoming));
        }
    }
}

fn offload(number: Number, job: Job, cx: &mut Context<'_>) {
    cx.offload(Lane::Write, move || Went { number, done: job.run() });
}

/// Tells a peer why its file is not taken, in the words of the framed mode.
fn tell(reach: DatagramPeer, code: &str, why: &str, cx: &mut Context<'_>) {
    cx.send_to_peer(reach, wire::Answer::Refused { code, why }.to_string().as_bytes());
}
