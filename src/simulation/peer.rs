//! UDP peers: the datagrams they send, and the answers that may come back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::system::simulated::Rng;

/// One address that sends datagrams.
pub(super) struct Peer {
    pub address: SocketAddr,
    /// Its source must never be answered, since something there answers by itself.
    pub is_forged: bool,
    /// The datagrams it sent to echo, and how many echoes of each are outstanding.
    sent: BTreeMap<Vec<u8>, i64>,
}

impl Peer {
    pub fn new(address: SocketAddr, is_forged: bool) -> Peer {
        Peer { address, is_forged, sent: BTreeMap::new() }
    }

    /// A datagram for the service of that name.
    pub fn compose(&mut self, service: &str, rng: &mut Rng) -> Vec<u8> {
        let length = *rng.pick(&[0, 1, 20, 1200, 1200, 1200, 9_000]);
        let datagram = match service {
            "echo" => (0..length).map(|at| (at as u8).wrapping_mul(31)).collect(),
            "number" => rng.pick(&[&b"1"[..], b"10", b"", b"x"]).to_vec(),
            "chat" => rng.pick(&[&b""[..], b"u:1\n", b"/who", b"/help", b"quit", b"/nick u"]).to_vec(),
            _ => vec![b'a'; length.min(1200)],
        };
        if service == "echo" {
            *self.sent.entry(datagram.clone()).or_default() += 1;
        }
        datagram
    }

    /// A datagram came back from the echo service.
    pub fn hear_echo(&mut self, datagram: &[u8]) -> Result<(), String> {
        match self.sent.get_mut(datagram) {
            Some(count) => {
                *count -= 1;
                Ok(())
            }
            None => {
                Err(format!("{} got an echo of {} bytes that it never sent", self.address, datagram.len()))
            }
        }
    }

    /// If no datagram was lost or duplicated, each came back exactly once.
    pub fn check_all(&self) -> Result<(), String> {
        match self.sent.iter().find(|(_, count)| **count != 0) {
            Some((datagram, count)) => Err(format!(
                "{}: {count} of its datagrams of {} bytes did not come back",
                self.address,
                datagram.len()
            )),
            None => Ok(()),
        }
    }
}
