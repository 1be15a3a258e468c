//! What `mmsg` does, for systems without these calls.

use std::io;
use std::net::IpAddr;

use super::DatagramSocket;
use crate::system::{Arrival, MESSAGES_PER_CALL, Parcel, STRIDE};

#[derive(Default)]
pub(crate) struct ReceiveHeaders;

#[derive(Default)]
pub(crate) struct SendHeaders;

impl ReceiveHeaders {
    pub fn receive(
        &mut self,
        from: &DatagramSocket,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        for place in buffer.chunks_exact_mut(STRIDE).take(MESSAGES_PER_CALL) {
            match from.socket.recv_from(place) {
                Ok((length, peer)) => arrivals.push(Arrival { from: peer, to: None, length, segment: 0 }),
                Err(_) if !arrivals.is_empty() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl SendHeaders {
    pub fn send(
        &mut self,
        on: &DatagramSocket,
        parcels: &[Parcel],
        _: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        for parcel in parcels[0].apart() {
            let datagram = &bytes[parcel.start..parcel.end];
            if on.is_connected {
                on.socket.send(datagram)?;
            } else {
                on.socket.send_to(datagram, parcel.to.address)?;
            }
        }
        Ok(1)
    }
}
