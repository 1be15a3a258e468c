//! What an address that sends datagrams may be sent.
//!
//! A source can be forged, so whoever is sent something may never have asked. An
//! address is sent at most three times what came from it, as in QUIC (RFC 9000,
//! 8.1), and beyond that 4 KiB at once and 1 KiB per second, so that a quiet member
//! of a chat hears an ordinary conversation. Besides, each service answers an address
//! only so often (`datagrams_per_second`).
//!
//! What a question earns pays for the answers to it at once ([`Outgoing::unearned`]),
//! so the table knows only those that were sent more than that: forged questions
//! that are answered briefly leave no trace. What a question leaves goes to the
//! account of its sender, if there is one.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use super::source_buckets::SourceBuckets;
use crate::service::effects::Outgoing;
use crate::service::ids::ServiceId;
use crate::service::limits::Rate;

/// What an address is sent beyond what it has earned, in bytes on the wire.
const ALLOWANCE: Rate = Rate { per_second: 1024, burst: 4096, loopback: false };

/// The accounts of all addresses, which all services share.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    bytes: SourceBuckets<IpAddr>,
    answers: SourceBuckets<(ServiceId, IpAddr)>,
}

/// Why a datagram is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// The address asks more often than it may.
    TooOften,
    /// The address would be sent more than it may.
    TooMuch,
    /// No host has answered at the address, and the send buffer was full lately.
    Unreached,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::TooOften => "is not answered: it asks more often than datagrams_per_second",
            Withheld::TooMuch => {
                "misses datagrams: it is sent at most three times what came from it, and 1 KiB per second"
            }
            Withheld::Unreached => {
                "misses datagrams: no host answers at that address, and those sent there fill the send buffer"
            }
        })
    }
}

impl Accounts {
    /// Whether a service may send a datagram that it has noted. Nobody can forge a
    /// source on loopback from outside, so the bound on bytes is not for loopback.
    pub fn admit(
        &mut self,
        service: ServiceId,
        answers: Rate,
        datagram: &Outgoing,
        now: Instant,
    ) -> Result<(), Withheld> {
        let address = datagram.to.address.ip().to_canonical();
        let is_local = address.is_loopback();
        let is_counted = datagram.is_answer && answers.per_second > 0 && (answers.loopback || !is_local);
        if is_counted && self.answers.take((service, address), 1, answers, now) == Some(false) {
            return Err(Withheld::TooOften);
        }
        let is_covered = datagram.unearned == 0 || is_local;
        if !is_covered && self.bytes.take(address, datagram.unearned, ALLOWANCE, now) != Some(true) {
            return Err(Withheld::TooMuch);
        }
        Ok(())
    }

    /// Adds what came from an address and was not used up by answers.
    pub fn earn(&mut self, address: IpAddr, bytes: u32) {
        let address = address.to_canonical();
        if !address.is_loopback() {
            self.bytes.add(address, bytes);
        }
    }

    /// The memory that they take, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.memory() + self.answers.memory()
    }

    /// Addresses that are known, and how many can be, in each table.
    #[cfg(feature = "simulated")]
    pub fn loads(&self) -> [(usize, usize); 2] {
        [self.bytes.load(), self.answers.load()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::effects::Outgoings;
    use crate::service::ids::{Generations, Handle, SocketId};
    use crate::service::rooms::DatagramPeer;
    use std::time::Duration;

    const SERVICE: ServiceId = ServiceId(0);
    const FAR: [u8; 4] = [192, 0, 2, 1];

    fn peer(ip: impl Into<IpAddr>) -> DatagramPeer {
        let socket = SocketId(Handle::without_place(Generations::default().next()));
        DatagramPeer { socket, address: (ip.into(), 40_000).into(), local: None }
    }

    /// How many of these datagrams, of so many bytes each, are admitted.
    fn admitted(accounts: &mut Accounts, noted: &Outgoings, now: Instant) -> usize {
        let admit = |datagram| accounts.admit(SERVICE, Rate::OFF, datagram, now).is_ok();
        noted.list.iter().map(admit).filter(|admitted| *admitted).count()
    }

    fn relayed(ip: impl Into<IpAddr>, count: usize, length: usize) -> Outgoings {
        let (to, mut noted) = (peer(ip), Outgoings::default());
        (0..count).for_each(|_| noted.push(to, &vec![b'x'; length], false));
        noted
    }

    #[test]
    fn what_nobody_asked_for_is_4_kib_at_once_and_1_kib_per_second() {
        let start = Instant::now();
        let mut accounts = Accounts::default();
        let noted = relayed(FAR, 100, 100);
        assert_eq!(admitted(&mut accounts, &noted, start), 4096 / 128);
        assert_eq!(admitted(&mut accounts, &noted, start), 0);
        assert_eq!(admitted(&mut accounts, &noted, start + Duration::from_secs(1)), 1024 / 128);
        assert_eq!(admitted(&mut accounts, &noted, start + Duration::from_secs(60)), 4096 / 128);
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let noted = relayed(mapped, 100, 100);
        assert_eq!(admitted(&mut accounts, &noted, start + Duration::from_secs(60)), 0, "one address");
    }

    #[test]
    fn loopback_has_no_such_bound() {
        let mut accounts = Accounts::default();
        for ip in [IpAddr::from([127, 0, 0, 9]), "::1".parse().unwrap(), "::ffff:127.0.0.1".parse().unwrap()]
        {
            let noted = relayed(ip, 1000, 1000);
            assert_eq!(admitted(&mut accounts, &noted, Instant::now()), 1000, "{ip}");
        }
        assert_eq!(accounts.bytes.load().0, 0);
    }

    #[test]
    fn answers_of_three_times_the_question_leave_no_trace() {
        let mut accounts = Accounts::default();
        let mut noted = Outgoings::default();
        for _ in 0..10_000 {
            noted.begin_answer(72);
            noted.push(peer(FAR), &[b'x'; 272], true);
            assert_eq!(noted.end_answer(), 0);
        }
        assert_eq!(admitted(&mut accounts, &noted, Instant::now()), 10_000);
        assert_eq!(accounts.bytes.load().0, 0);
    }

    #[test]
    fn what_a_question_leaves_pays_for_what_is_sent_later() {
        let now = Instant::now();
        let mut accounts = Accounts::default();
        let noted = relayed(FAR, 100, 100);
        assert_eq!(admitted(&mut accounts, &noted, now), 32);
        let mut question = Outgoings::default();
        question.begin_answer(100);
        accounts.earn(FAR.into(), question.end_answer());
        assert_eq!(admitted(&mut accounts, &noted, now), 3);
    }

    #[test]
    fn what_a_service_sends_by_itself_is_not_counted() {
        let mut noted = Outgoings::default();
        (0..1000).for_each(|_| noted.push_unprompted(peer(FAR), &[b'x'; 1000]));
        assert_eq!(admitted(&mut Accounts::default(), &noted, Instant::now()), 1000);
    }

    #[test]
    fn the_rate_of_answers_spares_loopback_unless_it_was_set() {
        let now = Instant::now();
        let mut accounts = Accounts::default();
        let unset = Rate { per_second: 2, burst: 2, loopback: false };
        let mut answered = |ip: [u8; 4], rate| {
            let mut noted = Outgoings::default();
            noted.begin_answer(0);
            noted.push(peer(ip), b"", true);
            (0..100).filter(|_| accounts.admit(SERVICE, rate, &noted.list[0], now).is_ok()).count()
        };
        assert_eq!(answered([127, 0, 0, 1], unset), 100);
        assert_eq!(answered(FAR, unset), 2);
        assert_eq!(answered([127, 0, 0, 1], Rate { loopback: true, ..unset }), 2);
    }
}
