//! multicast: acknowledges what is sent to a multicast group.

use std::net::SocketAddr;

use crate::config::MulticastConfig;
use crate::reactor::SocketId;
use crate::service::{Context, Service};

/// The multicast service. Its socket is bound to the group and joined it; the
/// kernel leaves the group when the socket closes.
#[derive(Debug)]
pub struct Multicast {
    message: String,
}

impl Multicast {
    /// A multicast service with the configured acknowledgement.
    pub fn new(config: &MulticastConfig) -> Multicast {
        Multicast { message: config.message.clone() }
    }
}

impl Service for Multicast {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        log::debug!("multicast: {} bytes from {from}", datagram.len());
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use std::net::Ipv4Addr;

    #[test]
    fn every_datagram_is_acknowledged_to_its_sender() {
        let config = MulticastConfig::bound_to(Ipv4Addr::LOCALHOST.into());
        let mut stage = Rehearsal::new(Multicast::new(&config));
        let (one, other) = (([127, 0, 0, 1], 41_000).into(), ([127, 0, 0, 1], 41_001).into());
        stage.datagram(one, "모두에게".as_bytes());
        stage.datagram(other, b"");
        assert_eq!(stage.datagrams(), [(one, b"ACK".to_vec()), (other, b"ACK".to_vec())]);
    }
}
