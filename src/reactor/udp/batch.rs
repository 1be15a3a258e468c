//! Many datagrams per system call: `recvmmsg` and `sendmmsg` if the system has
//! them, one call per datagram otherwise.

use super::datagram::Datagram;
use super::parcels;
use crate::service::effects::{Outgoing, Outgoings};
use crate::system::{Arrival, MESSAGES_PER_CALL, Parcel, ReceiveHeaders, STRIDE, SendHeaders};
use std::io;

/// The fewest that are asked for: one more than one tells that there was one only.
pub(crate) const FEWEST_PER_CALL: usize = 2;
/// How many bytes are enough for one call: a service may go through each of them.
const BYTES_PER_CALL: usize = 256 * 1024;
/// A run of equal datagrams in a batch that makes it worth asking the kernel to
/// put them together.
const WORTH_COALESCING: usize = 16;

/// Whether a batch looks like a burst that was sent in one piece.
fn has_burst(arrivals: &[Arrival]) -> bool {
    let is_run = |run: &[Arrival]| run.iter().all(|a| a.from == run[0].from && a.length == run[0].length);
    arrivals.windows(WORTH_COALESCING).any(is_run)
}

/// The receiving side; all UDP sockets share its buffer.
#[derive(Default)]
pub(crate) struct Receiver {
    /// Parts of it that were never touched cost address space, but no memory.
    buffer: Vec<u8>,
    pub arrivals: Vec<Arrival>,
    headers: ReceiveHeaders,
}

impl Receiver {
    /// Receives up to [`MESSAGES_PER_CALL`] messages into [`Receiver::arrivals`], and
    /// updates the latch. It asks for twice as many as came last time, but for no more
    /// than [`BYTES_PER_CALL`] if they are as long. An error is
    /// one that the socket reported.
    pub fn receive(&mut self, from: &mut Datagram) -> io::Result<()> {
        self.arrivals.clear();
        if self.buffer.is_empty() {
            self.buffer = vec![0; MESSAGES_PER_CALL * STRIDE];
        }
        let asked = from.batch;
        match from.socket.receive(&mut self.headers, &mut self.buffer[..asked * STRIDE], &mut self.arrivals) {
            Ok(()) => {
                from.failures = 0;
                let came = self.arrivals.len();
                let bytes: usize = self.arrivals.iter().map(|arrival| arrival.length).sum();
                let mut wanted = MESSAGES_PER_CALL;
                if came < asked {
                    from.latch.drained();
                    wanted = (2 * came).clamp(FEWEST_PER_CALL, MESSAGES_PER_CALL);
                }
                let enough = (BYTES_PER_CALL * came).checked_div(bytes).unwrap_or(wanted);
                from.batch = enough.clamp(1, wanted);
                if !from.socket.coalesces() && has_burst(&self.arrivals) {
                    from.socket.coalesce();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                from.latch.drained();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The bytes of an arrival.
    pub fn message(&self, number: usize) -> &[u8] {
        let start = number * STRIDE;
        &self.buffer[start..start + self.arrivals[number].length]
    }
}

/// The sending side.
#[derive(Default)]
pub(crate) struct Sender {
    parcels: Vec<Parcel>,
    headers: SendHeaders,
    /// The kernel has refused something since the socket's buffer is full.
    pub met_full_buffer: bool,
}

impl Sender {
    /// Sends datagrams through one socket. Returns how many the kernel took, and
    /// why it refused one, if it did. Those that it refused are lost, as datagrams
    /// are.
    pub fn send(&mut self, on: &Datagram, list: &[Outgoing], bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut packed = std::mem::take(&mut self.parcels);
        parcels::pack(list, &mut packed);
        let outcome = self.send_parcels(on, &packed, bytes);
        self.parcels = packed;
        outcome
    }

    fn send_parcels(
        &mut self,
        on: &Datagram,
        parcels: &[Parcel],
        bytes: &[u8],
    ) -> (usize, Option<io::Error>) {
        let mut taken = 0;
        let mut refusal = None;
        let mut rest = parcels;
        // Whether the first of the rest goes from any address of ours, since the kernel
        // would not take it from the one that was asked.
        let mut from_any = false;
        while let Some(first) = rest.first() {
            // A call has one set of control messages, so it takes only what comes
            // from one address of ours and is cut alike.
            let local = first.to.local.filter(|_| !from_any);
            let goes_along =
                |parcel: &&Parcel| parcel.to.local == first.to.local && parcel.segment == first.segment;
            let most = if from_any { 1 } else { MESSAGES_PER_CALL };
            let together = rest.iter().take(most).take_while(goes_along).count();
            match on.socket.send(&mut self.headers, &rest[..together], local, bytes) {
                Ok(sent) => {
                    from_any = false;
                    let (sent, unsent) = rest.split_at(sent.max(1));
                    taken += sent.iter().map(Parcel::datagrams).sum::<usize>();
                    rest = unsent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The question was sent to a broadcast address, or to one that is no
                // longer ours, and no datagram can come from there. The others may
                // have been refused for this one, and are tried as they are.
                Err(error) if local.is_some() && is_about_the_source(&error) => from_any = true,
                // The route cannot cut it, or not into pieces this large.
                Err(_) if first.segment > 0 => {
                    from_any = false;
                    let apart: Vec<Parcel> = first.apart().collect();
                    let (sent, error) = self.send_parcels(on, &apart, bytes);
                    taken += sent;
                    refusal = error.or(refusal);
                    rest = &rest[1..];
                }
                Err(error) => {
                    from_any = false;
                    log::debug!(
                        "UDP {}: a datagram to {} was not sent: {error}",
                        on.socket.address(),
                        first.to.address
                    );
                    rest = &rest[1..];
                    // A full buffer is a momentary loss, like any other on the way.
                    let is_full = error.kind() == io::ErrorKind::WouldBlock;
                    self.met_full_buffer |= is_full;
                    refusal = Some(error).filter(|_| !is_full).or(refusal);
                }
            }
        }
        (taken, refusal)
    }
}

/// Whether the kernel may have refused a datagram for the address it was to come from.
fn is_about_the_source(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, InvalidInput, NetworkUnreachable};
    matches!(error.kind(), InvalidInput | AddrNotAvailable | NetworkUnreachable)
}

impl Outgoings {
    /// Splits off the next run of datagrams that go out through one socket.
    pub fn next_run(&self, start: usize) -> &[Outgoing] {
        let rest = &self.list[start..];
        let same = rest.iter().take_while(|outgoing| outgoing.to.socket == rest[0].to.socket).count();
        &rest[..same]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_a_run_from_one_peer_in_one_size() {
        let arrival =
            |port, length| Arrival { from: ([127, 0, 0, 1], port).into(), to: None, length, segment: 0 };
        let run = vec![arrival(40_000, 1200); WORTH_COALESCING];
        assert!(has_burst(&run));
        assert!(!has_burst(&run[1..]));
        let mut other = vec![arrival(40_001, 1200); 5];
        other.extend(&run);
        assert!(has_burst(&other));
        other[12].length = 7;
        assert!(!has_burst(&other));
        let from_two: Vec<Arrival> = (0..32).map(|number| arrival(40_000 + number % 2, 1200)).collect();
        assert!(!has_burst(&from_two));
    }
}
