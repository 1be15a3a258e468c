//! What a room owes its members on UDP: one datagram per message and member.
//!
//! Messages are copied into a batch as they are published, and delivered member by
//! member, while the next batch gathers. A batch has a bound: no peer on UDP can be
//! made to send more slowly, so what exceeds it is dropped. It is apart from what
//! connections are owed, so that neither kind of member waits for the other.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{DatagramPeer, Deliver, Member, Membership, insert, is_member, remove};
use crate::service::ids::{Generation, SocketId};
use crate::service::sockets::LARGEST_DATAGRAM;

/// The most messages in a batch. It is several times what the kernel's default
/// receive buffer holds, so what is beyond it would rarely arrive.
pub(crate) const BATCH_MESSAGES: usize = 1024;
/// The most bytes in a batch.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;

/// One message of a batch.
#[derive(Debug, Clone, Copy)]
struct Message {
    end: usize,
    /// Whose message it is. Everybody hears a message of nobody.
    speaker: Option<Generation>,
}

/// Messages of one delivery, in order.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// The number of the first message.
    first: u64,
}

/// Where a delivery stopped: the member that was being served, and the next message
/// for it.
#[derive(Debug, Clone, Copy)]
struct Place {
    member: Generation,
    message: usize,
}

/// The UDP members of one room.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub members: Vec<Member<DatagramPeer>>,
    /// The ids of the members, so that no datagram has to search for its sender's.
    ids: HashMap<(SocketId, SocketAddr), Generation>,
    /// Messages that were accepted so far, which numbers them.
    accepted: u64,
    gathering: Batch,
    delivering: Batch,
    stopped_at: Option<Place>,
    /// Datagrams that were dropped and are not reported yet.
    pub dropped: u64,
}

impl Peers {
    pub fn id(&self, peer: &DatagramPeer) -> Option<Generation> {
        self.ids.get(&(peer.socket, peer.address)).copied()
    }

    pub fn join(&mut self, id: Generation, peer: DatagramPeer, how: Membership) {
        let id = *self.ids.entry((peer.socket, peer.address)).or_insert(id);
        insert(&mut self.members, id, peer, self.accepted, how);
    }

    pub fn leave(&mut self, peer: &DatagramPeer) {
        if let Some(id) = self.ids.remove(&(peer.socket, peer.address)) {
            remove(&mut self.members, id);
        }
    }

    /// Takes out all members that talk to a socket.
    pub fn leave_socket(&mut self, closed: SocketId) {
        self.members.retain(|member| member.reach.socket != closed);
        self.ids.retain(|(socket, _), _| *socket != closed);
    }

    /// The memory that its messages take, in bytes.
    pub fn memory(&self) -> usize {
        let batch = |batch: &Batch| batch.bytes.capacity() + batch.messages.capacity() * size_of::<Message>();
        batch(&self.gathering) + batch(&self.delivering)
    }

    /// The memory that the list of its members takes, in bytes.
    pub fn table(&self) -> usize {
        let id = size_of::<((SocketId, SocketAddr), Generation)>();
        self.members.capacity() * size_of::<Member<DatagramPeer>>() + self.ids.capacity() * id
    }

    pub fn has_work(&self) -> bool {
        !self.delivering.messages.is_empty() || !self.gathering.messages.is_empty()
    }

    /// Takes in a message, or drops it for all members if the batch is full or no
    /// datagram is large enough.
    pub fn publish(&mut self, speaker: Option<Generation>, message: &[u8]) {
        if self.members.is_empty() {
            return;
        }
        let batch = &mut self.gathering;
        let has_room =
            batch.messages.len() < BATCH_MESSAGES && batch.bytes.len() + message.len() <= BATCH_BYTES;
        if !has_room || message.len() > LARGEST_DATAGRAM {
            let speaks = speaker.is_some_and(|id| is_member(&self.members, id));
            self.dropped += self.members.len() as u64 - u64::from(speaks);
            return;
        }
        if batch.messages.is_empty() {
            batch.first = self.accepted;
        }
        batch.bytes.extend_from_slice(message);
        batch.messages.push(Message { end: batch.bytes.len(), speaker });
        self.accepted += 1;
    }

    /// Delivers what is left of a batch, or else the next one. Returns false if the
    /// budget ran out first.
    pub fn fan_out(&mut self, to: &mut impl Deliver) -> bool {
        if self.delivering.messages.is_empty() {
            std::mem::swap(&mut self.delivering, &mut self.gathering);
        }
        let batch = &self.delivering;
        if batch.messages.is_empty() {
            return true;
        }
        let stopped_at = self.stopped_at.take();
        let start = stopped_at.map_or(0, |at| self.members.partition_point(|member| member.id < at.member));
        for member in &self.members[start..] {
            let mut next = match stopped_at {
                Some(at) if at.member == member.id => at.message,
                _ => member.since.saturating_sub(batch.first) as usize,
            };
            while let Some(message) = batch.messages.get(next) {
                let begin = next.checked_sub(1).map_or(0, |before| batch.messages[before].end);
                next += 1;
                if message.speaker == Some(member.id) {
                    continue;
                }
                if !to.to_peer(&member.reach, &batch.bytes[begin..message.end]) {
                    self.stopped_at = Some(Place { member: member.id, message: next });
                    return false;
                }
            }
        }
        self.delivering.messages.clear();
        self.delivering.bytes.clear();
        true
    }
}

/// What UDP members of a room are owed, for the simulation to judge.
#[cfg(feature = "simulated")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeersAudit {
    pub members: usize,
    /// The number of the first message that is being delivered.
    pub delivers: Option<u64>,
    /// Messages and bytes of the larger batch.
    pub messages: usize,
    pub bytes: usize,
}

#[cfg(feature = "simulated")]
impl Peers {
    pub fn audit(&self) -> PeersAudit {
        let Batch { bytes, messages, first } = &self.delivering;
        PeersAudit {
            members: self.members.len(),
            delivers: (!messages.is_empty()).then_some(*first),
            messages: messages.len().max(self.gathering.messages.len()),
            bytes: bytes.len().max(self.gathering.bytes.len()),
        }
    }
}
