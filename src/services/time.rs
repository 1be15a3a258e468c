//! time: the local time in the form of C's `ctime`, over TCP and UDP.

use std::net::SocketAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Description, Plan, Settings};
use crate::service::{Context, Farewell, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "time",
    about: "tells the local time, then closes",
    notes: "",
    tcp: Some(5000),
    udp: Some(5000),
    keys: &[],
    plan,
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    settings.listen(Time::local())
}

/// The time service: it tells the time to whoever connects, and closes.
#[derive(Debug)]
pub struct Time {
    zone: TimeZone,
}

impl Time {
    /// A time service in the zone of this system: the variable TZ if it is set, otherwise
    /// /etc/localtime.
    pub fn local() -> Time {
        Time { zone: TimeZone::system() }
    }

    /// The time as ctime(3) writes it, without the line end.
    fn text(&self, now: SystemTime) -> String {
        // Only a clock set thousands of years off is out of range.
        let now = Timestamp::try_from(now).unwrap_or_default();
        now.to_zoned(self.zone.clone()).strftime("%a %b %e %H:%M:%S %Y").to_string()
    }
}

impl Service for Time {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.send(self.text(cx.system_time()).as_bytes());
        cx.close();
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, self.text(cx.system_time()).as_bytes());
    }

    fn farewell(&self, why: Farewell) -> String {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use std::time::Duration;

    /// 9 hours east of UTC, at a number of seconds since 1970.
    fn stage(seconds: u64) -> Rehearsal<Time> {
        let zone = TimeZone::posix("KST-9").unwrap();
        let mut stage = Rehearsal::new(Time { zone });
        stage.set_wall_clock(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        stage
    }

    #[test]
    fn who_connects_is_told_the_local_time_and_the_connection_closes() {
        let mut stage = stage(1_795_111_566);
        let client = stage.connect();
        assert_eq!(stage.received(client), b"Fri Nov 20 03:06:06 2026");
        assert!(stage.is_closed(client));
    }

    #[test]
    fn a_day_of_one_digit_is_padded_with_a_space() {
        let mut stage = stage(1_793_491_200);
        let client = stage.connect();
        assert_eq!(stage.received(client), b"Sun Nov  1 09:00:00 2026");
    }

    #[test]
    fn any_datagram_asks_for_the_time_an_empty_one_too() {
        let mut stage = stage(0);
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, b"");
        stage.pass(Duration::from_secs(1));
        stage.datagram(from, "몇 시?".as_bytes());
        let answers: Vec<_> = stage.datagrams().into_iter().map(|(_, text)| text).collect();
        assert_eq!(answers, [b"Thu Jan  1 09:00:00 1970", b"Thu Jan  1 09:00:01 1970"]);
    }
}
