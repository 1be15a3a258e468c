//! Datagrams of one size to one peer, packed into one send that the kernel cuts
//! apart again (UDP_SEGMENT, udp(7)). Measured: for bursts ten times cheaper per
//! datagram than sending them one by one.

use crate::service::LARGEST_DATAGRAM;
use crate::service::effects::Outgoing;
use crate::system::Parcel;

/// Most datagrams per parcel: what every kernel takes (UDP_MAX_SEGMENTS).
const MOST_SEGMENTS: usize = 64;

impl Parcel {
    fn of(datagram: &Outgoing) -> Parcel {
        Parcel { to: datagram.to, start: datagram.start, end: datagram.end, segment: 0 }
    }

    /// How many datagrams it holds.
    pub fn datagrams(&self) -> usize {
        match self.segment {
            0 => 1,
            segment => (self.end - self.start).div_ceil(segment as usize),
        }
    }

    /// Its datagrams, each by itself.
    pub fn apart(self) -> impl Iterator<Item = Parcel> {
        let step = if self.segment == 0 { (self.end - self.start).max(1) } else { self.segment as usize };
        (0..self.datagrams()).map(move |number| {
            let start = self.start + number * step;
            Parcel { start, end: (start + step).min(self.end), segment: 0, ..self }
        })
    }

    /// Adds the next datagram, if it can be part of this send.
    fn add(&mut self, next: &Outgoing) -> bool {
        let first = if self.segment == 0 { self.end - self.start } else { self.segment as usize };
        let length = next.end - next.start;
        // A shorter one can only be the last.
        let is_whole = (self.end - self.start).is_multiple_of(first.max(1));
        let fits = next.to == self.to
            && next.start == self.end
            && (1..=first).contains(&length)
            && is_whole
            && self.datagrams() < MOST_SEGMENTS
            && next.end - self.start <= LARGEST_DATAGRAM;
        if fits {
            self.segment = first as u16;
            self.end = next.end;
        }
        fits
    }
}

/// Packs a run of datagrams, in their order.
pub(crate) fn pack(datagrams: &[Outgoing], parcels: &mut Vec<Parcel>) {
    parcels.clear();
    for datagram in datagrams {
        if !parcels.last_mut().is_some_and(|last| last.add(datagram)) {
            parcels.push(Parcel::of(datagram));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::SocketId;
    use crate::service::DatagramPeer;
    use crate::service::ids::{Generations, Handle};
    use proptest::prelude::*;

    fn outgoing(datagrams: &[(u16, usize)]) -> Vec<Outgoing> {
        let mut start = 0;
        let mut list = Vec::new();
        for (port, length) in datagrams {
            let socket = SocketId(Handle::without_place(Generations::default().next()));
            let to = DatagramPeer { socket, address: ([127, 0, 0, 1], *port).into(), local: None };
            list.push(Outgoing { to, start, end: start + length, is_answer: false, unearned: 0 });
            start += length;
        }
        list
    }

    fn packed(datagrams: &[(u16, usize)]) -> Vec<(u16, usize, u16)> {
        let mut parcels = Vec::new();
        pack(&outgoing(datagrams), &mut parcels);
        parcels
            .iter()
            .map(|parcel| (parcel.to.address.port(), parcel.end - parcel.start, parcel.segment))
            .collect()
    }

    #[test]
    fn equal_sizes_to_one_peer_go_together_and_a_shorter_one_ends_it() {
        assert_eq!(packed(&[(1, 100), (1, 100), (1, 40), (1, 40)]), [(1, 240, 100), (1, 40, 0)]);
        assert_eq!(packed(&[(1, 100), (2, 100), (1, 100)]), [(1, 100, 0), (2, 100, 0), (1, 100, 0)]);
        assert_eq!(packed(&[(1, 10), (1, 20), (1, 20)]), [(1, 10, 0), (1, 40, 20)]);
    }

    #[test]
    fn an_empty_datagram_goes_alone() {
        assert_eq!(packed(&[(1, 5), (1, 0), (1, 0), (1, 5)]), [(1, 5, 0), (1, 0, 0), (1, 0, 0), (1, 5, 0)]);
    }

    #[test]
    fn a_parcel_holds_no_more_than_the_kernel_takes() {
        let many = vec![(1, 10); 100];
        assert_eq!(packed(&many), [(1, 640, 10), (1, 360, 10)]);
        let large = vec![(1, 30_000); 5];
        assert_eq!(packed(&large), [(1, 60_000, 30_000), (1, 60_000, 30_000), (1, 30_000, 0)]);
    }

    proptest! {
        #[test]
        fn taken_apart_again_it_is_what_was_packed(datagrams in prop::collection::vec((1u16..3, prop::sample::select(vec![0usize, 1, 7, 7, 7, 1200, 1200, 40_000])), 0..200)) {
            let list = outgoing(&datagrams);
            let mut parcels = Vec::new();
            pack(&list, &mut parcels);
            let apart: Vec<Parcel> = parcels.iter().flat_map(|parcel| parcel.apart()).collect();
            prop_assert_eq!(apart, list.iter().map(Parcel::of).collect::<Vec<_>>());
            prop_assert_eq!(parcels.iter().map(Parcel::datagrams).sum::<usize>(), list.len());
        }
    }
}
